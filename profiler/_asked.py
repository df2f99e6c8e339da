"""What the options of the command line ask for, as values; every contradiction is an error that says what to write."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from hilnas.errors import UnknownName, UsageError
from hilnas.records import MeasurementProtocol, Workload, canonical_json
from hilnas.units import parse_quantity
from profiler._artifacts import ArtifactStore
from profiler._models import Arguments, ModelSource, model_workloads
from profiler._plan import architecture_workload, block_workloads, load_space, sample_workloads
from search_spaces._layer_costs import Input

_SHAPE = re.compile(r"(?:(?P<name>[^=]+)=)?(?P<sizes>[0-9]+(?:x[0-9]+)*)(?::(?P<dtype>[a-z]+[0-9]*))?")
#: What an input may hold; values are made up for it, so no others.
_DTYPES = ("float32", "float16", "float64", "int64", "int32", "uint8", "int8", "bool")


@dataclass(frozen=True)
class Asked:
    """What the options of `hilnas profile` name: models with their inputs, or architectures and blocks of a space."""

    space: str | None = None
    space_options: Sequence[str] = ()
    samples: int | None = None
    blocks: bool = False
    architectures: Sequence[str] = ()
    models: Sequence[str] = ()
    shapes: Sequence[str] = ()
    arguments: Sequence[str] = ()
    seed: int = 0


def asked_workloads(asked: Asked, artifacts: ArtifactStore) -> list[Workload]:
    """Return the workloads that are named; raise UsageError where none is, or where options contradict each other."""
    if asked.models:
        return _asked_models(asked, artifacts)
    if asked.shapes or asked.arguments:
        raise UsageError("--shape and --argument belong to --model")
    if asked.space is None:
        raise UsageError(
            "nothing to measure was named", "", "Write --space nasbench201 --samples 60, or --model FILE.onnx"
        )
    space = load_space(asked.space, space_options_json(asked.space_options))
    workloads = [architecture_workload(space, space.parse(text)) for text in asked.architectures]
    if asked.samples:
        workloads += sample_workloads(space, asked.samples, asked.seed)
    if asked.blocks:
        workloads += block_workloads(space)
    if not workloads:
        raise UsageError(
            f"nothing of the space {asked.space!r} was named", "", "Add --samples N, --blocks or --architecture TEXT"
        )
    return workloads


def _asked_models(asked: Asked, artifacts: ArtifactStore) -> list[Workload]:
    if asked.space or asked.samples or asked.blocks or asked.architectures:
        raise UsageError("--model stands alone", "", "Profile models and a space in two commands.")
    sources = [asked_model(text, asked.shapes, asked.arguments) for text in asked.models]
    workloads = model_workloads(sources, artifacts)
    if len({workload.key for workload in workloads}) < len(workloads):
        names = ", ".join(asked.models)
        raise UsageError(f"the same model is named twice: {names}", "Their bytes are equal, and so is their latency.")
    return workloads


def asked_model(text: str, shapes: Sequence[str] = (), arguments: Sequence[str] = ()) -> ModelSource:
    """Return the model that FILE.onnx or `package.module:function` names, with its --shape and --argument."""
    inputs = tuple(parse_input(shape) for shape in shapes)
    names = [item.name for item in inputs if item.name]
    if len(set(names)) < len(names):
        raise UsageError(f"--shape names an input twice: {', '.join(names)}")
    source = ModelSource(text, inputs, parse_arguments(arguments))
    if arguments and not source.is_function:
        raise UsageError(f"{text} is a file and takes no arguments", "", "--argument is for functions.")
    return source


def parse_input(text: str) -> Input:
    """Return the input of `1x3x224x224`, `NAME=1x3x224x224` or `NAME=1x128:int64`; raise UsageError for another."""
    match = _SHAPE.fullmatch(text.strip())
    example = "Write for instance --shape 1x3x224x224, or --shape ids=1x128:int64"
    if match is None:
        raise UsageError(f"cannot read the shape {text!r}", "", example)
    shape = tuple(int(size) for size in match["sizes"].split("x"))
    if 0 in shape or prod(shape) > _MAX_ELEMENTS:
        raise UsageError(f"the shape {text!r} holds nothing, or more than a tensor can", "", example)
    dtype = match["dtype"] or "float32"
    if dtype not in _DTYPES:
        raise UnknownName("type", dtype, _DTYPES, example)
    return Input(shape, dtype, match["name"] or "")


def parse_arguments(pairs: Sequence[str]) -> Arguments:
    """Return `width=16` pairs as values: whole numbers, numbers, true and false, and whatever else as text."""
    found: dict[str, int | float | str | bool] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"cannot read the argument {pair!r}", "", "Write for instance --argument width=16")
        if name in found:
            raise UsageError(f"the argument {name!r} is named twice")
        found[name] = _value(text)
    return found


def _value(text: str) -> int | float | str | bool:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return text


#: A tensor of bytes of this many elements would fill the address space of any machine.
_MAX_ELEMENTS = 2**46


def space_options_json(pairs: Sequence[str]) -> str:
    """Return `width=32` pairs as canonical JSON; raise UsageError for another form."""
    found = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not number.isdigit():
            raise UsageError(f"cannot read the space option {pair!r}", "", "Write for instance --space-option width=32")
        found[name] = int(number)
    return canonical_json(found)


def asked_protocol(
    protocol: MeasurementProtocol,
    n_models: int = 1,
    invocations: int | None = None,
    rate: str | None = None,
    sustained: str | None = None,
) -> MeasurementProtocol:
    """Return a device's protocol as the options change it.

    Models that are compared get more invocations, since their ratio is the question. `rate` (10/s) paces the calls;
    `sustained` (30min) makes one long invocation, in which throttling shows.
    """
    if rate is not None:
        rate_hz = parse_quantity(rate, "rate")
        if not rate_hz:
            raise UsageError(f"--rate {rate}: nothing would ever be called")
        protocol = replace(protocol, rate_hz=rate_hz)
    if sustained is not None:
        sustained_s = parse_quantity(sustained, "time")
        return replace(protocol, sustained_s=sustained_s, min_invocations=1, max_invocations=1, sentinel_every=0)
    if n_models > 1:
        protocol = replace(protocol, min_invocations=12, max_invocations=24)
    if invocations is not None:
        protocol = replace(protocol, min_invocations=invocations, max_invocations=max(invocations, 2 * invocations))
    return protocol
