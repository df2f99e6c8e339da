"""`hilnas search --data` as users type it: what it answers, which search is meant, and what it refuses."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hilnas.cli import cli
from hilnas.errors import BadFile, Inconclusive, Infeasible, UnknownName, UsageError
from profiler._table_records import Column, ReferenceTable
from profiler._workspace import Workspace
from search_spaces.nasbench201 import NasBench201
from searchers._cost_models import StaticCost
from searchers._records import StudyLog

SPACE = ("--space", "nasbench201", "--space-option", "depth=1")
TINY = tuple(
    word
    for option in ("width=4", "resolution=8", "images=130", "batch=16", "epochs=2", "judge_epochs=1")
    for word in ("--set", option)
)
DEPLOYED = NasBench201(width=8, depth=2)
DEPLOYED_OPTIONS = ("--space", "nasbench201", "--space-option", "depth=2", "--space-option", "width=8")
COST_MS = np.array([0.1, 0.5, 4.0, 10.0, 3.0])


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return a workspace with a made-up table of the whole space."""
    path = tmp_path_factory.mktemp("tables") / "w"
    cells = list(NasBench201().enumerate())
    decisions = np.array([cell.decisions for cell in cells])
    latency_s = (5.0 + COST_MS[decisions].sum(1)) * 1e-3
    columns = (Column("latency_ms", "time", "ms", latency_s), Column("score", "none", "none", latency_s))
    with Workspace.open(path) as workspace:
        texts = tuple(cell.text for cell in cells)
        workspace.store.put_table(ReferenceTable("t", "nasbench201", "made up", "0", texts, None, columns))
    return path


def run(workspace, *arguments):
    result = CliRunner().invoke(cli, ["--workspace", str(workspace), "search", *arguments, "--json"])
    return result, json.loads(result.stdout) if result.stdout else None


@pytest.fixture(scope="module")
def limited(tables):
    """Return the answer of DCA-NAS under two bounds on parameters of deeper and wider networks, winners trained."""
    options = ("--max", "params=0.05M", "--set", "bounds=2", "--set", "share_rate=0.05", "--train-winner", "1")
    result, answer = run(tables, "dca_nas", *DEPLOYED_OPTIONS, *TINY, *options)
    assert result.exception is None, result.exception
    return answer


@pytest.fixture(scope="module")
def tabled(tables):
    """Return the answer of DARTS, whose winner has to keep a limit of a table, under two seeds."""
    limits = ("--device", "table:t/latency_ms", "--max", "latency=60ms", "--seeds", "2", "--seed", "5")
    result, answer = run(tables, "darts", *SPACE, *TINY, *limits, "--set", "epochs=1", "--data", "digits")
    assert result.exception is None, result.exception
    return answer


def test_each_search_says_its_bounds_what_was_expected_and_what_it_derived(limited):
    assert [item["factor"] for item in limited["searches"]] == [0.5, 2.0]
    for item in limited["searches"]:
        assert item["seed"] == 0 and item["cause"] is None
        assert item["bounds"] == {"params": pytest.approx(item["factor"] * 5e4)}
        assert item["elapsed_s"] > 0 and item["peak_bytes"] > 2**20
        last = item["history"][-1]
        assert item["expected"] == {"params": last["expected"]["params"]}
        assert item["multipliers"] == {"params": last["multipliers"]["params"]}
        assert len(item["history"]) == 2
    tight, loose = limited["searches"]
    assert tight["multipliers"]["params"] > loose["multipliers"]["params"] >= 0
    assert tight["expected"]["params"] < loose["expected"]["params"]
    assert limited["explained"] == {"params": 1.0}


def test_limits_are_those_of_the_network_that_is_deployed(limited):
    model = StaticCost("params", DEPLOYED)
    derived = [one for item in limited["searches"] for one in item["derived"]]
    assert derived
    for one in derived:
        (cost,) = model.costs([DEPLOYED.parse(one["architecture"])])
        assert one["params"] == cost.value
    winner = limited["winner"]
    assert winner["params"] <= 5e4 and winner["verdict"] == "counted"
    assert winner["architecture"] in [one["architecture"] for one in derived]
    assert limited["space_options"]["width"] == 8 and limited["score_source"]["space_options"]["width"] == 4
    assert limited["random_search"]["params"]["mean"] <= 5e4


def test_every_search_under_limits_proposes_something_that_keeps_them(limited):
    for item in limited["searches"]:
        assert min(one["params"] for one in item["derived"]) <= 5e4
        # The second is there only where the first exceeds the limit.
        assert len(item["derived"]) == 1 or item["derived"][0]["params"] > 5e4 >= item["derived"][1]["params"]


