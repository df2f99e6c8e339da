"""Any PyTorch module as ONNX bytes: torch's exporters, tried one after the other, without a word of theirs."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from search_spaces._errors import CannotBuild
from search_spaces._layer_costs import Input
from search_spaces._module_costs import example_tensors
from search_spaces._onnx import OPSET

#: The first can be read by old runtimes too; the second one has operators that the first lacks.
_OPSETS = (OPSET, 20)


def export_onnx(module: nn.Module, inputs: Sequence[Input]) -> bytes:
    """Return a module in evaluation mode as ONNX with fixed shapes, the same bytes for the same weights.

    A single input is named `input`, several by their names or `input0`, `input1` ...; the first output is `output`.
    The tracing exporter goes first, since files of the older operator set run on old boards as well; what it cannot
    do is left to the newer one. Raises CannotBuild for a module that none of them takes.
    """
    module = module.eval()
    errors = []
    for opset in _OPSETS:
        try:
            return _traced(module, inputs, opset)
        except Exception as error:  # whatever an exporter or the user's own code raises
            errors.append(error)
    try:
        return _captured(module, inputs)
    except ImportError as error:
        cause = f"{type(errors[-1]).__name__}: {errors[-1]}"
        remedy = f"The newer exporter may do: pip install {error.name}"
        raise CannotBuild("torch cannot export the network to ONNX", cause[:400], remedy) from errors[-1]
    except Exception as error:
        first = f"{type(errors[0]).__name__}: {errors[0]}"
        what = f"torch cannot export the network to ONNX: {first.strip().splitlines()[0][:300]}"
        raise CannotBuild(what, f"The newer exporter says: {str(error).strip()[:300]}") from error


def _traced(module: nn.Module, inputs: Sequence[Input], opset: int) -> bytes:
    args, kwargs = example_tensors(inputs)
    buffer = io.BytesIO()
    with _quiet():
        torch.onnx.export(
            module,
            tuple(args),
            buffer,  # type: ignore[arg-type]  # it takes one, whatever its annotation says
            kwargs=kwargs or None,
            input_names=_names(inputs),
            output_names=["output"],
            opset_version=opset,
            dynamo=False,
        )
    return buffer.getvalue()


def _captured(module: nn.Module, inputs: Sequence[Input]) -> bytes:
    args, kwargs = example_tensors(inputs)
    with _quiet():
        program: Any = torch.onnx.export(
            module, tuple(args), kwargs=kwargs or None, input_names=_names(inputs), dynamo=True, verbose=False
        )
        model = program.model_proto
    for item in (model, model.graph, *model.graph.node):
        del item.metadata_props[:]  # where in whose files it was defined
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def _names(inputs: Sequence[Input]) -> list[str]:
    if len(inputs) == 1:
        return ["input"]
    return [item.name or f"input{i}" for i, item in enumerate(sorted(inputs, key=lambda item: bool(item.name)))]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep advice to itself, and sums the same whatever the number of threads."""
    log = logging.getLogger("torch.onnx")
    level, threads = log.level, torch.get_num_threads()
    log.setLevel(logging.ERROR)
    speaks = torch._C._jit_is_onnx_log_enabled()
    torch._C._jit_set_onnx_log_enabled(False)
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        torch._C._jit_set_onnx_log_enabled(speaks)
        log.setLevel(level)
