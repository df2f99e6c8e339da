"""A board with a real aarch64 userland."""

import pytest

from farm import FarmUnavailable, _arm64
from farm._host import wait_until


@pytest.fixture(scope="module")
def root(needs_farm):
    """Give the root file system, built from packages where it is not in the cache (some 10 s)."""
    try:
        return _arm64.arm64_root()
    except FarmUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def emulated(root, shared_farm):
    return shared_farm.add("emulated", face="arm64")


def test_it_is_another_machine(emulated, login):
    with login(emulated) as board:
        assert board.run("uname -m; id -un").output == "aarch64\nboard\n"
        assert "Raspberry Pi 4" in board.run("cat /proc/cpuinfo").output
        assert board.run("cat /sys/class/thermal/thermal_zone0/temp").output == "48312\n"
        done = board.run("python3 -I -c 'import onnxruntime; print(onnxruntime.get_available_providers())'")
        assert (done.status, "CPUExecutionProvider" in done.output, done.errors) == (0, True, "")


def test_its_processes_are_shown_without_the_emulator(emulated, login):
    with login(emulated) as board:
        board.run("sleep 72 > /dev/null 2>&1 &")
        wait_until(lambda: "sleep 72" in [process.command for process in emulated.processes()], 10, "the program")
        assert emulated.kill("^sleep 72$") == 1
    assert not [process for process in emulated.processes() if "sshd" in process.command]


def test_its_root_is_for_another_processor_and_built_once(root):
    built_ns = root.stat().st_ctime_ns
    assert (root / "usr/sbin/sshd").read_bytes()[18:20] == b"\xb7\x00"  # ELF: AArch64
    assert _arm64.is_built()
    assert _arm64.arm64_root().stat().st_ctime_ns == built_ns
