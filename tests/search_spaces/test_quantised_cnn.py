"""The space of quantised CNNs: the published figures, its text, its formats in every view, its recipes."""

import json
import zlib

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from devices.agent import _assemble
from devices.agent._assemble import assemble
from hilnas.errors import UsageError
from search_spaces._blocks import block_graph, lookup_counts
from search_spaces._costs import aops, layer_rows, static_costs
from search_spaces._features import FEATURES, physical_features
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._in_float import in_float, is_fixed_point
from search_spaces._onnx import to_onnx
from search_spaces._quantiser import FixedPoint, quantise
from search_spaces._quantiser_torch import set_quantised
from search_spaces._recipe import to_onnx_and_recipe, to_recipe
from search_spaces._torch import read_weights, to_module
from search_spaces._weights import make_weights
from search_spaces.quantised_cnn import FILTERS, FORMATS, Layer, QuantisedCnn

SPACE = QuantisedCnn()
SMALL = QuantisedCnn(width=4, resolution=16, classes=3)
POOLED = QuantisedCnn(width=4, resolution=16, classes=3, pool=1)
BARE = QuantisedCnn(width=4, resolution=16, classes=3, normalise=0)
FILTERED = QuantisedCnn(width=16, resolution=16, classes=3, filters=1)
DECISIONS = st.tuples(*[st.integers(0, n - 1) for n in SPACE.cardinalities])
MIXED = "k3a1.3w1.6+k5a3.6w1.3+k1a1.1w3.1+k7a3.3w3.6+k3a1.6w1.1+k5a3.1w3.3"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return str(tmp_path_factory.mktemp("pools"))


def uniform(space, kernel, form="1.6"):
    """Return the graph of the network whose layers are all alike."""
    return space.graph(space.parse("+".join([f"k{kernel}a{form}w{form}"] * 6)))


def conv_rows(graph, activation="input"):
    return [row for row in layer_rows(graph, activation) if row["kind"] == "conv2d"]


