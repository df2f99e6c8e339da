"""Pickles read without pickle: plain values arrive as they are, everything else is refused and nothing is run."""

import builtins
import collections
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import BadFile
from profiler.importers._pickled_names import Dialect, PlainArray, Record
from profiler.importers._pickles import load_plain
from profiler.importers._vectors import vector_of

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
KEYS = st.text(max_size=5) | st.integers(0, 99) | st.tuples(st.integers(0, 4), st.integers(0, 4))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple) | st.dictionaries(KEYS, inner, max_size=5)
    ),
    max_leaves=25,
)
PROTOCOLS = st.integers(0, pickle.HIGHEST_PROTOCOL)


@given(VALUES, PROTOCOLS)
def test_plain_values_are_what_pickle_makes_of_them(value, protocol):
    assert load_plain(pickle.dumps(value, protocol), "f") == value


@given(
    st.sampled_from(["<f8", ">f8", "<f4", "<f2", "<i8", ">i4", "|u1", "|b1"]),
    st.lists(st.integers(0, 1), max_size=12),
    PROTOCOLS,
)
def test_arrays_and_scalars_of_numpy_keep_their_values(dtype, values, protocol):
    array = np.array(values, dtype)
    found = load_plain(pickle.dumps({"a": array, "first": array.sum()}, protocol), "f")
    assert isinstance(found["a"], PlainArray) and found["a"].values.dtype == array.dtype
    assert found["a"].values.tolist() == array.tolist()
    assert found["first"] == array.sum().item()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_matrices_keep_their_order(order, protocol):
    array = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    assert load_plain(pickle.dumps(array, protocol), "f").values.tolist() == array.tolist()


def test_arrays_of_objects_are_vectors_with_holes():
    found = load_plain(pickle.dumps(np.array([1.5, None, 3], object)), "f")
    np.testing.assert_array_equal(vector_of(found, "f"), [1.5, np.nan, 3])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_ordered_and_default_dictionaries_are_dictionaries(protocol):
    value = {"o": collections.OrderedDict(a=1, b=2), "d": collections.defaultdict(list, x=[1])}
    assert load_plain(pickle.dumps(value, protocol), "f") == {"o": {"a": 1, "b": 2}, "d": {"x": [1]}}


