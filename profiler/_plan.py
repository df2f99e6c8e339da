"""From what a user asks for to workloads, and from a workload back to its graph."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hilnas import plugins
from hilnas.errors import UnknownName, UsageError
from hilnas.records import Architecture, Measurement, Workload, canonical_json
from profiler._models import model_module, settle_norms
from search_spaces._base import SearchSpace
from search_spaces._errors import NetworkChanged
from search_spaces._graph import Block, Graph

if TYPE_CHECKING:
    from torch import nn

#: Copies of a shape-preserving block in one measured chain, so that the call's own cost weighs little.
BLOCK_REPEAT = 8
#: The option of a workload that is the fingerprint of its network; the space has none of this name.
_NETWORK = "network"


@lru_cache(maxsize=32)
def _space(name: str, options: str) -> SearchSpace:
    kind = plugins.load("search_spaces", name, SearchSpace)
    chosen, known = json.loads(options), kind().options
    unknown = next((option for option in chosen if option not in known), None)
    if unknown is not None:
        raise UnknownName(f"option of {name}", unknown, known)
    return kind(**chosen)


def load_space(name: str, options: str = "{}") -> SearchSpace:
    """Return a search space by name with its options (canonical JSON), or the family of networks of a TOML file.

    Raises UnknownName for what is not there, UsageError for a file that makes no sense.
    """
    if not name.endswith(".toml"):
        return _space(name, options)
    from search_spaces.parametric import Parametric

    if options != "{}":
        raise UsageError(f"{name} has no space options", "", f"Write what shall differ into {name}.")
    return Parametric.from_file(Path(name))


def architecture_workload(space: SearchSpace, architecture: Architecture) -> Workload:
    """Return the workload of an architecture; of a traced one the options name the network it is at this moment."""
    fingerprint = space.fingerprint(architecture)
    options = {**space.options, **({_NETWORK: fingerprint} if fingerprint else {})}
    shape = space.shape_of(architecture)
    return Workload(architecture.text, "architecture", shape, options=canonical_json(options))


def recorded_architecture(space: SearchSpace, workload: Workload) -> Architecture | None:
    """Return the architecture of a workload that was recorded in the space, None where it had other options."""
    options = json.loads(workload.options)
    options.pop(_NETWORK, None)
    return space.parse(workload.subject) if canonical_json(options) == canonical_json(dict(space.options)) else None


def sample_workloads(space: SearchSpace, n: int, seed: int) -> list[Workload]:
    """Return the workloads of n random architectures of different canonical form."""
    return [architecture_workload(space, item) for item in space.sample_distinct(n, seed)]


def block_workloads(space: SearchSpace) -> list[Workload]:
    """Return a workload for every block of a space: what a lookup table needs measured."""
    options = canonical_json({"repeat": BLOCK_REPEAT, "space": dict(space.options)})
    return [
        Workload(f"block:{space.name}:{block.key}", "block", _block_graph(block).input.shape, options=options)
        for block in space.blocks()
    ]


def block_key(workload: Workload) -> str:
    """Return the lookup key of a block workload."""
    return workload.subject.split(":", 2)[2]


def block_entry_s(measurement: Measurement) -> float:
    """Return the seconds of one block: the measured chain over its copies; raise ValueError where none was measured."""
    if measurement.latency_s is None:
        raise ValueError(f"{measurement.workload.subject} was not measured")
    return measurement.latency_s / block_copies(measurement.workload)


def block_copies(workload: Workload) -> int:
    """Return how many copies of the block its measured chain holds."""
    return _chain_length(_find_block(workload), json.loads(workload.options)["repeat"])


def sentinel_workload() -> Workload:
    """Return the fixed network that is measured again and again to see drift."""
    space = load_space("nasbench201")
    cell = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    return architecture_workload(space, space.parse(cell))


def workload_graph(workload: Workload) -> Graph:
    """Return the graph of an architecture or of a block's chain; raise UsageError for a model, which has none."""
    if workload.kind == "architecture":
        space, architecture = workload_architecture(workload)
        return space.graph(architecture)
    if workload.kind == "block":
        return _block_graph(_find_block(workload), json.loads(workload.options)["repeat"])
    raise UsageError(f"{workload.name} is a model file: it has no graph of ours")


def workload_onnx(workload: Workload) -> tuple[bytes, bytes | None]:
    """Return an architecture or a block's chain as ONNX, and its recipe where a device can write it itself."""
    from search_spaces._recipe import to_onnx_and_recipe

    if workload.kind != "architecture":
        return to_onnx_and_recipe(workload_graph(workload))
    space, architecture = workload_architecture(workload)
    return space.onnx(architecture)


def workload_module(workload: Workload) -> nn.Module:
    """Return an architecture, a block's chain or a model of the user as a module in evaluation mode.

    Raises UsageError for an ONNX file, which has none, and CannotBuild for a function that gives no network.
    """
    if workload.kind == "model":
        built = model_module(workload)
        settle_norms(built)
        return built.module.eval()

    from search_spaces._torch import to_module

    if workload.kind != "architecture":
        return to_module(workload_graph(workload)).eval()
    space, architecture = workload_architecture(workload)
    return space.module(architecture).eval()


def workload_architecture(workload: Workload) -> tuple[SearchSpace, Architecture]:
    """Return the space and the architecture of a workload of the kind `architecture`.

    Raises NetworkChanged where the same text was another network when the workload was made.
    """
    options = json.loads(workload.options)
    fingerprint = options.pop(_NETWORK, "")
    space = load_space(workload.subject.partition(":")[0], canonical_json(options))
    architecture = space.parse(workload.subject)
    if fingerprint and space.fingerprint(architecture) != fingerprint:
        raise NetworkChanged(
            f"{workload.subject} is another network now than when it was planned or measured",
            space.obstacle(architecture) or "What builds it has changed, or torch has.",
            "Undo the change, or begin anew: hilnas profile",
        )
    return space, architecture


def need_network(workload: Workload) -> None:
    """Raise CannotBuild or NetworkChanged for an architecture without its network; for builders that need no bytes."""
    if workload.kind == "architecture" and _is_traced(workload.subject.partition(":")[0]):
        space, architecture = workload_architecture(workload)
        space.graph(architecture)


@lru_cache(maxsize=32)
def _is_traced(name: str) -> bool:
    """Return whether there is a space of this name whose networks the user's code builds."""
    return name in plugins.names("search_spaces") and plugins.load("search_spaces", name, SearchSpace).traced


def _find_block(workload: Workload) -> Block:
    from search_spaces._blocks import find_block

    options = canonical_json(json.loads(workload.options)["space"])
    return find_block(load_space(workload.subject.split(":")[1], options), block_key(workload))


def _block_graph(block: Block, repeat: int = BLOCK_REPEAT) -> Graph:
    from search_spaces._blocks import block_graph

    return block_graph(block, _chain_length(block, repeat))


def _chain_length(block: Block, repeat: int) -> int:
    return repeat if all(spec == block.output for spec in block.inputs) else 1
