"""Choosing what to measure, and the verdict."""

from types import SimpleNamespace

import pytest

from hilnas.errors import Inconclusive, Infeasible
from hilnas.records import Measurement, Workload
from searchers._answer import verdict_error
from searchers._cost_models import Cost, CostModel
from searchers._problem import Study
from searchers._request import SearchRequest, Setup
from searchers._search import Studies
from searchers._verify import judge, verify
from searchers.evaluators.tabular import Tabular
from searchers.random_search import RandomSearch


def measurement(latency_s, half_s=0.01, status="ok"):
    workload = Workload("toy:111", "architecture", (1,))
    return Measurement(workload, status, latency_s, latency_s - half_s, latency_s + half_s, 0.9, 6)


@pytest.mark.parametrize(
    ("latency_s", "limit", "verdict"),
    [
        (0.9, 1.0, "keeps"),
        (0.99, 1.0, "keeps"),
        (0.995, 1.0, "unclear"),
        (1.005, 1.0, "unclear"),
        (1.02, 1.0, "exceeds"),
    ],
)
def test_the_whole_interval_decides(latency_s, limit, verdict):
    assert judge(measurement(latency_s), limit) == verdict


def test_a_failed_measurement_is_no_winner():
    assert (
        judge(Measurement(measurement(1).workload, "failed", None, None, None, 0.9, 0, "crash"), 1.0) == "not measured"
    )
    assert judge(measurement(0.1, status="rejected"), 1.0) == "not measured"
    assert judge(measurement(9.0), None) == "keeps"


class Guess(CostModel):
    """Predicts 1, 2, 3 seconds for decision 0, 20 % either way."""

    metric = "latency"

    def costs(self, architectures):
        values = [float(item.decisions[0]) for item in architectures]
        return [Cost(value, 0.8 * value, 1.2 * value, value, "model") for value in values]


@pytest.fixture
def setup(toy, problem):
    def build(limit_s, top):
        base = problem(limit_s=limit_s)
        request = SearchRequest("random_search", "toy", device="d", limits=(f"latency={limit_s}s",), top=top)
        evaluator = Tabular(toy, values={})
        device = SimpleNamespace(name="d")
        return Setup(request, toy, base.constraints, 20, RandomSearch, {}, evaluator, (Guess(),), "p", None, device)

    return build


@pytest.fixture
def bench(monkeypatch, toy, problem, evaluation):
    """Return a function that verifies three candidates on a device with the given true latencies."""
    texts = {1: "100", 2: "211", 3: "312"}  # first digit: predicted seconds

    def run(setup, truth):
        campaigns = []

        def measure(_workspace, _config, workloads, **_options):
            campaigns.append([item.subject for item in workloads])
            found = []
            for workload in workloads:
                latency_s = truth[int(workload.subject[4])]
                found.append(Measurement(workload, "ok", latency_s, latency_s - 0.01, latency_s + 0.01, 0.9, 6))
            return SimpleNamespace(measurements=found, run_id=f"run{len(campaigns)}")

        monkeypatch.setattr("profiler._campaign.measure", measure)
        monkeypatch.setattr(toy, "canonical", lambda item: item.text)
        items = tuple(evaluation(texts[n], score=float(n), latency_s=float(n), limit_s=9.0) for n in (1, 2, 3))
        studies = {"random_search": [Study("random_search", problem(), items)]}
        verified = verify(None, setup, studies, lambda *_: None)
        return verified, campaigns, Studies("random_search", studies)

    return run


def test_the_best_score_that_keeps_the_limit_wins(setup, bench):
    verified, campaigns, _ = bench(setup(3.0, top=2), {1: 1.0, 2: 2.0, 3: 3.5})
    assert campaigns == [["toy:312", "toy:211"]]
    assert [item.verdict for item in verified.by_searcher["random_search"]] == ["exceeds", "keeps"]
    assert verified.winner("random_search").architecture.text == "toy:211"
    assert verified.run_ids == ["run1"]


def test_one_candidate_is_safe_by_its_upper_bound(setup, bench):
    _, campaigns, _ = bench(setup(2.1, top=1), {1: 1.0, 2: 2.0, 3: 3.0})
    assert campaigns == [["toy:100"]]


def test_measurements_correct_the_predictions_of_the_next_round(setup, bench):
    """The device is 1.6 times slower than predicted: 3 fails, 2 is then expected at 3.2 and left out, 1 is measured."""
    verified, campaigns, _ = bench(setup(3.1, top=1), {1: 1.6, 2: 3.2, 3: 4.8})
    assert campaigns == [["toy:211"], ["toy:100"]]
    assert verified.winner("random_search").architecture.text == "toy:100"


def test_nothing_that_keeps_the_limit_is_exit_3_and_doubt_exit_5(setup, bench):
    tight = setup(3.0, top=3)
    verified, _, studies = bench(tight, {1: 4.0, 2: 5.0, 3: 6.0})
    error = verdict_error(tight, studies, verified)
    assert isinstance(error, Infeasible)
    assert error.exit_code == 3
    verified, _, studies = bench(tight, {1: 3.0, 2: 5.0, 3: 6.0})
    error = verdict_error(tight, studies, verified)
    assert isinstance(error, Inconclusive)
    assert "1 unclear" in error.what
    verified, _, studies = bench(tight, {1: 1.0, 2: 2.0, 3: 2.5})
    assert verdict_error(tight, studies, verified) is None
