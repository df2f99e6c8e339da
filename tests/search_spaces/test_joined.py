"""What concat, crop and dilation mean to the views that estimate and count."""

import pytest

from search_spaces._costs import aops
from search_spaces._features import FEATURES, physical_features
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._moments import _inside, running_variances

ENTRY, HALF, WHOLE = TensorSpec((1, 4, 8, 8)), TensorSpec((1, 4, 8, 8)), TensorSpec((1, 8, 8, 8))


def joined(*last, bits=32):
    """Return two convolutions, one of them after a ReLU, joined, and what follows."""
    operators = (
        Operator("relu", "relu", ("in0",), ENTRY, ENTRY),
        Operator("a", "conv2d", ("relu",), ENTRY, HALF, weight_bits=bits),
        Operator("b", "conv2d", ("in0",), ENTRY, HALF, weight_bits=bits),
        Operator("join", "concat", ("a", "b"), HALF, WHOLE),
        *last,
    )
    return Graph(ENTRY, (Call("net", Block("joined", (ENTRY,), operators), ("input",)),))


def test_joined_channels_have_the_mean_of_their_squares():
    # Convolutions double the mean square: of 1 / 2 behind the ReLU, of 1 without it.
    graph = joined(Operator("bn", "batch_norm", ("join",), WHOLE, WHOLE))
    assert running_variances(graph) == {"net.bn": pytest.approx((1.0 + 2.0) / 2)}


def test_a_dilated_window_meets_more_padding():
    window = {"kernel": 3, "padding": 2, "dilation": 2}
    dilated = Operator("conv", "conv2d", ("in0",), ENTRY, HALF, **window)
    # Of 8 places 2 lack the first tap and 2 the last one: 20 of 24 products are inside, in both directions.
    assert _inside(dilated) == pytest.approx((20 / 24) ** 2)


def test_joining_and_cropping_pass_over_a_tensor():
    cropped = TensorSpec((1, 8, 7, 7))
    found = physical_features(joined(Operator("crop", "crop", ("join",), WHOLE, cropped)))
    assert found[FEATURES.index("n_norm")] == 2


def test_what_is_joined_is_stored_as_the_joint_is_rounded():
    rounded = TensorSpec((1, 8, 8, 8), bits=6)
    graph = joined(Operator("round", "quantise", ("join",), WHOLE, rounded, fraction_bits=3), bits=4)
    macs = 2 * 4 * 4 * 64
    assert aops(graph, "output") == macs * 6 * 4
