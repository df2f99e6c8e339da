"""Epochs of a differentiable search: limits, checkpoints, and what cannot work."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hilnas.errors import BadFile, UsageError
from search_spaces._costs import block_costs
from search_spaces.nasbench201 import NasBench201
from searchers._expected_cost import Constraints, ExpectedCost
from searchers._supernet_search import DARTS, DCA_NAS, SupernetSearch
from searchers._supernet_training import Schedule, _Loop, epochs
from searchers._training import Diverged
from searchers.image_data import load_dataset

SPACE = NasBench201(width=8, depth=1, resolution=8)
SCHEDULE = Schedule(epochs=2, batch=16, checkpoint_steps=2, seed=1)
PARAMS = ExpectedCost(*SPACE.row_costs(lambda block: float(block_costs(block).params)))


@pytest.fixture(scope="module")
def digits():
    return load_dataset(None, 0, 130, (8, 8))


def constraints(bound):
    return Constraints({"params": PARAMS}, {"params": bound}, rate=0.5)


def state_of(search):
    weights = {name: item.clone() for name, item in search.module.state_dict().items()}
    return weights, search.shares


def test_an_epoch_says_what_it_left(digits):
    search = SupernetSearch(SPACE, DCA_NAS)
    found = list(epochs(search, digits, replace(SCHEDULE, epochs=4, warm_up=1, rate=0.1), constraints(4000.0)))
    assert [item.number for item in found] == [1, 2, 3, 4]
    assert found[0].validation_loss is None and found[1].validation_loss > 0
    assert found[0].entropy == pytest.approx(np.log(5), rel=1e-4), "the shares rested"
    assert found[3].entropy < found[0].entropy
    assert found[3].training_loss < found[0].training_loss
    expected = PARAMS.of(list(map(torch.from_numpy, search.shares))).item()
    assert found[3].expected["params"] == pytest.approx(expected)
    assert found[3].multipliers["params"] > 0 and found[3].architecture == search.derive()


def test_the_multiplier_pulls_the_expected_cost_towards_its_bound(digits):
    method, bound = replace(DCA_NAS, share_rate=0.1), PARAMS.fixed + 500.0
    free, limited = (SupernetSearch(SPACE, method) for _ in range(2))
    (*_, unlimited) = epochs(free, digits, SCHEDULE, constraints(1e9))
    (*_, found) = epochs(limited, digits, SCHEDULE, constraints(bound))
    assert unlimited.multipliers["params"] == 0.0
    assert found.expected["params"] < unlimited.expected["params"]
    assert found.multipliers["params"] > 0


@pytest.mark.parametrize("stopped_at", [1, 5, 10])
def test_a_search_that_was_stopped_ends_as_if_it_had_not_been(digits, tmp_path, stopped_at):
    whole = SupernetSearch(SPACE, DARTS, seed=2)
    expected = list(epochs(whole, digits, SCHEDULE, constraints(4000.0)))

    def stop(done, of):
        if done == stopped_at:
            raise KeyboardInterrupt

    path = tmp_path / "search.pt"
    with pytest.raises(KeyboardInterrupt):
        list(epochs(SupernetSearch(SPACE, DARTS, seed=2), digits, SCHEDULE, constraints(4000.0), path, stop))
    assert path.exists() == (stopped_at > 2)
    # Where there is a checkpoint it says everything, whatever the seed of what goes on.
    resumed = SupernetSearch(SPACE, DARTS, seed=5 if path.exists() else 2)
    found = list(epochs(resumed, digits, SCHEDULE, constraints(4000.0), path))
    for ours, theirs in zip(found, expected, strict=True):
        assert replace(ours, elapsed_s=0.0) == replace(theirs, elapsed_s=0.0)
    (weights, shares), (others, their_shares) = state_of(resumed), state_of(whole)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert all(np.array_equal(one, other) for one, other in zip(shares, their_shares, strict=True))


def test_the_held_out_images_come_in_another_order_each_time(digits):
    loop = _Loop(SupernetSearch(SPACE, DCA_NAS), digits, replace(SCHEDULE, augment="none"), None, None, print)
    full = len(digits.validation.labels) // SCHEDULE.batch
    (first, _), (again, _), (same, _) = (loop._batch(1, step) for step in (0, full, 0))
    assert torch.equal(first, same) and not torch.equal(first, again)


def test_a_finished_search_has_nothing_left_to_do_but_to_tell(digits, tmp_path):
    path = tmp_path / "search.pt"
    first = list(epochs(SupernetSearch(SPACE, DCA_NAS), digits, SCHEDULE, None, path))
    steps = []
    again = list(epochs(SupernetSearch(SPACE, DCA_NAS), digits, SCHEDULE, None, path, lambda *at: steps.append(at)))
    assert again == first and not steps


@pytest.mark.parametrize("damage", ["cut", "other search", "text"])
def test_a_checkpoint_that_is_none_is_refused(digits, tmp_path, damage):
    path = tmp_path / "search.pt"
    list(epochs(SupernetSearch(SPACE, DCA_NAS), digits, replace(SCHEDULE, epochs=1), None, path))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "text":
        path.write_text("no checkpoint")
    method = DARTS if damage == "other search" else DCA_NAS
    with pytest.raises(BadFile, match="no checkpoint of this search"):
        list(epochs(SupernetSearch(SPACE, method), digits, SCHEDULE, None, path))


def test_a_loss_that_is_no_number_stops_the_search_and_keeps_the_checkpoint(digits, tmp_path):
    path = tmp_path / "search.pt"
    search = SupernetSearch(SPACE, DCA_NAS)

    def poison(done, of):
        if done == 3:
            with torch.no_grad():
                next(search.module.parameters()).fill_(float("nan"))

    with pytest.raises(Diverged, match="kept in"):
        list(epochs(search, digits, SCHEDULE, None, path, poison))
    assert torch.load(path, weights_only=True)["step"] == 2


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch": 1}, {"warm_up": 3}, {"checkpoint_steps": 0}])
def test_schedules_without_sense_are_refused(options):
    with pytest.raises(UsageError):
        replace(SCHEDULE, **options)


def test_a_batch_larger_than_the_data_is_refused(digits):
    with pytest.raises(UsageError, match="larger than the"):
        list(epochs(SupernetSearch(SPACE, DCA_NAS), digits, replace(SCHEDULE, batch=512)))
