"""A limit on what a process may allocate, in processes of their own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")

BLOCKS = """
from devices._memory_limit import give_memory_back, limited_memory

def fits(mib):
    try:
        return bool(bytearray(mib << 20))
    except MemoryError:
        return False
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", BLOCKS + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_what_exceeds_the_limit_is_refused_and_afterwards_it_is_not():
    found = run("""
held = bytearray(100 << 20)
with limited_memory(50 << 20) as limited:
    print(limited, fits(40), fits(60), fits(40))
    few = bytearray(30 << 20)
    print(fits(40))
print(fits(60))
""")
    assert found == ["True", "True", "False", "True", "False", "True"], "what was held before does not count"


def test_the_limit_ends_with_an_error_as_well():
    found = run("""
try:
    with limited_memory(1 << 20):
        bytearray(60 << 20)
except MemoryError:
    print(fits(60))
""")
    assert found == ["True"]


def test_less_than_nothing_is_nothing():
    assert run("with limited_memory(-(1 << 40)):\n    refused = not fits(8)\nprint(refused, fits(8))") == ["True"] * 2


def test_a_limit_inside_another_does_not_lift_it():
    found = run("""
with limited_memory(30 << 20):
    with limited_memory(500 << 20):
        print(fits(60))
    print(fits(60), fits(10))
""")
    assert found == ["False", "False", "True"]


def test_where_the_system_does_not_tell_what_is_held_nothing_is_limited(monkeypatch):
    from devices import _memory_limit

    monkeypatch.setattr(_memory_limit, "_held_bytes", lambda: None)
    with _memory_limit.limited_memory(0) as limited:
        assert not limited and bytearray(1 << 20)


def test_freed_blocks_go_back_to_the_system():
    """Blocks too small to be mapped one by one, with something in use behind them: glibc would keep them all."""
    code = """
def resident_mib():
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/status") if line.startswith("VmRSS"))
before = resident_mib()
blocks = [bytearray(100 << 10) for _ in range(600)]
pins = [bytearray(3000) for _ in range(50)]
blocks.clear()
print(resident_mib() - before)
"""
    (kept,), (given_back,) = run(code), run("give_memory_back()\n" + code)
    assert int(given_back) < 10 < 40 < int(kept)
