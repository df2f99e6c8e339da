"""Searches of cells: what their options do, and what is left of one that ends early."""

import math

import pytest
import torch

from hilnas.errors import UsageError
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import StaticCost
from searchers._expected_cost import expected_cost
from searchers._options import option_defaults
from searchers._supernet_search import SupernetSearch
from searchers.supernets._base import Pictures, Task
from searchers.supernets.darts import Darts
from searchers.supernets.dca_nas import DcaNas
from searchers.supernets.pc_darts import PcDarts

SPACE = NasBench201(width=8, depth=1, resolution=8)
PARAMS = StaticCost("params", SPACE)
FREE = Task(SPACE, {}, Pictures(None, 80), {}, {})
LIMITED = Task(SPACE, {}, Pictures(None, 80), {"params": 2e4}, {"params": expected_cost(SPACE, PARAMS)}, (PARAMS,))
SMALL = {"batch": 16, "share_rate": 0.1}


def silent(values, share):
    pass


def run(searcher, folder):
    folder.mkdir(exist_ok=True)
    return searcher.run(folder, silent)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Return the outcome of three epochs of DARTS."""
    return run(Darts(FREE, epochs=3, **SMALL), tmp_path_factory.mktemp("three"))


def shares_after(epoch, folder):
    """Return the shares after an epoch of three: those of a search that is stopped behind it."""

    class Stopped(Exception):
        pass

    def stop(values, share):
        if values["number"] == epoch:
            raise Stopped

    with pytest.raises(Stopped):
        Darts(FREE, epochs=3, **SMALL).run(folder, stop)
    search = SupernetSearch(SPACE, Darts.method)
    search.load_state(torch.load(folder / "checkpoint.pt", weights_only=True)["search"])
    return tuple(tuple(row.tolist()) for row in search.shares)


def test_a_search_that_diverges_proposes_what_its_last_whole_epoch_left(three, tmp_path, monkeypatch):
    steps, real = [], SupernetSearch.step_in_weights

    def poisoned(self, batch, rate):
        steps.append(1)
        return real(self, batch, rate) if len(steps) <= 8 else math.nan

    expected = shares_after(2, tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    monkeypatch.setattr(SupernetSearch, "step_in_weights", poisoned)
    found = Darts(FREE, epochs=3, **SMALL).run(tmp_path, silent)
    assert "diverged" in found.cause and "epoch 3" in found.cause and "kept in" in found.cause
    assert (tmp_path / "checkpoint.pt").exists()
    assert found.architectures[0].text == three.history[1]["architecture"]
    assert found.shares == expected != three.shares
    assert [row["number"] for row in found.history] == [1, 2]
    # Run again it stumbles over the same step.
    steps.clear()
    steps += [1] * 6
    again = Darts(FREE, epochs=3, **SMALL).run(tmp_path, silent)
    assert again == found


def test_a_search_that_diverges_at_once_proposes_nothing_and_keeps_nothing(tmp_path):
    found = run(Darts(FREE, epochs=2, rate=1e30, **SMALL), tmp_path)
    assert found.architectures == found.shares == found.history == ()
    assert "epoch 1" in found.cause and "kept" not in found.cause


def test_a_search_stops_before_an_epoch_that_would_leave_too_many_skips(tmp_path, monkeypatch):
    (tmp_path / "plain").mkdir()
    expected = shares_after(2, tmp_path / "plain")
    skips = iter((0, 2, 3))
    monkeypatch.setattr(NasBench201, "skips", lambda self, architecture: next(skips))
    found = run(Darts(FREE, epochs=3, most_skips=2, **SMALL), tmp_path / "stopped")
    assert found.cause == "stopped: epoch 3 would leave 3 skips"
    assert [row["skips"] for row in found.history] == [0, 2]
    assert found.shares == expected
    assert run(Darts(FREE, epochs=3, most_skips=2, **SMALL), tmp_path / "stopped") == found, "told, not searched again"


def test_shares_rest_for_the_authors_part_of_the_epochs(tmp_path):
    resting = run(PcDarts(FREE, epochs=3, **SMALL), tmp_path / "resting")
    assert [row["validation_loss"] is None for row in resting.history] == [True, False, False]
    awake = run(PcDarts(FREE, epochs=1, warm_up=0, **SMALL), tmp_path / "awake")
    assert awake.history[0]["validation_loss"] > 0


def test_shares_move_as_far_as_in_the_steps_of_the_authors():
    few, many = (Darts(FREE, epochs=n, batch=16)._rate_of_shares(60) for n in (10, 100_000))
    assert few == pytest.approx(Darts.method.share_rate * 50 * 390 / 30)
    assert many == Darts.method.share_rate
    assert Darts(FREE, epochs=10, batch=16, share_rate=0.3)._rate_of_shares(60) == 0.3


def test_limits_steer_dca_nas_and_no_other(tmp_path):
    pulled = run(DcaNas(LIMITED, epochs=2, multiplier_rate=5.0, bottleneck=2, **SMALL), tmp_path / "pulled")
    free = run(DcaNas(FREE, epochs=2, multiplier_rate=5.0, bottleneck=2, **SMALL), tmp_path / "free")
    only_told = run(Darts(LIMITED, epochs=1, multiplier_rate=5.0, **SMALL), tmp_path / "told")
    cost = LIMITED.costs["params"]
    expected = [cost.of([torch.tensor(row) for row in found.shares]).item() for found in (pulled, free)]
    assert expected[0] < expected[1]
    assert pulled.history[-1]["multipliers"]["params"] > 0 == only_told.history[-1]["multipliers"]["params"]
    assert free.history[-1]["expected"] == {} != only_told.history[-1]["expected"]


def test_the_grid_of_bounds(tmp_path):
    assert DcaNas(LIMITED, **SMALL, bounds=3, lowest=0.5, highest=2.0).factors == (0.5, 1.0, 2.0)
    assert DcaNas(LIMITED, **SMALL, bounds=1).factors == DcaNas(FREE, **SMALL, bounds=6).factors == (1.0,)
    # Searches under one bound would write into one folder.
    assert DcaNas(LIMITED, **SMALL, bounds=6, lowest=0.8, highest=0.8).factors == (0.8,)
    assert DcaNas(LIMITED, **SMALL, bounds=2, lowest=1e-6, highest=1.0).factors == (1e-6, 1.0)


def test_options_change_the_method():
    assert Darts(FREE, **SMALL).chosen_method().order == 1
    assert Darts(FREE, order=2, **SMALL).chosen_method().order == 2
    found = DcaNas(FREE, shared=False, bottleneck=2, derived=False, **SMALL).chosen_method()
    assert (found.style.shared, found.style.bottleneck, found.derived) == (False, 2, False)


def test_options_that_are_handed_on_are_those_of_the_base_as_well():
    assert option_defaults(DcaNas) == {**option_defaults(PcDarts), **{
        "bounds": 6, "lowest": 0.5, "highest": 2.0, "shared": True, "bottleneck": 4, "derived": True,
    }}  # fmt: skip
    assert option_defaults(Darts) == {**option_defaults(PcDarts), "order": 1}
    assert option_defaults(PcDarts)["epochs"] == 10


def test_the_second_order_searches_otherwise(tmp_path):
    first, second = (run(Darts(FREE, epochs=1, order=n, **SMALL), tmp_path / str(n)) for n in (1, 2))
    assert first.history[0]["validation_loss"] != second.history[0]["validation_loss"]
    assert first.shares != second.shares


def test_a_batch_that_the_held_out_pictures_do_not_fill_is_refused_at_once():
    with pytest.raises(UsageError, match="larger than the 20 images"):
        Darts(FREE, batch=32)
