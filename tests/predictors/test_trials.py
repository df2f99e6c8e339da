"""`hilnas predict --evaluate`: every kind of column, sources of other spaces, processes that change nothing."""

import json
from collections import defaultdict
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import HilnasError, UnknownName, UsageError
from predictors._trial_records import TrialRequest
from predictors._trials import processes, run_trials
from profiler._workspace import Workspace
from search_spaces._costs import static_costs
from search_spaces.fbnet import FBNet
from search_spaces.nasbench201 import NasBench201

CELLS, LAYERS = NasBench201(), FBNet()


def twins():
    """Return five different cells that compute the same."""
    found = defaultdict(list)
    for cell in CELLS.enumerate():
        form = found[CELLS.canonical(cell)]
        form.append(cell)
        if len(form) == 5 and CELLS.graph(cell).connected:
            return form
    raise AssertionError


TWINS = twins()
POOL = [*TWINS, *CELLS.sample_distinct(120, seed=3, exclude=frozenset({CELLS.canonical(TWINS[0])}))]
NETWORKS = LAYERS.sample_distinct(70, seed=4)


def times_ms(space, networks, seed):
    macs = np.array([static_costs(space.graph(item)).macs for item in networks], float)
    return (1 + macs / macs.mean()) * np.exp(np.random.default_rng(seed).normal(0, 0.02, len(networks)))


def cell_columns():
    plain = times_ms(CELLS, POOL, 0)
    missing, outliers, few = plain.copy(), plain.copy(), np.full(len(POOL), np.nan)
    missing[::3], few[:8] = np.nan, plain[:8]
    outliers[[5, 50]] *= 40
    constant = np.full(len(POOL), 4.0)
    return {
        "plain": plain,
        "near": times_ms(CELLS, POOL, 1),
        "missing": missing,
        "whole": np.round(5 * plain),
        "outliers": outliers,
        "constant": constant,
        "few": few,
        "twins": np.where(np.arange(len(POOL)) < len(TWINS), plain, np.nan),
    }


