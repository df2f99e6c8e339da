"""Assembling a model on the device: hostile recipes, pools, and the standard library alone."""

import hashlib
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices._package import packed_agent
from devices.agent import _assemble
from devices.agent._assemble import POOL_NUMBERS, RecipeError, assemble, load_pool
from search_spaces._onnx import to_onnx
from search_spaces._recipe import to_recipe
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=8, depth=1, resolution=8)
COPIED = b"hello\n"


def head(**changes):
    """Return the head of a recipe of `hello` and two numbers 1.5."""
    data = COPIED + np.full(2, 1.5, "<f4").tobytes()
    found = {
        "format": 1,
        "pool": {"seed": 0, "version": 1},
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "pieces": [["copy", len(COPIED)], ["fill", 1.5, 2]],
    }
    return {**found, **changes}


def packed(found, copied=COPIED):
    return zlib.compress(json.dumps(found).encode() + b"\n" + copied)


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return str(tmp_path_factory.mktemp("pools"))


def test_a_recipe_without_a_pool_makes_none(tmp_path):
    assert assemble(packed(head()), str(tmp_path / "none")) == COPIED + np.full(2, 1.5, "<f4").tobytes()
    assert not (tmp_path / "none").exists()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_refused(pools, data):
    for recipe in (data, zlib.compress(data), zlib.compress(data + b"\n{}")):
        with pytest.raises(RecipeError):
            assemble(recipe, pools)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["format", "pool", "size", "sha256", "pieces"]), JSON)
def test_any_other_value_of_a_key_is_refused(pools, key, value):
    if json.dumps(value) == json.dumps(head()[key]):
        return
    with pytest.raises(RecipeError):
        assemble(packed(head(**{key: value})), pools)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["copy", "fill", "pool"]) | JSON, max_size=4))
def test_any_other_piece_is_refused(pools, piece):
    if piece == ["fill", 1.5, 2]:
        return
    with pytest.raises(RecipeError):
        assemble(packed(head(pieces=[["copy", len(COPIED)], piece])), pools)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"format": True}, "format True"),
        ({"format": 1.0}, "format 1.0"),
        ({"pool": {"seed": 0, "version": True}}, "another pool"),
        ({"pool": {"seed": -1, "version": 1}}, "another pool"),
        ({"pool": {"seed": 2**64, "version": 1}}, "another pool"),
        ({"pool": {"seed": 0, "version": 2}}, "another pool"),
        ({"size": 2**31 + 1}, "more than"),
        ({"size": True}, "more than"),
        ({"sha256": "0" * 64}, "has the hash"),
        ({"size": 15}, "do not add up"),
        ({"pieces": [["copy", 14]]}, "more or fewer bytes"),
        ({"pieces": [["copy", 6], ["fill", 0.1, 2]]}, "not a piece"),  # no float32
        ({"pieces": [["copy", 6], ["fill", 1.5, 2**40]]}, "not a piece"),
        ({"pieces": [["copy", -6]]}, "not a piece"),
        ({"pieces": [["pool", POOL_NUMBERS, 1, []]]}, "not a piece"),
        ({"pieces": [["pool", 0, 1, [1.0] * 5]]}, "not a piece"),
        ({"pieces": [["pool", 0, 1, [1e30]]]}, "not a piece"),
        ({"pieces": [["fill", 1.5, 2**29]] * 100}, "do not add up"),
    ],
)
def test_the_reason_is_named(pools, changes, message):
    with pytest.raises(RecipeError, match=message):
        assemble(packed(head(**changes)), pools)


