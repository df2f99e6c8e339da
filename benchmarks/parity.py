"""Whether a board measures what the machine itself measures: the same networks through local_cpu and through SSH.

Both lead to the same cores; invocations are interleaved in random order, network by network.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks._boards import device_of, farm, networks, quartiles
from benchmarks._report import options
from devices._base import Session
from devices._config import find_device
from devices.local_cpu import LocalCpu
from hilnas.deadline import Deadline
from hilnas.output import answer
from hilnas.records import Artifact, MeasurementProtocol
from profiler._workspace import Workspace
from profiler.builders.onnxruntime import OnnxRuntime

TARGET = 0.01
_MAX_TRIES = 20


def run(n: int, invocations: int, seed: int = 0) -> dict[str, Any]:
    """Return the relative differences SSH - local of n networks."""
    rng = np.random.default_rng(seed)
    with farm() as opened, tempfile.TemporaryDirectory() as folder, Workspace.open(Path(folder)) as workspace:
        device = device_of(opened.add("parity", face="linux"))
        builder = OnnxRuntime(workspace.artifacts)
        artifacts = [builder.build(workload) for workload in networks(n, seed)]
        differences, rejected = [], 0
        local_device = LocalCpu(find_device("local_cpu"))
        with local_device.session(Deadline.never()) as local, device.session(Deadline.never()) as remote:
            for artifact in artifacts:
                medians: dict[int, list[float]] = {0: [], 1: []}
                for _ in range(invocations):
                    for which in rng.permutation(2):
                        value_s, doubted = _one((local, remote)[which], artifact, device.protocol)
                        medians[int(which)].append(value_s)
                        rejected += doubted
                differences.append(median(medians[1]) / median(medians[0]) - 1)
    return {
        "models": n,
        "invocations": invocations,
        "rejected_invocations": rejected,
        "target": TARGET,
        "median_difference": float(np.median(differences)),
        "quartiles": quartiles(differences),
        "range": [min(differences), max(differences)],
        "differences": differences,
    }


def _one(session: Session, artifact: Artifact, protocol: MeasurementProtocol) -> tuple[float, int]:
    """Return the median of one usable invocation, and how many were rejected before it."""
    for tries in range(_MAX_TRIES):
        run = session.measure(artifact, protocol)
        if run.status == "ok":
            return median(run.values()), tries
    raise RuntimeError(f"no usable invocation in {_MAX_TRIES}: {run.cause}")


def main() -> None:
    """Run and print."""
    chosen = options(__doc__ or "")
    found = run(6, 3) if chosen.quick else run(32, 5)
    if chosen.json:
        print(json.dumps(answer(found), indent=2))
        return
    low, middle, high = found["quartiles"]
    print(f"SSH against local_cpu, {found['models']} networks, interleaved: median difference {middle:+.2%}")
    print(f"quartiles {low:+.2%} to {high:+.2%}, range {found['range'][0]:+.2%} to {found['range'][1]:+.2%}")
    print(f"target ± {TARGET:.0%}: {'met' if abs(middle) <= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
