"""The paper's search on the reference data: Raspberry Pi 4, 40 ms, validation accuracy as the score."""

import csv
import gzip
from statistics import fmean

import pytest

from hilnas.records import Constraint
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import TableCost
from searchers._loop import run_study
from searchers._problem import Problem
from searchers.evaluators.tabular import Tabular
from searchers.latency_reward_rl import LatencyRewardRL
from searchers.random_search import RandomSearch

LIMIT_S = 0.040
SEEDS = range(3)


def column(path, name):
    with gzip.open(path, "rt") as file:
        return {row["index"]: (row.get("arch_str"), float(row[name])) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def raspi4(reference_data):
    """Return a function that runs one study on the tables."""
    latency = column(reference_data / "nb201_hwnasbench_cifar10.csv.gz", "cifar10_raspi4_latency_ms")
    validation = column(reference_data / "nb201_val_accuracy.csv.gz", "cifar10_val")
    texts = {index: f"nasbench201:{text}" for index, (text, _) in latency.items()}
    space = NasBench201()
    evaluator = Tabular(space, values={texts[index]: value for index, (_, value) in validation.items()})
    models = [TableCost("latency", {texts[index]: value * 1e-3 for index, (_, value) in latency.items()})]

    def run(kind, seed, **options):
        problem = Problem(space.name, (Constraint("latency", LIMIT_S),), 500, seed)
        return run_study(kind(space, problem, **options), evaluator, models, problem)

    return run


def test_the_latency_reward_keeps_the_controller_under_the_limit(raspi4):
    """The paper's ablation: without R_LAT the controller drifts to what is accurate and slow."""
    with_limits = [raspi4(LatencyRewardRL, seed) for seed in SEEDS]
    without = [raspi4(LatencyRewardRL, seed, reward="none") for seed in SEEDS]
    late, late_without = (fmean(study.late_feasible_share for study in studies) for studies in (with_limits, without))
    assert late >= 0.6
    assert late_without <= 0.3
    for study in with_limits:
        assert study.winner.costs["latency"] <= LIMIT_S


def test_random_search_is_feasible_as_often_as_the_space(raspi4):
    """77 % of the cells keep 40 ms; a share far off would mean a biased sample or a wrong unit."""
    share = fmean(raspi4(RandomSearch, seed).feasible_share for seed in SEEDS)
    assert share == pytest.approx(0.77, abs=0.05)
