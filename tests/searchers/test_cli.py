"""`hilnas search` as users type it."""

import json
import socket

import numpy as np
import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import Infeasible, UsageError
from predictors._errors import NotFitted
from profiler._table_records import Column, ReferenceTable
from profiler._workspace import Workspace
from search_spaces.nasbench201 import OPERATIONS, NasBench201
from searchers._records import StudyLog

#: Milliseconds of each operation, and what it adds to the score: slow operations are better ones.
COST_MS = np.array([0.1, 0.5, 4.0, 10.0, 3.0])
WORTH = np.array([0.0, 3.0, 6.0, 9.0, 2.0])
TABLE = ("--space", "nasbench201", "--device", "table:t/latency_ms", "--score", "table:t/score", "--offline")
FAKE = ("--space", "nasbench201", "--device", "fake")
SEARCH = ("latency_reward_rl", *TABLE, "--max", "latency=30ms", "--evaluations", "60")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return a workspace with a made-up table of the whole space: times, energies, scores, gaps."""
    path = tmp_path_factory.mktemp("tables") / "w"
    cells = list(NasBench201().enumerate())
    decisions = np.array([cell.decisions for cell in cells])
    latency_s = (5.0 + COST_MS[decisions].sum(1)) * 1e-3
    score = WORTH[decisions].sum(1) + 0.1 * decisions[:, 5]
    gaps = np.where(np.arange(len(cells)) % 3 == 0, np.nan, latency_s)
    columns = (
        Column("latency_ms", "time", "ms", latency_s),
        Column("gaps_ms", "time", "ms", gaps),
        Column("energy_mj", "energy", "mj", latency_s * 2),
        Column("peak", "bytes", "mib", latency_s * 1e9),
        Column("score", "none", "none", score),
        Column("accuracy", "percent", "percent", 50 + score / 2),
    )
    with Workspace.open(path) as workspace:
        texts = tuple(cell.text for cell in cells)
        workspace.store.put_table(ReferenceTable("t", "nasbench201", "made up", "0", texts, None, columns))
    return path


def without_times(answer):
    """Return an answer without what differs from run to run."""
    kept = {key: value for key, value in answer.items() if key not in ("study_id", "elapsed_s", "request")}
    if "random_search" in kept:
        kept["random_search"] = {key: value for key, value in kept["random_search"].items() if key != "elapsed_s"}
    return kept


def test_the_answer_holds_the_winner_and_random_search_beside_it(search):
    answer = search(*SEARCH, "--accuracy", "table:t/accuracy", "--seed", "4")
    winner = answer["winner"]
    assert (answer["schema_version"], answer["seed"], answer["seeds"]) == (1, 4, [4])
    assert winner["latency_s"] <= 0.030
    assert winner["verdict"] == "table"
    assert winner["accuracy"] == pytest.approx(50 + winner["score"] / 2)
    assert answer["score"]["per_seed"] == [winner["score"]]
    assert answer["constraints"] == [{"metric": "latency", "limit": 0.03, "confidence": None}]
    assert answer["random_search"]["winner"]["latency_s"] <= 0.030
    assert set(answer["difference"]) == {"score", "accuracy", "feasible_share", "late_feasible_share"}
    assert answer["evaluations"] == 60
    assert answer["notes"] == []


def test_the_same_seed_gives_the_same_answer(search):
    assert without_times(search(*SEARCH)) == without_times(search(*SEARCH))
    assert search(*SEARCH)["winner"] != search(*SEARCH, "--seed", "1")["winner"]


def test_no_socket_is_opened_offline(search, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *_a, **_k: pytest.fail("a socket was opened"))
    assert search(*SEARCH)["winner"]


def test_figures_over_seeds_have_mean_sd_and_each_seed(search):
    answer = search(*SEARCH, "--seeds", "3", "--accuracy", "table:t/accuracy")
    assert answer["seeds"] == [0, 1, 2]
    for figures in (answer, answer["random_search"]):
        for name in ("score", "accuracy", "feasible_share", "late_feasible_share", "latency_s", "distinct"):
            assert set(figures[name]) == {"mean", "sd", "per_seed"}
            assert figures[name]["mean"] == pytest.approx(np.mean(figures[name]["per_seed"]))
    difference = answer["difference"]["score"]
    assert difference["n"] == 3
    assert difference["mean"] == pytest.approx(answer["score"]["mean"] - answer["random_search"]["score"]["mean"])
    assert difference["lower"] <= difference["mean"] <= difference["upper"]
    alone = search(*SEARCH, "--seed", "2", "--accuracy", "table:t/accuracy")
    assert alone["score"]["per_seed"][0] == answer["score"]["per_seed"][2]


def test_random_search_has_nothing_beside_itself(search):
    answer = search("random_search", *TABLE, "--max", "latency=30ms", "--evaluations", "40")
    assert "random_search" not in answer
    assert answer["distinct"]["per_seed"] == [40]


def test_random_search_is_the_same_alone_and_beside(search):
    alone = search("random_search", *TABLE, "--max", "latency=30ms", "--evaluations", "60")
    assert alone["winner"] == search(*SEARCH)["random_search"]["winner"]


def test_what_the_table_lacks_fails_and_is_counted(search):
    arguments = [item.replace("latency_ms", "gaps_ms") for item in SEARCH]
    answer = search(*arguments)
    assert answer["random_search"]["failed"]["per_seed"][0] > 5
    assert answer["winner"]["latency_s"] <= 0.030


def test_energy_and_counts_may_be_limited_and_several_at_once(search):
    energy = search("random_search", *[a.replace("latency_ms", "energy_mj") for a in TABLE], "--max", "energy=60mJ")
    assert energy["winner"]["energy_j"] <= 0.060
    memory = search("random_search", *[a.replace("latency_ms", "peak") for a in TABLE], "--max", "memory=30MB")
    assert memory["winner"]["peak_bytes"] <= 30e6
    both = search(*SEARCH, "--max", "macs=60M", "--max", "params=1M")
    assert both["winner"]["macs"] <= 60e6
    assert both["winner"]["latency_s"] <= 0.030
    counted = search("random_search", "--space", "nasbench201", "--score", "macs", "--max", "macs=30M")
    assert counted["winner"]["verdict"] == "counted"
    assert counted["winner"]["score"] == counted["winner"]["macs"] <= 30e6


def test_options_of_searcher_indicator_and_space_are_used(search):
    answer = search(
        "latency_reward_rl", "--space", "nasbench201", "--space-option", "width=4", "--space-option", "resolution=16",
        "--max", "macs=2M", "--score", "nwot", "--score-option", "batch=8", "--score-option", "depth=2",
        "--set", "samples=2", "--episodes", "3", "--top", "1",
    )  # fmt: skip
    assert answer["evaluations"] == 6
    assert answer["options"] == {"samples": 2}
    settings = {"device": "cpu", "seed": 0, "batch": 8, "inputs": "digits", "data": ""}
    assert answer["score_source"]["settings"] == settings
    assert answer["score_source"]["space_options"]["depth"] == 2
    assert answer["space_options"]["depth"] == 5
    assert len(answer["candidates"]) == 2


def test_a_score_that_is_the_reported_accuracy_is_called_an_oracle(search):
    arguments = [item.replace("table:t/score", "table:t/accuracy") for item in SEARCH]
    assert "oracle" in search(*arguments, "--accuracy", "table:t/accuracy")["notes"][0]


def test_a_limit_that_nothing_keeps_names_the_fastest_connected_architecture(search):
    with pytest.raises(Infeasible) as caught:
        search("random_search", *TABLE, "--max", "latency=5.7ms")
    assert caught.value.exit_code == 3
    assert "6 ms" in caught.value.cause
    assert "skip_connect" in caught.value.cause


def test_when_nothing_was_feasible_the_answer_is_followed_by_an_error(workspace):
    tight = ["random_search", *TABLE, "--max", "latency=6.3ms", "--evaluations", "20", "--json"]
    result = CliRunner().invoke(cli, ["--workspace", str(workspace), "search", *tight])
    assert isinstance(result.exception, Infeasible)
    assert json.loads(result.stdout)["winner"] is None
    assert "smallest latency" in result.exception.cause


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("latency_reward_rl", *TABLE, "--max", "latency=30"), "needs a unit"),
        (("latency_reward_rl", *TABLE, "--max", "speed=30ms"), "unknown metric"),
        (("nobody", *TABLE), "unknown searcher"),
        (("random_search", "--space", "nowhere"), "unknown search space"),
        (("random_search", "--space", "nasbench201", "--score", "luck"), "unknown indicator"),
        (("random_search", "--space", "nasbench201", "--device", "table:t/nothing", "--max", "latency=1ms"), "column"),
        (("random_search", "--space", "nasbench201", "--device", "table:x/y", "--max", "latency=1ms"), "table"),
        (("random_search", *TABLE, "--max", "energy=1mJ"), "says nothing about energy"),
        (("random_search", *TABLE, "--max", "memory=1MiB"), "says nothing about memory"),
        (("random_search", *FAKE, "--max", "energy=1mJ"), "hilnas profile fake --energy"),
        (("random_search", *FAKE, "--max", "memory=50MiB"), "nothing predicts the memory of fake"),
        (("random_search", *FAKE, "--max", "memory=50"), "needs a unit"),
        (("random_search", "--space", "nasbench201", "--max", "memory=9MiB"), "needs a device"),
        (("random_search", *TABLE, "--max", "latency=9ms", "--max", "latency=10ms"), "two limits"),
        (("random_search", *TABLE, "--max", "latency=9ms", "--predictor", "macs_baseline"), "needs no predictor"),
        (("random_search", "--space", "nasbench201", "--max", "latency=9ms"), "needs a device"),
        (("random_search", "--space", "nasbench201", "--score", "table:t/latency_ms"), "less of it is better"),
        (("random_search", "--space", "nasbench201", "--device", "nobody"), "unknown device"),
        (("latency_reward_rl", *TABLE, "--episodes", "3", "--evaluations", "3"), "twice"),
        (("latency_reward_rl", *TABLE, "--set", "samples"), "cannot read the option"),
        (("latency_reward_rl", *TABLE, "--set", "sample=3"), "Did you mean 'samples'"),
        (("latency_reward_rl", *TABLE, "--set", "samples=many"), "is a int"),
        (("random_search", *TABLE, "--score-option", "batch=3"), "has no --score-option"),
        (("random_search", "--space", "nasbench201", "--score-option", "bach=3"), "unknown option of nwot"),
        (("random_search", "--space", "nasbench201", "--space-option", "wdith=3"), "Did you mean 'width'"),
        (("--space", "nasbench201"), "no searcher"),
        (("random_search",), "no search space"),
        (("random_search", "--resume", "last"), "stands alone"),
        (("--resume", "study-0"), "unknown study"),
    ],
)
def test_bad_input_is_a_usage_error_that_says_what_to_do(search, arguments, words):
    with pytest.raises(UsageError) as caught:
        search(*arguments)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_without_a_fitted_predictor_the_next_command_is_named(search):
    with pytest.raises(NotFitted) as caught:
        search("random_search", "--space", "nasbench201", "--device", "fake", "--max", "latency=1ms")
    assert "hilnas fit fake" in caught.value.remedy


@pytest.mark.parametrize("keep", [1, 20, 61, 90])
def test_a_study_that_was_killed_goes_on_to_the_same_answer(search, workspace, keep):
    whole = search(*SEARCH)
    lines = workspace / "studies" / f"{whole['study_id']}.jsonl"
    answer = lines.with_suffix(".json")
    text = "".join(lines.read_text().splitlines(keepends=True)[:keep])
    lines.write_text(text + ('{"searcher": "laten' if keep > 1 else ""))
    answer.write_text(json.dumps({"state": "running"}))
    resumed = search("--resume", "last")
    assert without_times(resumed) == without_times(whole)
    assert resumed["study_id"] == whole["study_id"]
    space = NasBench201()
    recorded = StudyLog.open(workspace / "studies", whole["study_id"]).recorded(space)
    assert {key: len(items) for key, items in recorded.items()} == {
        ("latency_reward_rl", 0): 60,
        ("random_search", 0): 60,
    }


def test_resuming_what_has_ended_prints_the_answer_again(search):
    whole = search(*SEARCH)
    assert without_times(search("--resume", whole["study_id"])) == without_times(whole)


def test_people_get_tables(workspace):
    arguments = ["--workspace", str(workspace), "search", *SEARCH, "--seeds", "2", "--accuracy", "table:t/accuracy"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exception is None
    for words in ("winner's score", "feasible share", "random_search", "verdict", "study_id", "(table)"):
        assert words in result.stdout


@pytest.fixture
def fake(workspace, tmp_path, monkeypatch):
    """Return nothing; the fake device has a fitted predictor, and leases of its own."""
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")
    command = ["fit", "fake", "--predictor", "macs_baseline", "--budget", "12"]
    result = CliRunner().invoke(cli, ["--workspace", str(workspace), *command])
    assert result.exception is None, result.exception


FAKE = ("random_search", "--space", "nasbench201", "--device", "fake", "--score", "live_macs", "--evaluations", "80")


@pytest.mark.usefixtures("fake")
def test_winners_are_measured_before_they_are_printed(search):
    answer = search(*FAKE, "--max", "latency=1.2ms")
    winner = answer["winner"]
    assert winner["verdict"] == "keeps"
    assert (
        winner["measured_lower_s"]
        <= winner["latency_s"]
        == winner["measured_s"]
        <= winner["measured_upper_s"]
        <= 1.2e-3
    )
    assert winner["predicted_lower_s"] <= winner["predicted_s"] <= winner["predicted_upper_s"]
    assert answer["run_ids"]
    assert answer["predictor"] == "macs_baseline"
    better = [item for item in answer["candidates"] if item["score"] > winner["score"]]
    assert all(item["verdict"] in ("unclear", "exceeds") for item in better)


@pytest.mark.usefixtures("fake")
def test_offline_nothing_is_measured(search, workspace):
    before = runs(workspace)
    answer = search(*FAKE, "--max", "latency=1.2ms@70%", "--offline")
    assert answer["winner"]["verdict"] == "predicted only"
    assert answer["constraints"] == [{"metric": "latency", "limit": pytest.approx(1.2e-3), "confidence": 0.7}]
    assert answer["run_ids"] == []
    assert runs(workspace) == before


@pytest.mark.usefixtures("fake")
def test_a_limit_with_confidence_says_how_likely_it_is_kept(search, workspace):
    winner = search(*FAKE, "--max", "latency=1.6ms@90%", "--offline")["winner"]
    assert winner["probability"] >= 0.9
    arguments = ["--workspace", str(workspace), "search", *FAKE, "--offline", "--max"]
    assert "P(limit kept)" in CliRunner().invoke(cli, [*arguments, "latency=1.6ms@90%"]).stdout
    assert "P(limit kept)" not in CliRunner().invoke(cli, [*arguments, "latency=1.2ms"]).stdout
    refused = CliRunner().invoke(cli, [*arguments, "latency=1.6ms@97%"]).exception
    assert isinstance(refused, UsageError)
    assert "12 architectures; 96.2% is the most" in refused.cause
    assert "hilnas fit fake --predictor macs_baseline" in refused.remedy


def runs(workspace):
    with Workspace.open(workspace) as opened:
        return [row.run_id for row in opened.store.campaigns()]


def test_operations_are_those_the_table_was_made_for():
    assert OPERATIONS == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
