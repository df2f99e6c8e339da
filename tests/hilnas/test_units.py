import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import UsageError
from hilnas.units import UNITS, format_count, format_seconds, parse_quantity

EVERY_UNIT = [(dimension, unit) for dimension, units in UNITS.items() for unit in units]
NEED_A_UNIT = [dimension for dimension, units in UNITS.items() if "" not in units]
NUMBERS = st.floats(min_value=1e-12, max_value=1e12)


@pytest.mark.parametrize(("dimension", "unit"), EVERY_UNIT)
@given(number=NUMBERS)
def test_every_unit_is_read_back(dimension, unit, number):
    assert parse_quantity(f"{number!r}{unit}", dimension) == pytest.approx(number * UNITS[dimension][unit], rel=1e-15)


@pytest.mark.parametrize(("dimension", "unit"), EVERY_UNIT)
@given(number=NUMBERS)
def test_blanks_do_not_matter(dimension, unit, number):
    assert parse_quantity(f" {number!r} {unit} ", dimension) == parse_quantity(f"{number!r}{unit}", dimension)


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("12ms", "time", 0.012),
        ("3us", "time", 3e-6),
        ("3µs", "time", 3e-6),
        ("2min", "time", 120.0),
        ("1.5mJ", "energy", 1.5e-3),
        ("4MiB", "bytes", 4 * 1024 * 1024),
        ("4MB", "bytes", 4e6),
        ("30M", "count", 30e6),
        ("30", "count", 30.0),
        (".5s", "time", 0.5),
        ("1e-3s", "time", 1e-3),
        ("95%", "percent", 95.0),
    ],
)
def test_known_values(text, dimension, value):
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("dimension", NEED_A_UNIT)
@given(number=NUMBERS)
def test_a_bare_number_is_refused_and_a_unit_named(dimension, number):
    with pytest.raises(UsageError, match="cannot read the quantity") as error:
        parse_quantity(repr(number), dimension)
    assert "needs a unit" in error.value.cause
    suggested = error.value.remedy.removeprefix("Write ").split(" ")[0]
    assert parse_quantity(suggested, dimension) > 0


@pytest.mark.parametrize(("dimension", "unit"), [("time", "mJ"), ("energy", "ms"), ("bytes", "s"), ("time", "MS")])
def test_a_foreign_unit_is_refused(dimension, unit):
    with pytest.raises(UsageError) as error:
        parse_quantity(f"3{unit}", dimension)
    assert repr(unit) in error.value.cause


@pytest.mark.parametrize("text", ["", "ms", "nan ms", "inf s", "1e999s", "-1ms", "1,5ms", "12ms 3", "\u0663ms"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(UsageError):
        parse_quantity(text, "time")


@given(value=st.floats(min_value=1e-9, max_value=1e3))
def test_seconds_are_shown_in_milliseconds(value):
    assert parse_quantity(format_seconds(value), "time") == pytest.approx(value, rel=1e-3)


@given(value=st.floats(min_value=1e-3, max_value=1e12))
def test_counts_are_shown_with_a_prefix(value):
    shown = parse_quantity(format_count(value), "count")
    assert math.isclose(shown, value, rel_tol=1e-3)
