"""One invocation: load, first run, warm-up, timed calls. Runs in a fresh process and answers with raw samples."""

import resource
import time
from typing import Any, Dict

from . import _loop, _paced


def invoke(backend: Any, request: Dict[str, Any]) -> Dict[str, Any]:
    """Measure one model; `request` holds path, options and protocol. Failures of the model are part of the answer.

    A model with a `measure(protocol)` of its own (a runtime that is an external program) is asked for its samples;
    any other is called.
    """
    began = time.perf_counter()
    try:
        model = backend.load(request["path"], request["options"])
    except Exception as error:  # whatever the runtime raises is the model's failure, not ours
        return {"ok": False, "stage": "load", "cause": _text(error)}
    loaded = time.perf_counter()
    try:
        first_run_s = _first_run_s(model)
        result = _measured(model, request["protocol"])
        wall_s = time.perf_counter() - began
        facts = model.facts()
    except Exception as error:  # as above
        return {"ok": False, "stage": "run", "cause": _text(error)}
    result.update(
        ok=True,
        load_s=loaded - began,
        first_run_s=first_run_s,
        wall_s=wall_s,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        model=facts,
    )
    return result


def _first_run_s(model: Any) -> float:
    if hasattr(model, "measure"):
        return 0.0
    began = time.perf_counter()
    model.run()
    return time.perf_counter() - began


def _measured(model: Any, protocol: Dict[str, Any]) -> Dict[str, Any]:
    if hasattr(model, "measure"):
        return dict(model.measure(protocol))
    if protocol.get("sustained_s", 0.0) > 0:
        return _paced.sustained(model.run, protocol)
    if protocol.get("rate_hz", 0.0) > 0:
        return _paced.paced(model.run, protocol)
    return _loop.back_to_back(model.run, protocol)


def _text(error: BaseException) -> str:
    return ("%s: %s" % (type(error).__name__, error))[:1024]
