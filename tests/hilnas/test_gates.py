import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import UnknownName, UsageError
from hilnas.gates import Gate, parse_gate

FIGURES = ["ratio", "within_10"]


@given(sign=st.sampled_from([">=", "<=", ">", "<"]), limit=st.floats(-1e6, 1e6))
def test_gates_are_read(sign, limit):
    assert parse_gate(f"within_10{sign}{limit!r}", FIGURES) == Gate("within_10", sign, limit)
    assert parse_gate(f" within_10 {sign} {limit!r} ", FIGURES) == Gate("within_10", sign, limit)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("ratio<=1.05", 1.05, True),
        ("ratio<=1.05", 1.06, False),
        ("ratio<1.05", 1.05, False),
        ("ratio>=0.9", 0.9, True),
        ("ratio>0.9", 0.9, False),
        ("ratio>.5", 0.6, True),
        ("ratio>=-1e-3", 0.0, True),
    ],
)
def test_a_gate_decides(text, value, holds):
    assert parse_gate(text, FIGURES).holds(value) is holds


@pytest.mark.parametrize("sign", [">=", "<=", ">", "<"])
@pytest.mark.parametrize("value", [None, math.nan])
def test_what_is_missing_meets_nothing(sign, value):
    assert not Gate("ratio", sign, 1.0).holds(value)


def test_a_gate_is_shown_as_it_is_written():
    assert str(parse_gate("within_10>=0.9", FIGURES)) == "within_10>=0.9"


@pytest.mark.parametrize("text", ["", "ratio", "ratio=1", "ratio==1", "ratio<=", "ratio<=x", "ratio<=1ms", "<=1"])
def test_other_texts_are_refused(text):
    with pytest.raises(UsageError, match="cannot read the gate"):
        parse_gate(text, FIGURES)


def test_an_unknown_figure_is_named():
    with pytest.raises(UnknownName) as error:
        parse_gate("within_1>=0.9", FIGURES)
    assert "Did you mean 'within_10'?" in error.value.cause
