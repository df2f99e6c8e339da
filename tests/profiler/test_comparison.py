"""A against B."""

import pytest

from hilnas.errors import GateFailed, Inconclusive
from hilnas.gates import parse_gate
from profiler._comparison import enforce, paired_ratio
from profiler._judgement import Invocation


def runs(medians, status="ok"):
    return [Invocation(i, 1, status, value) for i, value in enumerate(medians)]


def test_pairing_removes_the_drift_that_both_share():
    drift = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    found = paired_ratio("b", "a", runs([1.2 * value for value in drift]), runs(drift))
    assert found.ratio == pytest.approx(1.2) and found.half_width < 1e-9 and found.pairs == 8


def test_what_was_not_measured_has_no_ratio():
    assert paired_ratio("b", "a", runs([1.0], "rejected"), runs([1.0])) is None


def test_a_gate_is_confirmed_refuted_or_open():
    base = runs([1.0] * 8)
    clear = paired_ratio("b", "a", runs([1.2] * 8), base)
    vague = paired_ratio("b", "a", runs([1.0, 1.2] * 4), base)
    enforce(parse_gate("ratio<=1.3", ["ratio"]), [clear, vague])
    with pytest.raises(GateFailed):
        enforce(parse_gate("ratio<=1.1", ["ratio"]), [clear])
    with pytest.raises(Inconclusive):
        enforce(parse_gate("ratio<=1.1", ["ratio"]), [vague])
