"""Transfer to a new device: what it finds out from few measurements, and what it says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import multivariate_normal, spearmanr

from hilnas.cli import cli
from hilnas.errors import UsageError
from predictors._design import _SETTINGS, _posterior
from predictors._graph_features import FEATURES, MODES, mode_features
from predictors._kernels import KERNEL_FEATURES, kernel_features
from predictors._mixture import PARTS, Mixture, Stage, fit_stage, products
from predictors._prepared import prepare
from predictors._sources import Source, source_of
from predictors.transfer import Transfer
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
POOL = [item for item in SPACE.sample_distinct(420, seed=1) if SPACE.graph(item).connected]
COSTS = {"n_conv3x3": 5e-5, "n_conv1x1": 2e-5, "n_pool": 3e-5, "n_add": 1e-5, "macs_conv3x3": 2e-12}


def times(mode: str, **changed: float) -> np.ndarray:
    """Return what a device takes that runs one of the graphs, with 1 % of noise."""
    costs = {**COSTS, **changed}
    rows = np.stack([mode_features(SPACE.graph(item))[MODES.index(mode)] for item in POOL])
    found = 5e-4 + sum(rows[:, FEATURES.index(name)] * cost for name, cost in costs.items())
    noise = np.random.default_rng(len(changed)).normal(1.0, 0.01, len(POOL))
    return np.asarray(found * noise)


def source(name: str, values: np.ndarray) -> dict[str, object]:
    return Source(name, tuple(POOL[:200]), values[:200]).to_json()


def measured(predictor: Transfer, truth: np.ndarray, n: int) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < n:
        chosen += predictor.choose(POOL, n - len(chosen), [POOL[i] for i in chosen], truth[chosen])
    return chosen


SOURCES = [
    source("slow_convolutions", times("as_trained", n_conv3x3=2e-4)),
    source("slow_pools", times("as_trained", n_pool=2e-4)),
    source("converted", times("live", n_add=5e-5)),
]


def test_ten_measurements_rank_a_device_like_a_source() -> None:
    truth = 3 * times("as_trained", n_pool=2.2e-4)
    predictor = Transfer(SPACE, sources=SOURCES)
    chosen = measured(predictor, truth, 10)
    assert len(set(chosen)) == 10
    predictor.fit([POOL[i] for i in chosen], truth[chosen])
    found = predictor.predict(POOL[200:])
    assert spearmanr(found.mean_s, truth[200:]).statistic > 0.97
    assert np.mean(np.abs(found.mean_s / truth[200:] - 1) < 0.1) > 0.9
    shares = {key: value for key, value in predictor.parameters().items() if key.startswith("source")}
    assert max(shares, key=shares.__getitem__) == "source slow_pools"


@pytest.mark.parametrize("mode", MODES)
def test_evidence_finds_the_graph_that_runs(mode: str) -> None:
    truth = times(mode, n_add=3e-5)
    predictor = Transfer(SPACE, sources=SOURCES)
    chosen = measured(predictor, truth, 16)
    predictor.fit([POOL[i] for i in chosen], truth[chosen])
    assert predictor.parameters()[f"graph {mode}"] > 0.9


def test_without_sources_features_are_left() -> None:
    truth = times("live")
    predictor = Transfer(SPACE)
    chosen = measured(predictor, truth, 14)
    predictor.fit([POOL[i] for i in chosen], truth[chosen])
    assert spearmanr(predictor.predict(POOL).mean_s, truth).statistic > 0.9


def test_networks_of_one_form_are_measured_once() -> None:
    twins = [POOL[0]] * 5 + POOL[1:3]
    chosen = Transfer(SPACE, sources=SOURCES).choose(twins, 4)
    assert len(chosen) == 3
    assert len({twins[i].text for i in chosen}) == len(chosen)


def fitted(n: int, n_settings: int) -> tuple[Stage, np.ndarray, np.ndarray]:
    """Return processes of the live graph, n times, and by every setting their covariance without errors."""
    prepared = prepare(SPACE, [], 0)
    rows, truth = prepared.rows(POOL[:n]), times("live")[:n]
    truth[0] *= 1.5
    stage = fit_stage(2, rows, rows.base[2], truth, prepared.settings.take(np.arange(n_settings)))
    unit = stage.base * stage.scale_s
    parts = products(rows, rows, 2, (stage.base, stage.base)) * np.outer(unit, unit)
    return stage, truth, np.einsum("mg,gij->mij", stage.settings.scales**2, parts)


def test_evidence_is_the_density_of_the_times() -> None:
    """Of the times, not of what they are relative to: the graphs' bases differ."""
    stage, truth, covariances = fitted(5, 1)
    unit = stage.base * stage.scale_s
    covariance = covariances[0] + np.diag(stage.explained.variances[0] * unit**2)
    expected = multivariate_normal(cov=covariance, allow_singular=True).logpdf(truth)
    assert stage.log_weights[0] == pytest.approx(expected + stage.explained.terms[0].sum(), rel=1e-6)


