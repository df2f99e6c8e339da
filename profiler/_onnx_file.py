"""ONNX files of a user: read with limits, their external data looked at before it is touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hilnas.errors import BadFile, UsageError
from search_spaces._layer_costs import Input

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

#: What one ONNX message can hold; a model that is measured travels as one.
MAX_MODEL_BYTES = 2**31 - 1
#: Tensors up to this many elements may be shapes of others.
_SMALL = 4096


class ModelBytes(NamedTuple):
    """A model that is one file and has fixed shapes, and the shape of its first input."""

    data: bytes
    input_shape: tuple[int, ...]


def open_model(path: Path) -> ModelProto:
    """Return the model of a file; of its external data only small tensors are loaded, but all of it must be there.

    Raises BadFile for a file that is missing, too large or no ONNX model, and for external data that is missing, too
    short or anywhere else than beside the model.
    """
    return _opened(_bytes(path), path, everything=False)


def read_model(path: Path, inputs: Sequence[Input] = ()) -> ModelBytes:
    """Return a model with its external data inside and `inputs` as the shapes of its dynamic inputs.

    The bytes are those of the file where neither was needed. Raises BadFile as `open_model` does and for a model that
    does not fit into one file, and UsageError for dynamic shapes that are not given.
    """
    from search_spaces._onnx_costs import model_inputs, with_shapes

    data = _bytes(path)
    model = _opened(data, path, everything=True)
    try:
        fixed = with_shapes(model, inputs)
    except UsageError as error:
        raise UsageError(f"{path}: {error.what}", error.cause, error.remedy) from error
    if fixed is not model or _outside(_parsed(data, path)):
        data = _serialised(fixed, path)
    first = next(iter(model_inputs(fixed.graph)), None)
    return ModelBytes(data, () if first is None else tuple(d.dim_value for d in first.type.tensor_type.shape.dim))


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise BadFile(f"{path} is larger than 2 GiB", "ONNX files of this size keep their weights beside them.")
        return path.read_bytes()
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error
    except MemoryError as error:
        raise BadFile(f"{path} does not fit into the memory of this machine") from error


def _parsed(data: bytes, path: Path) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise BadFile(f"{path} is no ONNX model", str(error)[:200]) from error
    if not model.HasField("graph") or not model.graph.output:
        raise BadFile(f"{path} is no ONNX model", "It has no graph.")
    return model


def _opened(data: bytes, path: Path, everything: bool) -> ModelProto:
    from onnx.external_data_helper import load_external_data_for_tensor

    model = _parsed(data, path)
    total = len(data)
    for tensor in _outside(model):
        total += _checked_bytes(tensor, path)
        if everything and total > MAX_MODEL_BYTES:
            raise BadFile(f"{path} and its external data are larger than 2 GiB", "A model is sent in one message.")
        if everything or prod(tensor.dims) <= _SMALL:
            try:
                load_external_data_for_tensor(tensor, str(path.parent.resolve()))
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                raise BadFile(f"{path}: external data cannot be read: {str(error)[:200]}") from error
    return model


def _checked_bytes(tensor: TensorProto, path: Path) -> int:
    """Return how many bytes a tensor has outside; raise BadFile where they are not there or not beside the model."""
    entries = {item.key: item.value for item in tensor.external_data}
    where = f"{path}: the external data of {tensor.name!r}"
    location = Path(entries.get("location", ""))
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if location.is_absolute() or ".." in location.parts or not file.is_relative_to(folder):
        raise BadFile(f"{where} lies outside of the model's folder", f"It names {str(location)!r}.")
    if not file.is_file():
        raise BadFile(f"{where} is missing: {location}", "", "Put it into the folder of the model.")
    there = file.stat().st_size
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or there - offset)
    except ValueError as error:
        raise BadFile(f"{where} has a bad offset or length") from error
    if offset < 0 or length < 0 or offset + length > there:
        raise BadFile(f"{where} ends behind the file {location}", f"The file has {there} bytes.")
    return length


def _outside(model: ModelProto) -> list[TensorProto]:
    from onnx import TensorProto

    return [tensor for tensor in _tensors(model.graph) if tensor.data_location == TensorProto.EXTERNAL]


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield the constants of a graph and of the graphs within it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _serialised(model: ModelProto, path: Path) -> bytes:
    from google.protobuf.message import EncodeError

    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError, MemoryError) as error:
        raise BadFile(f"{path} does not fit into one file", str(error)[:200]) from error
    return data
