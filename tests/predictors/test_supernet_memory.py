"""The model of published supernets: its files, its features, its splits, and what it reaches on the reference data."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilnas.errors import BadFile, UsageError
from predictors import _supernet_memory as memory
from predictors._sub_spaces import LayerChoices, MeasuredSubSpace, load

FORMATS = [(i, f) for i in (1, 3) for f in (1, 3, 6)]


def some(choices, most=4):
    return st.lists(st.sampled_from(choices), min_size=1, max_size=most, unique=True).map(sorted).map(tuple)


LAYER = st.builds(LayerChoices, some([1, 3, 5, 7]), some(FORMATS), some(FORMATS))
SUB_SPACE = st.tuples(*[LAYER] * 6)


def written(rows):
    """Return rows as they stand in a file."""
    return [
        {
            "layers": [
                {
                    "kernels": list(layer.kernels),
                    "activation_bits": list(map(list, layer.activations)),
                    "weight_bits": list(map(list, layer.weights)),
                }
                for layer in row.layers
            ],
            "measured_mb": row.measured_mb,
        }
        for row in rows
    ]


def drawn(n, seed=0, noise_mb=0.0, law=(700.0, 3.0, 7.0, 1.5, 1.0)):
    """Return n random sub-spaces whose memory follows a known law."""
    rng = np.random.default_rng(seed)

    def pick(choices):
        chosen = rng.choice(len(choices), rng.integers(1, 5), replace=False)
        return tuple(choices[i] for i in sorted(chosen))

    found = []
    for _ in range(n):
        layers = tuple(LayerChoices(pick([1, 3, 5, 7]), pick(FORMATS), pick(FORMATS)) for _ in range(6))
        mb = law[0] + memory.features(layers) @ law[1:] + noise_mb * rng.standard_normal()
        found.append(MeasuredSubSpace(layers, float(mb)))
    return found


@given(st.lists(st.builds(MeasuredSubSpace, SUB_SPACE, st.floats(1, 1e6)), min_size=1, max_size=4))
def test_a_file_is_read_as_it_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "x.json"
    path.write_text(json.dumps(written(rows)))
    assert load(path) == rows


def spoilt(**changes):
    """Return a good row with parts of it changed; `layer` changes its first layer."""
    row = written(drawn(1))[0]
    row["layers"][0] |= changes.pop("layer", {})
    return {**row, **changes}


def without(key, where=None):
    row = written(drawn(1))[0]
    del (row if where is None else row["layers"][where])[key]
    return row


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({}, "no list"),
        ([], "no list"),
        ([7], "row 0"),
        ([without("layers")], "'layers' is missing"),
        ([without("measured_mb")], "'measured_mb' is missing"),
        ([without("kernels", 2)], "'kernels' is missing"),
        ([without("weight_bits", 5)], "'weight_bits' is missing"),
        ([written(drawn(1))[0], spoilt(layers=[])], "row 1.*6 layers"),
        ([spoilt(layers="123456")], "6 layers"),
        ([spoilt(measured_mb="7409")], "measured_mb is '7409'"),
        ([spoilt(measured_mb=-1)], "measured_mb is -1"),
        ([spoilt(measured_mb=True)], "measured_mb is True"),
        ([spoilt(measured_mb=float("nan"))], "measured_mb is nan"),
        ([spoilt(measured_mb=float("inf"))], "measured_mb is inf"),
        ([spoilt(layer={"kernels": []})], "no list of choices"),
        ([spoilt(layer={"kernels": 3})], "no list of choices"),
        ([spoilt(layer={"kernels": [2]})], "not all odd"),
        ([spoilt(layer={"kernels": [3, 3]})], "one twice"),
        ([spoilt(layer={"kernels": [3.5]})], "whole number"),
        ([spoilt(layer={"kernels": [True]})], "whole number"),
        ([spoilt(layer={"weight_bits": [[1, 3], [1, 3]]})], "one twice"),
        ([spoilt(layer={"weight_bits": [3]})], "no pair"),
        ([spoilt(layer={"activation_bits": [[1, 3, 6]]})], "no pair"),
        ([spoilt(layer={"activation_bits": [[0, 3]]})], "whole number"),
    ],
)
def test_a_bad_file_names_its_row_and_what_is_wrong(tmp_path, rows, said):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(BadFile, match=said):
        load(path)


@pytest.mark.parametrize("text", ["", "{", "\x00"])
def test_what_is_no_json_is_a_bad_file(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadFile, match="cannot be read"):
        load(path)
    with pytest.raises(BadFile, match="cannot be read"):
        load(tmp_path / "none.json")


@given(SUB_SPACE, st.integers(1, 1024))
def test_features_are_bytes_that_can_be_counted(layers, batch):
    found = memory.features(layers, batch)
    mib = 2**20
    numbers = weights = mixed = 0
    for i, layer in enumerate(layers):
        result = batch * memory.CHANNELS[i + 1] * memory.SIDES[i] ** 2
        for kernel in layer.kernels:
            for _ in layer.activations:
                mixed += result
                for _ in layer.weights:
                    numbers += result
                    weights += memory.CHANNELS[i] * memory.CHANNELS[i + 1] * kernel**2
    assert found[[0, 1, 3]] == pytest.approx(np.array([numbers, weights, mixed]) * 4 / mib)


@given(SUB_SPACE, st.integers(0, 5))
def test_more_candidates_never_take_less(layers, place):
    whole = memory.whole_space()
    more = (*layers[:place], whole[place], *layers[place + 1 :])
    assert (memory.features(more) >= memory.features(layers) - 1e-9).all()
    model = memory.SupernetMemory(700.0, np.array([3.0, 7.0, 1.5, 1.0]))
    assert model.predict(layers) <= model.predict(more) <= model.predict(more, 256)


def test_a_known_law_is_found_again():
    model = memory.fit(drawn(30))
    assert model.context_mb == pytest.approx(700, abs=1)
    assert model.coefficients == pytest.approx([3.0, 7.0, 1.5, 1.0], rel=1e-2)


def test_one_wrong_reading_does_not_move_a_robust_model():
    rows = drawn(30, noise_mb=5.0)
    rows[3] = MeasuredSubSpace(rows[3].layers, rows[3].measured_mb + 4000)
    others = np.array([row.measured_mb for row in rows[4:]])
    found = memory.fit(rows)
    assert np.abs([found.predict(row.layers) for row in rows[4:]] - others).mean() < 40


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_no_coefficient_is_negative_whatever_the_measurements(seed):
    rng = np.random.default_rng(seed)
    rows = [MeasuredSubSpace(row.layers, float(rng.uniform(1, 9000))) for row in drawn(12, seed)]
    for choice in memory.CHOICES:
        model = memory._solve(*memory._arrays(rows), choice)
        assert model.context_mb >= 0 and (model.coefficients >= 0).all()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_repeated_sub_spaces_are_on_one_side_of_every_split(numbers):
    several = drawn(7)
    groups = memory._groups([several[i] for i in numbers])
    tested = []
    for train, test in memory._splits(groups):
        assert sorted([*train, *test]) == list(range(len(numbers)))
        assert not {numbers[i] for i in train} & {numbers[i] for i in test}
        tested += test
    assert sorted(tested) == list(range(len(numbers)))


def test_the_order_of_choices_does_not_make_another_sub_space(tmp_path):
    row = written(drawn(1))[0]
    turned = json.loads(json.dumps(row))
    for layer in turned["layers"]:
        for choices in layer.values():
            choices.reverse()
    path = tmp_path / "x.json"
    path.write_text(json.dumps([row, turned]))
    assert memory._groups(load(path)) == [0, 0]


def test_what_is_judged_has_not_been_fitted(tmp_path):
    """A sub-space that stands in both files, with a wild reading in the first, does not help to predict itself."""
    rows, held = drawn(20), drawn(5, seed=1)
    wild = [MeasuredSubSpace(held[0].layers, 50_000.0)]
    fitted, judged = tmp_path / "fit.json", tmp_path / "held.json"
    fitted.write_text(json.dumps(written([*rows, *wild])))
    judged.write_text(json.dumps(written(held)))
    found = memory.report(fitted, judged)
    assert found["not_fitted"] == 1 and found["n"] == 5
    assert found["mae_mb"] < 5 and found["r2"] > 0.999 and found["worst_relative"] < 0.01


def test_a_model_needs_enough_different_sub_spaces(tmp_path):
    row = drawn(1)[0]
    with pytest.raises(UsageError, match="too few"):
        memory.fit([row] * 40)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(written(drawn(3))))
    with pytest.raises(UsageError, match="too few"):
        memory.report(path)


def test_the_published_supernets_are_predicted(reference_data):
    found = memory.report(reference_data / "radars_supernet_memory.json")
    assert found["n"] == 40 and found["different"] == 39
    assert found["mae_mb"] <= 120 and found["r2"] >= 0.985
    assert found["baseline"]["mae_mb"] == pytest.approx(187, abs=2)  # three coefficients
    whole = found["full_space"]
    assert whole["256"]["predicted_gb"] == pytest.approx(112.0, rel=0.05)  # RADARS, Table II
    assert whole["128"]["range_gb"][0] <= whole["128"]["predicted_gb"] <= whole["128"]["range_gb"][1]
