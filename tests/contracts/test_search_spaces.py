"""What every search space must do, whichever it is."""

import json
from collections import Counter
from itertools import pairwise
from math import prod

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from fvcore.nn import FlopCountAnalysis, parameter_count

from hilnas import plugins
from hilnas.errors import UsageError
from search_spaces._base import SearchSpace
from search_spaces._blocks import block_graph, find_block, lookup_counts
from search_spaces._costs import block_costs, static_costs
from search_spaces._features import FEATURES, physical_features
from search_spaces._graph import Call, Graph
from search_spaces._onnx import to_onnx
from search_spaces._torch import load_weights, read_weights, to_module
from search_spaces._weights import make_weights

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = 50_000
#: Options of spaces whose usual networks are large; what depends on their size is tested beside each space.
OPTIONS = {
    "quantised_cnn": {"width": 8},
    "darts": {"width": 8, "cells": 3},
    "mobilenet": {"width": 25, "resolution": 32},
}
#: So many blocks of a space are run, drawn at random where it has more.
MOST_BLOCKS = 60


#: Options that make another space of one: it keeps the contract as well.
MORE = {"quantised_cnn_filters": ("quantised_cnn", {"width": 16, "resolution": 16, "filters": 1})}


@pytest.fixture(scope="module", params=[*plugins.names("search_spaces"), *MORE])
def space(request):
    name, options = MORE.get(request.param, (request.param, OPTIONS.get(request.param, {})))
    return plugins.load("search_spaces", name, SearchSpace)(**options)


@pytest.fixture
def own_space(space):
    """Give a space whose graphs can be run; networks of the user's code are traced, and have no blocks to run."""
    if space.traced:
        pytest.skip(f"the graphs of {space.name} are traces")
    return space


@pytest.fixture(scope="module")
def samples(space):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(40)]


