"""Independent categoricals: the policy of plain REINFORCE."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from hilnas.records import Constraint
from searchers._problem import Evaluation, Problem
from searchers._torch import Categoricals
from searchers.reinforce import Reinforce

CARDINALITIES = (4, 2, 3)
EVERYTHING = list(itertools.product(*map(range, CARDINALITIES)))


def policy():
    made = Categoricals(CARDINALITIES, seed=1)
    with torch.no_grad():
        made.logits.copy_(torch.linspace(-1.0, 1.5, 9))
    return made


def test_probabilities_sum_to_1_and_decisions_are_independent():
    log_probs, entropy = policy()(torch.tensor(EVERYTHING))
    assert log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    table = log_probs.exp().detach().numpy().reshape(CARDINALITIES)
    margins = [table.sum((1, 2)), table.sum((0, 2)), table.sum((0, 1))]
    assert np.allclose(table, np.einsum("i,j,k->ijk", *margins), atol=1e-6)
    expected = -sum((margin * np.log(margin)).sum() for margin in margins)
    assert entropy.tolist() == pytest.approx([expected] * len(EVERYTHING), rel=1e-5)


def test_samples_follow_the_probabilities_that_training_uses():
    made = policy()
    drawn = made.sample(20_000, np.random.default_rng(0))
    expected = made(torch.tensor(EVERYTHING))[0].exp().detach().double().numpy()
    counts = np.array([drawn.count(item) for item in EVERYTHING])
    assert chisquare(counts, expected / expected.sum() * len(drawn)).pvalue > 1e-3


def test_reinforce_finds_the_only_good_corner(toy):
    problem = Problem("toy", (Constraint("latency", 9.0),), 800, 0)
    searcher = Reinforce(toy, problem, samples=4)
    best = toy.parse("312")
    for _ in range(200):
        batch = searcher.suggest(searcher.batch)
        distances = [sum(abs(a - b) for a, b in zip(item.decisions, best.decisions, strict=True)) for item in batch]
        cost = {"latency": 1.0}
        searcher.update([Evaluation(i, -float(d), cost, cost, True) for i, d in zip(batch, distances, strict=True)])
    with torch.no_grad():
        assert searcher._policy(torch.tensor([best.decisions]))[0].exp().item() > 0.5