def write(path, header, texts, columns):
    rows = zip(texts, np.column_stack(list(columns.values())).tolist(), strict=True)
    lines = [",".join([text, *("" if value != value else repr(value) for value in row)]) for text, row in rows]
    path.write_text("\n".join([f"{header},{','.join(columns)}", *lines]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a workspace with a table of cells and one of FBNet."""
    found = tmp_path_factory.mktemp("trials")
    write(found / "cells.csv", "arch_str", [item.text.partition(":")[2] for item in POOL], cell_columns())
    layers = {"plain": times_ms(LAYERS, NETWORKS, 0), "near": times_ms(LAYERS, NETWORKS, 1)}
    names = ",".join(f"op_{i:02}" for i in range(1, 23))
    texts = [item.text.partition(":")[2].replace("|", ",") for item in NETWORKS]
    write(found / "layers.csv", names, texts, layers)
    for name, space in (("cells", "nasbench201"), ("layers", "fbnet")):
        arguments = ["data", "import", str(found / f"{name}.csv"), "--as", name, "--space", space, "--unit", "ms"]
        done = CliRunner().invoke(cli, ["--workspace", str(found / "w"), *arguments])
        assert done.exit_code == 0, done.output
    return found / "w"


@pytest.fixture
def workspace(folder):
    with Workspace.open(folder) as opened:
        yield opened


@pytest.fixture
def evaluate(folder):
    def call(*arguments):
        common = ["--workspace", str(folder), "predict", "--evaluate", "--seeds", "1", "--workers", "1"]
        done = CliRunner().invoke(cli, [*common, *arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return call


FROM_NEAR = ("--sources", "table:cells/near", "--source-samples", "60")


@pytest.mark.parametrize("column", ["missing", "whole", "outliers"])
@pytest.mark.parametrize("predictor", ["transfer", "gradient_boosting", "lookup_table", "macs_baseline"])
def test_columns_as_they_come(evaluate, predictor, column):
    sources = FROM_NEAR if predictor == "transfer" else ()
    found = evaluate("--predictor", predictor, "--target", f"table:cells/{column}", "--budget", "12", *sources)
    assert found["spearman"]["mean"] > (0 if predictor == "lookup_table" else 0.5)
    assert found["n_evaluated"] <= (83 if column == "missing" else 125) - 12


@pytest.mark.parametrize("predictor", ["transfer", "gradient_boosting", "lookup_table", "macs_baseline"])
def test_a_column_that_is_always_the_same_has_no_ranks(evaluate, predictor):
    sources = FROM_NEAR if predictor == "transfer" else ()
    found = evaluate("--predictor", predictor, "--target", "table:cells/constant", *sources)
    assert found["spearman"]["mean"] is None and found["best_source_spearman"]["mean"] is None
    assert found["within_10"]["mean"] > 0.9


def test_a_source_that_is_always_the_same_is_the_worst(evaluate):
    sources = ("--sources", "table:cells/constant,table:cells/near", "--source-samples", "60")
    found = evaluate("--target", "table:cells/plain", *sources)
    assert found["best_sources"] == ["table:cells/near"] and found["spearman"]["mean"] > 0.9
    alone = evaluate("--target", "table:cells/plain", "--sources", "table:cells/constant", "--source-samples", "60")
    assert alone["best_source_spearman"]["mean"] is None and alone["best_source_within_10"]["mean"] is not None


def test_without_sources_there_is_no_best_one(evaluate):
    found = evaluate("--target", "table:cells/plain")
    assert found["spearman"]["mean"] > 0.8 and found["best_source_spearman"]["mean"] is None
    assert found["n_evaluated"] in (115, 111), "all five twins are judged on, or none"


def test_a_source_may_miss_some(evaluate):
    sources = ("--sources", "table:cells/missing,table:cells/near", "--source-samples", "60")
    found = evaluate("--target", "table:cells/plain", *sources)
    assert found["spearman"]["mean"] > 0.9 and found["best_source_within_10"]["mean"] > 0.9


@pytest.mark.parametrize("predictor", ["transfer", "gradient_boosting", "lookup_table", "macs_baseline"])
def test_two_measurements_are_enough(evaluate, predictor):
    sources = FROM_NEAR if predictor == "transfer" else ()
    found = evaluate("--predictor", predictor, "--target", "table:cells/plain", "--budget", "2", *sources)
    assert found["mape"]["mean"] is not None and found["n_evaluated"] >= 60


def test_where_no_network_is_accepted_none_violates(evaluate):
    found = evaluate("--predictor", "macs_baseline", "--target", "table:cells/plain", "--budget", "2", "--seeds", "3")
    assert found["acceptance_rate"]["mean"] == 0 and found["violation_rate"]["mean"] == 0


def test_twins_are_measured_once_and_not_judged_on(workspace):
    with pytest.raises(UsageError, match="1 distinct connected architectures"):
        run_trials(workspace, CELLS, TrialRequest("transfer", "table:cells/twins", budget=2, seeds=1))
    request = TrialRequest("macs_baseline", "table:cells/plain", budget=120, calibration=60, seeds=1)
    # 121 functions, one of them left: all five twins or a single cell.
    assert run_trials(workspace, CELLS, request).n_evaluated in (1, 5)


def test_another_space_can_be_a_source_beside_the_own(evaluate):
    there = "table:cells/plain@nasbench201"
    sources = ("--sources", f"{there},table:layers/near@fbnet", "--source-samples", "30")
    found = evaluate("--space", "fbnet", "--target", "table:layers/plain", *sources)
    assert found["best_sources"] == ["table:layers/near"]
    assert found["n_evaluated"] <= 40
    assert {f"source {there}", "source table:layers/near"} <= found["parameters"].keys()
    assert found["spearman"]["mean"] > 0.7


def test_the_best_source_is_one_of_the_own_space(evaluate):
    sources = ("--sources", "table:cells/plain@nasbench201", "--source-samples", "60")
    found = evaluate("--space", "fbnet", "--target", "table:layers/plain", *sources)
    assert found["best_sources"] == [] and found["best_source_within_10"]["mean"] is None
    # Samples of another space take nothing away from what is judged on.
    assert found["n_evaluated"] == 60


@pytest.mark.parametrize("predictor", ["gradient_boosting", "lookup_table", "macs_baseline"])
def test_other_predictors_in_another_space(evaluate, predictor):
    found = evaluate("--space", "fbnet", "--predictor", predictor, "--target", "table:layers/plain", "--budget", "20")
    assert found["mape"]["mean"] < 0.5


def test_calibration_says_how_many_are_drawn(evaluate):
    found = evaluate("--target", "table:cells/plain", "--budget", "40", *FROM_NEAR)
    assert found["calibration"] == 20 and found["parameters"]["interval"] == "conformal"
    found = evaluate("--target", "table:cells/plain", "--budget", "12", "--calibration", "12", *FROM_NEAR)
    assert found["calibration"] == 12 and found["parameters"]["interval"] == "conformal"
    found = evaluate("--target", "table:cells/plain", "--budget", "40", "--calibration", "0", *FROM_NEAR)
    assert found["calibration"] == 0 and found["parameters"]["interval"] == "model"


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"sources": ("table:cells/near@nasbench",)}, UnknownName, "nasbench201"),
        ({"sources": ("table:layers/near",)}, UsageError, "table:layers/near@fbnet"),
        ({"sources": ("table:cells/near@fbnet",)}, UsageError, "table:cells/near@nasbench201"),
        ({"sources": ("table:cells/plain",)}, UsageError, "source of itself"),
        ({"sources": ("table:cells/plain@nasbench201",)}, UsageError, "source of itself"),
        ({"sources": ("table:cells/far",)}, UnknownName, "near"),
        ({"sources": ("table:cells/few",)}, UsageError, "too few for a source"),
        ({"sources": ("table:cells/near",), "source_samples": 900}, UsageError, "--source-samples"),
        ({"target": "table:cells/few"}, UsageError, "too few for a budget"),
        ({"target": "table:layers/plain"}, UsageError, "--space fbnet"),
        ({"predictor": "transfr"}, UnknownName, "transfer"),
        ({"calibration": 11}, UsageError, "more than the budget"),
    ],
)
def test_what_cannot_be_evaluated_says_why(workspace, changed, error, text):
    request = TrialRequest(**{"predictor": "transfer", "target": "table:cells/plain", "seeds": 1, **changed})
    with pytest.raises(error) as caught:
        run_trials(workspace, CELLS, request)
    assert text in str(caught.value)


def test_processes_change_nothing(workspace):
    sources = ("table:layers/near", "table:cells/near@nasbench201")
    request = TrialRequest("transfer", "table:layers/plain", sources, 30, seeds=3)
    alone = run_trials(workspace, LAYERS, request)
    seen = []
    with processes(2) as pool:
        together = run_trials(workspace, LAYERS, request, lambda done, total, _: seen.append((done, total)), pool)
        refused = TrialRequest("transfer", "table:cells/plain", ("table:cells/near",), seeds=2)
        with pytest.raises(UsageError, match="nothing of table:cells/plain is left") as caught:
            run_trials(workspace, CELLS, refused, pool=pool)
    assert together == alone
    assert len(set(alone.trials)) == 3
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert "--source-samples" in caught.value.remedy


def test_a_process_that_ends_is_an_error(workspace):
    class Broken:
        def map(self, run, seeds):
            raise BrokenProcessPool("killed")

    with pytest.raises(HilnasError, match="has ended"):
        run_trials(workspace, CELLS, TrialRequest("macs_baseline", "table:cells/plain", seeds=2), pool=Broken())