class Thing:
    """A class that a format may know by name."""

    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_known_classes_become_records_and_unknown_ones_are_refused(protocol, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, Thing.__module__, __import__("types").SimpleNamespace(Thing=Thing))
    data = pickle.dumps([Thing(3.5)], protocol)
    (found,) = load_plain(data, "f", Dialect(records=frozenset({"Thing"})))
    assert isinstance(found, Record) and found.kind == "Thing" and found.fields == {"value": 3.5}
    with pytest.raises(BadFile, match="refused"):
        load_plain(data, "f")


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(marker):
    """Return pickles that would create the marker or take all memory, each with what it is refused for."""
    touch = f"touch {marker}"
    nested = b"]" * 5000 + b"a" * 4999 + b"."
    # A list of two lists, each of which is the same list of two lists, and so on: forty times.
    doubled = b"]q\x00K\x00a" + b"".join(b"0](h%ch%ceq%c" % (i, i, i + 1) for i in range(40)) + b"."
    tuples = b"K\x01q\x00" + b"".join(b"0h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40)) + b"."
    key = b"}" + tuples[:-1] + b"K\x01s."
    return {
        "system": pickle.dumps(Calls(os.system, touch)),
        "system in text": f"cos\nsystem\n(S'{touch}'\ntR.".encode(),
        "eval": f'c__builtin__\neval\n(S\'__import__("os").system("{touch}")\'\ntR.'.encode(),
        "eval, new": pickle.dumps([1, Calls(builtins.eval, f"__import__('os').system({touch!r})")], 4),
        "names in parts": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
        + bytes([len(touch)])
        + touch.encode()
        + b"\x85R.",
        "instance": f"(S'{touch}'\nios\nsystem\n.".encode(),
        "object": f"(cos\nsystem\nS'{touch}'\no.".encode(),
        "new object": b"\x80\x02csubprocess\nPopen\n)\x81.",
        "build": b"cnumpy\nndarray\n}b.",
        "build of a list": b"]}b.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x02K\x01Q.",
        "a call of numpy": b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
        "a call of a type": b"cnumpy\nndarray\n(K\x05tR.",
        "a call of text": b"S'x'\n(tR.",
        "set": b"\x80\x04\x8f.",
        "array too short": array_pickle((10**9,), b"12345678"),
        "array of negative shape": array_pickle((-1,), b""),
        "array of many dimensions": array_pickle((1,) * 60, b"12345678"),
        "array of objects": array_pickle((1,), [Thing], "O8"),
        "array of lists": array_pickle((1,), [[1]], "O8"),
        "array of records": array_pickle((1,), b"12345678", "f4,f4"),
        "bytes of 4 GiB": b"\x80\x04\x8e" + struct.pack("<Q", 4 << 30) + b"x.",
        "text of 2**63": b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"x.",
        "a long of 2 GiB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "an integer of 9 bytes": b"\x80\x02\x8a\x09" + b"\xff" * 8 + b"\x01.",
        "a huge place in the memo": b"\x80\x02]r\xff\xff\xff\xff0h\x01.",
        "nested": nested,
        "nested by marks": b"(" * 100_000 + b"l" * 100_000 + b".",
        "nested tuples": b")" + b"\x85" * 100_000 + b".",
        "nested from outside": b"]q\x00"
        + b"".join(b"]q%c0h%ch%ca0" % (i + 1, i, i + 1) for i in range(60))
        + b"h\x00.",
        "doubled lists": doubled,
        "doubled tuples": tuples,
        "doubled tuples as a key": key,
        "contains itself": b"]q\x00h\x00a.",
        "an array used often": b"\x80\x02"
        + b"("
        + array_pickle((10**6,), b"1" * 8 * 10**6)[:-1]
        + b"q\x09"
        + b"h\x09" * 30
        + b"l.",
        "a list as key": b"}]K\x01s.",
        "leftovers": b"K\x01K\x02.",
        "nothing": b"",
        "no end": b"]",
        "underflow": b"a.",
        "unknown instruction": b"\xff.",
        "no memo": b"h\x05.",
    }


def array_pickle(shape, data, kind="f8"):
    """Return the pickle of an array that says whatever it likes of itself."""
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR"
    dtype = f"cnumpy\ndtype\n(S'{kind}'\nI00\nI01\ntR(K\x03S'<'\nNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb".encode(
        "latin-1"
    )
    sizes = b"(" + b"".join(f"I{size}\n".encode() for size in shape) + b"t"
    content = pickle.dumps(data, 3)[2:-1]
    return made + b"(K\x01" + sizes + dtype + b"I00\n" + content + b"tb."


@pytest.mark.parametrize("name", hostile("m"))
def test_hostile_pickles_are_refused_and_nothing_is_run(name, tmp_path):
    marker = tmp_path / "marker"
    with pytest.raises(BadFile) as caught:
        load_plain(hostile(marker)[name], "file.pickle")
    assert "file.pickle" in caught.value.what and caught.value.cause and len(str(caught.value)) < 1000
    assert not marker.exists()


@pytest.mark.parametrize(
    ("limit", "data"),
    [
        ("_MAX_CONTAINERS", b"(" + b"]" * 200 + b"l."),
        ("_MAX_REMEMBERED", b"N" + b"\x94" * 200 + b"."),
        ("_MAX_INSTRUCTIONS", b"(" + b"N" * 200 + b"l."),
        ("_MAX_HELD", b"(" + b"(" + b"N" * 40 + b"lq\x00" + b"h\x00" * 3 + b"l."),
    ],
)
def test_what_is_too_large_is_refused(limit, data, monkeypatch):
    load_plain(data, "f")
    monkeypatch.setattr(f"profiler.importers._pickles.{limit}", 150)
    with pytest.raises(BadFile, match="150"):
        load_plain(data, "f")


def test_the_hostile_pickles_would_do_harm():
    """The test above says something only if pickle itself runs what is refused there."""
    assert pickle.loads(pickle.dumps(Calls(os.getpid))) == os.getpid()
    assert pickle.loads(array_pickle((1,), b"\0\0\0\0\0\0\xf0?")).tolist() == [1.0]


@given(st.binary(max_size=60))
def test_no_bytes_do_anything_but_give_a_value_or_be_refused(data):
    for prefix in (b"", b"\x80\x04", b"](", b"cnumpy\ndtype\n("):
        try:
            load_plain(prefix + data, "f")
        except BadFile:
            continue


@given(st.lists(st.none() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False), max_size=9))
def test_vectors_are_lists_tuples_or_arrays(values):
    expected = [np.nan if value is None else float(value) for value in values]
    for kind in (list, tuple):
        np.testing.assert_array_equal(vector_of(kind(values), "v"), expected)


@pytest.mark.parametrize("value", ["abc", {"a": 1}, [1, "x"], [True], [[1]], 5, PlainArray(np.zeros((2, 2)))])
def test_what_is_no_vector_is_refused(value):
    with pytest.raises(BadFile, match="v "):
        vector_of(value, "v")