def test_what_has_not_seen_a_network_is_what_the_others_say() -> None:
    """Weights included: a setting that fits one network alone must not vouch for it."""
    stage, truth, covariances = fitted(6, 3)
    means, variances, log_weights = stage.leave_one_out()
    unit = stage.base * stage.scale_s
    for m in range(3):
        covariance = covariances[m] + np.diag(stage.explained.variances[m] * unit**2)
        new = np.diag(covariances[m]) + stage.settings.noise_variance[m] * unit**2
        for i in range(6):
            rest = [j for j in range(6) if j != i]
            inner = covariance[np.ix_(rest, rest)]
            crossed = np.linalg.solve(inner, covariance[rest, i])
            assert means[m, i] == pytest.approx(crossed @ truth[rest], rel=1e-6)
            assert variances[m, i] == pytest.approx(new[i] - crossed @ covariance[rest, i], rel=1e-6)
            expected = multivariate_normal(cov=inner, allow_singular=True).logpdf(truth[rest])
            expected += stage.explained.terms[m, rest].sum()
            assert log_weights[m, i] == pytest.approx(expected, abs=1e-5)


def test_graphs_and_settings_are_weighed_without_the_network_that_is_left_out() -> None:
    prepared = prepare(SPACE, SOURCES, 0)
    settings = prepared.settings.take(np.arange(8))
    rows, truth = prepared.rows(POOL[:9]), times("live", n_pool=1e-4)[:9]
    truth[4] *= 1.3
    mixture = Mixture(rows, truth, settings)
    means, _ = mixture.leave_one_out()
    for i in range(9):
        rest = [j for j in range(9) if j != i]
        log_weights, said = [], []
        for _, stage in mixture._stages:
            left = fit_stage(stage.mode, rows.take(rest), stage.base[rest], truth[rest], settings)
            log_weights.append(left.log_weights)
            said.append(left.means(rows.take([i]), stage.base[[i]])[:, 0])
        weights = np.exp(np.concatenate(log_weights) - np.max(np.concatenate(log_weights)))
        assert means[i] == pytest.approx(weights @ np.concatenate(said) / weights.sum(), rel=0.01)


def test_graphs_can_be_believed_alike() -> None:
    rows = prepare(SPACE, SOURCES, 0).rows(POOL[:40])
    mixture = Mixture(rows.take(range(6)), times("live")[:6], prepare(SPACE, SOURCES, 0).settings)
    mixture.mode_weights = np.full(3, 1 / 3)
    alike = mixture.moments(rows)
    mixture.mode_weights = np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(mixture.moments(rows, equally=True), alike)
    assert not np.allclose(mixture.moments(rows), alike)


def test_until_eight_are_measured_no_graph_is_believed_more() -> None:
    truth = times("live")
    predictor = Transfer(SPACE, sources=SOURCES)
    chosen = measured(predictor, truth, 6)
    prepared = predictor._prepare()
    mixture = Mixture(prepared.rows([POOL[i] for i in chosen]), truth[chosen], prepared.settings)
    forms = {SPACE.canonical(POOL[i]) for i in chosen}
    others = [i for i, item in enumerate(POOL) if SPACE.canonical(item) not in forms]

    def least_certain(equally: bool) -> str:
        mean, deviation = mixture.moments(prepared.rows([POOL[i] for i in others]), equally=equally)
        return SPACE.canonical(POOL[others[int(np.argmax(deviation / mean))]])

    following = predictor.choose(POOL, 1, [POOL[i] for i in chosen], truth[chosen])
    assert SPACE.canonical(POOL[following[0]]) == least_certain(equally=True) != least_certain(equally=False)


