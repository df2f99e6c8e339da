import inspect
import pickle
import re

import pytest

from hilnas import errors
from hilnas.errors import HilnasError, UnknownName

LINE = re.compile(r"^[ │├└─]*(?P<name>[A-Z]\w+) +exit (?P<code>\d)", re.MULTILINE)
CODES = {
    "HilnasError": 1,
    "UsageError": 2,
    "UnknownName": 2,
    "BadFile": 2,
    "Infeasible": 3,
    "GateFailed": 3,
    "DeviceError": 4,
    "Inconclusive": 5,
}


def classes():
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, HilnasError) and value.__module__ == errors.__name__
    }


def test_exit_codes():
    assert {name: found.exit_code for name, found in classes().items()} == CODES


def test_the_docstring_draws_the_tree():
    """Name, exit code and depth of every line are those of the classes."""
    drawn = {match["name"]: match for match in LINE.finditer(errors.__doc__)}
    assert {name: int(match["code"]) for name, match in drawn.items()} == CODES
    column = {name: match.start("name") - match.start() for name, match in drawn.items()}
    for name, found in classes().items():
        depth = len(found.__mro__) - len(HilnasError.__mro__)
        assert column[name] == column["HilnasError"] + 4 * depth


def test_all_three_parts_are_said():
    error = HilnasError("it broke", "because of this", "do that")
    assert str(error) == "it broke\nbecause of this\ndo that"
    assert str(HilnasError("it broke", remedy="do that")) == "it broke\ndo that"


@pytest.mark.parametrize(("name", "hint"), [("local_cpo", "Did you mean 'local_cpu'?"), ("zzz", "Known: fake, local_")])
def test_an_unknown_name_says_the_nearest(name, hint):
    error = UnknownName("device", name, ["local_cpu", "fake"], "hilnas devices list")
    assert error.what == f"unknown device {name!r}"
    assert hint in error.cause
    assert error.remedy == "hilnas devices list"


def test_an_unknown_name_where_there_is_none():
    assert UnknownName("device", "x", []).cause == "Known: none."


@pytest.mark.parametrize("name", sorted(CODES))
def test_an_error_of_another_process_is_the_same_error(name):
    kind = getattr(errors, name)
    error = UnknownName("device", "x", ["y"], "look") if kind is UnknownName else kind("what", "cause", "remedy")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)
