"""Our figure beside the runtimes' own: their outputs are read or refused, like is compared with like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices._agree import agreement_checks
from devices._agreement import (
    PEERS,
    compare,
    parse_benchmark_model,
    parse_onnxruntime_perf_test,
    parse_onnxruntime_test,
    parse_trtexec,
)
from devices._config import DeviceConfig
from devices.local_cpu import LocalCpu
from devices.ssh_linux import SshLinux
from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201

TFLITE = (
    "INFO: count=9 first=81913 curr=58001 min=57000 max=81913 avg=58984.7 std=900\n"
    "INFO: count=1061 first=56576 curr=56299 min=54669 max=60236 avg=56265.8 std=982\n"
)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (
            parse_onnxruntime_perf_test,
            "Average time cost:58.8053 ms\nP50 Latency is 0.0587108sec\n",
            (0.0587108, "median"),
        ),
        (
            parse_onnxruntime_perf_test,
            "Average inference time cost total: 3.5 ms\nP50 Latency: 0.0034 s\n",
            (0.0034, "median"),
        ),
        (parse_onnxruntime_perf_test, "Average time cost:58.8053 ms\n", (0.0588053, "mean")),
        (parse_onnxruntime_test, "model: m\nversion: 0\niterations: 9\navg latency: 0.8125 ms\n", (0.0008125, "mean")),
        (
            parse_benchmark_model,
            "Inference timings in us: Init: 3337, First inference: 81913, "
            "Warmup (avg): 58984.7, Inference (avg): 56265.8",
            (0.0562658, "mean"),
        ),
        (
            parse_benchmark_model,
            "Average inference timings in us: Warmup: 83235, Init: 38467, Inference: 79760.9",
            (0.0797609, "mean"),
        ),
        (parse_benchmark_model, TFLITE, (0.0562658, "mean")),
        (
            parse_trtexec,
            "[I] GPU Compute Time: min = 1.2 ms, max = 1.9 ms, mean = 1.33 ms, "
            "median = 1.25 ms, percentile(99%) = 1.8 ms",
            (0.00125, "median"),
        ),
    ],
)
def test_published_outputs_are_read(parse, text, expected):
    seconds, statistic = parse(text)
    assert (pytest.approx(seconds), statistic) == expected


PARSERS = st.sampled_from([peer.parse for peer in PEERS])


@given(
    PARSERS, st.text(max_size=200) | st.from_regex(r"avg latency: .{0,9} ms|P50 Latency: .{0,9}s|count=1 .*avg=.{0,9}")
)
def test_an_output_of_another_form_is_refused_and_never_zero(parse, text):
    try:
        seconds, statistic = parse(text)
    except ValueError:
        return
    assert seconds > 0 and statistic in ("median", "mean")


def test_like_is_compared_with_like():
    median_peer, mean_peer = PEERS[0], PEERS[1]
    samples = [1e-3, 1e-3, 4e-3]
    assert compare(median_peer, samples, "P50 Latency: 0.001 s").within
    assert compare(mean_peer, samples, "avg latency: 2.0 ms").within
    off = compare(median_peer, samples, "P50 Latency: 0.002 s")
    assert not off.within and off.ratio == pytest.approx(0.5) and off.note


@pytest.fixture
def model(tmp_path):
    space = NasBench201(width=8, depth=1)
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(space.graph(space.sample_distinct(1, 0)[0])))
    return path


def test_the_wheels_own_benchmark_runs_here_and_on_a_board(model, sshd, tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")
    for device in (LocalCpu(DeviceConfig(name="cpu", kind="local_cpu")), SshLinux(sshd.config())):
        checks = agreement_checks(device, model)
        assert [check.name for check in checks] == ["agreement onnxruntime_test"]
        assert "theirs" in checks[0].found
