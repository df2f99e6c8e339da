"""Our figure against the runtimes' own benchmark programs: how they are called, what they print, whether they agree.

A text that does not have the known form raises ValueError: a parser that does not match must never give 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

Statistic = Literal["median", "mean"]

#: Like is compared with like, within this share.
WITHIN = 0.05


@dataclass(frozen=True, slots=True)
class Peer:
    """A benchmark program: which backend's models it takes, how it is called, and how its output is read.

    `command` takes the program (or interpreter), the model, the threads and how many calls to make.
    """

    name: str
    backend: str
    program: str
    command: Callable[[str, str, int, int], list[str]]
    parse: Callable[[str], tuple[float, Statistic]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Our figure and a peer's of the same statistic, in seconds; `note` explains what differs by design."""

    peer: str
    statistic: Statistic
    ours_s: float
    theirs_s: float

    @property
    def ratio(self) -> float:
        """Return ours over theirs."""
        return self.ours_s / self.theirs_s

    @property
    def within(self) -> bool:
        """Return whether they agree within 5 %."""
        return abs(self.ratio - 1) <= WITHIN

    @property
    def note(self) -> str:
        """Return what to think of it."""
        if self.within:
            return f"{self.statistic}s agree"
        if self.statistic == "mean" and self.ratio < 1:
            return "the peer has no warm-up and its mean holds every disturbance; ours is steady"
        return "look at threads, clocks and other load; measure both again"


def compare(peer: Peer, samples_s: Sequence[float], text: str) -> Agreement:
    """Return how our samples and a peer's output agree; raise ValueError for an output of unknown form."""
    theirs_s, statistic = peer.parse(text)
    ours_s = median(samples_s) if statistic == "median" else fmean(samples_s)
    return Agreement(peer.name, statistic, ours_s, theirs_s)


def parse_onnxruntime_perf_test(text: str) -> tuple[float, Statistic]:
    """Return P50 (`P50 Latency: 0.0587s` or `P50 Latency is 0.0587108sec`), else `Average time cost:58.8 ms`."""
    found = re.search(r"P50 Latency(?: is|:)\s*([0-9.eE+-]+)\s*s(?:ec)?\b", text)
    if found:
        return _positive(found[1]), "median"
    found = re.search(r"Average (?:inference )?time cost(?: total)?:\s*([0-9.eE+-]+)\s*ms", text)
    if found:
        return _positive(found[1]) / 1e3, "mean"
    raise ValueError("not the output of onnxruntime_perf_test")


def parse_onnxruntime_test(text: str) -> tuple[float, Statistic]:
    """Return `avg latency: 0.8 ms` of the script inside the onnxruntime wheel."""
    found = re.search(r"^avg latency: ([0-9.eE+-]+) ms$", text, re.MULTILINE)
    if found is None:
        raise ValueError("not the output of onnxruntime_test")
    return _positive(found[1]) / 1e3, "mean"


def parse_benchmark_model(text: str) -> tuple[float, Statistic]:
    """Return the average of TFLite's benchmark_model: its summary line, new or old, never the warm-up's count line."""
    found = re.search(r"Inference \(avg\):\s*([0-9.eE+-]+)", text)
    found = found or re.search(r"Average inference timings in us:.*\bInference:\s*([0-9.eE+-]+)", text)
    if found is None:
        counts = re.findall(r"^.*\bcount=\d+ .*\bavg=([0-9.eE+-]+)", text, re.MULTILINE)
        if len(counts) != 2:
            raise ValueError("not the output of benchmark_model")
        return _positive(counts[1]) / 1e6, "mean"
    return _positive(found[1]) / 1e6, "mean"


def parse_trtexec(text: str) -> tuple[float, Statistic]:
    """Return the median of trtexec's summary of GPU compute times."""
    found = re.search(r"GPU Compute(?: Time)?:.*?median = ([0-9.eE+-]+) ms", text)
    if found is None:
        raise ValueError("not the summary of trtexec")
    return _positive(found[1]) / 1e3, "median"


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError(f"an absurd time: {text}")
    return value


def _pinned(threads: int) -> list[str]:
    """Return what keeps a program that takes all cores to as many as we use."""
    return ["taskset", "-c", ",".join(map(str, range(threads)))]


PEERS = (
    Peer(
        "onnxruntime_perf_test",
        "onnxruntime",
        "onnxruntime_perf_test",
        lambda program, model, threads, calls: [
            program, "-e", "cpu", "-m", "times", "-r", str(calls), "-x", str(threads), "-y", "1", "-I", model,
        ],
        parse_onnxruntime_perf_test,
    ),
    Peer(
        "onnxruntime_test",
        "onnxruntime",
        "python",
        lambda program, model, threads, calls: [
            *_pinned(threads), program, "-m", "onnxruntime.tools.onnxruntime_test", model, str(calls),
        ],
        parse_onnxruntime_test,
    ),
    Peer(
        "trtexec",
        "trtexec",
        "trtexec",
        lambda program, model, threads, calls: [
            program, f"--onnx={model}", f"--iterations={calls}", "--noDataTransfers", "--useSpinWait",
        ],
        parse_trtexec,
    ),
    Peer(
        "benchmark_model",
        "litert",
        "benchmark_model",
        lambda program, model, threads, calls: [
            program, f"--graph={model}", f"--num_threads={threads}", f"--num_runs={calls}",
        ],
        parse_benchmark_model,
    ),
)  # fmt: skip
