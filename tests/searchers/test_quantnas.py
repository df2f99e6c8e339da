"""QuantNAS' controller: rewards, baseline and steps by hand, and what it learns."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from hilnas.errors import UsageError
from hilnas.records import Constraint
from searchers._lstm import LstmPolicy
from searchers._problem import Evaluation, Problem
from searchers._reward import weighted_reward
from searchers.quantnas import QuantNas

pytestmark = pytest.mark.usefixtures("one_thread")

CARDINALITIES = (4, 2, 3)
EVERYTHING = list(itertools.product(*map(range, CARDINALITIES)))


def searcher(toy, limit_s=2.0, **options):
    limits = () if limit_s is None else (Constraint("latency", limit_s),)
    return QuantNas(toy, Problem("toy", limits, 100, 0), **{"scale": "percent", "alpha": 1.0, **options})


def evaluated(toy, decisions, score, latency_s=1.0, cause=None):
    costs = {} if latency_s is None else {"latency": latency_s}
    return Evaluation(toy.architecture(tuple(decisions)), score, costs, costs, cause is None, cause)


def log_probs(found, decisions):
    with torch.no_grad():
        return found._policy(torch.tensor(decisions))[0].double().numpy()


def parameters(found):
    return {name: item.detach().clone() for name, item in found._policy.named_parameters()}


@pytest.mark.parametrize(
    ("accuracy", "aops", "gamma", "reward"),
    [
        (0.8833, 0.25e9, 1e9, 0.5 * 0.8833 + 0.5 * 0.75),
        (0.8833, 2.50e9, 1e9, 0.5 * 0.8833 - 0.75),
        (0.8833, 2.50e9, 4e9, (0.8833 + 1 - 2.5 / 4) / 2),  # the authors' code has Acc + 1 - AOPS / 4e9: twice this
    ],
)
def test_the_reward_of_the_paper_and_of_its_code(accuracy, aops, gamma, reward):
    assert weighted_reward(accuracy, aops, 0.5, 0.0, gamma) == pytest.approx(reward)


def test_the_reward_of_the_papers_second_experiment_counts_from_beta_on():
    assert weighted_reward(0.738, 3.86e8, 0.9, 3e8, 3e8) == pytest.approx(0.9 * 0.738 + 0.1 * (1 - 0.86 / 3))
    assert weighted_reward(0.738, 2e8, 0.9, 3e8, 3e8) == pytest.approx(0.9 * 0.738 + 0.1), "no more for costs below"


@pytest.mark.parametrize(
    ("options", "reward"),
    [
        ({"alpha": 0.5, "beta": 0.0}, 0.5 * 0.9 + 0.5 * (1 - 3 / 2)),
        ({"alpha": 0.5}, 0.5 * 0.9 + 0.5 * (1 - (3 - 2) / 2)),
        ({"alpha": 0.25, "beta": 1.0, "gamma": 4.0}, 0.25 * 0.9 + 0.75 * (1 - 2 / 4)),
    ],
)
def test_beta_and_gamma_are_the_limit_unless_they_are_named(toy, options, reward):
    found = searcher(toy, **options)
    found.update([evaluated(toy, (1, 1, 1), 90.0, latency_s=3.0)])
    assert found.last_rewards == (pytest.approx(reward),)


def test_ranks_are_among_the_distinct_networks_seen(toy):
    found = searcher(toy, limit_s=None, scale="rank")
    found.update([evaluated(toy, (1, 1, i), score) for i, score in enumerate((-7.0, 3.0, 1e6))])
    assert found.last_rewards == pytest.approx((1 / 6, 3 / 6, 5 / 6))
    found.update([evaluated(toy, (1, 1, 2), 1e6)])
    assert found.last_rewards == pytest.approx((5 / 6,))


def test_what_fails_earns_no_more_than_the_worst(toy):
    found = searcher(toy, alpha=0.5, beta=0.0)
    found.update([evaluated(toy, (0, 0, 0), None, None, "broken"), evaluated(toy, (1, 0, 0), 50.0)])
    assert found.last_rewards == (0.0, pytest.approx(0.5))
    found.update([evaluated(toy, (1, 1, 1), 50.0, latency_s=20.0), evaluated(toy, (1, 1, 2), 50.0, latency_s=None)])
    assert found.last_rewards == (pytest.approx(0.25 - 4.5),) * 2
    again = searcher(toy, alpha=0.5, beta=0.0)
    again.load_state(found.state())
    again.update([evaluated(toy, (0, 0, 0), None, None, "broken")])
    assert again.last_rewards == (pytest.approx(-4.25),)


def test_the_baseline_is_a_mean_at_first_and_then_moves_by_a_tenth_after_each_advantage(toy, monkeypatch):
    found, advantages = searcher(toy), []
    monkeypatch.setattr(found, "_learn", lambda decisions, values: advantages.extend(values))
    rewards = np.random.default_rng(0).random(43)
    for start in range(0, 43, 5):
        found.update([evaluated(toy, (1, 1, 1), 100 * reward) for reward in rewards[start : start + 5]])
    expected, baseline = [], 0.0
    for i, reward in enumerate(rewards):
        if i < 20:
            baseline = rewards[: i + 1].mean()
            expected.append(reward - baseline)
        else:
            expected.append(reward - baseline)
            baseline = 0.9 * baseline + 0.1 * reward
    assert advantages == pytest.approx(expected)


def test_a_step_is_that_of_sgd_on_the_sum_of_the_batch(toy):
    """Compared with torch's own SGD on a copy; the rewards before make the baseline."""
    found = searcher(toy, learning_rate=0.3)
    copy = searcher(toy)
    batch = [(1, 0, 2), (3, 1, 1), (2, 1, 0)]
    copy._policy.load_state_dict(found._policy.state_dict())
    rewards = [0.9, 0.1, 0.5]
    advantages = [0.0, 0.1 - 0.5, 0.5 - 0.5]
    optimiser = torch.optim.SGD(copy._policy.parameters(), lr=0.3)
    chosen, _ = copy._policy(torch.tensor(batch))
    (-(torch.tensor(advantages) * chosen).sum()).backward()
    optimiser.step()
    found.update([evaluated(toy, item, 100 * reward) for item, reward in zip(batch, rewards, strict=True)])
    theirs = parameters(copy)
    assert all(torch.allclose(item, theirs[name], atol=1e-7) for name, item in parameters(found).items())


