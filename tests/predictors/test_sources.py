"""Which devices a predictor learns from."""

import json

import numpy as np
import pytest

from hilnas.errors import UsageError
from hilnas.records import canonical_json
from predictors._base import Predictor
from predictors._baselines import BestSource
from predictors._judging import BEST_SOURCE, judge_fitted
from predictors._samples import Samples
from predictors._sources import Source, find_sources
from profiler import _source_pack
from profiler._source_pack import PackRow, write_pack
from profiler._table_records import Column, ReferenceTable
from profiler._workspace import Workspace
from search_spaces.fbnet import FBNet
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
CELLS = SPACE.sample_distinct(80, seed=2)
TIMES = np.random.default_rng(0).uniform(1e-3, 2e-3, (6, len(CELLS)))


@pytest.fixture
def workspace(tmp_path):
    with Workspace.open(tmp_path / "w") as opened:
        yield opened


@pytest.fixture
def packs(tmp_path, monkeypatch):
    monkeypatch.setattr(_source_pack, "_shipped", lambda: tmp_path / "packs")

    def put(name, space="nasbench201", **tables):
        rows = {device: [PackRow(c.text, float(t), None, 5) for c, t in zip(CELLS, times, strict=True)]
                for device, times in tables.items()}  # fmt: skip
        described = {"space": space, "space_options": canonical_json(dict(SPACE.options))}
        write_pack(tmp_path / "packs" / name, {**described, "devices": [{"name": item} for item in tables]}, rows)

    return put


def put_table(workspace, name, cells=CELLS, space="nasbench201", dimension="time", **columns):
    keys = tuple(item.text for item in cells)
    stored = tuple(Column(key, dimension, "ms", np.asarray(values)) for key, values in columns.items())
    workspace.store.put_table(ReferenceTable(name, space, "test", "0", keys, None, stored))


def names(workspace, target, asked=None):
    return [item["name"] for item in find_sources(workspace, SPACE, target, asked)]


def test_all_other_devices_are_sources(workspace):
    put_table(workspace, "a", new=TIMES[0], old=TIMES[1])
    put_table(workspace, "b", few=[*TIMES[2][:19], *[np.nan] * 61], copy=3 * TIMES[0], again=2 * TIMES[1])
    put_table(workspace, "c", dimension="percent", accuracy=TIMES[3])
    put_table(workspace, "d", cells=FBNet().sample_distinct(30, seed=0), space="fbnet", far=TIMES[4][:30])
    assert names(workspace, "table:a/new") == ["table:a/old"]
    assert names(workspace, "table:a/old") == ["table:a/new"]
    assert names(workspace, "nobody") == ["table:a/new", "table:a/old"]


def test_packs_that_ship_are_sources_unless_imported(workspace, packs):
    packs("lab", pi=TIMES[0], mac=TIMES[1])
    packs("elsewhere", space="fbnet", pi=TIMES[2])
    assert names(workspace, "new") == ["source_pack:lab/pi", "source_pack:lab/mac"]
    assert names(workspace, "mac") == ["source_pack:lab/pi"]
    assert names(workspace, "table:lab/pi", ()) == []
    put_table(workspace, "lab", pi=TIMES[0], mac=TIMES[1])
    assert names(workspace, "table:lab/pi") == ["table:lab/mac"]
    assert names(workspace, "new", ["source_pack:lab/mac"]) == ["source_pack:lab/mac"]


def test_a_pack_of_other_options_is_no_source(workspace, packs):
    packs("lab", pi=TIMES[0])
    assert find_sources(workspace, NasBench201(width=8), "new") == []


def test_sources_of_other_spaces_are_named_with_their_space(workspace):
    put_table(workspace, "d", cells=FBNet().sample_distinct(30, seed=0), space="fbnet", far=TIMES[4][:30])
    (found,) = find_sources(workspace, SPACE, "table:d/far", ["table:d/far@fbnet"])
    assert (found["name"], found["space"], len(found["latency_s"])) == ("table:d/far@fbnet", "fbnet", 30)
    with pytest.raises(UsageError, match="belongs to fbnet") as caught:
        find_sources(workspace, SPACE, "new", ["table:d/far"])
    assert caught.value.remedy == "Write table:d/far@fbnet"