def run_onnx(model, x, level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": x})[0]


def run_torch(module, x):
    with torch.no_grad():
        return module.eval()(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize(("kernel", "macs"), [(1, 7_536_640), (3, 67_829_760), (5, 188_416_000), (7, 369_295_360)])
def test_published_multiply_adds(kernel, macs):
    assert sum(row["macs"] for row in conv_rows(uniform(SPACE, kernel))) == macs


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_published_multiply_adds_with_pooling(kernel):
    rows = conv_rows(uniform(QuantisedCnn(pool=1), kernel))
    assert sum(row["macs"] for row in rows) == 16_973_824 * kernel**2


def test_shapes_of_the_published_network():
    sides = [row["output_shape"][2:] for row in conv_rows(uniform(SPACE, 3))]
    assert sides == [(32, 32), (16, 16), (16, 16), (8, 8), (8, 8), (4, 4)]
    pooled = [row["output_shape"][2:] for row in conv_rows(uniform(QuantisedCnn(pool=1), 3))]
    assert pooled == [(32, 32), (32, 32), (16, 16), (16, 16), (8, 8), (8, 8)]
    graph = uniform(SPACE, 3)
    assert [row["output_shape"][1] for row in conv_rows(graph)] == [64, 64, 128, 128, 256, 256]
    rows = {row["layer"]: row for row in layer_rows(graph)}
    assert rows["head.hidden"]["params"] == 4096 * 1024 + 1024
    assert rows["head.classifier"]["params"] == 1024 * 10 + 10


def test_adjusted_operations_by_hand():
    """Activations of layer l - 1 (the picture: 16 bits) or of layer l, times the weights of layer l."""
    graph = SPACE.graph(SPACE.parse(MIXED))
    own, weights = [4, 9, 2, 6, 7, 4], [7, 4, 4, 9, 2, 6]
    macs = [row["macs"] for row in conv_rows(graph)]
    for activation, bits in (("input", [16, *own[:-1]]), ("output", own)):
        expected = [n * a * w for n, a, w in zip(macs, bits, weights, strict=True)]
        assert [row["aops"] for row in conv_rows(graph, activation)] == expected
        assert aops(graph, activation) == sum(expected)
        assert sum(row["aops"] for row in layer_rows(graph, activation)) == sum(expected)
    assert static_costs(graph).aops == aops(graph)


def test_a_result_that_is_rounded_twice_is_stored_in_the_wider_format():
    """conv -> ReLU -> {2 bits, 7 bits} -> convolutions: the first result has 7 bits, those of the others 32."""
    plain, low, high = (TensorSpec((1, 4, 8, 8), bits) for bits in (32, 2, 7))

    def conv(before):
        weights = {"weight_bits": 4, "fraction_bits": 3}
        return Block("conv", (before,), (Operator("conv", "conv2d", ("in0",), before, plain, **weights),))

    def rounding(after):
        operator = Operator("quantise", "quantise", ("in0",), plain, after, fraction_bits=1)
        return Block("quantise", (plain,), (operator,))

    relu = Block("relu", (plain,), (Operator("relu", "relu", ("in0",), plain, plain),))
    both = Block("sum2", (plain, plain), (Operator("add", "add", ("in0", "in1"), plain, plain),))
    calls = (
        Call("first", conv(plain), ("input",)),
        Call("relu", relu, ("first",)),
        Call("low", rounding(low), ("relu",)),
        Call("high", rounding(high), ("relu",)),
        Call("second", conv(low), ("low",)),
        Call("third", conv(high), ("high",)),
        Call("sum", both, ("second", "third")),
    )
    graph, macs = Graph(plain, calls), 4 * 4 * 64
    assert [row["aops"] for row in conv_rows(graph, "output")] == [macs * bits * 4 for bits in (7, 32, 32)]
    assert [row["aops"] for row in conv_rows(graph, "input")] == [macs * bits * 4 for bits in (32, 2, 7)]


def test_the_head_counts_no_adjusted_operations_but_a_float_network_does():
    graph = uniform(SPACE, 3)
    assert all(row["aops"] == 0 for row in layer_rows(graph) if row["kind"] == "linear")
    plain = in_float(graph)
    assert aops(plain) == aops(plain, "output") == static_costs(plain).aops == 1024 * static_costs(plain).macs


@settings(max_examples=50, deadline=None)
@given(DECISIONS)
def test_layers_are_what_the_text_says(decisions):
    architecture = SPACE.architecture(decisions)
    layers = SPACE.layers(architecture)
    assert architecture.text == "quantised_cnn:" + "+".join(map(str, layers))
    assert SPACE.parse(architecture.text) == architecture
    assert all(isinstance(layer, Layer) and {layer.activations, layer.weights} <= set(FORMATS) for layer in layers)


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.integers(0, n - 1) for n in FILTERED.cardinalities]))
def test_layers_with_filters_are_what_the_text_says(decisions):
    architecture = FILTERED.architecture(decisions)
    layers = FILTERED.layers(architecture)
    assert architecture.text == "quantised_cnn:" + "+".join(map(str, layers))
    assert FILTERED.parse(architecture.text) == architecture
    assert {layer.filters for layer in layers} <= set(FILTERS)
    for candidate in FILTERED.split(architecture):
        assert FILTERED.of_factors(FILTERED.factors(candidate)) == candidate
        assert FILTERED.factors(candidate)[3] == candidate[5:]
    graph = FILTERED.graph(architecture)
    full = [16, 16, 32, 32, 64, 64]
    shapes = [call.block.output.shape[1] for call in graph.calls if call.name.startswith("conv")]
    assert shapes == [n * layer.filters // 64 for n, layer in zip(full, layers, strict=True)]


def test_networks_with_all_filters_are_those_of_the_space_without():
    plain = QuantisedCnn(width=16, resolution=16, classes=3)
    with_all = "+".join(f"{layer}c64" for layer in MIXED.split("+"))
    filtered = FILTERED.graph(FILTERED.parse(with_all))
    assert [call.block.key for call in filtered.calls] == [
        call.block.key for call in plain.graph(plain.parse(MIXED)).calls
    ]


def test_multiply_adds_of_filters_by_hand():
    """6 of 16 channels in the first layers, 18 of 32 (36 in 64) in the next, 48 of 64 (48 in 64) in the last."""
    text = "+".join(f"k1a1.6w1.6c{n}" for n in (24, 24, 36, 36, 48, 48))
    rows = conv_rows(FILTERED.graph(FILTERED.parse(text)))
    pixels, channels = [16 * 16, 8 * 8, 8 * 8, 4 * 4, 4 * 4, 2 * 2], [3, 6, 6, 18, 18, 48, 48]
    expected = [a * b * n for a, b, n in zip(channels, channels[1:], pixels, strict=False)]
    assert [row["macs"] for row in rows] == expected


def test_blocks_of_filters():
    blocks = FILTERED.blocks()
    assert len(set(blocks)) == len(blocks) == 9849
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert {call.block for call in FILTERED.graph(FILTERED.sample(rng)).calls} <= set(blocks)


@pytest.mark.parametrize(
    ("space", "layer"), [(SMALL, "k3a1.3w1.6c24"), (FILTERED, "k3a1.3w1.6"), (FILTERED, "k3a1.3w1.6c32")]
)
def test_filters_are_written_exactly_where_they_are_searched(space, layer):
    with pytest.raises(UsageError, match="no layer of quantised_cnn") as refused:
        space.parse("+".join([layer] * 6))
    assert space.parse(str(refused.value.remedy).removeprefix("Write for instance "))


def test_text_by_hand():
    assert SPACE.parse(MIXED).decisions[:10] == (1, 0, 1, 0, 2, 2, 1, 2, 0, 1)
    assert str(SPACE.layers(SPACE.parse(MIXED))[1]) == "k5a3.6w1.3"


@pytest.mark.parametrize(
    "layer", ["k2a1.3w1.6", "k3a2.3w1.6", "k3a1.2w1.6", "k3a1.3", "k3w1.6a1.3", "k3a1.3w1.6 ", "k٣a1.3w1.6"]
)
def test_other_layers_are_refused(layer):
    good = ["k3a1.3w1.6"]
    with pytest.raises(UsageError, match="no layer of quantised_cnn"):
        SPACE.parse("+".join([*good * 3, layer, *good * 2]))


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"resolution": 12},
        {"pool": 2},
        {"normalise": -1},
        {"filters": 2},
        {"filters": 1, "width": 24},
        {"classes": 0},
        {"batch": -1},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(UsageError, match="quantised_cnn"):
        QuantisedCnn(**options)


