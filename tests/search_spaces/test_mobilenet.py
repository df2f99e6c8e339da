"""The space of RADARS, Table III: published skeleton, costs by hand, texts, narrow and small versions."""

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from hypothesis import given
from hypothesis import strategies as st

from devices.agent._assemble import assemble
from hilnas.errors import UsageError
from search_spaces._costs import block_costs, layer_rows, static_costs
from search_spaces._features import FEATURES, physical_features
from search_spaces._recipe import to_onnx_and_recipe
from search_spaces._torch import to_module
from search_spaces.mobilenet import CANDIDATES, Mobilenet

SPACE = Mobilenet()
SMALL = Mobilenet(width=25, resolution=32, classes=10)
DECISIONS = st.tuples(*[st.integers(0, 5)] * 21)
#: The first layers of the six stages, from 1.
FIRST = (1, 5, 9, 13, 17, 21)
#: Side and channels behind the stem, behind the first inverted residual, and channels, layers and sides of the stages.
PUBLISHED = (112, 32, 16, ((24, 4, 56), (40, 4, 28), (80, 4, 14), (96, 4, 14), (192, 4, 7), (320, 1, 7)), 1280)
#: Of the network of one candidate everywhere, at 224 x 224 and 1000 classes.
COSTS = {
    "k3e3": (257_422_208, 3_191_928),
    "k3e6": (472_620_800, 4_684_776),
    "k5e3": (284_216_192, 3_275_640),
    "k5e6": (526_208_768, 4_852_200),
    "k7e3": (324_407_168, 3_401_208),
    "k7e6": (606_590_720, 5_103_336),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def uniform(layer, space=SPACE):
    return space.graph(space.parse("+".join([layer] * 21)))


def by_hand(layers, skeleton, classes):
    """Return MACs and parameters of a network, from kernels and expansions alone."""
    side, stem, channels, stages, last = skeleton
    macs = side**2 * (27 * stem + 9 * stem + stem * channels) + classes * last
    params = 27 * stem + 9 * stem + stem * channels + 2 * (stem + stem + channels) + classes * (last + 1)
    remaining = iter(layers)
    for after, n, smaller in stages:
        for _ in range(n):
            kernel, expansion = next(remaining)
            wide = channels * expansion
            macs += side**2 * channels * wide + smaller**2 * wide * (kernel**2 + after)
            params += wide * (channels + kernel**2 + after) + 2 * (2 * wide + after)
            side, channels = smaller, after
    return macs + side**2 * channels * last, params + channels * last + 2 * last


@pytest.mark.parametrize("layer", COSTS)
def test_costs_of_uniform_networks(layer):
    costs = static_costs(uniform(layer))
    assert (costs.macs, costs.params) == COSTS[layer]
    assert by_hand([(int(layer[1]), int(layer[3]))] * 21, PUBLISHED, 1000) == COSTS[layer]


@given(DECISIONS)
def test_costs_by_hand(decisions):
    layers = [CANDIDATES[item] for item in decisions]
    costs = static_costs(SPACE.graph(SPACE.architecture(decisions)))
    assert (costs.macs, costs.params) == by_hand(layers, PUBLISHED, 1000)
    small = (32, 8, 8, ((8, 4, 32), (16, 4, 16), (24, 4, 8), (24, 4, 8), (48, 4, 4), (80, 1, 4)), 1280)
    costs = static_costs(SMALL.graph(SMALL.architecture(decisions)))
    assert (costs.macs, costs.params) == by_hand(layers, small, 10)


def test_a_layer_by_hand():
    """Layer 5: 24 channels of 56 x 56 to 40 of 28 x 28, three times as wide, kernel 7."""
    rows = {row["layer"]: row for row in layer_rows(uniform("k7e3"))}
    macs = {"widen_conv": 56 * 56 * 24 * 72, "deep_conv": 28 * 28 * 72 * 49, "narrow_conv": 28 * 28 * 72 * 40}
    assert {name: rows[f"layer5.{name}"]["macs"] for name in macs} == macs
    assert "layer5.add" not in rows and "layer6.add" in rows
    assert "first.widen_conv" not in rows and rows["first.deep_conv"]["macs"] == 112 * 112 * 32 * 9


def test_fvcore_counts_the_published_size_alike():
    graph = SPACE.graph(SPACE.sample(np.random.default_rng(0)))
    analysis = FlopCountAnalysis(to_module(graph).eval(), torch.zeros(SPACE.input_shape))
    counted = analysis.unsupported_ops_warnings(False).by_operator()
    assert counted["conv"] + counted["linear"] == static_costs(graph).macs


def test_the_published_skeleton():
    shapes = [call.block.output.shape for call in uniform("k5e6").calls]
    assert shapes[:2] == [(1, 32, 112, 112), (1, 16, 112, 112)]
    assert shapes[2:-1] == [(1, n, side, side) for n, layers, side in PUBLISHED[3] for _ in range(layers)]
    assert shapes[-1] == (1, 1000)
    assert SPACE.cardinalities == (6,) * 21 and SPACE.input_shape == (1, 3, 224, 224)


def test_residuals_are_where_shapes_stay():
    """Also in the first layer of a stage, where channels are so few that stages have as many."""
    sums = [call.name for call in uniform("k3e3").calls if call.block.operators[-1].kind == "add"]
    assert sums == [f"layer{number}" for number in range(1, 22) if number not in FIRST]
    sums = [call.name for call in uniform("k3e3", Mobilenet(width=1)).calls if call.block.operators[-1].kind == "add"]
    assert sums == [f"layer{number}" for number in range(1, 22) if number not in (1, 5, 9, 17)]


@pytest.mark.parametrize(
    ("width", "channels"),
    [
        (100, (32, 16, 24, 40, 80, 96, 192, 320, 1280)),
        (35, (16, 8, 8, 16, 32, 32, 64, 112, 1280)),
        (140, (48, 24, 32, 56, 112, 136, 272, 448, 1792)),
        (1, (8, 8, 8, 8, 8, 8, 8, 8, 1280)),
    ],
)
def test_channels_of_other_widths(width, channels):
    """By hand: 0.35 x 24 = 8.4 gives 8; 1.4 x 16 = 22.4 gives 24; 1.4 x 96 = 134.4 gives 136."""
    calls = uniform("k3e3", Mobilenet(width=width)).calls
    found = [calls[i].block.output.shape[1] for i in (0, 1, 2, 6, 10, 14, 18, 22)]
    found.append(next(op.output_spec.shape[1] for op in calls[-1].block.operators))
    assert tuple(found) == channels


def test_rounding_takes_away_a_tenth_at_most():
    """0.5 x 24 = 12 is as near to 8 as to 16; 0.1875 x 96 = 18 would be 16, a ninth too few."""
    for width, published in ((50, 24), (19, 96)):
        calls = uniform("k3e3", Mobilenet(width=width)).calls
        found = next(c.block.output.shape[1] for c in calls if c.name == {24: "layer1", 96: "layer13"}[published])
        assert found == {24: 16, 96: 24}[published]


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({"resolution": 224}, (112, 56, 28, 14, 14, 7, 7)),
        ({"resolution": 64}, (64, 32, 16, 8, 8, 4, 4)),
        ({"resolution": 32}, (32, 32, 16, 8, 8, 4, 4)),
        ({"resolution": 32, "halvings": 4}, (32, 16, 8, 4, 4, 2, 2)),
        ({"resolution": 32, "halvings": 5}, (16, 8, 4, 2, 2, 1, 1)),
        ({"resolution": 7, "halvings": 0}, (7,) * 7),
    ],
)
def test_sides_of_smaller_pictures(options, sides):
    space = Mobilenet(**options)
    calls = {call.name: call for call in uniform("k3e3", space).calls}
    assert calls["stem"].block.output.shape[2:] == calls["first"].block.output.shape[2:]
    found = [calls[name].block.output.shape[2] for name in ("stem", *(f"layer{number}" for number in FIRST))]
    assert tuple(found) == sides
    assert Mobilenet(**space.options).options == space.options


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"resolution": 0},
        {"resolution": -8},
        {"resolution": 100},
        {"resolution": 48, "halvings": 5},
        {"halvings": 6},
        {"halvings": -1},
        {"classes": 0},
        {"batch": 0},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(UsageError, match="mobilenet"):
        Mobilenet(**options)


