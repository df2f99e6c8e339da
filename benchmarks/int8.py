"""Int8 (QDQ) against float32 on this CPU: latency through the agent, and how much of the output 8 bits keep.

Networks of nasbench201 and of quantised_cnn (their floating-point networks, at a quarter of the width) and some
written by hand. Both forms of a network are measured in one session, pair by pair, which goes first being drawn; a
ratio is the median of its pairs. For quantised_cnn the emulation of fixed point in floating point is a third form.
SQNR = 10 log10(sum of squared outputs / sum of squared errors) over fresh seeded inputs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks._report import options
from benchmarks._small_graphs import small_graphs
from devices._base import Session
from devices._config import find_device
from devices.local_cpu import LocalCpu
from hilnas.deadline import Deadline
from hilnas.output import answer
from hilnas.records import Artifact, MeasurementProtocol, Workload
from profiler._artifacts import ArtifactStore
from profiler.builders._int8 import to_int8
from search_spaces._graph import Graph
from search_spaces._in_float import in_float
from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201
from search_spaces.quantised_cnn import QuantisedCnn

SEED = 0
SHORT = replace(
    MeasurementProtocol(), min_warmup_s=0.03, max_warmup_s=0.5, min_calls=20, min_measure_s=0.05, max_measure_s=0.2
)
_INPUTS = 16
_MAX_TRIES = 200


@dataclass(frozen=True)
class Case:
    """A network: the group it belongs to, and its forms as ONNX; every case has `float32` and `int8`."""

    group: str
    name: str
    forms: Mapping[str, bytes]


def cases(n_samples: int, n_hand: int) -> Iterator[Case]:
    """Yield n networks of each space and some of those by hand."""
    space, quantised = NasBench201(), QuantisedCnn(width=16)
    for architecture in space.sample_distinct(n_samples, SEED):
        yield _case("nasbench201", architecture.text.partition(":")[2], space.graph(architecture))
    for architecture in quantised.sample_distinct(n_samples, SEED):
        graph = quantised.graph(architecture)
        case = _case("quantised_cnn", architecture.text.partition(":")[2], in_float(graph))
        yield replace(case, forms={**case.forms, "emulated": to_onnx(graph)})
    for name, graph in list(small_graphs().items())[:n_hand]:
        yield _case("by hand", name, graph)


def run(n_samples: int, n_hand: int, pairs: int) -> dict[str, Any]:
    """Return one row a network and the summaries of the groups."""
    rng = np.random.default_rng(SEED)
    rows = []
    prepared = list(cases(n_samples, n_hand))  # nothing is built while the machine is leased
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        with LocalCpu(find_device("local_cpu")).session(Deadline.never()) as session:
            for case in prepared:
                rows.append(_row(session, store, case, pairs, rng))
    return {
        "pairs": pairs,
        "networks": rows,
        "int8_over_float32": _summaries(rows, "int8_over_float32"),
        "emulated_over_float32": _summaries(rows, "emulated_over_float32"),
        "sqnr_db": _summaries(rows, "sqnr_db"),
    }


def sqnr_db(model: bytes, other: bytes) -> float:
    """Return how far the outputs of a second model lie below those of the first, on seeded inputs."""
    rng = np.random.default_rng(SEED + 1)
    first, second = _session(model), _session(other)
    entry = first.get_inputs()[0]
    inputs = rng.standard_normal((_INPUTS, *entry.shape)).astype(np.float32)
    right = np.array([first.run(None, {entry.name: x})[0] for x in inputs])
    wrong = np.array([second.run(None, {entry.name: x})[0] for x in inputs]) - right
    return float(10 * np.log10((right**2).sum() / (wrong**2).sum()))


def _case(group: str, name: str, graph: Graph) -> Case:
    model = to_onnx(graph)
    return Case(group, name, {"float32": model, "int8": to_int8(model)})


def _row(session: Session, store: ArtifactStore, case: Case, pairs: int, rng: np.random.Generator) -> dict[str, Any]:
    artifacts = {form: _artifact(store, data) for form, data in case.forms.items()}
    found: dict[str, list[float]] = {form: [] for form in artifacts}
    rejected = 0
    for _ in range(pairs):
        for form in rng.permutation(list(artifacts)):
            value_s, doubted = _one(session, artifacts[form])
            found[form].append(value_s)
            rejected += doubted
    latencies = {f"{form}_latency_s": median(values) for form, values in found.items()}
    ratios = {
        f"{form}_over_float32": median(a / b for a, b in zip(found[form], found["float32"], strict=True))
        for form in found
        if form != "float32"
    }
    db = sqnr_db(case.forms["float32"], case.forms["int8"])
    return {"group": case.group, "name": case.name, **latencies, **ratios, "sqnr_db": db, "rejected": rejected}


def _artifact(store: ArtifactStore, data: bytes) -> Artifact:
    digest, path = store.put(data, ".onnx")
    return Artifact(Workload(f"model:{digest}", "model", ()), "onnxruntime", digest, len(data), str(path))


def _one(session: Session, artifact: Artifact) -> tuple[float, int]:
    """Return the median of one usable invocation, and how many were rejected before it."""
    for tries in range(_MAX_TRIES):
        run = session.measure(artifact, SHORT)
        if run.status == "ok":
            return median(run.values()), tries
    raise RuntimeError(f"no usable invocation in {_MAX_TRIES}: {run.cause}")


def _session(model: bytes) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def _summaries(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """Return median, quartiles and range of a figure, by group and over all."""
    groups = {
        group: [row for row in rows if row["group"] == group] for group in dict.fromkeys(r["group"] for r in rows)
    }
    found = {}
    for name, members in {**groups, "all": list(rows)}.items():
        values = [row[key] for row in members if key in row]
        if values:
            least, low, middle, high, most = (float(v) for v in np.percentile(values, (0, 25, 50, 75, 100)))
            found[name] = {"n": len(values), "median": middle, "low": low, "high": high, "least": least, "most": most}
    return found


def main() -> int:
    """Run and print."""
    chosen = options(__doc__.splitlines()[0])
    found = run(2, 2, 3) if chosen.quick else run(11, 8, 7)
    if chosen.json:
        print(json.dumps(answer(found, SEED), indent=2))
        return 0
    for row in found["networks"]:
        emulated = f"{row['emulated_over_float32']:6.2f} emulated" if "emulated_over_float32" in row else ""
        print(
            f"{row['float32_latency_s'] * 1e3:8.3f} ms float32, {row['int8_latency_s'] * 1e3:8.3f} ms int8, ratio "
            f"{row['int8_over_float32']:5.2f}, {row['sqnr_db']:5.1f} dB {emulated:15s}  {row['group']} {row['name']}"
        )
    for key, unit in (("int8_over_float32", ""), ("emulated_over_float32", ""), ("sqnr_db", " dB")):
        for name, item in found[key].items():
            print(
                f"{key} {name}: median {item['median']:.2f}{unit}, quartiles {item['low']:.2f} to {item['high']:.2f}, "
                f"range {item['least']:.2f} to {item['most']:.2f} ({item['n']} networks)"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