def test_the_space_is_not_enumerated():
    with pytest.raises(UsageError, match=r"8\.9e\+12"):
        SPACE.enumerate()


def test_666_blocks():
    blocks = SPACE.blocks()
    kinds = [block.kind for block in blocks]
    assert len(blocks) == 666
    assert sum(kind.startswith("conv") for kind in kinds) == 4 * 6 * (1 + 5 * 5)
    assert sum(kind.startswith("quantise") for kind in kinds) == 1 + 6 * 6
    assert kinds.count("head") == 5


def test_keys_tell_formats():
    keys = list(lookup_counts(SPACE.graph(SPACE.parse(MIXED))))
    assert keys[:5] == [
        "quantise8.8/1x3x32x32/1x3x32x32/w32a32",
        "conv3x3_bn_relu/1x3x32x32/1x64x32x32/w1.6a16",
        "quantise1.3/1x64x32x32/1x64x32x32/w32a32",
        "conv5x5_bn_relu/1x64x32x32/1x64x16x16/w1.3a4",
        "quantise3.6/1x64x16x16/1x64x16x16/w32a32",
    ]
    pooled = QuantisedCnn(pool=1, normalise=0)
    assert any(key.startswith("conv5x5_relu_pool/") for key in lookup_counts(pooled.graph(pooled.parse(MIXED))))