def run_onnx(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": x})[0]


def run_torch(module, x):
    with torch.no_grad():
        return module.eval()(torch.from_numpy(x)).numpy()


def uneven_weights(graph, seed):
    """Return weights whose normalisations and biases do something, so that folding them is tested."""
    rng = np.random.default_rng(seed)
    weights = make_weights(graph, seed)
    for call, operator in graph.operators:
        parts = ("weight", "bias", "running_mean", "running_var") if operator.kind == "batch_norm" else ("bias",)
        for name in (f"{call.name}.{operator.name}.{part}" for part in parts):
            if name in weights:
                weights[name] = rng.uniform(0.5, 1.5, weights[name].shape).astype(np.float32)
    return weights


def test_options_make_the_same_space(space):
    options = json.loads(json.dumps(dict(space.options)))
    again = type(space)(**options)
    assert dict(again.options) == dict(space.options)
    assert again.input_shape == space.input_shape
    assert again.cardinalities == space.cardinalities


def test_samples_are_inside_the_space_and_connected(space, samples):
    for architecture in samples:
        assert architecture.space == space.name
        assert len(architecture.decisions) == len(space.cardinalities)
        assert all(0 <= item < n for item, n in zip(architecture.decisions, space.cardinalities, strict=True))
        assert space.architecture(architecture.decisions) == architecture
        assert space.graph(architecture).connected


def test_connected_is_what_the_graph_says(space):
    rng = np.random.default_rng(3)
    drawn = [tuple(int(rng.integers(n)) for n in space.cardinalities) for _ in range(40)]
    # Choices with few different values: where one of them is "none", some of these are disconnected.
    drawn += [tuple(int(rng.integers(min(n, 2))) for n in space.cardinalities) for _ in range(40)]
    for architecture in map(space.architecture, drawn):
        if not space.obstacle(architecture):
            assert space.connected(architecture) == space.graph(architecture).connected


def test_the_same_seed_samples_the_same(space, samples):
    rng = np.random.default_rng(0)
    assert [space.sample(rng) for _ in range(40)] == samples
    assert len(set(samples)) > 20


def test_decisions_outside_are_refused(space, samples):
    good = samples[0].decisions
    for bad in [good[:-1], (*good, 0), (-1, *good[1:]), (space.cardinalities[0], *good[1:])]:
        with pytest.raises(UsageError):
            space.architecture(bad)


def test_mutation_changes_one_decision(space, samples):
    rng = np.random.default_rng(1)
    seen = set()
    for architecture in samples:
        mutant = space.mutate(architecture, rng)
        changed = [
            i for i, pair in enumerate(zip(architecture.decisions, mutant.decisions, strict=True)) if len({*pair}) > 1
        ]
        assert len(changed) == 1
        assert space.graph(mutant).connected
        seen.update(changed)
    assert len(seen) > 1


def test_text_is_read_back(space, samples):
    for architecture in samples:
        assert architecture.text.startswith(f"{space.name}:")
        for text in (architecture.text, architecture.text.removeprefix(f"{space.name}:")):
            parsed = space.parse(text)
            assert parsed == architecture
            assert parsed.text == architecture.text


@pytest.mark.parametrize("text", ["", "rubbish", "|||", "+", "no_such_space:1,2,3", "\u0661\u0662"])
def test_other_text_is_refused(space, text):
    with pytest.raises(UsageError) as error:
        space.parse(text)
    assert error.value.cause or error.value.remedy


def test_encoding_is_one_hot(space, samples):
    starts = np.cumsum((0, *space.cardinalities))
    for architecture in samples:
        code = space.encode(architecture)
        assert code.shape == (sum(space.cardinalities),)
        assert code.dtype == np.float64
        assert set(np.unique(code)) <= {0.0, 1.0}
        assert tuple(np.flatnonzero(code) - starts[:-1]) == architecture.decisions


def test_enumeration_is_complete_or_refused(space, samples):
    if prod(space.cardinalities) > SMALL:
        with pytest.raises(UsageError):
            next(space.enumerate())
        return
    everything = list(space.enumerate())
    assert len(everything) == len(set(everything)) <= prod(space.cardinalities)
    assert set(samples) <= set(everything)


def test_distinct_samples(space):
    longer = space.sample_distinct(30, seed=3)
    assert space.sample_distinct(10, seed=3) == longer[:10]
    forms = [space.canonical(architecture) for architecture in longer]
    assert len(set(forms)) == 30
    others = space.sample_distinct(10, seed=3, exclude=frozenset(forms))
    assert not {space.canonical(architecture) for architecture in others} & set(forms)


def test_one_canonical_form_is_one_function(space):
    """Where every use of a block has the same weights, architectures of one form give the same output."""
    rng = np.random.default_rng(5)
    groups = {}
    for _ in range(400):
        architecture = space.sample(rng)
        form = space.canonical(architecture)
        assert space.canonical(space.parse(architecture.text)) == form
        groups.setdefault(form, {})[architecture] = None
    same = [pair for group in groups.values() for pair in pairwise(group)]
    for pair in same[:6]:
        x = rng.standard_normal(space.shape_of(pair[0]), dtype=np.float32)
        modules = [space.module(item) if space.traced else shared_module(space.graph(item)) for item in pair]
        first, second = (run_torch(module, x) for module in modules)
        np.testing.assert_allclose(first, second, atol=1e-4 * max(1.0, np.abs(first).max()))


def shared_module(graph):
    """Return the network in which weights and statistics depend on the block alone."""
    weights = {}
    for call in graph.calls:
        of_block = make_weights(Graph(graph.input, (Call(call.block.key, call.block, ("input",) * len(call.inputs)),)))
        weights |= {name.replace(call.block.key, call.name, 1): values for name, values in of_block.items()}
    return to_module(graph, weights)


def test_graphs_are_well_formed(space, samples):
    for architecture in samples:
        graph = space.graph(architecture)
        assert graph.input.shape == tuple(space.shape_of(architecture))
        known = {"input": graph.input}
        for call in graph.calls:
            assert call.name not in known
            assert tuple(known[name] for name in call.inputs) == call.block.inputs
            check_block(call.block)
            known[call.name] = call.block.output
        assert graph.output in known


def check_block(block):
    known = {f"in{i}": spec for i, spec in enumerate(block.inputs)}
    for operator in block.operators:
        assert operator.name not in known
        # An operator of torch may read tensors of several shapes.
        assert all(known[name] == operator.input_spec for name in operator.inputs[: 1 if operator.traced else None])
        known[operator.name] = operator.output_spec


def test_blocks_cover_the_graphs(own_space, samples):
    blocks = {block.key: block for block in own_space.blocks()}
    assert len(blocks) == len(own_space.blocks())
    for architecture in samples:
        graph = own_space.graph(architecture)
        counts = lookup_counts(graph, live=False)
        assert set(counts) <= set(blocks)
        assert sum(n * block_costs(blocks[key]).macs for key, n in counts.items()) == static_costs(graph).macs
        live = lookup_counts(graph)
        assert sum(n * block_costs(blocks[key]).macs for key, n in live.items()) == static_costs(graph.live()).macs


def test_blocks_are_found_by_key(own_space):
    for block in own_space.blocks():
        assert find_block(own_space, block.key) is block
    with pytest.raises(UsageError):
        find_block(own_space, "no_such_block/1x1/1x1/w32a32")


def test_every_block_is_a_network_of_its_own(own_space):
    blocks = own_space.blocks()
    chosen = np.random.default_rng(0).permutation(len(blocks))[:MOST_BLOCKS]
    for i, block in enumerate(blocks[place] for place in sorted(chosen)):
        chainable = all(spec == block.output for spec in block.inputs)
        graph = block_graph(block, repeat=3 if chainable else 1)
        weights = uneven_weights(graph, i)
        model = to_onnx(graph, weights)
        onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
        x = np.random.default_rng(i).standard_normal(graph.input.shape, dtype=np.float32)
        expected = run_torch(to_module(graph, weights), x)
        np.testing.assert_allclose(run_onnx(model, x), expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_module_and_onnx_of_a_seed_agree(space, samples):
    for i, architecture in enumerate(samples[:6]):
        x = np.random.default_rng(i).standard_normal(space.shape_of(architecture), dtype=np.float32)
        module = space.module(architecture, seed=i)
        assert module.training
        expected = run_torch(module, x)
        assert np.abs(expected).max() > 0
        got = run_onnx(space.onnx(architecture, seed=i)[0], x)
        np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_torch_and_onnx_agree(own_space, samples):
    for i, architecture in enumerate(samples[:6]):
        graph = own_space.graph(architecture)
        weights = uneven_weights(graph, i)
        x = np.random.default_rng(i).standard_normal(own_space.input_shape, dtype=np.float32)
        expected = run_torch(to_module(graph, weights), x)
        assert np.abs(expected).max() > 0
        got = run_onnx(to_onnx(graph, weights), x)
        np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_onnx_is_valid_and_reproducible(space, samples):
    for architecture in samples[:6]:
        data, _ = space.onnx(architecture, seed=7)
        assert space.onnx(space.parse(architecture.text), seed=7)[0] == data
        assert space.onnx(architecture, seed=8)[0] != data
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model, full_check=True)
        assert [item.name for item in model.graph.input] == ["input"]
        assert [item.name for item in model.graph.output] == ["output"]
        read = Counter(name for node in model.graph.node for name in node.input)
        assert all(read[item.name] for item in model.graph.initializer)
        assert all(read[name] or name == "output" for node in model.graph.node for name in node.output)


def test_costs_equal_fvcore(space, samples):
    for architecture in samples[:6]:
        graph = space.graph(architecture)
        module = space.module(architecture).eval()
        analysis = FlopCountAnalysis(module, torch.zeros(space.shape_of(architecture)))
        counted = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
        assert static_costs(graph).macs == counted["conv"] + counted["linear"]
        assert static_costs(graph).params == parameter_count(module)[""]


def test_modules_train_and_give_their_weights_back(own_space, samples):
    torch.manual_seed(0)
    graph = own_space.graph(samples[0])
    module = to_module(graph).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    before = read_weights(module)
    x = torch.randn(4, *own_space.input_shape[1:])
    for _ in range(2):
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()
    weights = read_weights(module)
    assert weights.keys() == before.keys() == make_weights(graph).keys()
    assert any(not np.array_equal(weights[name], before[name]) for name in weights if "running" not in name)
    assert any(not np.array_equal(weights[name], before[name]) for name in weights if "running" in name)
    one = np.random.default_rng(0).standard_normal(own_space.input_shape, dtype=np.float32)
    expected = run_torch(module, one)
    tolerance = 1e-4 * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(run_onnx(to_onnx(graph, weights), one), expected, atol=tolerance)
    copy = to_module(graph)
    load_weights(copy, weights)
    np.testing.assert_allclose(run_torch(copy, one), expected, atol=tolerance)


def test_features_have_one_length_and_are_finite(space, samples):
    for architecture in samples:
        found = physical_features(space.graph(architecture))
        assert found.shape == (len(FEATURES),)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert found[FEATURES.index("macs")] == static_costs(space.graph(architecture).live()).macs
