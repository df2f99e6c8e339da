"""A board behind SSH: what all kinds of boards share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from devices._agent_session import AgentSession
from devices._base import Check, Device
from devices._board_link import BoardLink
from devices._checks import agent_checks, fingerprint_of
from devices._conversation import Conversation
from devices._errors import translated
from devices._runtimes import need_for_boards
from hilnas.deadline import Deadline
from hilnas.errors import HilnasError
from hilnas.records import Environment, MeasurementProtocol

_PROBE_S = 180.0


class Board(Device):
    """A machine that SSH reaches; needs Python 3.6 or newer there, neither root nor a network of its own."""

    default_backend = "onnxruntime"
    #: Loading takes a larger share on a board, and more of its calls are needed for the same steadiness.
    protocol = replace(MeasurementProtocol(), min_measure_s=0.4, max_measure_s=1.2)
    #: Sensors that this kind of board has, and without which it is probably another kind.
    expected_sensors: ClassVar[tuple[str, ...]] = ()

    def probe(self) -> Environment:
        """Return the fingerprint, learnt from a short-lived agent; no lease is taken, nothing is changed."""
        with self._opened(BoardLink(self.config, lease=False), Deadline.after(_PROBE_S)) as session:
            return session.environment

    @contextmanager
    def session(self, deadline: Deadline) -> Iterator[AgentSession]:
        """Connect, start an agent, lease the board there, set its power state; end and undo all of it."""
        with self._opened(BoardLink(self.config), deadline) as session:
            yield session

    def checks(self) -> list[Check]:
        """Return how far we get: connection, agent, runtime, sensors, and what would mend what is not well."""
        link = BoardLink(self.config, lease=False)
        try:
            need_for_boards(self.config.name, self.backend)
            with translated(self.config.name):
                began = time.monotonic()
                conversation = Conversation(self.config.name, link.start(Deadline.after(60.0)), Deadline.after(60.0))
                return [
                    Check("connection", True, f"agent started in {time.monotonic() - began:.2f} s"),
                    *self._agent_checks(conversation),
                ]
        except HilnasError as error:
            return [Check("connection", False, f"{error.what}. {error.cause}".rstrip(". "), error.remedy)]
        finally:
            link.close()

    def _agent_checks(self, conversation: Conversation) -> list[Check]:
        host = conversation.hello.host
        deadline = Deadline.after(_PROBE_S)
        conversation.ask({"op": "begin", **BoardLink(self.config, lease=False).claim}, deadline)
        probed = conversation.ask(
            {"op": "probe", "backend": self.backend, "options": self.config.options.model_dump(mode="json")}, deadline
        )
        found: list[Check] = []
        state = probed.state
        if probed.ok:
            found += agent_checks(fingerprint_of(host, probed, {}), state)
        else:
            state = conversation.ask({"op": "state"}, deadline).state
            found += [
                Check("agent", True, f"Python {host.get('python')} on {host.get('machine')}"),
                Check("runtime", False, probed.cause[:200], self._runtime_remedy(host)),
            ]
        conversation.end()
        return [*found, *self._kind_check(state)]

    def _runtime_remedy(self, host: dict[str, Any]) -> str:
        from devices._wheels import advice

        try:
            return str(advice(host, self.backend)).replace("NAME", self.config.name)
        except (KeyError, ValueError, TypeError) as error:
            return f"no wheel can be named for this machine: {error}"

    def _kind_check(self, state: dict[str, Any]) -> list[Check]:
        missing = [name for name in self.expected_sensors if "unavailable" in state.get(name, {"unavailable": ""})]
        if not missing:
            return []
        text = "; ".join(f"{name}: {state.get(name, {}).get('unavailable', 'not read')}" for name in missing)
        remedy = f'is it a {self.config.kind}? Then what it shows nowhere cannot be judged; else: kind = "ssh_linux"'
        return [Check("kind", True, f"n/a: {text}", remedy)]

    @contextmanager
    def _opened(self, link: BoardLink, deadline: Deadline) -> Iterator[AgentSession]:
        need_for_boards(self.config.name, self.backend)
        session = AgentSession(self.config, self.backend, link)
        try:
            with translated(self.config.name):
                session.open(deadline)
            yield session
        finally:
            session.close()
