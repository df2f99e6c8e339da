import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.deadline import Deadline


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_time_passes():
    clock = Clock()
    deadline = Deadline.after(5.0, clock)
    assert deadline.remaining() == 5.0
    clock.now += 3
    assert deadline.remaining() == 2.0
    assert not deadline.expired
    clock.now += 3
    assert deadline.remaining() == 0.0
    assert deadline.expired


def test_never_never_comes():
    assert Deadline.never().remaining() == math.inf
    assert not Deadline.never().expired


@given(first=st.floats(0, 1e6), second=st.floats(0, 1e6), passed=st.floats(0, 1e6))
def test_a_nested_wait_never_has_more_than_what_is_left(first, second, passed):
    clock = Clock()
    outer = Deadline.after(first, clock)
    clock.now += passed
    inner = outer.sooner(second)
    assert inner.remaining() <= outer.remaining()
    assert inner.remaining() == pytest.approx(min(second, max(0.0, first - passed)), abs=1e-6)


def test_the_real_clock_runs():
    assert 0 < Deadline.after(60.0).remaining() <= 60.0
    assert 0 < Deadline.never().sooner(60.0).remaining() <= 60.0
