"""What people write without a tool: per invocation one file transfer check, one SSH command, one printed number.

It is kind to the naive loop: one connection for all, the model is sent once, and the same loop of calls is timed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import paramiko

from farm import Board
from hilnas.records import Artifact, Measurement, MeasurementProtocol
from profiler._judgement import Invocation, judge

_SCRIPT = """
import json, sys, time
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
random = numpy.random.RandomState(0)
feed = {item.name: random.standard_normal(item.shape).astype("float32") for item in session.get_inputs()}
began = time.perf_counter()
while time.perf_counter() - began < float(sys.argv[2]):
    session.run(None, feed)
warm = time.perf_counter()
times = []
while time.perf_counter() - warm < float(sys.argv[3]):
    before = time.perf_counter()
    session.run(None, feed)
    times.append(time.perf_counter() - before)
print(json.dumps({"times": times, "busy_s": time.perf_counter() - began}))
"""


@dataclass(frozen=True, slots=True)
class NaiveResult:
    """What the naive loop has given: its measurements, seconds of asked-for calls, seconds in all."""

    measurements: tuple[Measurement, ...]
    busy_s: float
    elapsed_s: float


def measure(board: Board, artifacts: Sequence[Artifact], protocol: MeasurementProtocol) -> NaiveResult:
    """Measure models one after the other until each is decided by the same rule as hilnas's."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(board.known_hosts))
    client.connect(board.address, board.port, board.user, key_filename=str(board.identity), allow_agent=False)
    began = time.monotonic()
    busy_s = 0.0
    measurements = []
    try:
        with client.open_sftp() as files:
            with files.open("naive.py", "w") as script:
                script.write(_SCRIPT)
            for artifact in artifacts:
                assert artifact.path is not None
                files.put(str(Path(artifact.path)), "naive.onnx")
                invocations: list[Invocation] = []
                while not (verdict := judge(artifact.workload, invocations, protocol)).done:
                    found = _one_command(client, protocol)
                    busy_s += found["busy_s"]
                    n = len(invocations)
                    invocations.append(Invocation(n, verdict.attempt, "ok", median(found["times"])))
                measurements.append(verdict.measurement)
    finally:
        client.close()
    return NaiveResult(tuple(measurements), busy_s, time.monotonic() - began)


def _one_command(client: paramiko.SSHClient, protocol: MeasurementProtocol) -> dict[str, Any]:
    command = f"python3 naive.py naive.onnx {protocol.min_warmup_s} {protocol.min_measure_s}"
    _, output, errors = client.exec_command(command, timeout=60.0)
    text = output.read()
    if not text:
        raise RuntimeError(errors.read().decode()[-500:])
    return dict(json.loads(text))
