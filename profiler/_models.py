"""Any model as a workload: an ONNX file, or a function of the user that returns an nn.Module."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilnas.errors import BadFile, HilnasError, UsageError
from hilnas.records import Workload, canonical_json
from profiler._artifacts import ArtifactStore
from profiler._onnx_file import MAX_MODEL_BYTES, read_model
from search_spaces._callables import importable, load_callable
from search_spaces._errors import CannotBuild, NetworkChanged
from search_spaces._layer_costs import Input

if TYPE_CHECKING:
    from torch import nn

#: What a function of the user is called with.
Arguments = Mapping[str, int | float | str | bool]

_SEED = 0
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_UNBUILT = "model:unbuilt:"


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from: a path or `package.module:function`, what it is called with, and its inputs."""

    target: str
    inputs: tuple[Input, ...] = ()
    arguments: Arguments | None = None

    @property
    def is_function(self) -> bool:
        """Return whether it names a function and not a file."""
        return _TARGET.fullmatch(self.target) is not None and not Path(self.target).exists()

    @property
    def label(self) -> str:
        """Return what people read."""
        if not self.is_function:
            return Path(self.target).name
        arguments = ",".join(f"{name}={value}" for name, value in sorted((self.arguments or {}).items()))
        return f"{self.target}({arguments})" if arguments else self.target

    def to_json(self) -> str:
        """Return the text from which `from_json` makes it again."""
        values = {"target": self.target, "arguments": dict(self.arguments or {}), "inputs": self.inputs}
        return canonical_json(values)

    @classmethod
    def from_json(cls, text: str) -> ModelSource:
        """Return what `to_json` was called on."""
        values = json.loads(text)
        inputs = tuple(Input(tuple(shape), dtype, name) for shape, dtype, name in values["inputs"])
        return cls(values["target"], inputs, values["arguments"])


@dataclass(frozen=True)
class BuiltModel:
    """A module in evaluation mode with the inputs it takes."""

    module: nn.Module
    inputs: tuple[Input, ...]


def model_workload(source: ModelSource | Path, artifacts: ArtifactStore) -> Workload:
    """Return the workload of a model, its ONNX bytes stored in the workspace; external data is put inside.

    Raises BadFile for a file that cannot be used, CannotBuild for a function that gives no network that can be
    exported, and UsageError for shapes that are missing or do not fit and for a function that is not there.
    """
    if isinstance(source, Path):
        source = ModelSource(str(source))
    if not source.is_function:
        if source.arguments:
            raise UsageError(f"{source.target} is a file and takes no arguments", "", "--argument is for functions.")
        data, shape = read_model(Path(source.target), source.inputs)
        digest, _ = artifacts.put(data, ".onnx")
        return Workload(f"model:{digest}", "model", shape, label=source.label)
    data, inputs = _exported(source)
    digest, _ = artifacts.put(data, ".onnx")
    options = ModelSource(source.target, inputs, source.arguments).to_json()
    return Workload(f"model:{digest}", "model", inputs[0].shape, options=options, label=source.label)


def model_workloads(sources: Sequence[ModelSource], artifacts: ArtifactStore) -> list[Workload]:
    """Return the workloads of several models; one that cannot be built is a workload whose build fails.

    Raises what `model_workload` raises where no model is left, and for a file that is not there: a name mistyped.
    """
    missing = next((item for item in sources if not item.is_function and not Path(item.target).exists()), None)
    if missing is not None:
        model_workload(missing, artifacts)
    found, errors = [], []
    for source in sources:
        try:
            found.append(model_workload(source, artifacts))
        except (BadFile, CannotBuild) as error:
            errors.append(error)
            shape = source.inputs[0].shape if source.inputs else ()
            subject = _UNBUILT + source.target
            found.append(Workload(subject, "model", shape, options=source.to_json(), label=source.label))
    if len(errors) == len(found) and errors:
        raise errors[0]
    return found


def model_file(workload: Workload, artifacts: ArtifactStore) -> tuple[str, bytes]:
    """Return SHA-256 and bytes of a model's ONNX; raise HilnasError where they are gone or were never made."""
    if workload.subject.startswith(_UNBUILT):
        workload = model_workload(ModelSource.from_json(workload.options), artifacts)
    digest = workload.subject.removeprefix("model:")
    try:
        return digest, artifacts.read(digest, ".onnx")
    except HilnasError:
        if workload.options == "{}":
            raise
    data, _ = _exported(ModelSource.from_json(workload.options))
    again, _ = artifacts.put(data, ".onnx")
    if again != digest:
        raise NetworkChanged(
            f"{workload.name} is another network now than when its run began",
            "Its function, or the torch that exports it, has changed since.",
            "Start a new run: hilnas profile",
        )
    return digest, data