@settings(max_examples=25, deadline=None)
@given(DECISIONS, st.sampled_from([SMALL, POOLED, BARE]), st.integers(0, 2**32))
def test_views_agree_to_the_last_step(decisions, space, seed):
    """A value that falls to the other side of a step would differ by far more than the tolerance."""
    graph = space.graph(space.architecture(decisions))
    weights = uneven(graph, seed)
    x = np.random.default_rng(seed).standard_normal(space.input_shape, dtype=np.float32)
    expected = run_torch(to_module(graph, weights), x)
    model = to_onnx(graph, weights)
    for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
        got = run_onnx(model, x, getattr(onnxruntime.GraphOptimizationLevel, level))
        np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def uneven(graph, seed):
    rng = np.random.default_rng(seed)
    weights = make_weights(graph, seed)
    for name, values in weights.items():
        if values.ndim == 1:
            weights[name] = rng.uniform(0.5, 1.5, values.shape).astype(np.float32)
    return weights


@pytest.mark.parametrize("pool", [0, 1])
def test_views_agree_at_the_published_size(pool):
    space = QuantisedCnn(pool=pool)
    graph = space.graph(space.parse(MIXED))
    x = np.random.default_rng(1).standard_normal(space.input_shape, dtype=np.float32)
    expected = run_torch(to_module(graph, seed=3), x)
    assert np.abs(expected).max() > 0
    got = run_onnx(to_onnx(graph, seed=3), x)
    np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_what_is_read_is_on_the_grid():
    """Every convolution and the head read numbers of the format that the layer before them decided for."""
    architecture = SMALL.parse(MIXED)
    module = to_module(SMALL.graph(architecture)).eval()
    formats = [FixedPoint(8, 8), *(layer.activations for layer in SMALL.layers(architecture))]
    read = {}
    for name in [*(f"conv{i}__conv" for i in range(1, 7)), "head__flatten"]:
        module.layers[name].register_forward_pre_hook(lambda _, inputs, name=name: read.update({name: inputs[0]}))
    with torch.no_grad():
        module(torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 16, 16), dtype=np.float32)))
    for (name, tensor), form in zip(read.items(), formats, strict=True):
        values = tensor.numpy()
        assert np.array_equal(quantise(values, form), values), name
        assert np.unique(values).size > 1, f"{name} reads a constant"


def test_seeded_networks_are_alive_in_every_format():
    """Also where He-normal weights would all round to 0: outputs differ with the input."""
    rng = np.random.default_rng(0)
    alive = 0
    architectures = [SPACE.parse("+".join(["k7a1.1w1.1"] * 6)), *(SPACE.sample(rng) for _ in range(5))]
    for architecture in architectures:
        x = rng.standard_normal((2, 3, 32, 32), dtype=np.float32)
        first, second = run_torch(SPACE.module(architecture), x)
        alive += not np.array_equal(first, second)
        assert np.abs(first).max() < 1e3
    assert alive == len(architectures)


def test_onnx_holds_rounded_weights():
    architecture = SMALL.parse(MIXED)
    graph = SMALL.graph(architecture)
    weights = uneven(graph, 0)
    model = onnx.load_model_from_string(to_onnx(graph, weights))
    tensors = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for i, layer in enumerate(SMALL.layers(architecture), start=1):
        for part in ("weight", "bias"):
            name = f"conv{i}.conv.{part}"
            np.testing.assert_array_equal(tensors[name], quantise(weights[name], layer.weights))
    np.testing.assert_array_equal(tensors["head.hidden.weight"], weights["head.hidden.weight"])
    assert {item.version for item in model.opset_import} == {15}
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Round") == 7 and kinds.count("Clip") == 7 and "BatchNormalization" not in kinds


