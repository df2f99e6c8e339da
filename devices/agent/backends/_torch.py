"""What the torch backends share: an exported program (.pt2) on the CPU or on one GPU.

Options: threads, precision ("fp32", "bf16"; on a GPU also "tf32" and "fp16"), device ("": the CPU), copies (bool: on
a GPU each call brings its input there and its output back). On a GPU every call ends with a synchronisation, so wall
time is what a caller waits; cuDNN chooses its algorithms in the first call, which is no part of the timed ones.
"""

import io
import os
import time
from typing import Any, Dict, List, Optional

from ..sensors import nvml
from . import _common, _gpu

_KNOWN = ("precision", "device", "copies")
_EVENT_S = 0.5
_MIN_EVENTS, _MAX_EVENTS = 10, 200

_torch: Optional[Any] = None


def prepare(options: Dict[str, Any], runtime: str) -> None:
    """Import torch; raise ImportError where it or its CUDA is missing, ValueError for options it does not know."""
    global _torch
    on_gpu = _gpu.select(options)
    _common.refuse_others(runtime, options, _KNOWN)
    _common.need_precision(runtime, options, ["fp32", "tf32", "fp16", "bf16"] if on_gpu else ["fp32", "bf16"])
    import numpy.random  # noqa: F401  (imported lazily otherwise, in every worker)
    import torch
    import torch.export.passes

    _torch = torch
    if not on_gpu:
        _import_the_rest()
    elif not torch.cuda.is_available():
        reason = "was built without CUDA" if torch.version.cuda is None else "finds no GPU %s" % options["device"]
        raise ImportError("torch %s %s" % (torch.__version__, reason))


def fork_safe(options: Dict[str, Any]) -> bool:
    """Return whether workers may be forked: torch starts threads at the first call, not at import; CUDA is unsafe."""
    return not options.get("device")


def facts(runtime: str) -> Dict[str, Any]:
    """Return the runtime's name and torch's version, and those of CUDA where torch has it."""
    assert _torch is not None
    found = {"name": runtime, "version": _torch.__version__}
    if _torch.version.cuda is not None:
        found.update(cuda=_torch.version.cuda, cudnn=_torch.backends.cudnn.version())
    return found


class Model:
    """A loaded program with seeded inputs, where it is to run; raise whatever torch raises for a file it rejects."""

    def __init__(self, path: str, options: Dict[str, Any]) -> None:
        assert _torch is not None
        self._device = str(options.get("device") or "")
        self._copies = bool(options.get("copies", True))
        _torch.set_num_threads(int(options.get("threads", 1)))
        if self._device:
            _use_precision(options.get("precision", "fp32"))
        program = _torch.export.load(path)
        if self._device:
            program = _torch.export.passes.move_to_device_pass(program, "cuda")
        module, inputs = program.module(), [_torch.from_numpy(array) for array in _arrays(program)]
        dtype = {"fp16": _torch.float16, "bf16": _torch.bfloat16}.get(options.get("precision", "fp32"))
        if dtype is not None:
            module = module.to(dtype)
            inputs = [item.to(dtype) if item.is_floating_point() else item for item in inputs]
        self.module = module
        self._host = inputs
        self._inputs = [item.to("cuda") for item in inputs] if self._device else inputs

    def run(self) -> List[Any]:
        """Run the model once and return its outputs; on a GPU wait until it has done so."""
        assert _torch is not None
        with _torch.inference_mode():
            outputs = self._call()
            if self._device:
                _torch.cuda.synchronize()
            return outputs

    def _call(self) -> List[Any]:
        if not (self._device and self._copies):
            return _listed(self.module(*self._inputs))
        return [item.cpu() for item in _listed(self.module(*[item.to("cuda") for item in self._host]))]

    def facts(self) -> Dict[str, Any]:
        """Return where it ran; of a GPU also what slowed it down, read while its clocks are still up."""
        assert _torch is not None
        if not self._device:
            return {"threads": _torch.get_num_threads()}
        found = {"gpu": _torch.cuda.get_device_name(0), "copies_included": self._copies}
        hot = nvml.read_or_nothing(self._device)
        found.update({key: hot[key] for key in ("reasons", "performance_state") if hot.get(key) is not None})
        return found

    def readings(self) -> Dict[str, List[float]]:
        """Return CUDA event times of further calls, memory of one call after the warm-up, and the clock; all of a GPU.

        `gpu_peak_bytes` is what the allocator had handed out at once, `gpu_reserved_bytes` what it had taken from the
        driver, `gpu_process_bytes` what the driver says of this process (context included), where it says it.
        """
        if not self._device:
            return {}
        assert _torch is not None
        cuda = _torch.cuda
        cuda.reset_peak_memory_stats()
        found = {"event_latency_s": self._event_times_s()}
        hot = nvml.read_or_nothing(self._device)
        found["gpu_peak_bytes"] = [float(cuda.max_memory_allocated())]
        found["gpu_reserved_bytes"] = [float(cuda.max_memory_reserved())]
        used_bytes = nvml.process_bytes(hot, os.getpid())
        if used_bytes is not None:
            found["gpu_process_bytes"] = [used_bytes]
        if hot.get("sm_clock_hz") is not None:
            found["sm_clock_hz"] = [hot["sm_clock_hz"]]
        return found

    def _event_times_s(self) -> List[float]:
        """Time further calls by the GPU's own clock; each is waited for, as in the timed ones."""
        assert _torch is not None
        times: List[float] = []
        until = time.monotonic() + _EVENT_S
        while len(times) < _MIN_EVENTS or (len(times) < _MAX_EVENTS and time.monotonic() < until):
            start, end = (_torch.cuda.Event(enable_timing=True) for _ in range(2))
            with _torch.inference_mode():
                start.record()
                self._call()
                end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return times


def _import_the_rest() -> None:
    """Load a program of one addition: what torch imports for that takes 2 s, which every worker would pay anew.

    Nothing is computed, so no threads are started that a fork would lose.
    """
    import torch

    class Plus(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x + 1

    buffer = io.BytesIO()
    with torch.no_grad():
        torch.export.save(torch.export.export(Plus(), (torch.zeros(1),)), buffer)
    buffer.seek(0)
    torch.export.load(buffer).module()


def _arrays(program: Any) -> List[Any]:
    wanted = set(program.graph_signature.user_inputs)
    values = [(node.name, node.meta["val"]) for node in program.graph.nodes if node.name in wanted]
    return [_common.seeded(name, value.shape, str(value.dtype).replace("torch.", "")) for name, value in values]


def _use_precision(precision: str) -> None:
    """Let float32 be float32: TF32 only where it is asked for."""
    assert _torch is not None
    _torch.backends.cudnn.benchmark = True
    _torch.backends.cudnn.allow_tf32 = precision == "tf32"
    _torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def _listed(outputs: Any) -> List[Any]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