@pytest.mark.parametrize("name", ["table:a/new", "table:a/new@nasbench201"])
def test_a_device_is_never_its_own_source(workspace, name):
    put_table(workspace, "a", new=TIMES[0], old=TIMES[1])
    with pytest.raises(UsageError, match="source of itself"):
        find_sources(workspace, SPACE, "table:a/new", [name])
    assert names(workspace, "table:a/new", ["table:a/old@nasbench201"]) == ["table:a/old"]


def test_of_large_sources_the_same_networks_are_taken(workspace):
    cells = SPACE.sample_distinct(1000, seed=3)
    put_table(workspace, "a", cells, new=np.ones(1000), x=np.arange(1, 1001), y=np.arange(1, 1001) ** 2)
    first, second = find_sources(workspace, SPACE, "table:a/new")
    assert first["architectures"] == second["architectures"]
    assert len(first["architectures"]) == 900


# Scaling the best source


def source(name, times, cells=CELLS):
    return Source(name, tuple(cells), np.asarray(times)).to_json()


def test_the_source_that_ranks_best_is_scaled_by_the_median_ratio():
    truth = TIMES[0].copy()
    truth[0] *= 100  # an outlier that a median does not see
    fitted = BestSource(SPACE, sources=[source("a", TIMES[1]), source("b", 4 * TIMES[0])]).fit(CELLS[:30], truth[:30])
    np.testing.assert_allclose(fitted.predict(CELLS[30:]).mean_s, TIMES[0][30:])
    assert fitted.parameters() == {"source": 1}


def test_a_constant_source_ranks_nothing():
    fitted = BestSource(SPACE, sources=[source("flat", np.ones(80)), source("b", TIMES[0])])
    assert fitted.fit(CELLS, TIMES[0]).parameters() == {"source": 1}


def sizes(cells):
    return np.array([1e-3 + 1e-4 * sum(item.decisions[i] == 3 for i in range(6)) for item in cells])


def test_what_a_source_has_not_measured_its_surrogate_says():
    others = SPACE.sample_distinct(60, seed=11, exclude=frozenset(map(SPACE.canonical, CELLS)))
    fitted = BestSource(SPACE, sources=[source("a", sizes(CELLS))]).fit(others[:20], 2 * sizes(others[:20]))
    found = fitted.predict([CELLS[0], *others[20:]]).mean_s
    assert found[0] == pytest.approx(2 * sizes(CELLS[:1])[0], rel=0.1)
    assert np.mean(np.abs(found[1:] / (2 * sizes(others[20:])) - 1)) < 0.1


def test_it_is_a_baseline_of_judgements_with_sources():
    class Constant(Predictor):
        minimum_samples = 2

        def _inputs(self, views, architectures):
            return np.ones((len(architectures), 1))

        def _train(self, inputs, y, choices):
            return lambda rows: np.full(len(rows), np.median(y))

    sides = [Samples(tuple(CELLS[part]), TIMES[0][part], ((),) * 40) for part in (slice(0, 40), slice(40, 80))]
    fitted = Constant(SPACE).fit(sides[0].architectures, sides[0].latency_s)
    judgement, _ = judge_fitted(fitted, *sides, [source("a", 3 * TIMES[0])])
    assert judgement.baselines[BEST_SOURCE].mape == pytest.approx(0, abs=1e-12)
    assert judgement.to_json()["baselines"][BEST_SOURCE]["spearman"] == pytest.approx(1)
    without, _ = judge_fitted(fitted, *sides)
    assert BEST_SOURCE not in without.baselines
    assert json.dumps(without.to_json()["baselines"][BEST_SOURCE]).startswith('"n/a')
