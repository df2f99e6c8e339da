"""The distribution of adjusted operations is the published one, and so is where published networks lie in it."""

import pytest

from benchmarks.aops import distribution, multiply_adds


def test_random_networks_of_the_stride_layout_by_their_own_results():
    """The reference percentiles were computed by another program, in numpy alone."""
    found = distribution("stride", "output", 8000)
    reference = {"1": 0.68, "10": 1.70, "50": 4.05, "90": 7.99}
    for percentile, value in reference.items():
        assert found["percentiles_g"][percentile] == pytest.approx(value, rel=0.08)
    assert found["share_at_most"]["RADARS"] == pytest.approx(0.23, abs=0.03)
    assert found["share_at_most"]["QuantNAS"] == pytest.approx(0.50, abs=0.03)


def test_random_networks_of_the_pooling_layout():
    found = distribution("pool", "output", 1000)
    assert found["percentiles_g"]["50"] == pytest.approx(9.13, rel=0.08)
    assert found["share_at_most"]["RADARS"] < 0.08


def test_multiply_adds_of_both_layouts():
    assert [multiply_adds("stride", kernel) for kernel in (1, 7)] == [7_536_640, 369_295_360]
    assert multiply_adds("pool", 5) == 16_973_824 * 25
