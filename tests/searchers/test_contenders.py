"""Baselines, several scores and several processes behind one command."""

from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import UsageError
from profiler._campaign import silent
from profiler._table_records import Column, ReferenceTable
from profiler._workspace import Workspace
from search_spaces.nasbench201 import NasBench201
from searchers._oracle import best_feasible
from searchers._problem import Problem
from searchers._records import StudyLog
from searchers._request import SearchRequest, set_up
from searchers._search import ABLATION, search

COST_MS = np.array([0.1, 0.5, 4.0, 10.0, 3.0])
WORTH = np.array([0.0, 3.0, 6.0, 9.0, 2.0])
LIMITED = ("--space", "nasbench201", "--device", "table:t/latency_ms", "--max", "latency=30ms", "--offline")
BASELINES = {"dca_nas", "quantnas", "regularized_evolution", "reinforce", ABLATION}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return a workspace with a made-up table: times, two indicators with gaps and ties, validation and test."""
    path = tmp_path_factory.mktemp("tables") / "w"
    cells = list(NasBench201().enumerate())
    decisions = np.array([cell.decisions for cell in cells])
    rng = np.random.default_rng(0)
    accuracy = 40 + WORTH[decisions].sum(1)
    gaps = np.where(rng.random(len(cells)) < 0.1, np.nan, accuracy + rng.normal(0, 4, len(cells)))
    columns = (
        Column("latency_ms", "time", "ms", (5.0 + COST_MS[decisions].sum(1)) * 1e-3),
        Column("gaps", "none", "none", gaps),
        Column("ties", "none", "none", (decisions == 3).sum(1) * 1e40),
        Column("val", "percent", "percent", accuracy + rng.normal(0, 0.3, len(cells))),
        Column("test", "percent", "percent", accuracy + rng.normal(0, 0.3, len(cells))),
    )
    with Workspace.open(path) as workspace:
        texts = tuple(cell.text for cell in cells)
        workspace.store.put_table(ReferenceTable("t", "nasbench201", "made up", "0", texts, None, columns))
    return path


def without_times(value):
    """Return an answer without what differs from run to run."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in ("study_id", "elapsed_s", "request")}
        return {key: without_times(item) for key, item in kept.items()}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "score",
    [
        ("--score", "table:t/gaps,table:t/ties", "--fusion", "rank"),
        ("--score", "table:t/gaps,live_macs", "--fusion", "fi", "--labels", "table:t/val", "--label-budget", "60"),
        ("--score", "forest", "--labels", "table:t/val", "--label-budget", "60"),
    ],
)
def test_several_scores_and_labels_find_better_than_a_random_feasible_cell(search, score):
    answer = search("latency_reward_rl", *LIMITED, *score, "--accuracy", "table:t/test", "--seeds", "2",
                    "--evaluations", "80")  # fmt: skip
    assert answer["evaluations"] == 80
    for name in ("accuracy", "score", "latency_s", "feasible_share_last_100", "oracle_accuracy"):
        assert len(answer[name]["per_seed"]) == 2 and answer[name]["sd"] is not None
    assert answer["oracle_accuracy"]["mean"] >= max(answer["accuracy"]["per_seed"]) > 60
    assert all(seconds <= 0.030 for seconds in answer["latency_s"]["per_seed"])
    assert answer["score_source"]["score"]


def test_the_oracle_is_the_best_accuracy_that_keeps_the_limit(search, workspace):
    answer = search(
        "random_search", *LIMITED, "--score", "table:t/val", "--accuracy", "table:t/test", "--evaluations", "10"
    )
    with Workspace.open(workspace) as opened:
        accuracy, latency = (opened.store.table_column("t", name).values for name in ("test", "latency_ms"))
    space = NasBench201()
    kept = [
        value for text, value in accuracy.items() if latency[text] <= 0.030 and space.graph(space.parse(text)).connected
    ]
    assert answer["oracle_accuracy"]["per_seed"] == [max(kept)]