def test_bombs_are_not_unpacked(pools, monkeypatch):
    monkeypatch.setattr(_assemble, "MAX_RECIPE_BYTES", 1 << 20)
    with pytest.raises(RecipeError, match="too large"):
        assemble(zlib.compress(b"\n" * (1 << 21)), pools)
    with pytest.raises(RecipeError, match="something behind it"):
        assemble(packed(head()) + b"more", pools)
    with pytest.raises(RecipeError, match="cut off"):
        assemble(packed(head())[:-3], pools)
    with pytest.raises(RecipeError, match="too many digits"):
        assemble(zlib.compress(b'{"size": ' + b"9" * 10_000 + b"}\n"), pools)
    with pytest.raises(RecipeError, match="not a recipe"):
        assemble(zlib.compress(b"[" * 100_000 + b"\n"), pools)


def test_big_endian_machines_refuse(pools, monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(RecipeError, match="little-endian"):
        assemble(packed(head()), pools)


def test_a_damaged_pool_is_made_anew(tmp_path):
    pool = load_pool(3, str(tmp_path))
    path = tmp_path / "pool-3-1.f32"
    data = path.read_bytes()
    assert len(data) == 4 * POOL_NUMBERS + 32
    changed = bytes([data[0] ^ 1]) + data[1:]
    for damaged in (changed, data[:-1], b"", data + b"0"):
        path.write_bytes(damaged)
        assert load_pool(3, str(tmp_path)) == pool
        assert path.read_bytes() == data
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_only_a_few_pools_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(_assemble, "_MAX_POOLS", 2)
    for seed in range(4):
        path = tmp_path / f"pool-{seed}-1.f32"
        load_pool(seed, str(tmp_path))
        os.utime(path, (seed, seed))
    assert len(list(tmp_path.iterdir())) == 2
    assert path.exists()


def test_a_pool_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        load_pool(0, str(tmp_path))
    assert not list(tmp_path.iterdir())


@given(st.integers(0, 2**64 - 1))
def test_the_generator_is_that_of_numpy(seed):
    assert list(_assemble.raw_numbers(seed, 20)) == np.random.PCG64(seed).random_raw(20).tolist()


#: Writes the pool and every recipe's result with the standard library alone; numpy is blocked.
SCRIPT = """
import sys
sys.modules["numpy"] = None
archive, pools, folder = sys.argv[1:]
sys.path.insert(0, archive)
import os
from hilnas_agent import _assemble
assert _assemble._numpy() is None
for name in sorted(os.listdir(folder)):
    with open(os.path.join(folder, name), "rb") as file:
        data = _assemble.assemble(file.read(), pools)
    with open(os.path.join(folder, name + ".onnx"), "wb") as file:
        file.write(data)
print(list(_assemble.raw_numbers(7, 3)))
"""


def assemble_without_numpy(python, pools, folder):
    """Let another interpreter assemble a few networks and compare."""
    (folder / "recipes").mkdir()
    graphs = [SPACE.graph(SPACE.architecture(cell)) for cell in [(3,) * 6, (2, 3, 4, 0, 1, 3), (0,) * 6]]
    for i, graph in enumerate(graphs):
        (folder / "recipes" / str(i)).write_bytes(to_recipe(graph, seed=9))
    archive = folder / "agent.pyz"
    archive.write_bytes(packed_agent()[1])
    command = [python, "-I", "-S", "-c", SCRIPT, str(archive), pools, str(folder / "recipes")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == np.random.PCG64(7).random_raw(3).tolist()
    for i, graph in enumerate(graphs):
        assert (folder / "recipes" / f"{i}.onnx").read_bytes() == to_onnx(graph, seed=9)


def test_the_standard_library_alone_gives_the_same_bytes(tmp_path):
    pools = str(tmp_path / "pools")
    assemble_without_numpy(sys.executable, pools, tmp_path)
    made = Path(pools, "pool-9-1.f32").read_bytes()
    assert made[: 4 * POOL_NUMBERS] == _assemble.make_pool(9)


def test_python_3_6_gives_the_same_bytes(tmp_path):
    found = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
    if not found:
        pytest.skip("no Python 3.6 below ~/.pyenv/versions")
    pools = str(tmp_path / "pools")
    load_pool(9, pools)
    assemble_without_numpy(str(found[0]), pools, tmp_path)
