"""The game on tables, on a made-up one."""

import numpy as np

from benchmarks import table_game
from benchmarks.table_game import SPACE, Game, run


def game(limit_s):
    cells = [cell for cell in SPACE.enumerate() if SPACE.connected(cell)]
    decisions = np.array([cell.decisions for cell in cells])
    worth, cost = np.array([0.0, 1.0, 4.0, 6.0, 2.0])[decisions].sum(1), 1.0 + decisions.sum(1)
    texts = [cell.text for cell in cells]
    columns = (dict(zip(texts, map(float, values), strict=True)) for values in (cost, worth, worth + 50))
    latency, objective, test = columns
    best = max(value for text, value in objective.items() if latency[text] <= limit_s)
    return Game("made up", latency, limit_s, objective, test, best, best + 50)


def test_every_contender_has_the_budget_and_a_regret(monkeypatch):
    monkeypatch.setattr(table_game, "cores", lambda: 1)
    (row,) = run([game(12.0)], 2, 40)
    assert set(row["contenders"]) == set(table_game.CONTENDERS)
    for figures in row["contenders"].values():
        assert figures["most_evaluations"] == 40
        assert figures["objective_regret"]["mean"] >= 0
        assert figures["accuracy_regret"] == figures["objective_regret"]
    ours, theirs = (row["contenders"][name]["objective_regret"]["mean"] for name in ("dca_nas", table_game.RIVAL))
    assert row["difference"]["mean"] == ours - theirs
    values = {"seeds": 2, "evaluations": 40, "limits": 1, "won": 1, "rows": [row]}
    assert "made up" in table_game._text(values)


def test_a_search_without_a_feasible_cell_has_no_regret(monkeypatch):
    monkeypatch.setattr(table_game, "cores", lambda: 1)
    monkeypatch.setattr(table_game, "CONTENDERS", {name: (name, {}) for name in ("dca_nas", table_game.RIVAL)})
    impossible = Game("made up", game(12.0).latency_s, 0.5, game(12.0).objective, game(12.0).test, 0.0, 0.0)
    (row,) = run([impossible], 1, 20)
    assert row["difference"] is None
    assert all(figures["feasible"] == 0 for figures in row["contenders"].values())
