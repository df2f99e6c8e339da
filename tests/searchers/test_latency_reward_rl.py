"""The controller and its learning rule."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from hilnas.errors import UsageError
from hilnas.records import Constraint
from searchers._problem import Evaluation, Problem
from searchers._torch import Controller, one_thread, pack, unpack
from searchers.latency_reward_rl import LatencyRewardRL

CARDINALITIES = (4, 2, 3)
EVERYTHING = list(itertools.product(*map(range, CARDINALITIES)))


@pytest.fixture
def controller():
    return Controller(CARDINALITIES, hidden=16, seed=1)


def test_probabilities_of_all_architectures_sum_to_1(controller):
    log_probs, entropy = controller(torch.tensor(EVERYTHING))
    assert log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (entropy > 0).all()
    assert (entropy <= np.log(np.prod(CARDINALITIES)) + 1e-5).all()


def test_samples_follow_the_probabilities_that_training_uses(controller):
    """Sampling is done in numpy, training in torch: both must be the same policy."""
    drawn = controller.sample(20_000, np.random.default_rng(0))
    expected = controller(torch.tensor(EVERYTHING))[0].exp().detach().double().numpy()
    counts = np.array([drawn.count(item) for item in EVERYTHING])
    assert chisquare(counts, expected / expected.sum() * len(drawn)).pvalue > 1e-3


def test_the_first_decision_knows_nothing_and_later_ones_see_the_earlier(controller):
    def conditional(prefix):
        matching = [item for item in EVERYTHING if item[: len(prefix)] == prefix]
        weights = controller(torch.tensor(matching))[0].exp().detach().numpy()
        last = [sum(w for w, item in zip(weights, matching, strict=True) if item[2] == k) for k in range(3)]
        return np.array(last) / sum(last)

    assert not np.allclose(conditional((0, 0)), conditional((3, 1)), atol=1e-4)


def test_one_thread_puts_the_number_back_even_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), one_thread():
        assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_packing_keeps_every_bit():
    tensors = {"a": torch.randn(3, 2), "step": torch.tensor(7.0)}
    again = unpack(pack(tensors))
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)


def scored(architecture, score, latency_s=1.0, limit_s=2.0):
    costs = {"latency": latency_s}
    return Evaluation(architecture, score, costs, costs, latency_s <= limit_s)


def probability(searcher, decisions):
    with torch.no_grad():
        return searcher._policy(torch.tensor([decisions]))[0].exp().item()


def test_a_step_makes_the_better_half_of_a_batch_likelier(toy, problem):
    searcher = LatencyRewardRL(toy, problem(), samples=2)
    good, bad = toy.parse("300"), toy.parse("011")
    before = [probability(searcher, item.decisions) for item in (good, bad)]
    searcher.update([scored(good, 5.0), scored(bad, 1.0)])
    after = [probability(searcher, item.decisions) for item in (good, bad)]
    assert after[0] > before[0]
    assert after[1] < before[1]


def test_the_first_single_sample_teaches_nothing_since_it_is_its_own_baseline(toy, problem):
    searcher = LatencyRewardRL(toy, problem())
    before = searcher.state()["policy"]
    searcher.update([scored(toy.parse("300"), 5.0)])
    assert searcher.state()["policy"] == before


def test_the_baseline_is_the_mean_from_before_the_update(toy, problem):
    searcher = LatencyRewardRL(toy, problem(), floor=0.0, reward="none")
    searcher.update([scored(toy.parse("300"), 5.0)])
    assert searcher.last_rewards == (0.5,)
    searcher.update([scored(toy.parse("011"), 6.0)])
    assert searcher.last_rewards == (0.75,)
    assert searcher.state()["baseline"] == pytest.approx(0.9 * 0.5 + 0.1 * 0.75)


def test_the_reward_is_scaled_score_times_limit_reward(toy, problem):
    searcher = LatencyRewardRL(toy, problem(limit_s=2.0), samples=2)
    searcher.update([scored(toy.parse("300"), 5.0, 4.0), scored(toy.parse("011"), -1.0, 1.0)])
    assert searcher.last_rewards == pytest.approx(((0.85 + 0.15 * 0.75) * 0.5, (0.85 + 0.15 * 0.25) * 0.95))


def test_a_score_seen_twice_is_ranked_once(toy, problem):
    searcher = LatencyRewardRL(toy, problem(), floor=0.0, reward="none")
    for _ in range(3):
        searcher.update([scored(toy.parse("300"), 5.0)])
    searcher.update([scored(toy.parse("011"), 6.0)])
    assert searcher.last_rewards == (0.75,)


def test_a_failure_earns_nothing(toy, problem):
    searcher = LatencyRewardRL(toy, problem())
    searcher.update([Evaluation(toy.parse("011"), None, {}, {}, False, "dead")])
    assert searcher.last_rewards == (0.0,)
    searcher.update([Evaluation(toy.parse("111"), 3.0, {}, {}, False, "no latency")])
    assert searcher.last_rewards == (0.0,)


def test_learns_to_find_the_only_good_corner(toy):
    """With the limit out of the way, the best of 24 architectures becomes the favourite."""
    problem = Problem("toy", (Constraint("latency", 9.0),), 3200, 0)
    searcher = LatencyRewardRL(toy, problem, samples=16, learning_rate=2e-3)
    best = toy.parse("312")
    start = probability(searcher, best.decisions)
    for _ in range(200):
        batch = searcher.suggest(searcher.batch)
        distances = [sum(abs(a - b) for a, b in zip(item.decisions, best.decisions, strict=True)) for item in batch]
        searcher.update([scored(item, -float(distance)) for item, distance in zip(batch, distances, strict=True)])
    assert start < 0.2
    assert probability(searcher, best.decisions) > 0.5


def test_an_entropy_bonus_keeps_the_policy_wider(toy, problem):
    def entropy_after(weight):
        searcher = LatencyRewardRL(toy, problem(), learning_rate=5e-3, entropy_weight=weight)
        for _ in range(150):
            (item,) = searcher.suggest(1)
            searcher.update([scored(item, float(item.decisions[0]))])
        with torch.no_grad():
            return searcher._policy(torch.tensor([[0, 0, 0]]))[1].item()

    assert entropy_after(0.5) > entropy_after(0.0)


@pytest.mark.parametrize(
    "options",
    [{"alpha": 1.5}, {"floor": -0.1}, {"samples": 0}, {"baseline_decay": 1.0}, {"scale": "log"}, {"reward": "maybe"}],
)
def test_options_that_make_no_sense_are_refused(toy, problem, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        LatencyRewardRL(toy, problem(), **options)
