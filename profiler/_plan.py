"""From what a user asks for to workloads, and from a workload back to its graph."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hilnas import plugins
from hilnas.errors import BadFile, UnknownName, UsageError
from hilnas.records import Architecture, Measurement, Workload, canonical_json
from profiler._artifacts import ArtifactStore
from search_spaces._base import SearchSpace
from search_spaces._graph import Block, Graph

if TYPE_CHECKING:
    from torch import nn

#: Copies of a shape-preserving block in one measured chain, so that the call's own cost weighs little.
BLOCK_REPEAT = 8
_MAX_MODEL_BYTES = 2 * 2**30


@lru_cache(maxsize=32)
def _space(name: str, options: str) -> SearchSpace:
    kind = plugins.load("search_spaces", name, SearchSpace)
    chosen, known = json.loads(options), kind().options
    unknown = next((option for option in chosen if option not in known), None)
    if unknown is not None:
        raise UnknownName(f"option of {name}", unknown, known)
    return kind(**chosen)


def load_space(name: str, options: str = "{}") -> SearchSpace:
    """Return a search space by name with its options (canonical JSON); raise UnknownName for what is not there."""
    return _space(name, options)


def architecture_workload(space: SearchSpace, architecture: Architecture) -> Workload:
    """Return the workload of an architecture in the space's input shape."""
    options = canonical_json(dict(space.options))
    return Workload(architecture.text, "architecture", space.shape_of(architecture), options=options)


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


def model_workload(path: Path, artifacts: ArtifactStore) -> Workload:
    """Return the workload of an ONNX file, its bytes stored in the workspace.

    Raises BadFile for a file that is missing, too large or no ONNX model, and UsageError for dynamic shapes.
    """
    data = _read_model(path)
    shape = _input_shape(data, path)
    digest, _ = artifacts.put(data, ".onnx")
    return Workload(f"model:{digest}", "model", shape, label=path.name)


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
    """Return an architecture or a block's chain as a module in evaluation mode; raise UsageError for a model."""
    from search_spaces._torch import to_module

    if workload.kind != "architecture":
        return to_module(workload_graph(workload)).eval()
    space, architecture = workload_architecture(workload)
    return space.module(architecture).eval()


def workload_architecture(workload: Workload) -> tuple[SearchSpace, Architecture]:
    """Return the space and the architecture of a workload of the kind `architecture`."""
    space = load_space(workload.subject.partition(":")[0], workload.options)
    return space, space.parse(workload.subject)


def _find_block(workload: Workload) -> Block:
    from search_spaces._blocks import find_block

    options = canonical_json(json.loads(workload.options)["space"])
    return find_block(load_space(workload.subject.split(":")[1], options), block_key(workload))


def _block_graph(block: Block, repeat: int = BLOCK_REPEAT) -> Graph:
    from search_spaces._blocks import block_graph

    return block_graph(block, _chain_length(block, repeat))


def _chain_length(block: Block, repeat: int) -> int:
    return repeat if all(spec == block.output for spec in block.inputs) else 1


def _read_model(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_MODEL_BYTES:
            raise BadFile(f"{path} is larger than 2 GiB", "ONNX files of this size use external data.")
        return path.read_bytes()
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error


def _input_shape(data: bytes, path: Path) -> tuple[int, ...]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise BadFile(f"{path} is no ONNX model", str(error)[:200]) from error
    if not model.HasField("graph") or not model.graph.output:
        raise BadFile(f"{path} is no ONNX model", "It has no graph.")
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    for item in inputs:
        sizes = [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        if any(size <= 0 for size in sizes):
            raise UsageError(
                f"{path}: the input {item.name!r} has a dynamic shape",
                "A latency belongs to one shape.",
                "Fix it first: python -m onnxruntime.tools.make_dynamic_shape_fixed",
            )
    return tuple(dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim) if inputs else ()