def test_what_exceeds_a_limit_is_not_trained(limited, tables):
    log = StudyLog.open(tables / "studies", limited["study_id"])
    rows = log.rows()
    assert {row["feasible"] for row in rows} == {True, False}, "the search under the loose bound exceeds the limit"
    for row in rows:
        assert row["feasible"] == (row["params"] <= 5e4) == (row["score"] is not None)
        assert row["feasible"] or "does not keep the limits" in row["cause"]


def test_winners_are_trained_and_tested_by_pictures_that_chose_nothing(limited):
    found = limited["retrained"]
    assert (found["epochs"], found["trained_on"]) == (1, 130)
    assert found["tested_on"] == 1797 - 130
    assert set(found["accuracy"]) == {"dca_nas", "random_search"}
    (own,), (other,) = (found["accuracy"][name]["per_seed"] for name in ("dca_nas", "random_search"))
    assert 0 < own < 100
    difference = found["difference"]["random_search"]
    assert difference["mean"] == pytest.approx(own - other) and difference["n"] == 1


def test_random_search_has_as_long_as_the_search(limited):
    own, other = (values["elapsed_s"]["mean"] for values in (limited, limited["random_search"]))
    assert own > sum(item["elapsed_s"] for item in limited["searches"])
    assert other >= own or limited["random_search"]["distinct"]["mean"] > 50, "it ends where there are no more"


def test_every_seed_searches_and_unlimited_searches_are_only_judged(tabled):
    assert tabled["seeds"] == [5, 6] and [item["seed"] for item in tabled["searches"]] == [5, 6]
    for item in tabled["searches"]:
        assert item["factor"] == 1.0 and item["multipliers"] == {"latency_s": 0.0}
        assert item["bounds"] == {"latency_s": pytest.approx(0.06)}
        (one,) = item["derived"]
        cell = NasBench201().parse(one["architecture"])
        assert one["latency_s"] == pytest.approx((5.0 + COST_MS[list(cell.decisions)].sum()) * 1e-3)
    assert tabled["explained"] == {"latency_s": 1.0}
    first, second = tabled["searches"]
    assert first["history"][0]["training_loss"] != second["history"][0]["training_loss"]


def test_people_see_every_search(limited, tables):
    result = CliRunner().invoke(cli, ["--workspace", str(tables), "search", "--resume", limited["study_id"]])
    assert result.exception is None, result.exception
    for words in ("searches: bounds", "25 k", "100 k", "peak MiB", "winners trained from scratch", "random_search"):
        assert words in result.stdout
    assert result.stdout.count("evaluations") == result.stdout.count("failed evaluations")


@pytest.fixture
def told(tables, monkeypatch):
    """Return a function that returns the request of a command without running it."""
    requests = []

    def note(settings, request, resume, as_json):
        requests.append(request)

    def ask(*arguments):
        monkeypatch.setattr("searchers._cli._run", note)
        result = CliRunner().invoke(cli, ["--workspace", str(tables), "search", *arguments])
        if result.exception:
            raise result.exception
        return requests.pop()

    return ask


def test_which_search_is_meant(told):
    assert told("dca_nas", *SPACE, "--objective", "nwot").data is None
    assert told("dca_nas", *SPACE, "--score", "table:t/score").data is None
    assert told("dca_nas", *SPACE).data == "digits"
    assert told("dca_nas", *SPACE, "--data", "mine").data == str(Path.cwd() / "mine"), "it may be resumed elsewhere"
    assert told("pc_darts", *SPACE).data == "digits"
    assert told("random_search", *SPACE).data is None
    assert told("darts", *SPACE, "--train-winner", "3").train_winner == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("darts", *SPACE, "--score", "nwot"), "darts trains on pictures: it reads no scores"),
        (("random_search", *SPACE, "--data", "digits"), "random_search does not train on pictures"),
        (("nobody", *SPACE, "--data", "digits"), "nobody does not train on pictures"),
        (("darts", *SPACE, "--data", "digits", "--episodes", "3"), "is judged by pictures"),
        (("darts", *SPACE, "--evaluations", "3"), "is judged by pictures"),
        (("dca_nas", *SPACE, "--data", "digits", "--score", "nwot"), "is judged by pictures"),
        (("darts", *SPACE, "--baselines"), "--baselines serve other searches"),
        (("random_search", *SPACE, "--train-winner", "2"), "random_search has none"),
        (("random_search", *SPACE, "--memory", "1GiB"), "--memory is for searches that train"),
        ((*SPACE, "--data", "digits"), "no searcher was named"),
        (("darts", "--data", "digits"), "no search space was named"),
    ],
)
def test_options_of_the_other_kind_are_refused(told, arguments, words):
    with pytest.raises(UsageError) as caught:
        told(*arguments)
    assert words in str(caught.value) and caught.value.exit_code == 2


