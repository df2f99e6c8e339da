"""FBNet: texts, skeletons, shuffles, and the reference table of 5,000 networks with its table of blocks."""

import csv
import gzip

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.agent._assemble import assemble
from hilnas.errors import UsageError
from search_spaces._blocks import lookup_counts
from search_spaces._costs import block_costs, layer_rows, static_costs
from search_spaces._features import FEATURES, physical_features
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._layer_costs import Input, graph_costs
from search_spaces._module_costs import module_costs
from search_spaces._onnx import to_onnx
from search_spaces._onnx_costs import onnx_costs
from search_spaces._recipe import to_onnx_and_recipe
from search_spaces._torch import to_module
from search_spaces._weights import make_weights
from search_spaces.fbnet import OPERATIONS, FBNet

SPACE = FBNet()
SMALL = FBNet(resolution=8, classes=3)
IMAGENET = FBNet(imagenet=1)
SKIP = OPERATIONS.index("skip")
DECISIONS = st.tuples(*[st.integers(0, SKIP)] * 22)
#: The layers that change channels or resolution, from 1: there a skip is no identity.
CHANGING = (2, 6, 10, 14, 18, 22)
#: FBNet-B and FBNet-C (Wu et al., CVPR 2019) as its authors' mobile-vision builds them.
FBNET_B = (
    "k3_e1|k3_e6|k5_e1|k3_e1|k3_e1|k5_e6|k5_e3|k3_e6|k5_e6|k5_e6|k5_e6|skip|k5_e3|k5_e6|k3_e1|k5_e1|k5_e3|"
    "k5_e6|k5_e1|k5_e6|k5_e6|k3_e6"
)
FBNET_C = (
    "k3_e1|k3_e6|skip|k3_e1|k3_e1|k5_e6|k5_e3|k5_e6|k3_e6|k5_e6|k5_e3|k5_e6|k5_e6|k5_e6|k5_e6|k5_e6|k5_e3|"
    "k5_e6|k5_e6|k5_e6|k5_e6|k3_e6"
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def latency_rows(reference_data):
    with gzip.open(reference_data / "fbnet_latency.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def block_rows(reference_data):
    with (reference_data / "fbnet_lut_recovered.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def text_of(row):
    return "fbnet:" + "|".join(row[f"op_{layer:02d}"] for layer in range(1, 23))


def with_layers(decisions, **operations):
    """Return decisions with some layers replaced, named `layer1` ... `layer22`."""
    changed = list(decisions)
    for name, operation in operations.items():
        changed[int(name.removeprefix("layer")) - 1] = OPERATIONS.index(operation)
    return tuple(changed)


def uniform(operation, space=SPACE, **operations):
    """Return the graph of the network of one operation in all layers but those that are named."""
    return space.graph(space.architecture(with_layers((OPERATIONS.index(operation),) * 22, **operations)))


def run_onnx(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": x})[0]


def run_torch(module, x):
    with torch.no_grad():
        return module.eval()(torch.from_numpy(x)).numpy()


def test_costs_match_the_reference_table(latency_rows):
    """All 5,000: the skeleton is that of CIFAR-100. The table adds the bias of the classifier, one a class."""
    for row in latency_rows:
        architecture = SPACE.parse(text_of(row))
        assert architecture.text == text_of(row)
        costs = static_costs(SPACE.graph(architecture))
        assert costs.macs == int(row["macs"]) - 100
        assert costs.params == int(row["params"])


def test_lookup_keys_index_the_reference_table_of_blocks(latency_rows, block_rows):
    """Blocks of one key have one entry; with them, base and sum give the columns that are made of such sums."""
    columns = ("eyeriss", "fpga", "pixel3", "raspi4")
    base, entries = {}, {}
    for row in block_rows:
        values = [float(row[f"{column}_ms"]) for column in columns]
        if row["op"] == "base":
            base = values
            continue
        graph = uniform("skip", **{f"layer{row['layer']}": row["op"]})
        keys = {call.block.key for call in graph.calls if call.name == f"layer{row['layer']}"}
        for key in keys:
            np.testing.assert_allclose(entries.setdefault(key, values), values)
    assert len(entries) == len(SPACE.blocks()) - 2
    for row in latency_rows[::10]:
        counts = lookup_counts(SPACE.graph(SPACE.parse(text_of(row))))
        found = np.array(base) + sum(n * np.array(entries[key]) for key, n in counts.items() if key in entries)
        assert sum(key in entries for key in counts) == len(counts) - 2
        np.testing.assert_allclose(found, [float(row[column]) for column in columns], rtol=1e-4)


@pytest.mark.parametrize(("text", "macs"), [(FBNET_B, 291.1e6), (FBNET_C, 378.2e6)])
def test_published_networks_cost_what_their_authors_count(text, macs):
    """Theirs do not widen where the expansion is 1; HW-NAS-Bench's, and ours, do."""
    graph = IMAGENET.graph(IMAGENET.parse(text))
    once = {call.name for call in graph.calls if call.block.kind in ("k3_e1", "k5_e1")}
    rows = [row for row in layer_rows(graph) if row["layer"] not in {f"{name}.widen_conv" for name in once}]
    assert sum(row["macs"] for row in rows) == pytest.approx(macs, rel=1e-3)


def test_a_layer_by_hand():
    """Layer 6: 24 channels of 32 x 32 to 32 of 16 x 16; two groups, kernel 5."""
    rows = {row["layer"]: row for row in layer_rows(uniform("skip", layer6="k5_e1_g2"))}
    macs = {"widen_conv": 32 * 32 * 24 * 12, "deep_conv": 16 * 16 * 24 * 25, "narrow_conv": 16 * 16 * 32 * 12}
    assert {name: rows[f"layer6.{name}"]["macs"] for name in macs} == macs
    params = {"widen_conv": 24 * 12, "deep_conv": 24 * 25, "narrow_conv": 32 * 12, "narrow_bn": 2 * 32, "shuffle": 0}
    assert {name: rows[f"layer6.{name}"]["params"] for name in params} == params
    assert rows["layer6.shuffle"]["output_shape"] == (1, 24, 32, 32)
    assert "layer6.add" not in rows


@pytest.mark.parametrize(("space", "side"), [(SPACE, 4), (IMAGENET, 7), (FBNet(imagenet=1, resolution=64), 2)])
def test_skips_are_projections_where_shapes_change(space, side):
    graph = uniform("skip", space)
    assert [call.name for call in graph.calls] == ["stem", *(f"layer{layer}" for layer in CHANGING), "head"]
    assert all(call.block.kind == "skip" for call in graph.calls[1:-1])
    assert [op.kind for op in graph.calls[1].block.operators] == ["conv2d", "batch_norm", "relu"]
    assert graph.calls[-1].block.inputs[0].shape == (1, 352, side, side)


def test_residuals_are_where_shapes_stay():
    graph = uniform("k3_e3")
    sums = [call.name for call in graph.calls if call.block.operators[-1].kind == "add"]
    assert sums == [f"layer{layer}" for layer in range(1, 23) if layer not in CHANGING]


def test_layers_of_equal_shapes_share_blocks():
    keys = [call.block.key for call in uniform("k5_e6").calls[1:-1]]
    assert keys[0] == "k5_e6/1x16x32x32/1x16x32x32/w32a32"
    assert keys[1] == "k5_e6/1x16x32x32/1x24x32x32/w32a32"
    assert [len(set(keys[start : start + 3])) for start in (2, 6, 10, 14, 18)] == [1] * 5
    assert len(set(keys)) == 12
    assert len(SPACE.blocks()) == 12 * 8 + 6 + 2
    assert all(a is b for a, b in zip(FBNet().blocks(), SPACE.blocks(), strict=True))


def test_choices_give_the_expected_cost_of_independent_layers():
    """Mean over uniformly drawn networks, and the exact expectation: stem, head and the mean of every layer."""
    macs = [[0 if block is None else block_costs(block).macs for block in layer] for layer in SPACE.choices()]
    fixed = sum(block_costs(SPACE.blocks()[i]).macs for i in (0, -1))
    rng = np.random.default_rng(0)
    drawn = [static_costs(SPACE.graph(SPACE.sample(rng))).macs for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(fixed + np.mean(macs, axis=1).sum(), abs=5 * np.std(drawn) / 2000**0.5)
    everywhere = [block for layer in SPACE.choices() for block in layer if block is not None]
    assert set(everywhere) == set(SPACE.blocks()[1:-1])


@given(DECISIONS)
def test_text_round_trip(decisions):
    architecture = SPACE.architecture(decisions)
    assert architecture.text == "fbnet:" + "|".join(OPERATIONS[item] for item in decisions)
    assert SPACE.parse(f" {architecture.text.removeprefix('fbnet:')}\n") == architecture


@given(DECISIONS, st.integers(0, 500), st.text(max_size=3))
def test_damaged_text_is_refused_or_another_network(decisions, place, junk):
    text = SPACE.architecture(decisions).text
    damaged = text[: place % len(text)] + junk + text[place % len(text) + 1 :]
    try:
        parsed = SPACE.parse(damaged)
    except UsageError:
        return
    assert parsed.text.removeprefix("fbnet:") == damaged.strip().removeprefix("fbnet:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FBNET_C.replace("skip", "skp"), ["layer 3", "'skp'", "Did you mean 'skip'?"]),
        (FBNET_C.replace("k5_e3|k5_e6|k5_e6|k5_e6|k5_e6|k3_e6", "k5_e4|" * 5 + "k3_e6"), ["layer 17", "k5_e4"]),
        (FBNET_C + "|skip", ["23 layers"]),
        (FBNET_C.removesuffix("|k3_e6"), ["21 layers"]),
        (FBNET_C.replace("|", "+"), ["1 layers"]),
    ],
)
def test_bad_text_says_where_and_what(text, expected):
    with pytest.raises(UsageError) as error:
        SPACE.parse(text)
    for part in expected:
        assert part in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"imagenet": 2},
        {"resolution": 0},
        {"resolution": 36},
        {"imagenet": 1, "resolution": 40},
        {"classes": 0},
        {"batch": -1},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(UsageError, match="fbnet"):
        FBNet(**options)


def test_the_space_is_not_enumerated():
    with pytest.raises(UsageError, match=r"9\.8e\+20"):
        SPACE.enumerate()


def test_mutation_reaches_every_neighbour():
    rng = np.random.default_rng(0)
    start = SPACE.architecture((3,) * 22)
    assert len({SPACE.mutate(start, rng) for _ in range(3000)}) == 22 * 8


@given(DECISIONS, st.sampled_from([3, 7, 11, 15, 19]), st.sampled_from(OPERATIONS[:SKIP]))
def test_where_an_identity_stands_does_not_matter(decisions, first, operation):
    """Of the last three layers of a stage one is the operation, the others are identities."""
    layers = [f"layer{first + i}" for i in range(3)]
    bare = with_layers(decisions, **dict.fromkeys(layers, "skip"))
    forms = {form(with_layers(bare, **{name: operation})) for name in layers}
    assert len(forms) == 1
    assert SPACE.canonical(SPACE.parse(min(forms))) in forms


@given(DECISIONS, st.permutations(range(3)))
def test_networks_of_one_form_call_the_same_blocks_in_the_same_order(decisions, order):
    changed = list(decisions)
    for start in (2, 6, 10, 14, 18):
        changed[start : start + 3] = [decisions[start + i] for i in order]
    calls = [
        [call.block for call in SPACE.graph(SPACE.architecture(item)).calls] for item in (decisions, tuple(changed))
    ]
    assert (calls[0] == calls[1]) == (form(decisions) == form(tuple(changed)))


def form(decisions):
    return SPACE.canonical(SPACE.architecture(decisions))


@settings(max_examples=20, deadline=None)
@given(DECISIONS)
def test_features_count_the_layers(decisions):
    found = dict(zip(FEATURES, physical_features(SMALL.graph(SMALL.architecture(decisions))), strict=True))
    blocks = [OPERATIONS[item] for item in decisions if item != SKIP]
    projections = sum(decisions[layer - 1] == SKIP for layer in CHANGING)
    sums = sum(item != SKIP for i, item in enumerate(decisions, start=1) if i not in CHANGING)
    expected = {
        "n_depthwise": len(blocks),
        "n_conv1x1": 2 * len(blocks) + projections + 1,
        "n_conv3x3": 1,
        "n_conv_other": 0,
        "n_norm": sum(name.endswith("_g2") for name in blocks),
        "n_add": sums,
        "n_relu": 2 * len(blocks) + projections + 2,
        "n_pool": 1,
        "n_linear": 1,
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("groups", [2, 3])
def test_shuffles_are_the_same_in_all_views(groups):
    spec = TensorSpec((2, 6, 3, 3))
    shuffle = Operator("shuffle", "channel_shuffle", ("in0",), spec, spec, groups=groups)
    graph = Graph(spec, (Call("net", Block("shuffle", (spec,), (shuffle,)), ("input",)),))
    x = np.random.default_rng(0).standard_normal(spec.shape, dtype=np.float32)
    expected = np.empty_like(x)
    for channel in range(6):
        expected[:, channel % (6 // groups) * groups + channel // (6 // groups)] = x[:, channel]
    np.testing.assert_array_equal(run_torch(to_module(graph), x), expected)
    np.testing.assert_array_equal(run_onnx(to_onnx(graph), x), expected)


@pytest.mark.parametrize("options", [{"batch": 2}, {"imagenet": 1, "resolution": 32}])
def test_torch_and_onnx_agree(options):
    space = FBNet(classes=7, **options)
    graph = uniform("k5_e1_g2", space, layer4="skip", layer10="skip", layer12="k3_e6", layer22="k3_e1_g2")
    rng = np.random.default_rng(1)
    weights = {
        name: rng.uniform(0.5, 1.5, values.shape).astype(np.float32) if values.ndim == 1 else values
        for name, values in make_weights(graph).items()
    }
    x = rng.standard_normal(space.input_shape, dtype=np.float32)
    expected = run_torch(to_module(graph, weights), x)
    model = to_onnx(graph, weights)
    onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
    np.testing.assert_allclose(run_onnx(model, x), expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_activations_stay_of_a_usual_size():
    x = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
    for operation in OPERATIONS:
        found = run_torch(to_module(uniform(operation)), x)
        assert 0.01 < found.std() < 10, operation


def test_three_counters_agree():
    graph = uniform("k3_e1_g2", SMALL, layer7="skip", layer14="skip", layer20="k5_e6")
    by_graph = graph_costs(graph)
    by_module = module_costs(to_module(graph), [Input(graph.input.shape)])
    by_file = onnx_costs(onnx.load_model_from_string(to_onnx(graph)))
    for table in (by_module, by_file):
        assert table.macs == by_graph.macs == static_costs(graph).macs
        assert not table.uncounted
    assert by_module.params == by_graph.params
    assert by_file.without_macs["Transpose"] == by_graph.without_macs["channel_shuffle"] == 19


def test_boards_write_the_same_bytes(tmp_path):
    graph = uniform("k5_e1_g2", SMALL, layer9="k3_e6")
    model, recipe = to_onnx_and_recipe(graph, 5)
    assert assemble(recipe, str(tmp_path)) == model == to_onnx(graph, seed=5)
    assert len(recipe) < 10_000
