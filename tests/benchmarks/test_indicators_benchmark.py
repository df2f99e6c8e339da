"""The benchmark of the indicators: its rank statistics, and that it runs and goes on."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.indicators import ranks, spearman, speeds


def test_spearman_is_that_of_scipy_with_ties_and_missing_scores():
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(0, 5, 40).astype(float), rng.normal(size=40)])
    values[0, :3] = -np.inf
    assert spearman(values) == pytest.approx(spearmanr(*values).statistic)
    assert math.isnan(spearman(np.stack([np.ones(5), np.arange(5.0)])))


def test_speed_of_a_count_and_of_a_plain_form():
    macs, nlr = speeds(["macs", "nlr"], 1)
    assert macs.plain is None
    assert nlr.plain is not None
    assert nlr.difference <= 1e-4
    assert nlr.to_json()["plain"]["n"] == 1
    assert "the plain form" in nlr.line()


def test_ranks_are_kept(reference_data, tmp_path, monkeypatch):
    monkeypatch.setenv("HILNAS_REFERENCE_DATA", str(reference_data))
    first = ranks(["live_macs", "nlr"], 5, tmp_path)
    assert {(item.indicator, item.inputs) for item in first} == {("live_macs", ""), ("nlr", "digits"), ("nlr", "noise")}
    assert {item.against for item in first} == {"test", "validation", "freerea nregions"}
    assert all(-1 <= item.interval[0] <= item.interval[1] <= 1 for item in first)
    files = {path: path.read_bytes() for path in tmp_path.glob("nlr-*.jsonl")}
    assert len(files) == 2
    assert ranks(["live_macs", "nlr"], 5, tmp_path) == first
    assert all(path.read_bytes() == content for path, content in files.items())