@given(DECISIONS)
def test_text_round_trip(decisions):
    architecture = SPACE.architecture(decisions)
    layers = ["k3e3", "k3e6", "k5e3", "k5e6", "k7e3", "k7e6"]
    assert architecture.text == "mobilenet:" + "+".join(layers[item] for item in decisions)
    assert SPACE.parse(f" {architecture.text.removeprefix('mobilenet:')}\n") == architecture


@given(DECISIONS, st.integers(0, 500), st.text(max_size=3))
def test_damaged_text_is_refused_or_another_network(decisions, place, junk):
    text = SPACE.architecture(decisions).text
    damaged = text[: place % len(text)] + junk + text[place % len(text) + 1 :]
    try:
        parsed = SPACE.parse(damaged)
    except UsageError:
        return
    assert parsed.text.removeprefix("mobilenet:") == damaged.strip().removeprefix("mobilenet:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+".join(["k3e6"] * 20), ["20 layers"]),
        ("+".join(["k3e6"] * 20 + ["k4e6"]), ["'k4e6'", "Kernels are 3, 5 or 7"]),
        ("+".join(["k3e6"] * 20 + ["k3e1"]), ["'k3e1'", "expansions 3 or 6"]),
    ],
)
def test_bad_text_says_what_is_expected(text, expected):
    with pytest.raises(UsageError) as error:
        SPACE.parse(text)
    assert all(part in str(error.value) for part in expected)