def test_modules_train_rounded_or_not():
    torch.manual_seed(0)
    architecture = SMALL.parse(MIXED)
    x = torch.randn(8, 3, 16, 16)
    for ste in ("identity", "clipped"):
        module = SMALL.module(architecture, ste=ste).train()
        module(x).square().sum().backward()
        assert all(torch.isfinite(item.grad).all() for item in module.parameters())
        assert module.layers["conv1__conv"].weight.grad.abs().max() > 0
    module = SMALL.module(architecture).eval()
    weights = read_weights(module)
    set_quantised(module, False)
    plain = to_module(in_float(SMALL.graph(architecture)), weights)
    torch.testing.assert_close(run_torch(module, x.numpy()), run_torch(plain, x.numpy()), rtol=1e-4, atol=1e-4)


def test_the_network_in_float_has_no_format_left():
    graph = SMALL.graph(SMALL.parse(MIXED))
    plain = in_float(graph)
    assert is_fixed_point(graph) and not is_fixed_point(plain)
    assert {op.kind for _, op in plain.operators}.isdisjoint({"quantise"})
    assert {spec.bits for _, op in plain.operators for spec in (op.input_spec, op.output_spec)} == {32}
    costs, before = static_costs(plain), static_costs(graph)
    assert (costs.macs, costs.params) == (before.macs, before.params)
    assert set(make_weights(plain)) == set(make_weights(graph))
    kinds = [node.op_type for node in onnx.load_model_from_string(to_onnx(plain)).graph.node]
    assert set(kinds) == {"Conv", "Relu", "Flatten", "Gemm"}
    with pytest.raises(ValueError, match="nothing is left"):
        in_float(block_graph(next(block for block in SMALL.blocks() if block.kind.startswith("quantise"))))


@settings(max_examples=25, deadline=None)
@given(DECISIONS, st.sampled_from([SMALL, POOLED, BARE]), st.sampled_from([0, 7]))
def test_boards_round_the_same_bits(pools, decisions, space, seed):
    graph = space.graph(space.architecture(decisions))
    model, recipe = to_onnx_and_recipe(graph, seed)
    assert model == to_onnx(graph, seed=seed)
    assert assemble(recipe, pools) == model


def test_boards_without_numpy_round_the_same_bits(pools, monkeypatch):
    monkeypatch.setattr(_assemble, "_numpy", lambda: None)
    graph = SMALL.graph(SMALL.parse(MIXED))
    assert assemble(to_recipe(graph), pools) == to_onnx(graph)


def test_recipes_stay_small(pools):
    recipe = to_recipe(SPACE.graph(SPACE.parse(MIXED)))
    assert len(recipe) < 10_000
    assert assemble(recipe, pools) == to_onnx(SPACE.graph(SPACE.parse(MIXED)))
    head = json.loads(zlib.decompress(recipe).split(b"\n")[0])
    assert [piece[0] for piece in head["pieces"]].count("fixed") == 6


@pytest.mark.parametrize(
    "piece",
    [
        ["fixed", 0, 4, [1.0], 0, 3],
        ["fixed", 0, 4, [1.0], 1, -1],
        ["fixed", 0, 4, [1.0], 20, 5],
        ["fixed", 0, 4, [1.0], 1.0, 3],
        ["fixed", 0, 4, [1.0], True, 3],
        ["fixed", 0, 4, [1.0]],
        ["fixed", 0, 4, "1.0", 1, 3],
        ["fixed", 2**40, 4, [1.0], 1, 3],
    ],
)
def test_bad_fixed_pieces_are_refused(pools, piece):
    head = {"format": 1, "pool": {"seed": 0, "version": 1}, "size": 16, "sha256": "0" * 64, "pieces": [piece]}
    with pytest.raises(_assemble.RecipeError, match="not a piece"):
        assemble(zlib.compress(json.dumps(head).encode() + b"\n"), pools)


def test_features_count_roundings_and_bits():
    low, high = (uniform(SPACE, 3, form) for form in ("1.1", "3.6"))
    found = [dict(zip(FEATURES, physical_features(graph), strict=True)) for graph in (low, high)]
    assert found[0]["macs"] == found[1]["macs"]
    assert found[0]["n_conv3x3"] == 6 and found[0]["n_linear"] == 2
    assert found[0]["n_norm"] == 7 + 6
    assert found[0]["weight_bytes"] < found[1]["weight_bytes"]
