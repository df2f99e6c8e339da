"""RADARS, QuantNAS, DNAS and one-shot search on digits: rounds, merging, memory, what fails, and what is proposed.

Differentiable searches run in this process here, but for one search as it is; tests/searchers/test_exploitation.py has
those in processes of their own.
"""

import sys
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from hilnas import plugins
from hilnas.errors import Infeasible, UsageError
from search_spaces._chain import merge
from search_spaces.mobilenet import Mobilenet
from search_spaces.nasbench201 import NasBench201
from search_spaces.quantised_cnn import QuantisedCnn
from searchers import _children, _exploitation
from searchers._children import Candidate
from searchers._cost_models import Cost, CostModel, StaticCost
from searchers._exploitation import predicted_bytes
from searchers._reward import weighted_reward
from searchers._training import Diverged
from searchers.supernets import _layers
from searchers.supernets._base import GradientSearcher, Pictures, Task

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = QuantisedCnn(width=4, resolution=8)
TASK = Task(SPACE, {}, Pictures(None, 120), {}, {}, seed=1)
SHORT = {"short_epochs": 1, "full_epochs": 1, "batch": 16, "augment": "none"}
RADARS = {**SHORT, "dnas_epochs": 1, "rounds": 2, "episodes": 4, "samples": 2, "top": 3}
MEASURED = {"elapsed_s", "search_s", "peak_bytes"}
MIB = 2**20


class Here:
    """A differentiable search in this process; a fault is what it is meant to look like."""

    seconds = 0.0

    def __init__(self, task):
        self._task = task
        task.folder.mkdir(parents=True, exist_ok=True)
        if _exploitation._result(task).exists():
            return
        if task.fault_bytes:
            lost = {**_exploitation._NOTHING, "cause": "MemoryError: ", "out_of_memory": True}
            _exploitation._write(task, lost)
        else:
            try:
                found = _exploitation._searched(task, task.pictures.at(task.space.input_shape))
            except Diverged as error:
                found = {"cause": str(error)}
            found["elapsed_s"] = self.seconds + found.get("elapsed_s", 0.0)
            _exploitation._write(task, {**_exploitation._NOTHING, **found})

    def result(self):
        return _exploitation._read(self._task)

    def stop(self):
        pass


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(_layers, "Running", Here)


@pytest.fixture
def a_mib_each(monkeypatch):
    """Supernets are predicted to take a MiB a candidate."""
    monkeypatch.setattr(_layers, "predicted_bytes", lambda _, sub, *rest: sub.candidates * MIB)


def searcher(name, task=TASK, **options):
    return plugins.load("searchers.supernets", name, GradientSearcher)(task, **options)


def run(folder, name="radars", task=TASK, report=lambda values, share: None, **options):
    folder.mkdir(exist_ok=True)
    shared = RADARS if name == "radars" else {**SHORT}
    return searcher(name, task, **{**shared, **options}).run(folder, report)


def events(outcome, kind):
    return [row for row in outcome.history if row.get("kind") == kind]