def idx(folder, images, labels):
    """Write pictures as MNIST's files."""
    folder.mkdir()
    head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    (folder / "train-images-idx3-ubyte").write_bytes(head + images.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(
        b"\0\0\x08\x01" + len(labels).to_bytes(4, "big") + labels.tobytes()
    )
    return folder


def damaged(tmp_path):
    folder = idx(tmp_path / "torn", np.zeros((80, 8, 8), np.uint8), np.arange(80, dtype=np.uint8) % 3)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-900])
    return folder


def zipped_half(tmp_path):
    folder = damaged(tmp_path)
    for path in list(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
        path.unlink()
    return folder


def one_class(tmp_path):
    return idx(tmp_path / "one", np.zeros((80, 8, 8), np.uint8), np.full(80, 4, np.uint8))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tmp_path: tmp_path / "nowhere", "there is no"),
        (lambda tmp_path: tmp_path, "no images in a format that is known"),
        (damaged, "train-images-idx3-ubyte"),
        (zipped_half, "train-"),
        (one_class, "of one class"),
    ],
)
def test_pictures_that_cannot_be_used_are_named(tables, tmp_path, make, words):
    result, _ = run(tables, "darts", *SPACE, *TINY, "--data", str(make(tmp_path)))
    assert isinstance(result.exception, BadFile) and words in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "batch=64"), "a batch of 64 is larger than the 32 images"),
        (("--set", "images=2000"), "2000 images were asked for; there are 1797"),
        (("--set", "images=-5"), "a number of images"),
        (("--set", "images=3"), "too few to train and to judge"),
        (("--set", "judge_epochs=0"), "an epoch to judge by"),
        (("--set", "epochs=0"), "needs an epoch"),
        (("--set", "images=1797", "--train-winner", "1"), "no image is left to test with"),
        (("--memory", "1GiB"), "keeps no bound of memory"),
        (("--set", "rate=-1"), "rates above 0"),
        (("--set", "rate=nan"), "rates above 0"),
        (("--set", "order=3"), "of order 1 or 2, not 3"),
        (("--set", "device=gpu"), "is no device to train on"),
        (("--set", "device=cuda:77"), "torch sees no cuda:77"),
        (("--set", "augment=twist"), "unknown augmentation 'twist'"),
        (("--set", "epoch=1"), "Did you mean 'epochs'"),
        (("--set", "mixed_precision=maybe"), "is true or false"),
        (("--set", "resolution=7"), "a multiple of 4"),
        (("--max", "latency=3ms"), "needs a device"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_a_study_begins(tables, arguments, words):
    before = set(tables.glob("studies/*"))
    result, answer = run(tables, "darts", *SPACE, *TINY, *arguments)
    assert isinstance(result.exception, UsageError), result.exception
    assert words in str(result.exception) and answer is None
    assert set(tables.glob("studies/*")) == before


def test_a_space_without_supernets_is_refused(tables):
    result, _ = run(tables, "darts", "--space", "fbnet", "--set", "batch=16")
    assert isinstance(result.exception, UsageError) and "fbnet has no supernet of cells" in result.exception.what
    assert "darts or nasbench201" in result.exception.remedy


def test_unknown_names_suggest_the_near_ones(tables):
    result, _ = run(tables, "darts", *SPACE, *TINY, "--set", "widht=8")
    assert isinstance(result.exception, UnknownName) and "Did you mean 'width'" in result.exception.cause


@pytest.mark.parametrize("options", [{"bounds": 0}, {"lowest": 3.0}, {"lowest": 0.0}])
def test_grids_without_sense_are_refused(tables, options):
    pairs = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    result, _ = run(tables, "dca_nas", *SPACE, *TINY, "--max", "params=1M", *pairs)
    assert isinstance(result.exception, UsageError) and "0 < lowest <= highest" in str(result.exception)


def test_a_limit_below_the_cheapest_network_names_it(tables):
    result, _ = run(tables, "dca_nas", *SPACE, *TINY, "--max", "params=10")
    assert isinstance(result.exception, Infeasible) and result.exception.exit_code == 3
    assert "The smallest known is 73.31 k" in result.exception.cause


def test_a_search_that_diverges_says_so_and_random_search_is_still_there(tables):
    result, answer = run(tables, "darts", *SPACE, *TINY, "--set", "rate=1e30")
    assert isinstance(result.exception, Inconclusive) and result.exception.exit_code == 5
    assert "diverged: losses nan" in result.exception.cause and "--set rate" in result.exception.remedy
    assert answer["winner"] is None and answer["random_search"]["winner"]
    (search,) = answer["searches"]
    assert "diverged" in search["cause"] and search["derived"] == search["history"] == []
