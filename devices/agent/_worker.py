"""One invocation: load, first run, warm-up, timed calls. Runs in a fresh process and answers with raw samples."""

import time
from typing import Any, Dict, List

from . import _layers, _loop, _memory, _paced, _windows

#: What fits into one answer beside everything else.
_MAX_VALUES = 100000


class NotAvailable(Exception):
    """This backend cannot give what the invocation is for."""


def invoke(backend: Any, request: Dict[str, Any]) -> Dict[str, Any]:
    """Measure one model; `request` holds path, options and protocol. Failures of the model are part of the answer.

    A model with a `measure(protocol)` of its own (a runtime that is an external program) is asked for its samples;
    any other is called. A model may define `readings()`: further raw values of the invocation by metric (a name that
    ends in its unit), asked for after the timed calls; and `profile_layers(calls)` (see `_layers`).
    """
    began = time.perf_counter()
    memory = _memory.Peak()
    try:
        model = backend.load(request["path"], request["options"])
    except Exception as error:  # whatever the runtime raises is the model's failure, not ours
        return {"ok": False, "stage": "load", "cause": _text(error)}
    loaded = time.perf_counter()
    try:
        first_run_s = _first_run_s(model)
        result = _measured(model, request["protocol"])
        wall_s = time.perf_counter() - began
        used = memory.report()
        facts = model.facts()
        readings = _readings(model)
    except NotAvailable as error:
        return {"ok": False, "stage": request["protocol"]["purpose"], "cause": "n/a: %s" % error}
    except Exception as error:  # as above
        return {"ok": False, "stage": "run", "cause": _text(error)}
    result.update(
        ok=True,
        load_s=loaded - began,
        first_run_s=first_run_s,
        wall_s=wall_s,
        memory=used,
        model=facts,
        readings=readings,
    )
    return result


def _first_run_s(model: Any) -> float:
    if hasattr(model, "measure"):
        return 0.0
    began = time.perf_counter()
    model.run()
    return time.perf_counter() - began


def _readings(model: Any) -> Dict[str, List[float]]:
    """Return what the model has to say beyond its times; of too many values every n-th is kept."""
    found = model.readings() if hasattr(model, "readings") else {}
    step = max(1, -(-sum(len(values) for values in found.values()) // _MAX_VALUES))
    return {str(name): [float(value) for value in values][::step] for name, values in found.items()}


def _measured(model: Any, protocol: Dict[str, Any]) -> Dict[str, Any]:
    purpose = protocol.get("purpose", "latency")
    if purpose == "layers":
        if not hasattr(model, "profile_layers"):
            raise NotAvailable("this backend has no profile of its layers")
        return _layers.profiled(model, protocol)
    if purpose == "energy":
        if hasattr(model, "measure"):
            raise NotAvailable("this backend times itself, so the windows of its calls are not known")
        return _windows.idle_then_active(model.run, protocol)
    if hasattr(model, "measure"):
        return dict(model.measure(protocol))
    if protocol.get("sustained_s", 0.0) > 0:
        return _paced.sustained(model.run, protocol)
    if protocol.get("rate_hz", 0.0) > 0:
        return _paced.paced(model.run, protocol)
    return _loop.back_to_back(model.run, protocol)


def _text(error: BaseException) -> str:
    return ("%s: %s" % (type(error).__name__, error))[:1024]
