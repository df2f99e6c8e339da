"""What is particular to each predictor, on devices whose laws are known."""

import numpy as np
import pytest

from predictors._baselines import AdditiveTable
from predictors._errors import MissingEntries
from predictors.gradient_boosting import GradientBoosting
from predictors.lookup_table import LookupTable
from predictors.macs_baseline import MacsBaseline
from search_spaces._blocks import lookup_counts
from search_spaces._costs import block_costs, static_costs
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=8, depth=2, resolution=16)
TRAIN = SPACE.sample_distinct(60, seed=1)
TEST = SPACE.sample_distinct(60, seed=2, exclude=frozenset(map(SPACE.canonical, TRAIN)))
COSTS = {block.key: block_costs(block) for block in SPACE.blocks()}
ENTRIES = {key: 1e-6 + 1e-10 * cost.macs + 2e-10 * cost.activation_bytes for key, cost in COSTS.items()}


def table_sum(architecture, live=True):
    return sum(n * ENTRIES[key] for key, n in lookup_counts(SPACE.graph(architecture), live).items())


def errors(predictor, times):
    found = predictor.fit(TRAIN, [times(item) for item in TRAIN]).predict(TEST)
    return np.abs(found.mean_s / [times(item) for item in TEST] - 1)


def test_the_table_finds_intercept_and_scale():
    def times(item):
        return 5e-5 + 0.8 * table_sum(item)

    predictor = LookupTable(SPACE, entries=ENTRIES)
    assert errors(predictor, times).max() < 1e-6
    found = predictor.parameters()
    assert found["a_s"] == pytest.approx(5e-5, rel=1e-4)
    assert found["b"] == pytest.approx(0.8, rel=1e-4)
    assert found["table_residual_worst"] < 1e-6


def test_the_table_needs_few_networks():
    def times(item):
        return 5e-5 + 0.8 * table_sum(item)

    predictor = LookupTable(SPACE, entries=ENTRIES).fit(TRAIN[:3], [times(item) for item in TRAIN[:3]])
    np.testing.assert_allclose(predictor.predict(TEST).mean_s, [times(item) for item in TEST], rtol=1e-4)


def test_one_wild_measurement_does_not_move_the_table():
    times = np.array([5e-5 + 0.8 * table_sum(item) for item in TRAIN])
    times[7] *= 5
    found = LookupTable(SPACE, entries=ENTRIES, correction=False).fit(TRAIN, times).parameters()
    assert found["b"] == pytest.approx(0.8, rel=0.01)
    assert found["table_residual_worst"] > 3


def test_the_correction_is_chosen_only_where_it_wins():
    def fused(item):
        """Sums cost nothing: what a runtime does that computes them with a convolution."""
        counts = lookup_counts(SPACE.graph(item))
        return 5e-5 + sum(n * ENTRIES[key] for key, n in counts.items() if not key.startswith("sum"))

    rng = np.random.default_rng(0)
    noise = {item: np.exp(rng.normal(0, 0.02)) for item in (*TRAIN, *TEST)}
    additive = LookupTable(SPACE, entries=ENTRIES)
    errors(additive, lambda item: (5e-5 + table_sum(item)) * noise[item])
    assert additive.parameters()["correction_alpha"] is None
    assert set(additive.predict(TEST).provenance) == {"table"}
    corrected = LookupTable(SPACE, entries=ENTRIES)
    with_correction = errors(corrected, fused).mean()
    assert corrected.parameters()["correction_alpha"] is not None
    assert set(corrected.predict(TEST).provenance) == {"model"}
    assert with_correction < 0.5 * errors(LookupTable(SPACE, entries=ENTRIES, correction=False), fused).mean()


def test_missing_entries_are_listed_with_the_command():
    keys = [block.key for block in SPACE.blocks()]
    known = {key: ENTRIES[key] for key in keys[3:]}
    predictor = LookupTable(SPACE, entries=known)
    assert predictor.requests() == keys[:3]
    assert LookupTable(SPACE).requests() == keys
    with pytest.raises(MissingEntries) as caught:
        predictor.fit(TRAIN, [1e-3] * len(TRAIN))
    assert all(key in caught.value.what for key in keys[:3])
    assert "hilnas profile DEVICE --space nasbench201 --blocks" in caught.value.remedy


@pytest.mark.parametrize("bad", [0.0, -1e-6, float("nan")])
def test_entries_must_be_times(bad):
    entries = {**ENTRIES, SPACE.blocks()[2].key: bad}
    with pytest.raises(ValueError, match="positive and finite"):
        LookupTable(SPACE, entries=entries).fit(TRAIN, [1e-3] * len(TRAIN))


def test_boosting_is_shown_the_graph_the_device_runs():
    """One device runs dead operators, the other does not; the training data tell which."""
    pruning, eager = GradientBoosting(SPACE), GradientBoosting(SPACE)
    assert errors(pruning, lambda item: 5e-5 + table_sum(item)).mean() < 0.01
    assert pruning.parameters()["view"] == "runtime"
    assert errors(eager, lambda item: 5e-5 + table_sum(item, live=False)).mean() < 0.01
    assert eager.parameters()["view"] in ("as_trained", "both")


def test_trees_are_grown_where_they_help():
    def jump(item):
        """A device that falls off a cliff when a network has many convolutions."""
        n = sum(count for key, count in lookup_counts(SPACE.graph(item)).items() if "conv" in key)
        return (5e-5 + table_sum(item)) * (2 if n > 12 else 1)

    without = errors(GradientBoosting(SPACE, rounds=0), jump).mean()
    boosted = GradientBoosting(SPACE)
    assert errors(boosted, jump).mean() < 0.9 * without
    assert boosted.parameters()["rounds"] > 0


def test_a_forced_view_is_used():
    predictor = GradientBoosting(SPACE, view="as_trained", rounds=0)
    errors(predictor, lambda item: 5e-5 + table_sum(item))
    assert predictor.parameters()["view"] == "as_trained"
    with pytest.raises(ValueError, match="view"):
        GradientBoosting(SPACE, view="upside_down").fit(TRAIN, [1e-3] * len(TRAIN))


@pytest.mark.parametrize("live", [True, False])
def test_macs_are_counted_where_they_fit(live):
    def times(item):
        graph = SPACE.graph(item)
        return 1e-4 + 1e-9 * static_costs(graph.live() if live else graph).macs

    predictor = MacsBaseline(SPACE)
    assert errors(predictor, times).max() < 1e-6
    assert predictor.parameters() == {
        "macs": "live" if live else "as_trained",
        "a_s": pytest.approx(1e-4),
        "b_s": pytest.approx(1e-9),
    }


def test_the_additive_table_is_exact_on_an_additive_device():
    weights = np.random.default_rng(0).uniform(1e-5, 1e-4, 30)
    assert errors(AdditiveTable(SPACE), lambda item: 1e-3 + SPACE.encode(item) @ weights).max() < 0.01
