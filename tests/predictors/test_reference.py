"""Predictors on measurements of real devices; thresholds a little below what was seen over several splits."""

import csv
import gzip

import numpy as np
import pytest

from predictors._baselines import AdditiveTable
from predictors._evaluation import evaluate, split
from predictors.gradient_boosting import GradientBoosting
from predictors.macs_baseline import MacsBaseline
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
N = 700


@pytest.fixture(scope="module")
def columns(reference_data):
    """Return the architectures of some rows, their canonical forms, and the columns of these rows in seconds."""
    rows = {}
    for name in ("nb201_latency", "nb201_hwnasbench_cifar10"):
        with gzip.open(reference_data / f"{name}.csv.gz", "rt") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["index"], {}).update(row)
    listed = list(rows.values())
    chosen = [listed[i] for i in np.random.default_rng(0).permutation(len(listed))[:N]]
    architectures = [SPACE.parse(row["arch_str"]) for row in chosen]
    live = [i for i, item in enumerate(architectures) if SPACE.graph(item).connected]
    forms = [SPACE.canonical(architectures[i]) for i in live]
    values = {
        name: np.array([float(chosen[i][name]) if chosen[i][name] else np.nan for i in live]) / 1e3
        for name in ("gold_6240", "pixel3", "1080ti_256", "cifar10_edgetpu_latency_ms")
    }
    return [architectures[i] for i in live], forms, values


def held_out(kind, columns, name, seed):
    architectures, forms, values = columns
    there = np.flatnonzero(np.isfinite(values[name]))
    train, test = split([architectures[i] for i in there], [forms[i] for i in there], 200, 150, seed)
    train, test = there[train], there[test]
    predictor = kind(SPACE, seed=seed).fit([architectures[i] for i in train], values[name][train])
    return evaluate(values[name][test], predictor.predict([architectures[i] for i in test]))


def mean_of(scores, figure):
    return np.mean([getattr(item, figure) for item in scores])


#: device -> share within 10 % and Spearman with 200 training networks: the worst of eight splits was just above.
#: gold_6240 drifted while it was measured; pixel3 is noisy.
FLOORS = {
    "gold_6240": (0.60, 0.93),
    "pixel3": (0.48, 0.90),
    "1080ti_256": (0.99, 0.995),
    "cifar10_edgetpu_latency_ms": (0.92, 0.98),
}


@pytest.mark.parametrize("name", FLOORS)
def test_boosting_is_good_and_beats_the_baselines(columns, name):
    seeds = (1, 2)
    scores, macs, additive = (
        [held_out(kind, columns, name, seed) for seed in seeds]
        for kind in (GradientBoosting, MacsBaseline, AdditiveTable)
    )
    assert mean_of(scores, "within_10") >= FLOORS[name][0]
    assert mean_of(scores, "spearman") >= FLOORS[name][1]
    assert 0.83 <= mean_of(scores, "coverage") <= 0.97
    assert mean_of(scores, "mape") < 0.8 * mean_of(macs, "mape")
    # A device that runs every operator of the encoding is additive: there the two are equal but for chance.
    assert mean_of(scores, "mape") < 1.05 * mean_of(additive, "mape")
