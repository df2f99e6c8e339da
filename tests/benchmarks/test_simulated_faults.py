"""Campaigns on simulated boards survive every kind of fault, and the tally would notice if they did not."""

import pytest

from benchmarks._fault_tally import Outcome, lines, tally
from benchmarks._simulated_faults import KINDS, one
from devices import _agent_session, _runs
from devices._conversation import Conversation
from profiler._workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    with Workspace.open(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_a_campaign_survives(kind, workspace):
    outcomes = [one(kind, seed, workspace) for seed in range(1000, 1003)]
    assert any(outcome.struck for outcome in outcomes)
    assert all(outcome.survived for outcome in outcomes), outcomes


def test_throttling_that_nobody_doubts_is_seen_as_wrong_numbers(workspace, monkeypatch):
    monkeypatch.setattr(_runs, "doubt", lambda *_: None)
    assert sum(one("throttled", seed, workspace).wrong for seed in range(5)) > 0


def test_an_answer_taken_for_another_is_seen(workspace, monkeypatch):
    def take_any(self, message):
        from devices._untrusted import Answer

        number = min(self._asked, default=0)
        self._asked.discard(number)
        self._answers[number] = Answer.model_validate({**message, "id": number})

    monkeypatch.setattr(Conversation, "_keep", take_any)
    outcomes = [one("duplicate", seed, workspace) for seed in range(8)]
    assert any(outcome.wrong or outcome.lost for outcome in outcomes)


def test_an_agent_that_is_not_ended_is_seen(workspace, monkeypatch):
    monkeypatch.setattr(_agent_session.AgentSession, "close", lambda self: None)
    assert one("cut", 0, workspace).orphans > 0


def test_the_tally_adds_up():
    found = tally([Outcome("a", True), Outcome("a", True, lost=2), Outcome("b", False)])
    assert (found["campaigns"], found["injected"], found["survived"], found["lost"]) == (3, 2, 1, 2)
    assert found["kinds"]["a"]["survived"] == 1
    assert len(lines(found)) == 4
