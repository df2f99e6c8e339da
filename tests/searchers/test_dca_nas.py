"""DCA-NAS on tables: nothing beyond a limit is read, and what is read gets better."""

import numpy as np
import pytest
import torch

from hilnas.errors import UsageError
from hilnas.records import Constraint
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import Cost, CostModel, StaticCost, TableCost
from searchers._loop import run_study
from searchers._problem import Problem
from searchers.dca_nas import DcaNas, Reading, best_kept, expected_improvement, relaxed
from searchers.evaluators.tabular import Tabular
from searchers.random_search import RandomSearch

SPACE = NasBench201()
CELLS = list(SPACE.enumerate())
DECISIONS = np.array([cell.decisions for cell in CELLS])
COST_MS = 1.0 + np.array([0.0, 0.5, 3.0, 8.0, 2.0])[DECISIONS].sum(1)
#: Worth that no sum of decisions gives: a pair of convolutions behind each other gains more than both alone.
WORTH = np.array([0.0, 1.0, 4.0, 6.0, 2.0])[DECISIONS].sum(1) + 5.0 * (DECISIONS[:, 0] == 3) * (DECISIONS[:, 2] == 2)


def column(values):
    return {cell.text: float(value) for cell, value in zip(CELLS, values, strict=True)}


def study(kind, limit_ms, seed=0, evaluations=80, **options):
    problem = Problem("nasbench201", (Constraint("latency", limit_ms * 1e-3),), evaluations, seed)
    latency = TableCost("latency", column(COST_MS * 1e-3))
    return run_study(kind(SPACE, problem, **options), Tabular(SPACE, values=column(WORTH)), [latency], problem)


def best_feasible(limit_ms):
    return max(worth for cell, worth, cost in zip(CELLS, WORTH, COST_MS, strict=True)
               if cost <= limit_ms and SPACE.connected(cell))  # fmt: skip


@pytest.mark.parametrize("limit_ms", [12.0, 25.0])
@pytest.mark.parametrize("multiplier", [True, False])
def test_only_what_keeps_the_limit_is_read_and_no_form_twice(limit_ms, multiplier):
    found = study(DcaNas, limit_ms, multiplier=multiplier)
    assert found.feasible_share == 1.0
    forms = [SPACE.canonical(item.architecture) for item in found.evaluations]
    assert len(set(forms)) == len(forms) == 80


def test_comes_nearer_to_the_best_feasible_cell_than_random_search():
    for limit_ms in (12.0, 25.0):
        ours, theirs = (
            np.mean([best_feasible(limit_ms) - study(kind, limit_ms, seed).winner.score for seed in range(3)])
            for kind in (DcaNas, RandomSearch)
        )
        assert 0 <= ours < 0.5 * theirs


def test_a_handful_of_feasible_cells_is_found_among_thousands():
    limit_ms = float(np.sort(COST_MS[[SPACE.connected(cell) for cell in CELLS]])[20])
    found = study(DcaNas, limit_ms, evaluations=120)
    assert found.winner is not None and found.winner.score == best_feasible(limit_ms)


def test_a_space_that_runs_out_is_no_failure(toy, problem):
    asked = problem(limit_s=3.0, evaluations=60)
    everything = list(toy.enumerate())
    scores = {item.text: float(sum(item.decisions)) for item in everything}
    latency = {item.text: 1.0 + item.decisions[0] for item in everything}
    found = run_study(DcaNas(toy, asked, first=4), Tabular(toy, values=scores), [TableCost("latency", latency)], asked)
    assert len(found.evaluations) == 60
    assert found.winner.architecture.text == "toy:212"


def test_an_entry_that_the_table_lacks_counts_as_the_dearest(toy):
    values = {item.text: 1.0 + item.decisions[0] for item in toy.enumerate() if item.text != "toy:110"}
    table = relaxed(toy, TableCost("latency", values))
    one_hot = torch.zeros(2, 3, 4, dtype=torch.float64)
    for row, decisions in enumerate(((1, 1, 0), (1, 1, 1))):
        one_hot[row, range(3), decisions] = 1.0
    assert table.expected(one_hot).tolist() == [4.0, 2.0]


def test_a_counted_cost_is_relaxed_by_a_model_in_its_unit():
    model = StaticCost("params", SPACE)
    relaxation = relaxed(SPACE, model)
    for text in ("3,3,3,3,3,3", "1,2,3,0,1,2"):
        cell = SPACE.architecture(tuple(map(int, text.split(","))))
        one_hot = torch.tensor(SPACE.encode(cell)).reshape(1, 6, 5)
        assert relaxation.expected(one_hot).item() == pytest.approx(model.costs([cell])[0].value, rel=0.05)


def test_costs_that_nobody_knows_are_refused(toy):
    class Unknown(CostModel):
        metric = "latency"

        def costs(self, architectures):
            return [Cost.missing("not measured") for _ in architectures]

    with pytest.raises(UsageError, match="no latency of 400 random architectures"):
        relaxed(toy, Unknown())


@pytest.mark.parametrize(
    "options", [{"first": 0}, {"lowest": 0.0}, {"lowest": 2.0}, {"draws": 0}, {"exploration": 1.5}]
)
def test_options_without_sense_are_refused(toy, problem, options):
    with pytest.raises(UsageError, match="dca_nas needs"):
        DcaNas(toy, problem(), **options)


def test_what_exceeds_the_limits_is_nothing_to_improve_on():
    read = [Reading((0,), 3.0, True), Reading((1,), 9.0, False), Reading((2,), 1.0, True)]
    assert best_kept(read) == 3.0
    assert best_kept([item._replace(feasible=False) for item in read]) == 1.0


def test_expected_improvement_is_the_mean_of_what_exceeds_the_best():
    means, deviations = np.array([0.0, 1.0, -2.0]), np.array([1.0, 0.5, 2.0])
    drawn = np.random.default_rng(0).normal(means, deviations, (400_000, 3))
    assert expected_improvement(means, deviations, 0.3) == pytest.approx(np.maximum(0, drawn - 0.3).mean(0), abs=0.01)
