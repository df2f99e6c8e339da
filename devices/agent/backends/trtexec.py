"""TensorRT's own benchmark program: builds an engine once, then times it; found on PATH or in TensorRT's folder.

Options: precision ("fp32", "fp16", "int8"), workspace_mib, cache_folder (engines and the timing cache), device (the
GPU that is used, where there are several).
"""

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import tempfile
import time
from typing import Any, Dict, List, Tuple

from .. import _process
from .._blobs import Blobs
from . import _gpu

_PLACES = "/usr/src/tensorrt/bin"
_HELP_S = 60.0
_BUILD_S = 3600.0
_RUN_S = 600.0
_MAX_OUTPUT = 4 * 1024 * 1024
_MAX_TIMES = 64 * 1024 * 1024

_program = ""
_help = ""
_version = ""


def prepare(options: Dict[str, Any]) -> None:
    """Find the program and its version; raise ImportError where it is missing or is something else."""
    global _program, _help, _version
    _gpu.select(options)
    path = os.environ.get("PATH", os.defpath) + os.pathsep + _PLACES
    found = shutil.which("trtexec", path=path)
    if found is None:
        raise ImportError("trtexec is neither on PATH nor in %s" % _PLACES)
    _program = found
    _, _help = _run([_program, "--help"], _HELP_S)
    match = re.search(r"\[TensorRT v(\d+)\]", _help)
    if match is None:
        raise ImportError("%s does not say its version; is it TensorRT's?" % found)
    _version = match.group(1)


def facts() -> Dict[str, Any]:
    """Return the program's name and TensorRT's version."""
    return {"name": "trtexec", "version": _version}


class Model:
    """An engine in the cache."""

    def __init__(self, engine: str, build_s: float) -> None:
        self._engine = engine
        self._build_s = build_s
        self._copies_ns: List[int] = []

    def measure(self, protocol: Dict[str, Any]) -> Dict[str, Any]:
        """Run the engine in a process of its own and return its compute times, copies left out."""
        if protocol.get("rate_hz") or protocol.get("sustained_s"):
            raise ValueError("trtexec times back to back only; use another backend for --rate and --sustained")
        warmup_ms = 1e3 * protocol["min_warmup_s"]
        with tempfile.TemporaryDirectory() as folder:
            times = os.path.join(folder, "times.json")
            words = [
                "--loadEngine=" + self._engine,
                "--exportTimes=" + times,
                "--warmUp=%d" % math.ceil(warmup_ms),
                "--duration=%d" % math.ceil(protocol["min_measure_s"]),
                "--iterations=%d" % protocol["min_calls"],
                "--noDataTransfers",
                "--useSpinWait",
            ]
            began = time.perf_counter()
            _need_success(*_run([_program] + words, _RUN_S))
            busy_s = time.perf_counter() - began
            with open(times) as file:
                text = file.read(_MAX_TIMES)
        samples = compute_times_ns(text, math.ceil(warmup_ms))
        measured_s = min(busy_s, (sum(samples) + 1e6 * math.ceil(warmup_ms)) / 1e9)
        return {
            "samples_ns": samples,
            "calls_per_sample": 1,
            "warmup_s": math.ceil(warmup_ms) / 1e3,
            "busy_s": measured_s,
            "cpu_s": measured_s,  # the GPU works; what the CPU does meanwhile says nothing
            "stop": "trtexec",
        }

    def facts(self) -> Dict[str, Any]:
        """Return the engine's hash and how long it took to build (0: it was in the cache)."""
        return {"engine_sha256": _digest(self._engine), "build_s": self._build_s, "copies_included": False}


def load(path: str, options: Dict[str, Any]) -> Model:
    """Return the engine of an ONNX file, built unless it is in the cache; raise RuntimeError for one it rejects."""
    folder = options["cache_folder"]
    os.makedirs(folder, exist_ok=True)
    precision = options.get("precision", "fp32")
    key = "%s-%s-%s-%d" % (_digest(path), _version, precision, int(options.get("workspace_mib", 1024)))
    engine = os.path.join(folder, hashlib.sha256(key.encode()).hexdigest() + ".engine")
    if os.path.exists(engine):
        os.utime(engine)
        return Model(engine, 0.0)
    Blobs(folder).make_room(4 * os.path.getsize(path))
    part = "%s.%d.part" % (engine, os.getpid())
    began = time.perf_counter()
    try:
        _need_success(*_run([_program] + _build_words(path, part, folder, options), _BUILD_S))
        os.replace(part, engine)
    finally:
        if os.path.exists(part):
            os.remove(part)
    return Model(engine, time.perf_counter() - began)


def _build_words(path: str, engine: str, folder: str, options: Dict[str, Any]) -> List[str]:
    precision = options.get("precision", "fp32")
    workspace = int(options.get("workspace_mib", 1024))
    words = [
        "--onnx=" + path,
        "--saveEngine=" + engine,
        # The tactics that were timed once are pinned: engines built later choose the same.
        "--timingCacheFile=" + os.path.join(folder, "timing-%s-%s.cache" % (_version, precision)),
        "--memPoolSize=workspace:%d" % workspace if "--memPoolSize" in _help else "--workspace=%d" % workspace,
        "--skipInference" if "--skipInference" in _help else "--buildOnly",
    ]
    return words if precision == "fp32" else words + ["--" + precision]


def compute_times_ns(text: str, warmup_ms: float) -> List[int]:
    """Return the compute times after the warm-up from what --exportTimes wrote; raise ValueError for another form.

    Both schemas name the same two fields; the file of either contains the warm-up as well.
    """
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError("no list of times")
    found = []
    for entry in entries:
        try:
            start_ms, compute_ms = float(entry["startComputeMs"]), float(entry["computeMs"])
        except (TypeError, KeyError, ValueError):
            raise ValueError("not an entry of times: %.200r" % (entry,)) from None
        if not (math.isfinite(start_ms) and 0 < compute_ms < 1e7):
            raise ValueError("an absurd time: %.200r" % (entry,))
        if start_ms >= warmup_ms:
            found.append(max(1, int(compute_ms * 1e6)))
    if not found:
        raise ValueError("no times after the warm-up of %g ms" % warmup_ms)
    return found


def _run(argv: List[str], timeout_s: float) -> Tuple[int, str]:
    """Run a program to its end and return its status and what it said; it dies with us."""
    parent = os.getpid()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: _process.die_with_parent(parent),
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError("%s did not end within %g s" % (argv[0], timeout_s)) from None
        output.seek(0)
        return status, output.read(_MAX_OUTPUT).decode("utf-8", "replace")


def _need_success(status: int, text: str) -> None:
    """Raise RuntimeError with the program's own complaints unless it says that it has passed."""
    if status == 0 and "&&&& PASSED" in text:
        return
    complaints = [line for line in text.splitlines() if "[E]" in line]
    raise RuntimeError("trtexec failed (%d): %s" % (status, " | ".join(complaints[-3:])[:800] or text[-300:]))


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