def test_what_is_no_finite_number_is_not_the_best():
    space = NasBench201()
    cells = [space.sample(np.random.default_rng(seed)).text for seed in range(3)]
    setup = SimpleNamespace(cost_models=(), problem=lambda seed: Problem("nasbench201", (), 1, seed), space=space,
                            request=SimpleNamespace(seed=0))  # fmt: skip
    assert best_feasible(setup, dict(zip(cells, (np.inf, 2.0, np.nan), strict=True))) == 2.0
    assert best_feasible(setup, {cells[0]: np.inf}) is None


def test_regrets_are_what_the_winner_lacks_to_the_best_feasible_cell(search, workspace):
    answer = search("dca_nas", *LIMITED, "--objective", "table:t/val", "--accuracy", "table:t/test",
                    "--evaluations", "60", "--seeds", "2")  # fmt: skip
    with Workspace.open(workspace) as opened:
        values, latency = (opened.store.table_column("t", name).values for name in ("val", "latency_ms"))
    space = NasBench201()
    best = max(value for text, value in values.items() if latency[text] <= 0.030 and space.connected(space.parse(text)))
    assert answer["feasible"]["per_seed"] == [1.0, 1.0]
    assert answer["objective_regret"]["per_seed"] == pytest.approx([best - x for x in answer["objective"]["per_seed"]])
    assert min(answer["objective_regret"]["per_seed"]) >= 0
    assert answer["accuracy_regret"]["mean"] == pytest.approx(
        answer["oracle_accuracy"]["mean"] - answer["accuracy"]["mean"]
    )
    assert answer["difference"]["score"]["n"] == 2 and answer["feasible_share"]["mean"] == 1.0


def test_a_computed_score_has_no_regret(search):
    answer = search(
        "random_search", *LIMITED, "--score", "live_macs", "--accuracy", "table:t/test", "--evaluations", "5"
    )
    assert "objective_regret" not in answer and answer["accuracy_regret"]["per_seed"][0] >= 0


def test_only_the_winners_accuracy_is_looked_up(search):
    answer = search(
        "random_search", *LIMITED, "--score", "table:t/val", "--accuracy", "table:t/test", "--evaluations", "60"
    )
    known = [item for item in answer["candidates"] if item["accuracy"] is not None]
    assert len(answer["candidates"]) > 1
    assert [item["architecture"] for item in known] == [answer["winner"]["architecture"]]


def test_baselines_run_all_searchers_and_the_ablation_with_one_budget(search):
    answer = search("latency_reward_rl", *LIMITED, "--score", "table:t/val", "--evaluations", "60", "--baselines",
                    "--accuracy", "table:t/test", "--seeds", "2")  # fmt: skip
    assert set(answer["baselines"]) == BASELINES
    for entry in (answer["random_search"], *answer["baselines"].values()):
        assert len(entry["score"]["per_seed"]) == 2
        assert entry["winner"]["latency_s"] <= 0.030
    alone = search("latency_reward_rl", *LIMITED, "--score", "table:t/val", "--evaluations", "60", "--seeds", "2",
                   "--accuracy", "table:t/test", "--reward", "none")  # fmt: skip
    ablation = answer["baselines"][ABLATION]
    assert without_times(alone["accuracy"]) == ablation["accuracy"]
    assert ablation["difference"]["score"]["n"] == 2
    assert "baselines" not in alone


def test_without_a_reward_there_is_no_ablation_beside(search):
    answer = search("latency_reward_rl", *LIMITED, "--score", "table:t/val", "--evaluations", "20", "--baselines",
                    "--reward", "none")  # fmt: skip
    assert set(answer["baselines"]) == BASELINES - {ABLATION}
    evolution = search(
        "regularized_evolution", *LIMITED, "--score", "table:t/val", "--evaluations", "20", "--baselines"
    )
    assert set(evolution["baselines"]) == {"dca_nas", "latency_reward_rl", "quantnas", "reinforce"}


