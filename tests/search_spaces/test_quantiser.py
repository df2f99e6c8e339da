"""The fixed-point quantiser: values computed by hand, two versions that agree, and what holds for all numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search_spaces._quantiser import FixedPoint, normal_mean_square, quantise
from search_spaces._quantiser_torch import (
    FixedPointConv2d,
    Quantiser,
    StepwiseBatchNorm2d,
    fake_quantise,
    set_quantised,
)

FORMS = st.builds(FixedPoint, st.integers(1, 8), st.integers(0, 8))
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def both(values, form):
    """Return what the two versions make of values, which must agree bit for bit but for the sign of zero."""
    array = np.array(values, np.float32)
    found = quantise(array, form)
    with torch.no_grad():
        np.testing.assert_array_equal(fake_quantise(torch.from_numpy(array), form).numpy(), found)
    assert found.dtype == np.float32
    return found.tolist()


@pytest.mark.parametrize(
    ("form", "bits", "lowest", "highest", "step"),
    [
        ((1, 1), 2, -1, 0.5, 0.5),
        ((1, 3), 4, -1, 0.875, 0.125),
        ((1, 6), 7, -1, 0.984375, 0.015625),
        ((3, 1), 4, -4, 3.5, 0.5),
        ((3, 3), 6, -4, 3.875, 0.125),
        ((3, 6), 9, -4, 3.984375, 0.015625),
        ((8, 8), 16, -128, 127.99609375, 0.00390625),
    ],
)
def test_formats(form, bits, lowest, highest, step):
    made = FixedPoint(*form)
    assert (made.bits, made.lowest, made.highest, made.step) == (bits, lowest, highest, step)
    assert both([lowest, highest, lowest - 1, highest + 1], made) == [lowest, highest, lowest, highest]


@pytest.mark.parametrize(
    ("form", "table"),
    [
        # 2 bits: -1, -0.5, 0 and 0.5; a half step goes to the even neighbour (0.25 is half of the step: to 0)
        ((1, 1), {-9: -1, -0.76: -1, -0.75: -1, -0.74: -0.5, -0.25: 0, -0.26: -0.5, 0.25: 0, 0.26: 0.5, 0.75: 0.5}),
        # 4 bits, steps of 1/8: 0.0625 is half of one, 0.1875 one and a half
        ((1, 3), {0.06: 0, 0.0625: 0, 0.063: 0.125, 0.1875: 0.25, 0.3: 0.25, 0.32: 0.375, 1: 0.875, -0.95: -1}),
        ((3, 1), {3.2: 3, 3.3: 3.5, 3.9: 3.5, -3.75: -4, -3.74: -3.5, -5: -4, 1.25: 1, 1.75: 2}),
        ((3, 6), {0.0078125: 0, 0.0079: 0.015625, -3.9999: -4, 4: 3.984375}),
        ((8, 8), {1.001953125: 1, 1.00196: 1.00390625, 200: 127.99609375, -200: -128}),
    ],
)
def test_values_by_hand(form, table):
    assert both(list(table), FixedPoint(*form)) == list(table.values())


def test_there_is_no_negative_zero():
    """The board's own version has none either: bytes must agree."""
    assert not np.signbit(quantise(np.array([-0.1, -0.0, 0.0], np.float32), FixedPoint(1, 1))).any()


@given(st.lists(FLOATS, min_size=1, max_size=30), FORMS)
def test_rounded_is_in_range_on_the_grid_and_stays(values, form):
    found = both(values, form)
    assert both(found, form) == found
    steps = np.array(found, float) * form.scale
    assert np.array_equal(steps, np.round(steps))
    assert form.lowest <= min(found) and max(found) <= form.highest


@given(st.lists(FLOATS, min_size=2, max_size=30), FORMS)
def test_rounding_keeps_the_order(values, form):
    found = both(sorted(values), form)
    assert found == sorted(found)


@given(FORMS, st.floats(-1, 1))
def test_inside_the_range_the_error_is_half_a_step_at_most(form, share):
    value = float(np.float32(share * form.highest))
    assert abs(both([value], form)[0] - value) <= form.step / 2


@pytest.mark.parametrize("form", [(0, 3), (-1, 8), (2, -1), (20, 5)])
def test_other_formats_are_refused(form):
    with pytest.raises(ValueError, match="no fixed-point format"):
        FixedPoint(*form)


@pytest.mark.parametrize(("ste", "expected"), [("identity", [1.0, 1.0, 1.0, 1.0]), ("clipped", [0.0, 1.0, 1.0, 0.0])])
def test_the_gradient_goes_straight_through(ste, expected):
    x = torch.tensor([-1.5, -0.3, 0.2, 0.9], requires_grad=True)
    made = fake_quantise(x, FixedPoint(1, 1), ste)
    assert made.tolist() == [-1.0, -0.5, 0.0, 0.5]
    made.sum().backward()
    assert x.grad.tolist() == expected


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), FORMS, st.sampled_from(["identity", "clipped"])
)
def test_a_gradient_changes_no_value(values, form, ste):
    x = torch.tensor(values, requires_grad=True)
    assert fake_quantise(x, form, ste).detach().numpy().tolist() == both(values, form)


def test_a_convolution_rounds_weights_and_bias_and_keeps_its_own():
    torch.manual_seed(0)
    form = FixedPoint(1, 3)
    layer = FixedPointConv2d((2, 3), 3, 1, 1, 1, True, form, "identity")
    kept = layer.weight.detach().clone()
    x = torch.randn(1, 2, 5, 5)
    expected = torch.nn.functional.conv2d(x, fake_quantise(kept, form), fake_quantise(layer.bias, form), padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
    assert torch.equal(layer.weight, kept)
    layer(x).sum().backward()
    assert layer.weight.grad.abs().min() > 0


def test_rounding_is_switched_off_and_on():
    net = torch.nn.Sequential(Quantiser(FixedPoint(1, 1), "identity"), torch.nn.Identity())
    x = torch.tensor([0.3])
    set_quantised(net, False)
    assert torch.equal(net(x), x)
    set_quantised(net, True)
    assert net(x).tolist() == [0.5]


def test_stepwise_normalisation_is_batch_normalisation():
    torch.manual_seed(0)
    ours, theirs = StepwiseBatchNorm2d(3), torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        ours.weight.copy_(torch.tensor([0.5, -2.0, 0.0]))
        ours.bias.uniform_()
    theirs.load_state_dict(ours.state_dict())
    x = 3 + 2 * torch.randn(8, 3, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))  # training: both learn the statistics
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("form", [(1, 1), (1, 6), (3, 3)])
@pytest.mark.parametrize("deviation", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("rectified", [False, True])
def test_mean_squares_of_rounded_normal_numbers(form, deviation, rectified):
    numbers = np.random.default_rng(0).normal(0.0, deviation, 400_000).astype(np.float32)
    rounded = quantise(np.maximum(numbers, 0) if rectified else numbers, FixedPoint(*form))
    expected = float(np.mean(rounded.astype(float) ** 2))
    assert normal_mean_square(deviation, FixedPoint(*form), rectified) == pytest.approx(expected, rel=0.02, abs=1e-6)


def test_a_constant_has_no_mean_square():
    assert normal_mean_square(0.0, FixedPoint(1, 1)) == 0.0