def test_the_space_is_not_enumerated():
    with pytest.raises(UsageError, match=r"2\.2e\+16"):
        SPACE.enumerate()


def test_mutation_reaches_every_neighbour():
    rng = np.random.default_rng(0)
    start = SPACE.architecture((3,) * 21)
    assert len({SPACE.mutate(start, rng) for _ in range(2000)}) == 21 * 5


@pytest.mark.parametrize("width", [100, 25, 10, 1])
def test_layers_of_equal_shapes_share_blocks(width):
    space = Mobilenet(width=width)
    blocks = space.blocks()
    assert len({block.key for block in blocks}) == len(set(blocks)) == len(blocks)
    assert len(blocks) == 69 or width < 50
    assert all(a is b for a, b in zip(Mobilenet(width=width).blocks(), blocks, strict=True))


def test_choices_are_the_blocks_of_layers():
    choices = SPACE.choices()
    assert tuple(map(len, choices)) == SPACE.cardinalities
    architecture = SPACE.sample(np.random.default_rng(1))
    own = [layer[item] for layer, item in zip(choices, architecture.decisions, strict=True)]
    assert own == [call.block for call in SPACE.graph(architecture).calls[2:-1]]
    fixed = sum(block_costs(SPACE.blocks()[i]).macs for i in (0, 1, -1))
    assert fixed + sum(block_costs(block).macs for block in own) == static_costs(SPACE.graph(architecture)).macs


@given(DECISIONS)
def test_features_count_the_layers(decisions):
    found = dict(zip(FEATURES, physical_features(SMALL.graph(SMALL.architecture(decisions))), strict=True))
    expected = {"n_depthwise": 22, "n_conv1x1": 44, "n_conv3x3": 1, "n_linear": 1, "n_pool": 1, "n_relu": 45}
    assert {name: found[name] for name in expected} == expected


def test_activations_stay_of_a_usual_size():
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for layer in COSTS:
        with torch.no_grad():
            found = to_module(uniform(layer, SMALL)).eval()(x)
        assert 0.01 < found.std() < 10, layer


def test_boards_write_the_same_bytes(tmp_path):
    graph = SMALL.graph(SMALL.sample(np.random.default_rng(2)))
    model, recipe = to_onnx_and_recipe(graph, 5)
    assert assemble(recipe, str(tmp_path)) == model
    assert len(recipe) < 10_000