def without_times(outcome):
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in outcome.history]


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    """Return the outcome of two rounds, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_layers, "Running", Here)
        return run(tmp_path_factory.mktemp("radars"))


def test_a_round_explores_retrains_merges_searches_and_trains_what_it_derived(sequential):
    assert [row["event"].partition(", ")[2].rstrip(" 0123456789") for row in sequential.history[:10]] == [
        *["episode"] * 4, *["network"] * 3, "merged", "searched", "derived"
    ]  # fmt: skip
    assert [row["event"].partition(",")[0] for row in sequential.history] == [
        *["round 1"] * 10,
        *["round 2"] * 10,
        "ended",
    ]
    times = [row["elapsed_s"] for row in sequential.history]
    assert times == sorted(times) and times[0] > 0 and sequential.cause is None


def test_the_best_of_all_so_far_are_retrained_and_merged_in_the_order_of_their_new_rewards(sequential):
    rewards = {}
    for number in (1, 2):
        own = [row for row in sequential.history if row["event"].startswith(f"round {number}")]
        rewards |= {row["architecture"]: row["reward"] for row in own if row["kind"] == "episode"} | {
            text: reward for text, reward in rewards.items() if text in full_rewards(sequential, number - 1)
        }
        best = sorted(rewards, key=lambda text: -rewards[text])[:3]
        retrained = [row for row in own if row["kind"] == "retrained"]
        assert [row["architecture"] for row in retrained] == best
        ordered = sorted(retrained, key=lambda row: -row["reward"])
        (merged,) = [row for row in own if row["kind"] == "merged"]
        union = merge(SPACE, [SPACE.parse(row["architecture"]) for row in ordered], "tuple")
        assert merged["layers"] == union.to_json()["layers"] and merged["networks"] == 3
        (searched,) = [row for row in own if row["kind"] == "searched"]
        (derived,) = [row for row in own if row["kind"] == "derived"]
        assert (
            union.contains(SPACE.parse(derived["architecture"])) and searched["architecture"] == derived["architecture"]
        )
        assert searched["candidates"] == merged["candidates"] == union.candidates
        rewards |= {row["architecture"]: row["reward"] for row in own if row["kind"] in ("retrained", "derived")}


def full_rewards(outcome, number):
    """Return the networks that were trained fully up to a round."""
    rows = [row for row in outcome.history if row["event"][:7] in [f"round {i}" for i in range(1, number + 1)]]
    return {row["architecture"] for row in rows if row["kind"] in ("retrained", "derived")}


def test_rewards_are_those_of_the_paper_and_the_best_networks_are_proposed(sequential):
    costs = StaticCost("aops", SPACE)
    rng = np.random.default_rng(0)
    usual = median(cost.value for cost in costs.costs([SPACE.sample(rng) for _ in range(64)]))
    trained = [row for row in sequential.history if "reward" in row]
    for row in trained:
        assert row["cost"] == costs.costs([SPACE.parse(row["architecture"])])[0].value
        assert row["reward"] == pytest.approx(weighted_reward(row["accuracy"] / 100, row["cost"], 0.5, 0.0, usual))
    full = {row["architecture"]: row["reward"] for row in trained if row["kind"] != "episode"}
    assert [item.text for item in sequential.architectures] == sorted(full, key=lambda text: -full[text])[:3]


def test_the_next_exploration_beside_a_search_changes_nothing_but_the_order(here, sequential, tmp_path):
    beside = run(tmp_path, parallel=True)
    names = [row["event"] for row in beside.history]
    assert names.index("round 2, episode 4") < names.index("round 1, searched") < names.index("round 2, network 1")
    assert sorted(map(str, without_times(beside))) == sorted(map(str, without_times(sequential)))
    assert beside.architectures == sequential.architectures


@pytest.mark.parametrize("parallel", [False, True])
def test_stopped_anywhere_it_goes_on_to_the_same_outcome(here, a_mib_each, tmp_path, parallel):
    small = {"episodes": 2, "top": 2, "parallel": parallel}
    whole = run(tmp_path / "whole", **small)
    for stop_at in range(0, len(whole.history), 3):
        folder, seen = tmp_path / f"stopped{stop_at}", []

        def stop(values, share, stop_at=stop_at, seen=seen):
            seen.append(values)
            if len(seen) > stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(folder, report=stop, **small)
        again = run(folder, **small)
        assert without_times(again) == without_times(whole) and again.architectures == whole.architectures
        assert [row["elapsed_s"] for row in again.history[: stop_at + 1]] == [row["elapsed_s"] for row in seen]
        times = [row["elapsed_s"] for row in again.history]
        assert times == sorted(times)


def test_the_time_of_a_search_before_a_stop_counts(here, tmp_path, monkeypatch):
    monkeypatch.setattr(Here, "seconds", 1000.0)
    found = run(tmp_path, rounds=1)
    (merged,), (searched,) = events(found, "merged"), events(found, "searched")
    assert merged["elapsed_s"] < 500 < 1000 < searched["search_s"] < searched["elapsed_s"] - merged["elapsed_s"] + 10
    assert found.history[-1]["elapsed_s"] > 1000


def test_reports_tell_how_far_the_search_is(here, tmp_path):
    for parallel in (False, True):
        shares = []
        run(tmp_path / str(parallel), report=lambda values, share, own=shares: own.append(share), parallel=parallel)
        assert shares == sorted(shares) and shares[0] > 0 and shares[-1] == 1.0 and shares[-2] <= 1.0


@pytest.mark.parametrize(("bound", "networks"), [(6, 1), (11, 1), (13, 2), (40, 3)])
def test_networks_are_merged_as_long_as_their_supernet_fits(here, a_mib_each, tmp_path, bound, networks):
    found = run(tmp_path, task=replace(TASK, memory_bytes=bound * MIB), rounds=1)
    (merged,), (searched,) = events(found, "merged"), events(found, "searched")
    assert merged["networks"] <= networks and merged["candidates"] <= bound
    assert searched["predicted_bytes"] == merged["candidates"] * MIB
    ordered = [
        SPACE.parse(row["architecture"]) for row in sorted(events(found, "retrained"), key=lambda r: -r["reward"])
    ]
    assert merged["layers"] == merge(SPACE, ordered[: merged["networks"]], "tuple").to_json()["layers"]
    if merged["networks"] < 3:
        assert merge(SPACE, ordered[: merged["networks"] + 1], "tuple").candidates > bound


def test_merging_by_factors_makes_larger_sub_spaces(here, sequential, tmp_path):
    (merged,) = events(run(tmp_path, rounds=1, merge="factor"), "merged")
    by_tuples = events(sequential, "merged")[0]
    assert merged["candidates"] > by_tuples["candidates"]
    assert "--memory bounds them still" in merged["remark"] and "remark" not in by_tuples


@pytest.mark.parametrize(("place", "networks"), [(0, 2), (1, 1), (2, 2)])
def test_merging_ends_before_what_does_not_fit_and_passes_over_the_best_alone(
    here, sequential, tmp_path, monkeypatch, place, networks
):
    """A network too large whatever it is merged with: as the best one it is left out, as a later one it is the end."""
    retrained = sorted(events(sequential, "retrained")[:3], key=lambda row: -row["reward"])
    large = SPACE.parse(retrained[place]["architecture"])
    monkeypatch.setattr(_layers, "predicted_bytes", lambda _, sub, *rest: MIB * (100 if sub.contains(large) else 1))
    found = run(tmp_path, task=replace(TASK, memory_bytes=50 * MIB), rounds=1)
    (merged,) = events(found, "merged")
    assert merged["networks"] == networks
    kept = [SPACE.parse(row["architecture"]) for row in retrained if row["architecture"] != large.text][:networks]
    assert merged["layers"] == merge(SPACE, kept, "tuple").to_json()["layers"]


def test_a_memory_for_not_even_one_network_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(_children, "train", lambda *arguments, **options: pytest.fail("a network was trained"))
    with pytest.raises(Infeasible) as caught:
        run(tmp_path, task=replace(TASK, memory_bytes=30 * MIB))
    assert "single network" in caught.value.what and "allowed 30 MiB" in caught.value.cause
    assert "--memory" in caught.value.remedy and "radars" not in caught.value.remedy


def test_a_memory_for_none_of_the_good_networks_is_refused(here, tmp_path, monkeypatch):
    cheapest = merge(SPACE, [SPACE.architecture((0,) * 30)], "tuple")
    monkeypatch.setattr(_layers, "predicted_bytes", lambda _, sub, *rest: MIB * (1 if sub == cheapest else 9))
    with pytest.raises(Infeasible, match="single network"):
        run(tmp_path, task=replace(TASK, memory_bytes=5 * MIB))


def test_too_little_memory_ends_one_search_and_a_smaller_one_follows(here, tmp_path):
    found = run(tmp_path, task=replace(TASK, memory_bytes=1 << 40), fault_bytes=1)
    first, second, third = events(found, "searched")
    assert first["out_of_memory"] and first["architecture"] is None and "MemoryError" in first["cause"]
    assert second["event"] == "round 1, searched (attempt 2)" and not second["out_of_memory"]
    assert third["event"] == "round 2, searched" and not third["out_of_memory"]
    merged = events(found, "merged")
    assert [row["networks"] for row in merged] == [3, 2, 3]
    ordered = [SPACE.parse(row["architecture"])
               for row in sorted(events(found, "retrained")[:3], key=lambda row: -row["reward"])]  # fmt: skip
    assert merged[1]["layers"] == merge(SPACE, ordered[:2], "tuple").to_json()["layers"]
    assert len(events(found, "derived")) == 2 and found.cause is None


def test_where_no_supernet_can_be_searched_the_retrained_networks_are_proposed_and_it_is_said(here, tmp_path):
    found = run(tmp_path, task=replace(TASK, memory_bytes=1 << 40), fault_bytes=1, rounds=1, top=1)
    assert len(events(found, "searched")) == 1 and not events(found, "derived")
    assert len(found.architectures) == 1 and found.cause.startswith("no supernet could be searched: MemoryError")


def failing(monkeypatch, fails):
    train = _children.train

    def sometimes(module, data, recipe, rounded):
        if fails(rounded):
            raise Diverged("the loss is nan")
        return train(module, data, recipe, rounded=rounded)

    monkeypatch.setattr(_children, "train", sometimes)


@pytest.mark.parametrize("fails", [lambda rounded: True, lambda rounded: rounded == "always"])
def test_where_no_network_can_be_trained_nothing_is_merged_or_proposed(here, tmp_path, monkeypatch, fails):
    failing(monkeypatch, fails)
    found = run(tmp_path)
    assert not found.architectures and "the loss is nan" in found.cause
    assert not events(found, "merged") and len(events(found, "episode")) == 8
    assert all(row["cause"] and row["accuracy"] == 0.0 for row in events(found, "retrained"))


def test_networks_that_failed_come_behind_those_of_a_negative_reward(here, tmp_path, monkeypatch):
    count = iter(range(100))
    failing(monkeypatch, lambda rounded: rounded == "judged" and next(count) % 2 == 0)
    found = run(tmp_path, rounds=1, gamma=1000.0)
    failed = {row["architecture"] for row in events(found, "episode") if row["cause"]}
    assert len(failed) == 2 and all(row["reward"] < 0 for row in events(found, "episode") if not row["cause"])
    assert not failed & {row["architecture"] for row in events(found, "retrained")}
    assert not failed & {item.text for item in found.architectures}


def test_rewards_of_short_trainings_give_way_to_those_of_full_ones(tmp_path):
    """What shone in a short training and was dull in a full one is not chosen again."""
    networks = [SPACE.sample(np.random.default_rng(i)) for i in range(4)]

    class Bench:
        def __init__(self):
            known = ((networks[0], 0.1), (networks[3], 0.7))
            self.full = {item: Candidate(item, 0.5, 1.0, reward) for item, reward in known}

        def fully(self, architecture):
            reward = 0.9 if architecture is networks[2] else 0.2
            return self.full.setdefault(architecture, Candidate(architecture, 0.5, 1.0, reward))

        def note(self, name, share, values):
            pass

    explored = {
        item: Candidate(item, 0.5, 1.0, reward) for item, reward in zip(networks, (0.9, 0.5, 0.4, 0.3), strict=True)
    }
    found = searcher("radars", **{**RADARS, "top": 3})._promising(Bench(), explored, 1)
    assert [item.architecture for item in found] == [networks[2], networks[3], networks[1]]
    assert [item.reward for item in found] == [0.9, 0.7, 0.2]


@pytest.mark.parametrize("name", ["radars", "quantnas"])
def test_a_reward_that_reaches_the_target_ends_the_search(here, tmp_path, name):
    rounds = {"rounds": 2, "episodes": 2, "samples": 2, "top": 1}
    early = run(tmp_path / "early", name, target=-100.0, **rounds)
    late = run(tmp_path / "late", name, target=2.0, **rounds)
    assert {row["event"][:7] for row in early.history} == {"round 1", "ended"}
    assert {row["event"][:7] for row in late.history} == {"round 1", "round 2", "ended"}


def test_quantnas_explores_and_retrains_and_merges_nothing(tmp_path):
    found = run(tmp_path, "quantnas", rounds=2, episodes=3, samples=2, top=2)
    assert [row.get("kind") for row in found.history] == [*["episode"] * 3, *["retrained"] * 2] * 2 + [None]
    assert len(found.architectures) >= 2 and found.cause is None


def test_a_search_sees_the_same_controller_as_quantnas(sequential, tmp_path):
    """Until something is merged they do the same."""
    found = run(tmp_path, "quantnas", rounds=2, episodes=4, samples=2, top=3)
    assert without_times(found)[:7] == without_times(sequential)[:7]


def small_whole(monkeypatch):
    """Leave the whole space two candidates a layer."""
    whole = QuantisedCnn.whole
    monkeypatch.setattr(
        QuantisedCnn, "whole", lambda self: type(found := whole(self))(tuple(layer[:2] for layer in found.layers))
    )


@pytest.mark.parametrize(("name", "common"), [("dnas", True), ("one_shot", True), ("one_shot", False)])
def test_dnas_and_one_shot_search_the_whole_space_and_train_what_they_derive(here, tmp_path, monkeypatch, name, common):
    small_whole(monkeypatch)
    found = run(tmp_path, name, dnas_epochs=1, common=common)
    searched, derived, _ = found.history
    assert searched["candidates"] == 12 and derived["architecture"] == searched["architecture"]
    assert (searched["predicted_bytes"] is None) == (not common), "weights of their own take more and more"
    assert [item.text for item in found.architectures] == [derived["architecture"]]


def test_dnas_is_refused_where_the_whole_space_does_not_fit(a_mib_each, tmp_path):
    with pytest.raises(Infeasible) as caught:
        run(tmp_path, "dnas", replace(TASK, memory_bytes=863 * MIB))
    assert caught.value.exit_code == 3
    assert "864 candidates" in caught.value.what and "Predicted are 864 MiB, allowed 863 MiB" in caught.value.cause
    assert "radars" in caught.value.remedy


@pytest.mark.parametrize("name", ["dnas", "one_shot"])
def test_a_whole_space_that_runs_out_of_memory_is_infeasible(tmp_path, monkeypatch, name):
    small_whole(monkeypatch)

    class Lost(Here):
        def __init__(self, task):
            super().__init__(replace(task, fault_bytes=1))

    monkeypatch.setattr(_layers, "Running", Lost)
    with pytest.raises(Infeasible, match="whole space") as caught:
        run(tmp_path, name)
    assert "MemoryError" in caught.value.cause


def test_a_search_that_diverges_says_so(here, tmp_path, monkeypatch):
    small_whole(monkeypatch)

    def diverged(task, data):
        raise Diverged("the search diverged")

    monkeypatch.setattr(_exploitation, "_searched", diverged)
    assert "the search diverged" in run(tmp_path, "dnas").cause


def test_short_trainings_may_see_a_part_of_the_pictures_and_classes(here, tmp_path, monkeypatch):
    seen = {}
    train = _children.train

    def watched(module, data, recipe, rounded):
        seen[rounded] = (len(data.train.labels) + len(data.validation.labels), data.classes, set(data.train.labels))
        return train(module, data, recipe, rounded=rounded)

    monkeypatch.setattr(_children, "train", watched)
    run(tmp_path, "quantnas", rounds=1, episodes=1, top=1, explore_images=100, explore_classes=3, batch=15)
    assert seen["always"] == (120, 10, set(range(10)))
    assert 20 < seen["judged"][0] < 40 and seen["judged"][1:] == (3, {0, 1, 2})


def limited(space, metric, limit, seed=1):
    return Task(space, {}, Pictures(None, 120), {metric: limit}, {}, (StaticCost(metric, space),), seed)


def test_networks_that_keep_the_limits_are_proposed_first(here, tmp_path):
    rng, model = np.random.default_rng(0), StaticCost("aops", SPACE)
    limit = float(np.quantile([model.costs([SPACE.sample(rng)])[0].value for _ in range(100)], 0.4))
    # Costs hardly count: what is accurate is worth more, whatever the limit.
    found = run(tmp_path, task=limited(SPACE, "aops", limit, seed=2), alpha=1.0, episodes=6, samples=6)
    full = {row["architecture"]: row for row in found.history if row.get("kind") in ("retrained", "derived")}
    keep = [row["cost"] <= limit for row in full.values()]
    assert any(keep) and not all(keep)
    proposed = [full[item.text] for item in found.architectures]
    assert [row["cost"] <= limit for row in proposed] == [True] * min(3, sum(keep)) + [False] * max(0, 3 - sum(keep))
    best = max(full.values(), key=lambda row: row["reward"])
    kept = max((row for row in full.values() if row["cost"] <= limit), key=lambda row: row["reward"])
    assert proposed[0] == kept and best["reward"] >= kept["reward"]


def test_beta_and_gamma_are_the_limit_unless_they_are_named():
    task = limited(SPACE, "aops", 5e5)
    found = searcher("radars", task, **RADARS)
    assert (found._model.metric, found._beta, found._gamma) == ("aops", 5e5, 5e5)
    named = searcher("radars", task, **RADARS, beta=0.0, gamma=1e9)
    assert (named._beta, named._gamma) == (0.0, 1e9)
    free = searcher("radars", **RADARS, cost="macs")
    assert (free._model.metric, free._beta) == ("macs", 0.0) and free._gamma > 1e3


class Scripted(CostModel):
    """A latency that is no count: of an unknown form, and unknown for some."""

    metric = "latency"

    def __init__(self, space):
        self._macs = StaticCost("macs", space)

    def costs(self, architectures):
        return [
            Cost.missing("not known") if item.decisions[0] == 4 else Cost.exact(1e-3 + 1e-9 * cost.value**1.05)
            for item, cost in zip(architectures, self._macs.costs(architectures), strict=True)
        ]


@pytest.mark.parametrize("metric", ["macs", "latency"])
def test_mobilenets_are_searched_under_limits(here, a_mib_each, tmp_path, metric):
    space = Mobilenet(width=10, resolution=32, halvings=5)
    model = StaticCost("macs", space) if metric == "macs" else Scripted(space)
    rng = np.random.default_rng(0)
    limit = median(cost.value for cost in model.costs([space.sample(rng) for _ in range(30)]) if cost.value)
    task = Task(space, {}, Pictures(None, 80), {metric: limit}, {}, (model,), 1)
    found = run(tmp_path, task=task, rounds=1, episodes=2, samples=2, top=1)
    (derived,) = events(found, "derived")
    assert derived["cost"] == model.costs([space.parse(derived["architecture"])])[0].value
    assert len(events(found, "merged")[0]["layers"]) == 21
    unknown = [row for row in events(found, "episode") if space.parse(row["architecture"]).decisions[0] == 4]
    assert all(row["cause"] == "not known" for row in unknown if metric == "latency")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rounds": 0}, "at least 1"),
        ({"episodes": 0}, "at least 1"),
        ({"top": 0}, "at least 1"),
        ({"controller_rate": 0.0}, "above 0"),
        ({"merge": "sum"}, "merge=tuple"),
        ({"fault_bytes": -1}, "fault_bytes"),
        ({"full_epochs": 0}, "an epoch each"),
        ({"gamma": -1.0}, "negative"),
        ({"alpha": 1.5}, "alpha"),
        ({"relax": "hard"}, "softmax, gumbel, path"),
        ({"cost_loss": "max"}, "sum, product"),
        ({"cost": "luck"}, "not counted"),
        ({"cost": "latency"}, "not counted"),
        ({"batch": 31}, "larger than the 30 images"),
        ({"explore_images": 121}, "cannot see 121 images"),
        ({"explore_images": 20}, "larger than the"),
        ({"explore_classes": 1}, "of 1 classes"),
        ({"augment": "blur"}, "augmentation"),
    ],
)
def test_options_without_sense_are_refused_before_the_search(options, words):
    with pytest.raises(UsageError) as caught:
        searcher("radars", TASK, **{**RADARS, **options})
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["radars", "quantnas", "dnas", "one_shot"])
def test_spaces_without_layers_in_a_row_are_refused(name):
    with pytest.raises(UsageError) as caught:
        searcher(name, replace(TASK, space=NasBench201()))
    assert "nasbench201 has no layers in a row" in caught.value.what and "quantised_cnn" in caught.value.remedy


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
def test_a_bounded_search_as_it_is(tmp_path):
    """Real processes: the first one lacks memory, the next one ends, and none takes more than it may."""
    bound = predicted_bytes(
        SPACE, merge(SPACE, [SPACE.sample(np.random.default_rng(i)) for i in range(3)], "tuple"), 16
    )
    task = replace(TASK, memory_bytes=bound + 8 * MIB)
    found = run(tmp_path, task=task, rounds=1, top=2, fault_bytes=78 * MIB + 8 * MIB)
    first, second = events(found, "searched")
    assert first["out_of_memory"] and not second["out_of_memory"] and len(events(found, "derived")) == 1
    for row in (first, second):
        assert row["peak_bytes"] < row["predicted_bytes"] <= task.memory_bytes
    assert second["peak_bytes"] > 0
