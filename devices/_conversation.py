"""Talking with one agent: numbered requests that may be sent ahead, validated answers by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from devices._errors import AgentLost, AgentProtocolError, Unreachable
from devices._link import ConnectionLost
from devices._untrusted import Answer, Hello, plain_text
from devices.agent import PROTOCOL_VERSION
from devices.agent._wire import Closed, Lines, WireError
from hilnas.deadline import Deadline

#: An agent gives a sign of life every few seconds; one that is silent for longer is lost.
SILENCE_S = 30.0


class Conversation:
    """One agent at the end of a line; errors name the device."""

    def __init__(self, device: str, lines: Lines, deadline: Deadline) -> None:
        self._device = device
        self._lines = lines
        self._asked: set[int] = set()
        self._answers: dict[int, Answer] = {}
        self._next_id = 0
        self.hello = self._greet(deadline)

    def send(self, request: Mapping[str, Any]) -> int:
        """Send a request and return its number; raise AgentLost or Unreachable."""
        self._next_id += 1
        try:
            self._lines.send({**request, "id": self._next_id})
        except WireError as error:
            raise self._translate(error) from error
        self._asked.add(self._next_id)
        return self._next_id

    def answer(self, number: int, deadline: Deadline, silence_s: float = SILENCE_S) -> Answer:
        """Return the answer to a request; raise AgentLost, Unreachable or AgentProtocolError.

        `silence_s`: for how long the agent may give no sign of life.
        """
        while number not in self._answers:
            message = self._receive(deadline.sooner(silence_s))
            if message.get("op") != "beat":
                self._keep(message)
        return self._answers.pop(number)

    def ask(self, request: Mapping[str, Any], deadline: Deadline) -> Answer:
        """Send a request and return its answer."""
        return self.answer(self.send(request), deadline)

    def end(self) -> None:
        """Tell the agent to end; one that has gone already is well."""
        try:
            self._lines.send({"op": "quit"})
        except WireError:
            return

    def _keep(self, message: Mapping[str, Any]) -> None:
        try:
            found = Answer.model_validate(message)
        except ValidationError as error:
            raise self._nonsense(_first(error)) from error
        if found.id not in self._asked:
            raise self._nonsense(f"an answer to request {found.id}, which is not open")
        self._asked.remove(found.id)
        self._answers[found.id] = found

    def _greet(self, deadline: Deadline) -> Hello:
        message = self._receive(deadline.sooner(SILENCE_S))
        if message.get("op") == "hello" and message.get("protocol") != PROTOCOL_VERSION:
            raise self._nonsense(f"it does not speak protocol {PROTOCOL_VERSION}")
        try:
            return Hello.model_validate(message)
        except ValidationError as error:
            raise self._nonsense(_first(error)) from error

    def _receive(self, deadline: Deadline) -> dict[str, Any]:
        try:
            message = self._lines.receive(deadline.remaining())
        except WireError as error:
            raise self._translate(error) from error
        if message is None:
            raise AgentLost(f"{self._device}: the agent does not answer", "It hangs, or the time limit is short.")
        return message

    def _translate(self, error: WireError) -> AgentLost | AgentProtocolError | Unreachable:
        if isinstance(error, ConnectionLost):
            return Unreachable(f"{self._device}: the connection was lost", str(error), _KEPT)
        if isinstance(error, Closed):
            return AgentLost(f"{self._device}: the agent has gone", "It was killed or crashed.", _KEPT)
        return self._nonsense(str(error))

    def _nonsense(self, text: str) -> AgentProtocolError:
        return AgentProtocolError(
            f"{self._device}: the agent's answer makes no sense: {plain_text(text, 300)}",
            "Something else prints on its output, or it is not hilnas's agent.",
            _KEPT,
        )


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))[:100]}: {problem['msg']}"


_KEPT = "What was measured is kept; continue with: hilnas runs resume RUN"
