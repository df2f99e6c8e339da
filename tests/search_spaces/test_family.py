"""The TOML file of a family: what it means, and what is wrong with one that means nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import BadFile, UnknownName, UsageError
from hilnas.records import canonical_json
from search_spaces._callables import importable, load_callable
from search_spaces._family import Family, parse_options, read_family
from search_spaces.parametric import Parametric

FAMILIES = Path(__file__).parents[1] / "fixtures" / "families"
GOOD = """
build = "plain_nets:build"
input_shape = [1, 3, "resolution", "resolution"]

[axes]
width = [4, 8]
resolution = [8, 16]
"""

words = st.from_regex(r"[A-Za-z0-9_.+-]{1,6}", fullmatch=True)
values = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | words
axes = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True),
    st.lists(values, min_size=1, max_size=4, unique_by=lambda value: str(value).lower()),
    min_size=1,
    max_size=4,
)


def test_a_file_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    family = read_family(FAMILIES / "plain.toml")
    assert family.build == "plain_nets:build"
    assert dict(family.axes) == {"width": (4, 8, 12), "depth": (1, 2, 3), "resolution": (8, 12, 16)}
    assert family.input_shape == (1, 3, "resolution", "resolution")
    assert family.invalid == ({"width": (12,), "depth": (2, 3)},)
    assert Path(family.folder) == FAMILIES


def test_the_folder_is_relative_inside_the_current_one(tmp_path, monkeypatch):
    """A project that is moved as a whole keeps its records."""
    (tmp_path / "nets").mkdir()
    for folder in (tmp_path, tmp_path / "nets"):
        (folder / "family.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert read_family(Path("family.toml")).folder == ""
    assert read_family(tmp_path / "nets" / "family.toml").folder == "nets"


@pytest.mark.parametrize(
    ("old", "new", "kind", "what"),
    [
        ("build =", "biuld =", UnknownName, "Did you mean 'build'"),
        ("build =", "# build =", BadFile, "no 'build'"),
        ("plain_nets:build", "plain_nets.build", UsageError, "names no function"),
        ("plain_nets:build", "os:system; x", UsageError, "names no function"),
        ("[axes]", "[axis]", UnknownName, "Did you mean 'axes'"),
        ("[axes]\nwidth = [4, 8]\nresolution = [8, 16]", "[axes]", UsageError, "no axes"),
        ("[axes]\nwidth = [4, 8]\nresolution = [8, 16]", "axes = 3", BadFile, "must be a table"),
        ("width = [4, 8]", "width = []", UsageError, "width has no values"),
        ("width = [4, 8]", "width = 4", UsageError, "width has no values"),
        ("width = [4, 8]", "width = [4, 4]", UsageError, "holds 4 twice"),
        ("width = [4, 8]", 'width = [4, "4"]', UsageError, "holds 4 twice"),
        ("width = [4, 8]", "width = [4, nan]", UsageError, "not finite"),
        ("width = [4, 8]", "width = [4, [8]]", UsageError, "numbers, true, false and words"),
        ("width = [4, 8]", 'width = ["a,b"]', UsageError, "letters, digits"),
        ("width = [4, 8]", '"wi dth" = [4]', UsageError, "no name of an argument"),
        ('"resolution", "resolution"]', '"resolutoin", 8]', UnknownName, "Did you mean 'resolution'"),
        ('"resolution", "resolution"]', "0, 8]", UsageError, "positive whole number"),
        ('"resolution", "resolution"]', "8.5, 8]", UsageError, "positive whole number"),
        ("resolution = [8, 16]", "resolution = [8, true]", UsageError, "positive whole number"),
        ("[1, 3, ", '"3x8x8" #', UsageError, "is no list"),
        ("[axes]", "invalid = 3\n[axes]", UsageError, "no list of tables"),
        ("[axes]", "[[invalid]]\nwidht = 4\n[axes]", UnknownName, "Did you mean 'width'"),
        ("[axes]", "[[invalid]]\nwidth = 5\n[axes]", UsageError, "which the axis lacks"),
        ("[axes]", "[[invalid]]\nwidth = 4.0\n[axes]", UsageError, "which the axis lacks"),
        ("[axes]", "[axes", BadFile, "no TOML file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, old, new, kind, what):
    assert old in GOOD
    (tmp_path / "family.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(kind) as error:
        read_family(tmp_path / "family.toml")
    assert what in str(error.value)
    assert str(tmp_path / "family.toml") in error.value.what


def test_a_file_that_is_not_there_and_one_that_is_no_text(tmp_path):
    with pytest.raises(BadFile, match="cannot be read") as error:
        read_family(tmp_path / "family.toml")
    assert "build =" in error.value.remedy
    (tmp_path / "family.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="no TOML"):
        read_family(tmp_path / "family.toml")


@given(axes)
def test_options_are_json_and_keep_the_order_of_the_axes(found):
    family = Family("a:b", {name: tuple(items) for name, items in found.items()})
    again = parse_options(json.loads(canonical_json(family.options)))
    assert list(again.axes) == list(found)
    assert again.options == family.options
    assert [list(map(type, items)) for items in again.axes.values()] == [
        list(map(type, items)) for items in found.values()
    ]


@given(axes, st.data())
def test_every_text_is_read_back(found, data):
    space = Parametric(build="a:b", axes=[[name, list(items)] for name, items in found.items()], input_shape=[1, 2])
    decisions = tuple(data.draw(st.integers(0, n - 1)) for n in space.cardinalities)
    architecture = space.architecture(decisions)
    assert space.parse(architecture.text) == architecture
    assert space.parse(architecture.text).text == architecture.text
    pairs = architecture.text.removeprefix("parametric:").split(",")
    assert space.parse(", ".join(reversed(pairs))) == architecture


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("no_such_module_at_all:build", "cannot be imported"),
        ("plain_nets:biuld", "has no biuld"),
        ("plain_nets:no_function", "cannot be called"),
        ("raises_when_imported:build", "ZeroDivisionError"),
        ("leaves_when_imported:build", "SystemExit"),
    ],
)
def test_functions_that_are_none(tmp_path, target, what):
    (tmp_path / "raises_when_imported.py").write_text("1 / 0\n")
    (tmp_path / "leaves_when_imported.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(UsageError) as error:
        load_callable(target, [FAMILIES, tmp_path])
    assert what in str(error.value)


def test_a_module_of_another_folder_with_the_same_name_is_refused(tmp_path):
    """Python keeps the first one: the network would silently be another."""
    load_callable("plain_nets:build", [FAMILIES])
    (tmp_path / "plain_nets.py").write_text("def build(**axes): ...\n")
    with pytest.raises(UsageError, match="of the same name is in use"):
        load_callable("plain_nets:build", [tmp_path])


def test_the_path_of_imports_is_left_as_it_was(tmp_path):
    import sys

    before = list(sys.path)
    with importable([tmp_path]):
        assert sys.path[0] == str(tmp_path.resolve())
    assert sys.path == before
