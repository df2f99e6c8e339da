"""Areas that fronts dominate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._fronts import hypervolume

POINTS = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=8)


def test_areas_by_hand():
    assert hypervolume([], (4.0, 3.0)) == 0.0
    assert hypervolume([(1.0, 1.0)], (4.0, 3.0)) == 6.0
    assert hypervolume([(1.0, 2.0), (2.0, 1.0), (3.0, 2.5)], (4.0, 3.0)) == 5.0
    assert hypervolume([(4.0, 0.0), (0.0, 3.0), (5.0, 5.0)], (4.0, 3.0)) == 0.0


@given(POINTS, st.tuples(st.floats(0, 10), st.floats(0, 10)))
def test_another_point_never_takes_area_away_and_a_dominated_one_adds_none(points, other):
    reference = (8.0, 8.0)
    area = hypervolume(points, reference)
    assert hypervolume([*points, other], reference) >= area - 1e-9
    worse = [(x + 0.5, y + 0.5) for x, y in points]
    assert hypervolume([*points, *worse], reference) == pytest.approx(area)


@given(POINTS)
def test_the_order_of_points_does_not_matter(points):
    assert hypervolume(points, (8.0, 8.0)) == hypervolume(points[::-1], (8.0, 8.0))
