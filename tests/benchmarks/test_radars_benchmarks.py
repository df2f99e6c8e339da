"""What the benchmarks of RADARS make of events and cells."""

import argparse
import math
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import radars, radars_tables
from benchmarks.table_game import SPACE, Game

CELLS = [cell for cell in SPACE.enumerate() if SPACE.connected(cell)]


def game(limit_s):
    decisions = np.array([cell.decisions for cell in CELLS])
    worth, cost = np.array([0.0, 1.0, 4.0, 6.0, 2.0])[decisions].sum(1), 1.0 + decisions.sum(1)
    texts = [cell.text for cell in CELLS]
    latency, objective, test = (dict(zip(texts, map(float, item), strict=True)) for item in (cost, worth, worth))
    return Game("made up", latency, limit_s, objective, test, 0.0, 0.0)


def test_the_feasible_best_keep_the_limit_and_nothing_that_keeps_it_is_better():
    own = game(12.0)
    best = radars_tables._feasible_best(own)
    kept = [cell for cell in CELLS if own.latency_s[cell.text] <= 12.0]
    assert len(best) == round(0.01 * len(kept)) and all(own.latency_s[cell.text] <= 12.0 for cell in best)
    worst = min(own.test[cell.text] for cell in best)
    better = [cell for cell in kept if own.test[cell.text] > worst]
    assert set(better) <= set(best)


def test_the_share_of_the_best_that_a_merged_sub_space_keeps():
    first, second = (SPACE.architecture(item) for item in ((1, 2, 3, 1, 2, 3), (3, 2, 1, 1, 2, 3)))
    mixed, outside = (SPACE.architecture(item) for item in ((1, 2, 1, 1, 2, 3), (2, 2, 1, 1, 2, 3)))
    assert radars_tables._share([first, second], [mixed, outside]) == (0.5, 4 / 5**6)
    assert radars_tables._share([first], [first]) == (1.0, 1 / 5**6)


def test_learned_sub_spaces_keep_more_than_random_ones_where_rewards_are_exact(monkeypatch):
    own = game(14.0)
    monkeypatch.setattr(radars_tables, "games", lambda folder: [own])
    monkeypatch.setattr(radars_tables, "reference_folder", lambda: None)
    misleading = {text: -value for text, value in own.test.items()}
    monkeypatch.setattr(radars_tables, "column", lambda *names: misleading)
    monkeypatch.setattr(radars_tables, "cores", lambda: 1)
    (row,) = radars_tables.run(argparse.Namespace(score="x", seeds=6, evaluations=60, top=4))
    assert row["difference"]["random"]["mean"] > 0
    assert row["kept"]["training-free"]["mean"] <= row["kept"]["learned"]["mean"], "its scores say the contrary"
    assert "made up" in radars_tables._text([row])


def test_figures_count_what_was_known_when_radars_ended():
    def network(accuracy, cost, reward, elapsed_s):
        return {"kind": "retrained", "accuracy": accuracy, "cost": cost, "reward": reward, "elapsed_s": elapsed_s}

    events = [network(50.0, 2.0, 0.4, 1.0), {"kind": "episode", "elapsed_s": 2.0}, network(90.0, 1.0, 0.8, 30.0)]
    found = radars._figures(events, radars.Goal(0.8, 10.0, 10.0, 10.0), 4.0)
    assert found["slower"] == pytest.approx(3.0) and not found["not_reached"] and found["networks"] == 2
    assert found["hypervolume"] == pytest.approx(50 * 2 / 400) and found["front"] == [(50.0, 2.0)]
    never = radars._figures(events, radars.Goal(0.9, 10.0, 10.0, 10.0), 4.0)
    assert never["slower"] == 10.0 and never["not_reached"] and math.isclose(never["best"], 0.8)


def test_a_method_runs_until_radars_has_ended_and_it_has_the_reward_or_no_time_is_left():
    def known(*pairs):
        return [{"kind": "retrained", "reward": reward, "elapsed_s": elapsed_s} for reward, elapsed_s in pairs]

    goal = radars.Goal(0.8, reached_s=10.0, end_s=20.0, stop=3.0)
    assert not goal.enough(known((0.9, 5.0))), "the hypervolume is that of RADARS' end"
    assert goal.enough(known((0.9, 5.0), (0.1, 21.0)))
    assert not goal.enough(known((0.7, 29.0))) and goal.enough(known((0.7, 31.0)))
    assert goal.slower(known((0.7, 1.0), (0.8, 15.0), (0.9, 16.0))) == 1.5
    assert goal.slower(known((0.9, 31.0))) is None, "too late"


def test_what_was_found_is_drawn():
    methods = {"radars": {"front": [(10.0, 2e6), (20.0, 1e6)]}, "dnas": {"front": []}}
    fronts = radars.drawn({"part": "game", "rows": [{"methods": methods}, {"methods": methods}]})
    assert ElementTree.fromstring(fronts).tag == "{http://www.w3.org/2000/svg}svg"
    assert fronts.count("<circle") == 4 and "dnas" not in fronts
    searches = [{"share": 4, "accuracy": 90.0}, {"share": 8, "accuracy": None}]
    assert "radars: 2, 90" in radars.drawn({"part": "bounds", "whole_bytes": 8 << 20, "searches": searches})
    row = {"dnas_predicted_bytes": 4 << 20, "dnas_peak_bytes": 0, "radars_predicted_bytes": 2 << 20}
    memories = radars.drawn({"part": "types", "rows": [{**row, "radars_peak_bytes": 1 << 20}]})
    assert "dnas_predicted_bytes: 1, 4" in memories and "dnas_peak" not in memories