def test_what_earned_more_than_the_baseline_becomes_likelier_and_what_earned_less_does_not(toy, monkeypatch):
    found = searcher(toy, learning_rate=0.02)
    monkeypatch.setattr(found._policy, "restart", lambda rng: None)  # else another start hides the step
    good, bad = (3, 1, 2), (0, 0, 0)
    before = log_probs(found, [good, bad])
    found._learn([good, bad], [0.5, -0.5])
    after = log_probs(found, [good, bad])
    assert after[0] > before[0] and after[1] < before[1]


def test_first_token_and_states_are_drawn_anew_after_every_update_and_not_before(toy):
    found, starts = searcher(toy), []
    for _ in range(4):
        found.suggest(3)
        starts.append((found._policy.first, found._policy.hidden.numpy().copy()))
        found.suggest(2)
        assert found._policy.first == starts[-1][0] and np.array_equal(found._policy.hidden, starts[-1][1])
        found.update([evaluated(toy, (1, 1, 1), 50.0)])
    drawn = np.stack([hidden for _, hidden in starts])
    assert len({hidden.tobytes() for hidden in drawn}) == 4 and drawn.shape[1:] == (2, 2, 1, 35)
    assert abs(drawn.mean()) < 0.15 and drawn.std() == pytest.approx(1.0, abs=0.1)
    assert len({first for first, _ in starts}) > 1 and all(0 <= first < 9 for first, _ in starts)


def test_nothing_to_learn_from_changes_nothing(toy):
    found = searcher(toy)
    before = found.state()
    found.update([])
    assert found.state() == before


def policy():
    made = LstmPolicy(CARDINALITIES, seed=1)
    made.restart(np.random.default_rng(0))
    with torch.no_grad():
        made.head.weight.mul_(20.0)  # far from even, and what came before counts
        made.embedding.weight.mul_(3.0)
    return made


def test_probabilities_sum_to_1_and_samples_follow_them():
    made = policy()
    found, entropy = made(torch.tensor(EVERYTHING))
    expected = found.exp().detach().double().numpy()
    assert expected.sum() == pytest.approx(1.0, abs=1e-5) and expected.max() > 2 / len(EVERYTHING)
    assert (entropy >= 0).all()
    drawn = made.sample(20_000, np.random.default_rng(0))
    counts = np.array([drawn.count(item) for item in EVERYTHING])
    assert chisquare(counts, expected / expected.sum() * len(drawn)).pvalue > 1e-3


def test_a_decision_depends_on_the_one_before():
    table = policy()(torch.tensor(EVERYTHING))[0].exp().detach().numpy().reshape(CARDINALITIES)
    second = table.sum(2) / table.sum((1, 2))[:, None]
    assert np.ptp(second[:, 0]) > 0.05


def test_it_finds_the_only_good_corner(toy):
    found = searcher(toy, limit_s=None)
    best = np.array((3, 1, 2))
    for _ in range(120):
        batch = found.suggest(found.batch)
        assert len(batch) == 5
        scores = [100 - 20 * np.abs(np.array(item.decisions) - best).sum() for item in batch]
        found.update([evaluated(toy, item.decisions, float(s)) for item, s in zip(batch, scores, strict=True)])
    starts = []
    for _ in range(5):  # whatever it starts from
        found._policy.restart(found._rng)
        starts.append(np.exp(log_probs(found, [best.tolist()]))[0])
    assert min(starts) > 0.5 > 10 / len(EVERYTHING)


@pytest.mark.parametrize(
    "options",
    [{"samples": 0}, {"learning_rate": 0.0}, {"alpha": 1.1}, {"alpha": -0.1}, {"gamma": -1.0}, {"scale": "minmax"}],
)
def test_options_without_sense_are_refused(toy, options):
    with pytest.raises(UsageError):
        searcher(toy, **options)
