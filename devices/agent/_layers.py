"""The time of each layer, from the runtime's own profile of some calls, beside calls that are not profiled.

A model that can tell defines `profile_layers(calls)`: it runs so many calls under the runtime's profiler and returns
{"calls_s": [seconds of each call], "layers": [{"name", "operator", "provider", "times_s": [seconds in each call]}]}.
"""

import bisect
import json
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from ._stopping import median

#: Calls that are made first and left out.
WARM_CALLS = 5
#: What one answer can hold; the cheapest layers beyond are put together.
_MAX_LAYERS = 2000
_MAX_NAME = 200
_MAX_CALLS = 1000
#: Operators whose time contains that of the nodes inside them, which stand for themselves.
_CONTAINERS = ("If", "Loop", "Scan")


def profiled(model: Any, protocol: Dict[str, Any]) -> Dict[str, Any]:
    """Return the median of every layer over `layer_calls` calls, and of whole calls without and under the profiler."""
    calls = max(1, min(_MAX_CALLS, int(protocol["layer_calls"])))
    cpu_began, began = time.process_time(), time.perf_counter()
    timed(model.run, WARM_CALLS)
    plain_s = median(timed(model.run, calls))
    found = model.profile_layers(calls)
    busy_s = time.perf_counter() - began
    return {
        "layers": summed_up(found["layers"]),
        "calls": calls,
        "plain_s": plain_s,
        "profiled_s": median(found["calls_s"]),
        "busy_s": busy_s,
        "cpu_s": min(time.process_time() - cpu_began, busy_s),
        "stop": "layers",
    }


def timed(run: Callable[[], Any], calls: int) -> List[float]:
    """Return the seconds of each of some calls."""
    found = []
    for _ in range(calls):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return found


def summed_up(layers: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return name, operator, provider and median of each layer in the order of their running, 2,000 at most."""
    rows: List[Dict[str, Any]] = [
        {
            "name": str(layer["name"])[:_MAX_NAME],
            "operator": str(layer["operator"])[:_MAX_NAME],
            "provider": str(layer["provider"])[:_MAX_NAME],
            "median_s": median(layer["times_s"]),
        }
        for layer in layers
    ]
    if len(rows) <= _MAX_LAYERS:
        return rows
    by_cost = sorted(range(len(rows)), key=lambda i: -rows[i]["median_s"])
    kept, rest = sorted(by_cost[: _MAX_LAYERS - 1]), by_cost[_MAX_LAYERS - 1 :]
    rest_s = sum(rows[i]["median_s"] for i in rest)
    others = {"name": "%d other layers" % len(rest), "operator": "", "provider": "", "median_s": rest_s}
    return [rows[i] for i in kept] + [others]


def of_onnxruntime(profile: str, skipped: int) -> List[Dict[str, Any]]:
    """Return the layers in a profile of ONNX Runtime (JSON; microseconds), without the first `skipped` calls.

    A node that runs several times in a call (in a loop) counts with the sum. Raise ValueError for another form.
    """
    events = [event for event in json.loads(profile) if isinstance(event, dict)]
    starts = sorted(event["ts"] for event in events if event.get("cat") == "Session" and event["name"] == "model_run")
    if len(starts) <= skipped:
        raise ValueError("the profile has %d calls, more than %d are needed" % (len(starts), skipped))
    calls = len(starts) - skipped
    found: Dict[Tuple[Any, str], Dict[str, Any]] = {}
    for event in sorted(events, key=lambda event: event.get("ts", 0)):
        node = _node(event)
        call = bisect.bisect_right(starts, event.get("ts", 0)) - 1 - skipped
        if node is None or call < 0:
            continue
        layer = found.setdefault((node["index"], node["name"]), dict(node, times_s=[0.0] * calls))
        layer["times_s"][call] += event["dur"] / 1e6
    if not found:
        raise ValueError("the profile names no node")
    return list(found.values())


def _node(event: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Return what an event says about a node that has run, None for any other event."""
    name, ending = str(event.get("name", "")), "_kernel_time"
    arguments = event.get("args") or {}
    operator = arguments.get("op_name", "")
    if event.get("cat") != "Node" or not name.endswith(ending) or operator in _CONTAINERS:
        return None
    provider = arguments.get("provider", "")
    return {
        "name": name[: -len(ending)],
        "operator": operator,
        "provider": provider,
        "index": arguments.get("node_index", ""),
    }
