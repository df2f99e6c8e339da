"""Static int8 quantisation of an ONNX model with ONNX Runtime's own tool: QDQ, weights a channel, calibrated."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hilnas.errors import UsageError

#: Batches of random inputs that the ranges of activations are taken from.
CALIBRATION_BATCHES = 32
#: ONNX Runtime's levels of what it logs; its default is warnings.
_WARNINGS, _ERRORS = 2, 3
_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}
_INTEGERS = {2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_}


def to_int8(model: bytes, seed: int = 0) -> bytes:
    """Return the model with int8 weights (symmetric, a scale a channel) and uint8 activations, the same bytes again.

    Ranges are the extremes over seeded inputs: standard normal, integers 0 or 1. Operators that the tool does not know
    stay in floating point. Raises UsageError for a model that the tool cannot quantise.
    """
    import onnx

    try:
        before = onnx.load_model_from_string(model)
        with _silent(), tempfile.TemporaryDirectory(prefix="hilnas-int8-") as folder:
            source, result = Path(folder, "source.onnx"), Path(folder, "result.onnx")
            source.write_bytes(model)
            _quantise(source, result, _Inputs(before, seed))
            after = onnx.load(result)
    except Exception as error:  # whatever the tool raises for a model that it cannot take
        raise UsageError(
            f"not quantised to int8: {str(error)[:300] or type(error).__name__}",
            "ONNX Runtime's quantisation does not take this model.",
            'Measure it in floating point: backend = "onnxruntime"',
        ) from error
    _need_no_newer_runtime(before, after)
    found: bytes = after.SerializeToString(deterministic=True)
    return found


def _quantise(source: Path, result: Path, inputs: _Inputs) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static

    prepared = source.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)  # shapes are fixed: they need no symbols
    quantize_static(
        str(prepared),
        str(result),
        inputs,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _need_no_newer_runtime(before: Any, after: Any) -> None:
    """Leave out the operator sets that ONNX Runtime names and no node uses: older ones refuse what they do not know."""
    used = {"", *(node.domain for node in after.graph.node), *(item.domain for item in before.opset_import)}
    kept = [item for item in after.opset_import if item.domain in used]
    del after.opset_import[:]
    after.opset_import.extend(kept)
    after.ir_version = min(after.ir_version, before.ir_version)


class _Inputs:
    """Seeded inputs of a model, as the tool's calibration reads them."""

    def __init__(self, model: Any, seed: int) -> None:
        constants = {item.name for item in model.graph.initializer}
        self._inputs = [item for item in model.graph.input if item.name not in constants]
        self._rng = np.random.default_rng(seed)
        self._left = CALIBRATION_BATCHES

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch by input name, None after the last."""
        if not self._left:
            return None
        self._left -= 1
        return {item.name: self._values(item) for item in self._inputs}

    def _values(self, item: Any) -> Any:
        kind = item.type.tensor_type.elem_type
        shape = [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        if kind in _FLOATS:
            return self._rng.standard_normal(shape).astype(_FLOATS[kind])
        if kind in _INTEGERS:
            return self._rng.integers(0, 2, shape).astype(_INTEGERS[kind])
        raise ValueError(f"the input {item.name!r} has an unsupported type")


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the advice of tool and runtime to themselves; the tool writes to the root logger and would set it up."""
    import onnxruntime

    root = logging.getLogger()
    disabled, handlers = root.manager.disable, list(root.handlers)
    logging.disable(logging.CRITICAL)
    onnxruntime.set_default_logger_severity(_ERRORS)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNINGS)
        logging.disable(disabled)
        root.handlers[:] = handlers
