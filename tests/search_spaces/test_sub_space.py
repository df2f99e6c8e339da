"""Sub-spaces of spaces whose networks are layers in a row: merged, contained, written and read."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._chain import merge
from search_spaces._sub_space import SubSpace
from search_spaces.mobilenet import Mobilenet
from search_spaces.quantised_cnn import QuantisedCnn

SPACES = {"quantised_cnn": QuantisedCnn(), "mobilenet": Mobilenet(), "filters": QuantisedCnn(filters=1)}


@st.composite
def networks(draw, most=4):
    """Return a space and some of its networks."""
    space = SPACES[draw(st.sampled_from(sorted(SPACES)))]
    decisions = st.tuples(*[st.integers(0, n - 1) for n in space.cardinalities])
    return space, [space.architecture(item) for item in draw(st.lists(decisions, min_size=1, max_size=most))]


def test_whole_spaces():
    quantised, mobile, filters = (space.whole() for space in SPACES.values())
    assert [len(layer) for layer in quantised.layers] == [144] * 6
    assert (quantised.candidates, quantised.networks) == (864, 144**6)
    assert [len(layer) for layer in mobile.layers] == [6] * 21
    assert (mobile.candidates, mobile.networks) == (126, 6**21)
    assert (filters.candidates, filters.networks) == (6 * 576, 576**6)


@given(networks(most=2))
def test_a_whole_space_contains_every_network_of_it_alone(drawn):
    space, found = drawn
    assert all(space.whole().contains(item) for item in found)
    other = next(item for item in SPACES.values() if item is not space)
    assert not any(other.whole().contains(item) for item in found)


@given(networks())
def test_layers_are_split_and_joined(drawn):
    space, found = drawn
    for architecture in found:
        assert len(space.split(architecture)) == len(space.layer_decisions)
        assert space.of_layers(space.split(architecture)) == architecture


def test_the_published_figure():
    """RADARS, Fig. 2: in layer 3 operations 4 and 5 are added, and the repeated 5 is not."""
    space = SPACES["mobilenet"]
    third = {0: 4, 1: 5, 2: 5}
    found = [space.architecture((i, 1, third[i], *[0] * 18)) for i in range(3)]
    merged = merge(space, found, "tuple")
    assert merged.layers[:4] == (((0,), (1,), (2,)), ((1,),), ((4,), (5,)), ((0,),))
    assert (merged.candidates, merged.networks) == (3 + 1 + 2 + 18, 6)


def test_factors_are_kernels_and_formats():
    """Two kernels, two formats of activations and one of weights make four candidates; by tuple there are two."""
    space = SPACES["quantised_cnn"]
    rest = "+".join(["k1a1.1w1.1"] * 5)
    first, second = (space.parse(f"{layer}+{rest}") for layer in ("k3a1.3w1.6", "k5a3.6w1.6"))
    own = merge(space, [first, second], "tuple")
    combined = merge(space, [first, second], "factor")
    assert [len(layer) for layer in own.layers] == [2, 1, 1, 1, 1, 1]
    texts = [space.of_layers((candidate, *space.split(first)[1:])).text for candidate in combined.layers[0]]
    expected = ["k3a1.3w1.6", "k3a3.6w1.6", "k5a1.3w1.6", "k5a3.6w1.6"]
    assert texts == [f"quantised_cnn:{layer}+{rest}" for layer in expected]


def test_factors_are_kernels_and_expansions():
    space = SPACES["mobilenet"]
    rest = "+".join(["k3e3"] * 20)
    merged = merge(space, [space.parse(f"{layer}+{rest}") for layer in ("k7e3", "k3e6")], "factor")
    texts = [space.of_layers((candidate, *merged.layers[1]) + ((0,),) * 19).text for candidate in merged.layers[0]]
    assert texts == [f"mobilenet:{layer}+{rest}" for layer in ("k7e3", "k7e6", "k3e3", "k3e6")]


@given(networks())
def test_merging_by_tuple_keeps_each_own_candidate_once(drawn):
    space, found = drawn
    merged = merge(space, found, "tuple")
    assert all(merged.contains(item) for item in found)
    for layer, own in zip(merged.layers, zip(*map(space.split, found), strict=True), strict=True):
        assert list(layer) == sorted(set(own), key=own.index)
    assert merge(space, [*found, *found], "tuple") == merged


@given(networks())
def test_merging_by_factor_is_the_closure_under_exchanging_factors(drawn):
    space, found = drawn
    own, merged = merge(space, found, "tuple"), merge(space, found, "factor")
    for layer, combined in zip(own.layers, merged.layers, strict=True):
        assert set(layer) <= set(combined) and layer[0] == combined[0]
        columns = [{*column} for column in zip(*map(space.factors, layer), strict=True)]
        assert {space.factors(item) for item in combined} == set(itertools.product(*columns))
        assert all(space.of_factors(space.factors(item)) == item for item in combined)
    most = max(map(len, merged.layers))
    corners = [space.of_layers(layer[i % len(layer)] for layer in merged.layers) for i in range(most)]
    assert merge(space, corners, "factor") == merged


@given(networks())
def test_everything_in_a_sub_space_is_contained_and_nothing_else(drawn):
    space, found = drawn
    merged = merge(space, found, "tuple")
    mixed = space.of_layers(layer[-1] for layer in merged.layers)
    assert merged.contains(mixed)
    for number, layer in enumerate(space.whole().layers):
        foreign = next((item for item in layer if item not in merged.layers[number]), None)
        if foreign is not None:
            split = list(space.split(mixed))
            split[number] = foreign
            assert not merged.contains(space.of_layers(split))


@given(networks(), st.sampled_from(["tuple", "factor"]))
def test_a_sub_space_is_written_and_read(drawn, how):
    space, found = drawn
    merged = merge(space, found, how)
    text = json.dumps(merged.to_json(), allow_nan=False)
    assert SubSpace.from_json(json.loads(text)) == merged
    assert hash(SubSpace.from_json(json.loads(text))) == hash(merged)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
)


@given(JSON | JSON.map(lambda inner: {"layers": inner}) | JSON.map(lambda inner: {"layers": [[[0]], inner]}))
def test_any_other_value_is_refused_or_the_same_when_written_again(value):
    try:
        found = SubSpace.from_json(value)
    except UsageError:
        return
    assert json.dumps(found.to_json()) == json.dumps(value)


@pytest.mark.parametrize(
    "layers",
    [[], [[]], [[[0], [0]]], [[[0], [0, 1]]], [[[-1]]], [[[True]]], [[[0.0]]], [[["0"]]], [[0]], "0", None],
)
def test_damaged_sub_spaces_are_refused(layers):
    with pytest.raises(UsageError):
        SubSpace.from_json({"layers": layers})


def test_unknown_keys_are_refused():
    good = SPACES["mobilenet"].whole().to_json()
    with pytest.raises(UsageError, match="no sub-space"):
        SubSpace.from_json({**good, "more": 1})


@pytest.mark.parametrize(
    ("architectures", "how", "match"),
    [
        ([], "tuple", "no networks"),
        ([SPACES["quantised_cnn"].architecture((0,) * 30)], "union", "not merged by"),
        ([SPACES["mobilenet"].architecture((0,) * 21)], "tuple", "no decisions of quantised_cnn"),
        ([Architecture("mobilenet", (0,) * 30, "mobilenet:forged")], "tuple", "no network of quantised_cnn"),
    ],
)
def test_what_cannot_be_merged_is_refused(architectures, how, match):
    with pytest.raises(UsageError, match=match):
        merge(SPACES["quantised_cnn"], architectures, how)


@pytest.mark.parametrize(
    "sub",
    [
        SPACES["mobilenet"].whole(),
        SubSpace((((0, 0, 0, 0, 0),),) * 5),
        SubSpace((((0, 0, 0, 0),),) * 6),
        SubSpace((((4, 0, 0, 0, 0),),) * 6),
        SubSpace((((0, 0, 0, 0, 3),),) * 6),
    ],
)
def test_sub_spaces_of_other_spaces_are_refused(sub):
    space = SPACES["quantised_cnn"]
    for use in (space.require, space.chain_supergraph, lambda item: space.chain_cost(item, lambda block: 1.0)):
        with pytest.raises(UsageError, match="no sub-space of quantised_cnn"):
            use(sub)