def need_built(workload: Workload, artifacts: ArtifactStore) -> None:
    """Raise HilnasError for a model that cannot be built; for builders that need no bytes."""
    if workload.subject.startswith(_UNBUILT):
        model_file(workload, artifacts)


def model_module(workload: Workload) -> BuiltModel:
    """Return the module of a model workload, built again; raise UsageError for an ONNX file, which has none."""
    if workload.options == "{}":
        raise UsageError(
            f"{workload.name} is an ONNX file: torch has no module of it",
            "Backends of torch run modules.",
            'Name a function that returns the module: --model package.module:function, or use backend = "onnxruntime"',
        )
    source = ModelSource.from_json(workload.options)
    if not source.is_function:
        raise UsageError(f"{workload.name} is an ONNX file: torch has no module of it")
    return build_model(source)


def workload_inputs(workload: Workload) -> tuple[Input, ...]:
    """Return the inputs that a workload's module is called with, those with a name by keyword."""
    if workload.kind != "model" or workload.options == "{}":
        return (Input(workload.input_shape, workload.dtype),)
    return ModelSource.from_json(workload.options).inputs or (Input(workload.input_shape),)


def build_model(source: ModelSource, without_values: bool = False) -> BuiltModel:
    """Call a function and return its module, with seeded weights where it draws any.

    The function returns an nn.Module, or a module and its input shape (one shape, or a list of shapes); shapes that
    are asked for go first. `without_values` has its weights allocated nowhere, for what only looks at shapes. What it
    prints goes to stderr. Raises CannotBuild for a function that raises or returns something else, and UsageError where
    nobody says the input shape.
    """
    import torch

    from search_spaces._user_modules import seeded

    with user_code():
        function = load_callable(source.target)
    place = torch.device("meta") if without_values else contextlib.nullcontext()
    try:
        with user_code(), place:
            made = seeded(lambda: function(**(source.arguments or {})), _SEED)
    except (Exception, SystemExit) as error:  # a user's own code raises what it likes
        raise CannotBuild(f"{source.label} raised {type(error).__name__}: {str(error)[:300]}") from error
    module, shapes = made if isinstance(made, tuple) and len(made) == 2 else (made, ())
    if not isinstance(module, torch.nn.Module):
        raise CannotBuild(
            f"{source.label} returns a {type(module).__name__}, no nn.Module",
            "",
            "It must return the network, or the network and its input shape.",
        )
    return BuiltModel(module.eval(), source.inputs or _returned(shapes, source))


@contextlib.contextmanager
def user_code() -> Iterator[None]:
    """Let a function of the user import what it needs, and keep what it prints out of the answer on stdout."""
    with importable(), contextlib.redirect_stdout(sys.stderr):
        yield


def _returned(shapes: Any, source: ModelSource) -> tuple[Input, ...]:
    """Return the inputs that the function itself names: one shape or several."""
    try:
        several = shapes if shapes and not isinstance(next(iter(shapes), None), int) else (shapes,)
        inputs = tuple(Input(tuple(int(size) for size in shape)) for shape in several if shape)
    except (TypeError, ValueError) as error:
        raise CannotBuild(f"{source.label} returns {shapes!r}, which is no input shape") from error
    if not inputs:
        raise UsageError(
            f"the input shape of {source.label} is not known",
            "The function returns a network alone.",
            "Name it: --shape 1x3x224x224, or return the network and its input shape",
        )
    return inputs


def _exported(source: ModelSource) -> tuple[bytes, tuple[Input, ...]]:
    from search_spaces._onnx_export import export_onnx

    _need_small(source)
    built = build_model(source)
    settle_norms(built)
    try:
        with user_code():
            return export_onnx(built.module, built.inputs), built.inputs
    except CannotBuild as error:
        raise CannotBuild(f"{source.label}: {error.what}", error.cause, error.remedy) from error


def settle_norms(built: BuiltModel) -> None:
    """Give new normalisations statistics of a seeded batch, where the network takes one: see `settle`."""
    from search_spaces._user_modules import settle

    if len(built.inputs) == 1 and built.inputs[0].dtype == "float32" and len(built.inputs[0].shape) > 1:
        with contextlib.suppress(Exception), user_code():  # a network of one batch size keeps neutral ones
            settle(built.module, built.inputs[0].shape, _SEED)


def _need_small(source: ModelSource) -> None:
    """Raise CannotBuild for weights that do not fit into an ONNX file, before memory is taken for them."""
    try:
        module = build_model(source, without_values=True).module
    except CannotBuild:
        return  # a function that needs numbers: whatever is wrong shows when it gets them
    size = sum(item.nbytes for item in (*module.parameters(), *module.buffers()))
    if size > MAX_MODEL_BYTES:
        raise CannotBuild(
            f"{source.label} has {size / 2**30:.1f} GiB of weights, more than the 2 GiB of an ONNX file",
            "A model is sent to a device in one message.",
            f"Its costs can be had all the same: hilnas profile --static {source.target}",
        )