def test_what_is_chosen_next_doubts_measurements_as_predictions_do() -> None:
    rows = prepare(SPACE, SOURCES, 0).rows(POOL[:60])
    truth = times("live")[:9]
    truth[4] *= 2.0
    known, others = rows.take(range(9)), rows.take(range(9, 60))
    mixture = Mixture(known, truth, prepare(SPACE, SOURCES, 0).settings)
    beliefs = iter(_posterior(others, known, mixture, range(5)))
    for stage, base, _ in mixture.components(others):
        _, variances = stage.moments(others, base)
        for m in range(_SETTINGS):
            expected = variances[m] / (base * stage.scale_s) ** 2 - stage.settings.noise_variance[m]
            np.testing.assert_allclose(next(beliefs).variance[:51], expected, rtol=1e-4, atol=1e-9)


def test_kernels_do_not_choose_the_first_networks() -> None:
    predictor = Transfer(SPACE, sources=SOURCES)
    chosen = predictor.choose(POOL, 5)
    settings = predictor._prepare().settings
    scales = settings.scales.copy()
    scales[:, PARTS.index("kernels")] = 50.0
    predictor._prepared = replace(predictor._prepare(), settings=replace(settings, scales=scales))
    assert predictor.choose(POOL, 5) == chosen


def test_one_spoiled_measurement_does_not_spoil_the_rest() -> None:
    truth = times("as_trained", n_pool=1.3e-4)
    predictor = Transfer(SPACE, sources=SOURCES)
    chosen = measured(predictor, truth, 12)
    spoiled = truth.copy()
    spoiled[chosen[7]] *= 2.5
    predictor.fit([POOL[i] for i in chosen], spoiled[chosen])
    rest = [i for i in range(len(POOL)) if i not in chosen]
    errors = np.abs(predictor.predict([POOL[i] for i in rest]).mean_s / truth[rest] - 1)
    assert np.mean(errors <= 0.1) > 0.95


def test_kernels_explain_a_runtime_that_fuses() -> None:
    """Conversions between kernels are in no feature of the graph: only the kernels that are left show them."""
    kernels = np.stack([kernel_features(SPACE.graph(item)) for item in POOL])
    conversions = kernels[:, [KERNEL_FEATURES.index("pool_to_conv1x1"), KERNEL_FEATURES.index("n_fused_add")]]
    truth = times("live", n_add=0.0) + conversions @ [1.2e-4, 6e-5]
    predictor = Transfer(SPACE, sources=SOURCES)
    chosen = measured(predictor, truth, 40)
    predictor.fit([POOL[i] for i in chosen], truth[chosen])
    with_kernels = np.abs(predictor.predict(POOL[200:]).mean_s / truth[200:] - 1).mean()
    prepared = predictor._prepare()
    predictor._prepared = replace(prepared, settings=prepared.settings.without("kernels"))
    predictor.fit([POOL[i] for i in chosen], truth[chosen])
    assert with_kernels < 0.7 * np.abs(predictor.predict(POOL[200:]).mean_s / truth[200:] - 1).mean()
    assert predictor.parameters()["part kernels"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("n_drawn", "kind"), [(0, "model"), (8, "model"), (9, "conformal")])
def test_intervals_say_what_they_are(n_drawn: int, kind: str) -> None:
    truth = times("as_trained")
    n = 12
    predictor = Transfer(SPACE, sources=SOURCES).fit(
        POOL[:n], truth[:n], drawn=[False] * (n - n_drawn) + [True] * n_drawn
    )
    assert predictor.parameters()["interval"] == kind
    found = predictor.predict(POOL[:50])
    assert np.all((found.lower_s < found.mean_s) & (found.mean_s < found.upper_s))


def test_conformal_intervals_cover_on_average() -> None:
    truth = times("as_trained", n_pool=1e-4)
    inside = []
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(len(POOL))
        drawn, rest = order[:20], order[20:]
        predictor = Transfer(SPACE, sources=SOURCES, seed=seed)
        predictor.fit([POOL[i] for i in drawn], truth[drawn], drawn=[True] * 20)
        found = predictor.predict([POOL[i] for i in rest])
        inside.append(np.mean((found.lower_s <= truth[rest]) & (truth[rest] <= found.upper_s)))
    assert 0.84 < np.mean(inside) < 0.97


