"""Limits that shall be kept with a confidence."""

import numpy as np
import pytest

from hilnas.records import Constraint
from predictors.macs_baseline import MacsBaseline
from predictors.transfer import Transfer
from search_spaces._costs import static_costs
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import PredictedCost
from searchers._loop import run_study
from searchers._problem import Problem
from searchers.evaluators.tabular import Tabular
from searchers.latency_reward_rl import LatencyRewardRL
from searchers.random_search import RandomSearch

SPACE = NasBench201(width=4, depth=1, resolution=8)
CELLS = SPACE.sample_distinct(40, seed=1)
TIMES = np.array([1e-4 + 1e-8 * static_costs(SPACE.graph(item)).macs for item in CELLS])
TIMES *= np.exp(np.random.default_rng(0).normal(0, 0.1, len(CELLS)))
SCORES = Tabular(SPACE, values={item.text: float(sum(item.decisions)) for item in SPACE.enumerate()})


@pytest.mark.parametrize("kind", [MacsBaseline, Transfer])
@pytest.mark.parametrize("searcher", [RandomSearch, LatencyRewardRL])
def test_of_every_searcher_only_what_is_sure_enough_is_feasible(kind, searcher):
    predictor, limit_s = kind(SPACE).fit(CELLS, TIMES), float(np.median(TIMES))
    found = {}
    for confidence in (None, 0.75, 0.95):
        problem = Problem(SPACE.name, (Constraint("latency", limit_s, confidence),), 60, 0)
        model = PredictedCost(predictor, confidence)
        study = run_study(searcher(SPACE, problem), SCORES, [model], problem)
        for item in study.evaluations:
            likely = model.probability(item.architecture, limit_s)
            assert item.feasible == (likely >= (confidence or 0.5))
        found[confidence] = study.feasible_share
    assert 0 < found[0.95] < 1
    if searcher is RandomSearch:  # which proposes the same architectures, whatever is feasible
        assert found[0.95] < found[0.75] < found[None]