def test_people_get_a_column_for_each(workspace):
    arguments = ["random_search", *LIMITED, "--score", "table:t/val", "--evaluations", "20", "--baselines"]
    result = CliRunner().invoke(cli, ["--workspace", str(workspace), "search", *arguments])
    assert result.exception is None
    for word in ("regularized", "reinforce", "latency_reward_rl"):
        assert word in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--score", "table:t/gaps,table:t/ties"), "need a fusion"),
        (("--score", "table:t/gaps,,table:t/ties", "--fusion", "rank"), "empty name"),
        (("--score", "table:t/gaps,table:t/gaps", "--fusion", "rank"), "twice"),
        (("--score", "table:t/gaps", "--fusion", "fi"), "labels are missing"),
        (("--score", "forest"), "labels are missing"),
        (("--score", "forest,table:t/gaps", "--labels", "table:t/val"), "labels alone"),
        (("--score", "table:t/gaps", "--labels", "table:t/val"), "serve --fusion fi"),
        (("--score", "forest", "--labels", "table:t/latency_ms"), "less of it is better"),
        (("--score", "table:t/gaps,table:t/latency_ms", "--fusion", "rank"), "less of it is better"),
        (("--score", "forest", "--labels", "table:t/val", "--label-budget", "9000"), "different labelled"),
        (("--score", "nwot,jacov", "--fusion", "rank", "--score-option", "batch=8"), "has no --score-option"),
    ],
)
def test_scores_that_do_not_fit_together_are_refused(search, arguments, words):
    with pytest.raises(UsageError) as caught:
        search("random_search", *LIMITED, *arguments, "--evaluations", "5")
    assert words in str(caught.value)


def test_labels_of_the_reported_accuracy_are_said(search):
    answer = search("random_search", *LIMITED, "--score", "forest", "--labels", "table:t/test", "--accuracy",
                    "table:t/test", "--evaluations", "5", "--label-budget", "20")  # fmt: skip
    assert "validation accuracy" in answer["notes"][0]


@pytest.fixture
def request_of():
    return SearchRequest(
        "latency_reward_rl", "nasbench201", device="table:t/latency_ms", limits=("latency=30ms",),
        score="table:t/gaps,table:t/ties", fusion="fi", labels="table:t/val", label_budget=50,
        evaluations=40, seeds=3, offline=True, baselines=True,
    )  # fmt: skip


def evaluations(studies):
    return {name: [study.evaluations for study in found] for name, found in studies.by_name.items()}


@pytest.mark.parametrize("keep", [None, 1, 100])
def test_processes_give_what_one_process_gives_even_resumed(workspace, request_of, keep):
    with Workspace.open(workspace) as opened:
        setup = set_up(opened, request_of, None)
    folder = workspace / "studies"
    serial_log = StudyLog.create(folder, request_of.to_json())
    serial = evaluations(search(setup, serial_log, silent, workers=1))
    log = StudyLog.create(folder, request_of.to_json())
    if keep is not None:
        lines = (folder / f"{serial_log.study_id}.jsonl").read_text().splitlines(keepends=True)[:keep]
        (folder / f"{log.study_id}.jsonl").write_text("".join(lines))
    told = []
    parallel = search(setup, log, lambda *place: told.append(place), workers=2)
    assert evaluations(parallel) == serial
    assert told[-1][:2] == (3, 3)
    recorded = log.recorded(setup.space)
    assert {name: [tuple(recorded[name, seed]) for seed in range(3)] for name in serial} == serial


def test_a_table_of_scores_with_infinities_and_gaps_is_imported_and_searched(workspace, tmp_path, search):
    """What is not finite is missing, in the table as in the fusion."""
    rows = ["arch_str,z"]
    for i, cell in enumerate(NasBench201().enumerate()):
        rows.append(f"{cell.text.partition(':')[2]},{('inf', '-inf', 'nan', '')[i // 7 % 4] if i % 7 == 0 else i % 11}")
    path = tmp_path / "z.csv"
    path.write_text("\n".join(rows) + "\n")
    command = [
        "--workspace",
        str(workspace),
        "data",
        "import",
        str(path),
        "--as",
        "z",
        "--space",
        "nasbench201",
        "--unit",
    ]
    assert CliRunner().invoke(cli, [*command, "ms"]).exception is not None
    assert CliRunner().invoke(cli, [*command, "none"]).exception is None
    fused = search(
        "latency_reward_rl", *LIMITED, "--score", "table:z/z,table:t/ties", "--fusion", "rank", "--evaluations", "80"
    )
    assert fused["failed"]["per_seed"][0] < 80
    alone = search("latency_reward_rl", *LIMITED, "--score", "table:z/z", "--evaluations", "80")
    assert alone["winner"]["score"] <= 10