def test_a_source_of_few_networks_is_refused() -> None:
    with pytest.raises(UsageError, match="too few for a source"):
        source_of("a", {POOL[0].text: 1.0}, [item.text for item in POOL], SPACE)


def test_graph_features_of_pruned_graphs_only_shrink() -> None:
    counted = [i for i, name in enumerate(FEATURES) if name.startswith(("n_", "bytes_", "macs_", "weight"))]
    for item in POOL[:100]:
        trained, needed, live = mode_features(SPACE.graph(item))[:, counted]
        assert np.all(trained >= needed)
        assert np.all(needed >= live)


def test_evaluate_prints_every_figure(tmp_path: Path) -> None:
    truth = {"new": times("as_trained", n_pool=1e-4), "near": times("as_trained", n_pool=1.1e-4), "far": times("live")}
    rows = [f"{item.text},{','.join(str(column[i] * 1e3) for column in truth.values())}" for i, item in enumerate(POOL)]
    path = tmp_path / "lat.csv"
    path.write_text("arch_str,new,near,far\n" + "\n".join(rows))

    def run(*arguments: str) -> dict[str, object]:
        done = CliRunner().invoke(cli, ["--workspace", str(tmp_path / "ws"), *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        found: dict[str, object] = json.loads(done.stdout)
        return found

    run("data", "import", str(path), "--as", "lat", "--space", "nasbench201", "--unit", "ms", "--json")
    common = ["predict", "--evaluate", "--space", "nasbench201", "--target", "table:lat/new", "--json", "--seeds", "2"]
    sources = ["--sources", "table:lat/near,table:lat/far", "--source-samples", "100"]
    found = run(*common, "--predictor", "transfer", *sources, "--budget", "10")
    figures = ("spearman", "kendall", "within_5", "within_10", "mape", "coverage_90", "interval_width")
    rates = ("violation_rate", "acceptance_rate", "best_source_spearman", "best_source_within_10")
    for name in (*figures, *rates):
        values = found[name]
        assert isinstance(values, dict)
        assert values["mean"] is not None and values["sd"] >= 0
    assert found["spearman"]["mean"] > 0.95  # type: ignore[index]
    assert found["best_sources"] == ["table:lat/near"]
    assert found["n_evaluated"] < len(POOL) - 100
    for predictor in ("gradient_boosting", "lookup_table", "macs_baseline"):
        other = run(*common, "--predictor", predictor, "--budget", "30")
        assert other["spearman"]["mean"] is not None  # type: ignore[index]
        assert other["best_source_spearman"]["mean"] is None  # type: ignore[index]


def test_evaluate_refuses_itself_as_source(tmp_path: Path) -> None:
    arguments = ["--workspace", str(tmp_path), "predict", "--evaluate", "--target", "table:a/b", "local_cpu"]
    assert isinstance(CliRunner().invoke(cli, arguments, standalone_mode=False).exception, UsageError)


def offset(seen: np.ndarray, truth: np.ndarray) -> float:
    """Return by how much a device is predicted too slow as a whole after 24 measurements."""
    found = Transfer(SPACE, sources=SOURCES).fit(POOL[:24], seen).predict(POOL[200:])
    return abs(float(np.median(np.log(found.mean_s / truth[200:]))))


def test_disturbed_measurements_do_not_lift_all_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = times("as_trained", n_pool=1e-4)
    seen = truth[:24] * np.where(np.arange(24) % 3 == 0, 1.2, 1.0)
    centred = offset(seen, truth)
    assert offset(truth[:24] * np.where(np.arange(24) % 4 == 0, 1.5, 1.0), truth) < 0.05
    monkeypatch.setattr("predictors.transfer._CENTRED_FROM", 25)
    assert centred < 0.5 * offset(seen, truth)


def test_the_further_off_the_less_a_measurement_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = times("as_trained", n_pool=1e-4)
    seen = truth[:24] * np.where(np.arange(24) % 4 == 0, 3.0, 1.0)
    doubted = offset(seen, truth)
    monkeypatch.setattr("predictors._evidence.TAILS", 1e6)
    assert doubted < 0.03 < 0.06 < offset(seen, truth)
