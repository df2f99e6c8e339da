"""Recipes: exactly the bytes of the ONNX view, small, for every architecture, width, depth, seed and block."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.agent._assemble import POOL_NUMBERS, POOL_VERSION, assemble, make_pool
from hilnas.errors import UsageError
from search_spaces import _recipe, _weights
from search_spaces._blocks import block_graph
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._onnx import to_onnx
from search_spaces._recipe import to_onnx_and_recipe, to_recipe
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
LARGEST_BYTES = 20_000
CELLS = st.tuples(*[st.integers(0, 4)] * 6)


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return str(tmp_path_factory.mktemp("pools"))


def kinds(recipe):
    """Return the kind of every piece."""
    return [piece[0] for piece in json.loads(zlib.decompress(recipe).split(b"\n")[0])["pieces"]]


@settings(max_examples=60, deadline=None)
@given(
    decisions=CELLS,
    width=st.integers(1, 24),
    depth=st.integers(1, 4),
    seed=st.sampled_from([0, 1, 2**33 + 7, 2**64 - 1]),
    classes=st.integers(1, 12),
)
def test_every_network_is_assembled_bit_for_bit(pools, decisions, width, depth, seed, classes):
    space = NasBench201(width=width, depth=depth, resolution=8, classes=classes)
    graph = space.graph(space.architecture(decisions))
    recipe = to_recipe(graph, seed)
    assert assemble(recipe, pools) == to_onnx(graph, seed=seed)
    assert to_onnx_and_recipe(graph, seed) == (to_onnx(graph, seed=seed), recipe)


@settings(max_examples=15, deadline=None)
@given(decisions=CELLS)
def test_networks_of_the_published_size_are_small_and_exact(pools, decisions):
    graph = SPACE.graph(SPACE.architecture(decisions))
    recipe = to_recipe(graph)
    assert len(recipe) < LARGEST_BYTES
    assert assemble(recipe, pools) == to_onnx(graph)


def test_the_largest_recipes_are_far_below_the_limit():
    """Six convolutions an edge have the most pieces; mixed ones compress worst."""
    rng = np.random.default_rng(0)
    dense = [(3,) * 6, (2,) * 6, *(tuple(rng.integers(2, 5, 6).tolist()) for _ in range(25))]
    sizes = [len(to_recipe(SPACE.graph(SPACE.architecture(cell)))) for cell in dense]
    assert max(sizes) < LARGEST_BYTES / 2


@pytest.mark.parametrize("block", SPACE.blocks(), ids=lambda block: block.key)
def test_every_block_is_assembled_bit_for_bit(pools, block):
    for repeat in (1, 3) if all(spec == block.output for spec in block.inputs) else (1,):
        graph = block_graph(block, repeat)
        recipe = to_recipe(graph, seed=1)
        assert len(recipe) < LARGEST_BYTES
        assert assemble(recipe, pools) == to_onnx(graph, seed=1)


def test_no_weight_travels():
    """Each convolution and the classifier are cut from the pool; nothing long is copied."""
    graph = SPACE.graph(SPACE.architecture((3, 2, 3, 2, 3, 2)))
    recipe = to_recipe(graph)
    convolutions = sum(operator.kind in ("conv2d", "linear") for _, operator in graph.without_dead().operators)
    assert kinds(recipe).count("pool") == convolutions
    assert len(zlib.decompress(recipe)) < 100_000


def test_layers_larger_than_the_pool(pools):
    before, after = TensorSpec((1, 1280)), TensorSpec((1, 1000))
    block = Block("head", (before,), (Operator("fc", "linear", ("in0",), before, after),))
    graph = Graph(before, (Call("head", block, ("input",)),))
    recipe = to_recipe(graph)
    assert "pool" in kinds(recipe)
    assert assemble(recipe, pools) == to_onnx(graph)


def test_channels_that_differ_are_copied(pools, monkeypatch):
    """A normalisation with another scale a channel cannot be one factor: its convolution travels as it is."""

    def uneven(graph, seed):
        weights = _weights.make_weights(graph, seed)
        return {
            name: np.linspace(0.5, 1.5, values.size, dtype=np.float32) if name.endswith("running_var") else values
            for name, values in weights.items()
        }

    monkeypatch.setattr(_recipe, "make_weights", uneven)
    block = next(block for block in SPACE.blocks() if block.kind == "nor_conv_1x1")
    graph = block_graph(block)
    recipe = to_recipe(graph)
    assert "pool" not in kinds(recipe)
    assert assemble(recipe, pools) == to_onnx(graph, uneven(graph, 0))


def test_numbers_that_are_not_finite_are_copied(pools, monkeypatch):
    def infinite(graph, seed):
        return {name: np.full_like(values, np.inf) for name, values in _weights.make_weights(graph, seed).items()}

    monkeypatch.setattr(_recipe, "make_weights", infinite)
    graph = block_graph(next(block for block in SPACE.blocks() if block.kind == "head"))
    recipe = to_recipe(graph)
    assert set(kinds(recipe)) == {"copy"}
    assert assemble(recipe, pools) == to_onnx(graph, infinite(graph, 0))


def test_both_sides_have_the_same_pool():
    assert _weights.POOL_VERSION == POOL_VERSION
    pool = _weights.make_pool(5)
    assert pool.size == POOL_NUMBERS
    assert make_pool(5) == pool.tobytes()


def test_the_same_network_has_the_same_recipe_and_another_seed_another():
    graph = SPACE.graph(SPACE.architecture((3, 0, 2, 1, 4, 3)))
    assert to_recipe(graph) == to_recipe(replace(graph))
    assert to_recipe(graph) != to_recipe(graph, seed=1)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_beyond_64_bits_are_refused(seed):
    with pytest.raises(UsageError, match="no seed of a recipe"):
        to_recipe(SPACE.graph(SPACE.architecture((0,) * 6)), seed)


@settings(max_examples=25, deadline=None)
@given(decisions=CELLS, seed=st.integers(0, 3))
def test_no_subnormal_number_in_any_file(decisions, seed):
    """Some processors are ten times slower with them."""
    import onnx
    from onnx import numpy_helper

    space = NasBench201(width=16, depth=1, resolution=8)
    model = onnx.load_model_from_string(to_onnx(space.graph(space.architecture(decisions)), seed=seed))
    for tensor in model.graph.initializer:
        sizes = np.abs(numpy_helper.to_array(tensor))
        assert np.isfinite(sizes).all()
        assert not ((sizes > 0) & (sizes < np.finfo(np.float32).smallest_normal)).any()
