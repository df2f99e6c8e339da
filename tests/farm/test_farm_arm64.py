"""A board with a real aarch64 userland."""

import pytest

from farm import _arm64


@pytest.fixture(scope="module")
def emulated(shared_farm):
    reason = _arm64.why_no_arm64()
    if reason is not None:
        pytest.skip(reason)
    return shared_farm.add("emulated", face="arm64")


@pytest.mark.skipif(
    not _arm64.is_built(), reason="its root is not in the cache: test_it_is_built_once builds it with --slow"
)
def test_it_is_another_machine(emulated, login):
    with login(emulated) as board:
        assert board.run("uname -m; id -un").output == "aarch64\nboard\n"
        assert "Raspberry Pi 4" in board.run("cat /proc/cpuinfo").output
        assert board.run("cat /sys/class/thermal/thermal_zone0/temp").output == "48312\n"
        done = board.run("python3 -I -c 'import onnxruntime; print(onnxruntime.get_available_providers())'")
        assert (done.status, "CPUExecutionProvider" in done.output, done.errors) == (0, True, "")


@pytest.mark.skipif(
    not _arm64.is_built(), reason="its root is not in the cache: test_it_is_built_once builds it with --slow"
)
def test_its_processes_are_shown_without_the_emulator(emulated, login):
    with login(emulated) as board:
        board.run("sleep 72 > /dev/null 2>&1 &")
        assert "sleep 72" in [process.command for process in emulated.processes()]
        assert emulated.kill("^sleep 72$") == 1
    assert not [process for process in emulated.processes() if "sshd" in process.command]


@pytest.mark.slow
def test_it_is_built_once(needs_farm):
    reason = _arm64.why_no_arm64()
    if reason is not None:
        pytest.skip(reason)
    root = _arm64.arm64_root()
    built_ns = root.stat().st_ctime_ns
    assert (root / "usr/sbin/sshd").read_bytes()[18:20] == b"\xb7\x00"  # ELF: AArch64
    assert _arm64.arm64_root().stat().st_ctime_ns == built_ns
