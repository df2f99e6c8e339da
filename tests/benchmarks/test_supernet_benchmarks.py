"""What the benchmarks of searches by supernets make of what was searched."""

import argparse

import numpy as np
import pytest

from benchmarks import picture_search, supernet_step, varied_limits
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import TableCost
from searchers._expected_cost import expected_cost
from searchers._supernet_jobs import Searched
from searchers._torch import one_thread
from searchers.supernets._base import Outcome

SPACE = NasBench201()
CELLS = list(SPACE.enumerate())
LATENCY_S = {cell.text: 1e-3 * (1 + sum(cell.decisions)) for cell in CELLS}
DEVICE = varied_limits.Device(
    "made_up", LATENCY_S, expected_cost(SPACE, TableCost("latency", LATENCY_S)), (5e-3, 10e-3)
)


def searched(decisions, strongest=3):
    """Return a search whose shares prefer one operation everywhere, and which has derived these decisions."""
    row = np.full(5, 0.1)
    row[strongest] = 0.6
    return Searched(Outcome((SPACE.architecture(decisions),), (tuple(row),) * 6), 1.0, 1)


def test_the_answer_of_a_lookup_graph_is_the_point_closest_below_the_limit():
    graph = {4e-3: searched((1, 1, 1, 0, 0, 0)), 8e-3: searched((2, 2, 1, 1, 0, 0)), 12e-3: searched((3,) * 6)}
    assert varied_limits._answer(DEVICE, graph, 10e-3).decisions == (2, 2, 1, 1, 0, 0)
    assert varied_limits._answer(DEVICE, graph, 6e-3).decisions == (1, 1, 1, 0, 0, 0)
    strongest = varied_limits._answer(DEVICE, graph, 3e-3)
    assert LATENCY_S[strongest.text] <= 3e-3, "no point of the graph keeps it, so that its shares have to"


def test_a_row_counts_who_keeps_the_limit():
    answers = {
        "dca_nas": [SPACE.architecture((1, 1, 1, 0, 0, 0)), SPACE.architecture((1, 1, 0, 0, 0, 0))],
        "pc_darts": [SPACE.architecture((3,) * 6), SPACE.architecture((1,) * 6)],
        "pc_darts within": [None, SPACE.architecture((1,) * 6)],
    }
    accuracy = {cell.text: float(sum(cell.decisions)) for cell in CELLS}
    row = varied_limits._row(DEVICE, 8e-3, answers, accuracy)
    assert row["best_feasible"] == 7.0
    assert {name: item["kept"] for name, item in row["methods"].items()} == {
        "dca_nas": 1.0,
        "pc_darts": 0.5,
        "pc_darts within": 0.5,
    }
    assert row["methods"]["dca_nas"]["accuracy"]["mean"] == 2.5
    assert row["difference"]["pc_darts"]["mean"] == pytest.approx((3 - 18 + 2 - 6) / 2)


def test_a_lookup_graph_spans_all_limits_of_a_device():
    bounds = varied_limits._bounds(DEVICE, 6)
    assert len(bounds) == 6 and bounds[0] < min(DEVICE.limits_s) and bounds[-1] > max(DEVICE.limits_s)


def test_ratios_of_searches_are_paired_by_seed():
    def row(method, seed, search_s, peak_bytes):
        empty = dict.fromkeys(picture_search._ACCURACIES)
        return {"method": method, "seed": seed, "search_s": search_s, "peak_bytes": peak_bytes, "skips": 1, **empty} | {
            "kept": seed == 0,
            "accuracy": 80.0 + seed,
        }

    rows = [row("darts", 0, 4.0, 8), row("ours", 0, 2.0, 4), row("ours", 1, 1.0, 4), row("darts", 1, 8.0, 12)]
    found = picture_search.figures(rows, "darts")
    assert found["ours"]["faster_range"] == [2.0, 8.0] and found["ours"]["smaller"] == 2.5
    assert found["darts"]["faster"] == 1.0 and found["ours"]["kept"] == 0.5 and found["ours"]["accuracy"] == 80.5
    text = picture_search._text({"settings": {}, "peer": "darts", "figures": found})
    assert "5.00 x faster than darts (2.00 to 8.00)" in text and "targets" not in text


def test_the_batch_of_equal_memory_takes_no_more_than_plain_darts(monkeypatch):
    chosen = argparse.Namespace(batch=4, steps=1, cells=3, width=8, device="cpu")
    monkeypatch.setattr(supernet_step, "_peak", lambda name, own: 100 + 10 * own.batch)
    with one_thread():
        plain = supernet_step._Stepper(supernet_step.VARIANTS["darts"], chosen)
        found = supernet_step._equal_memory("+ bottleneck", chosen, 300, 140, plain)
        assert found["peak_bytes"] == 300 and found["batch"] == 20 and found["images_per_s"] > 0
        tight = supernet_step._equal_memory("+ bottleneck", chosen, 120, 140, plain)
        assert tight["batch"] == 4
