"""Pickles read without pickle: plain values are built from their instructions, nothing is imported and nothing called.

`pickletools` takes a pickle apart; the machine here carries out the few instructions that plain data need. Names of
classes and functions are only names: a handful (numpy's arrays and scalars, records that the caller lists) have a
meaning of ours, every other one is refused. Containers are bounded in depth and in what they hold when everything
that is shared is counted as often as it is used, so that whoever walks through the result is done in time.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile
from profiler.importers._pickled_names import (
    Dialect,
    Facts,
    Name,
    Record,
    Refused,
    built,
    called,
    new_record,
)

_MAX_INSTRUCTIONS = 8_000_000
_MAX_REMEMBERED = 3_000_000
_MAX_CONTAINERS = 2_000_000
_MAX_DEPTH = 24
_MAX_HELD = 20_000_000
_MAX_KEY = 64
_MAX_MARKS = 64

_PUSHED = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_REMEMBERED = {"PUT", "BINPUT", "LONG_BINPUT"}
_RECALLED = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


_PLAIN = Dialect()


class _List(list[Any], Facts):
    pass


class _Dict(dict[Any, Any], Facts):
    pass


class _Tuple(tuple[Any, ...], Facts):
    pass


def load_plain(data: bytes, where: Path | str, dialect: Dialect = _PLAIN) -> Any:
    """Return the value of a pickle: None, bool, int of 64 bits, float, str, bytes, list, tuple, dict, PlainArray.

    What a format needs beside these, its dialect says.
    Raises BadFile for a pickle that holds or does anything else, that is damaged, or that is too large.
    """
    machine = _Machine(dialect)
    try:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if number >= _MAX_INSTRUCTIONS:
                raise Refused(f"it has more than {_MAX_INSTRUCTIONS} instructions")
            machine.step(instruction.name, argument)
        return machine.result()
    except Refused as error:
        raise BadFile(
            f"{where} is refused: {error}",
            "It is no plain table, or was made to do harm. Nothing in it was executed.",
            "Take the file from where it was published, or write its numbers as CSV.",
        ) from error
    except (ValueError, LookupError, TypeError, EOFError, OverflowError, struct.error) as error:
        raise BadFile(
            f"{where} is no whole pickle: {str(error)[:200]}",
            "It was not downloaded completely, or is of another format.",
        ) from error


class _Machine:
    """The stack, the marks in it, and what was remembered."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stack below each mark
        self._memo: dict[int, Any] = {}
        self._containers = 0

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction; raise Refused for one that plain data do not need."""
        if name in _PUSHED:
            self._push_number_or_text(argument)
        elif name in _RECALLED:
            if argument not in self._memo:
                raise LookupError(f"value {argument} is recalled but was never remembered")
            self._stack.append(self._memo[argument])
        elif name in _REMEMBERED:
            self._remember(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._tuple(self._take(_TUPLES[name]))
        else:
            action = _ACTIONS.get(name)
            if action is None:
                raise Refused(f"it has the instruction {name}, which plain data do not need")
            action(self, argument)

    def result(self) -> Any:
        """Return what is left: the value."""
        if len(self._stack) != 1 or self._outer:
            raise ValueError("something is left over at its end")
        return self._stack[0]

    def _push_number_or_text(self, argument: Any) -> None:
        # Longer integers are no measurements; ints that agree in their hash would make dictionaries slow.
        if isinstance(argument, int) and not -(2**63) <= argument < 2**64:
            raise Refused("it holds an integer of more than 64 bits")
        self._stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)

    def _remember(self, place: int | None) -> None:
        if len(self._memo) >= _MAX_REMEMBERED:
            raise Refused(f"it remembers more than {_MAX_REMEMBERED} values")
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def _take(self, n: int) -> list[Any]:
        if len(self._stack) < n:
            raise LookupError("the stack is empty")
        taken = self._stack[len(self._stack) - n :]
        del self._stack[len(self._stack) - n :]
        return taken

    def _mark(self, _: Any) -> None:
        if len(self._outer) >= _MAX_MARKS:
            raise Refused(f"it is nested more than {_MAX_MARKS} deep")
        self._outer.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        taken, self._stack = self._stack, self._outer.pop()
        return taken

    def _count_container(self) -> None:
        self._containers += 1
        if self._containers > _MAX_CONTAINERS:
            raise Refused(f"it holds more than {_MAX_CONTAINERS} containers")

    def _tuple(self, items: list[Any]) -> None:
        self._count_container()
        found = _Tuple(items)
        _hold(found, items)
        self._stack.append(found)

    def _empty_list(self, _: Any) -> None:
        self._count_container()
        self._stack.append(_List())

    def _empty_dict(self, _: Any) -> None:
        self._count_container()
        self._stack.append(_Dict())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, _List):
            raise ValueError("it appends to something that is no list")
        _hold(target, items)
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, _Dict) or len(items) % 2:
            raise ValueError("it sets items of something that is no dictionary")
        keys = items[::2]
        if not all(_is_key(key) for key in keys):
            raise Refused("it has a dictionary with a key that is neither number, text nor a short tuple of these")
        _hold(target, items)
        target.update(zip(keys, items[1::2], strict=True))

    def _new_list(self, _: Any) -> None:
        items = self._since_mark()
        self._empty_list(_)
        self._extend(items)

    def _new_dict(self, _: Any) -> None:
        items = self._since_mark()
        self._empty_dict(_)
        self._update(items)

    def _name(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("it names something that is no text")
        found = Name(module, name)
        if not self._dialect.knows(found):
            raise Refused(f"it names {str(found)[:80]}, which is no plain data")
        self._stack.append(found)

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._name(module, name)

    def _stack_global(self, _: Any) -> None:
        self._name(*self._take(2))

    def _call(self, _: Any) -> None:
        function, arguments = self._take(2)
        self._push_built(called(function, arguments, self._dialect))

    def _new_object(self, _: Any) -> None:
        kind, arguments = self._take(2)
        if arguments:
            raise Refused("it makes an object with arguments, which plain data do not need")
        self._push_built(new_record(kind, self._dialect))

    def _refer(self, _: Any) -> None:
        if self._dialect.persistent is None:
            raise Refused("it refers to something outside")
        self._stack.append(self._dialect.persistent(self._take(1)[0]))

    def _push_built(self, value: Any) -> None:
        if isinstance(value, dict | Facts):
            self._count_container()
        self._stack.append(_Dict() if isinstance(value, dict) else value)

    def _build(self, _: Any) -> None:
        (state,) = self._take(1)
        target = self._stack[-1]
        if isinstance(target, Record):
            _hold(target, [state])
        built(target, state)


def _hold(container: Facts, items: Sequence[Any]) -> None:
    """Count what is put into a container; raise Refused where it grows too deep or too large, or was finished."""
    if container.finished:
        raise Refused("it changes a container that lies in another one already")
    depth, held = container.depth, container.held + len(items)
    for item in items:
        if item is container:
            raise Refused("it has a container that holds itself")
        inner, more = _finish(item)
        depth, held = max(depth, inner + 1), held + more
    if depth > _MAX_DEPTH:
        raise Refused(f"it is nested more than {_MAX_DEPTH} deep")
    if held > _MAX_HELD:
        raise Refused(f"it holds more than {_MAX_HELD} values, counted as often as they are used")
    container.depth, container.held = depth, held


def _finish(item: Any) -> tuple[int, int]:
    """Mark what is put somewhere as finished; return its depth and how much it holds."""
    if not isinstance(item, Facts):
        return 0, 0
    item.finished = True
    return item.depth, item.held


def _is_key(key: Any) -> bool:
    if isinstance(key, _Tuple):
        return key.depth == 1 and len(key) <= _MAX_KEY
    return key is None or isinstance(key, str | int | float | bytes)


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "STOP": lambda machine, argument: None,
    "MARK": _Machine._mark,
    "POP": lambda machine, argument: machine._take(1).clear(),
    "POP_MARK": lambda machine, argument: machine._since_mark().clear(),
    "MEMOIZE": _Machine._remember,
    "TUPLE": lambda machine, argument: machine._tuple(machine._since_mark()),
    "EMPTY_LIST": _Machine._empty_list,
    "EMPTY_DICT": _Machine._empty_dict,
    "LIST": _Machine._new_list,
    "DICT": _Machine._new_dict,
    "APPEND": lambda machine, argument: machine._extend(machine._take(1)),
    "APPENDS": lambda machine, argument: machine._extend(machine._since_mark()),
    "SETITEM": lambda machine, argument: machine._update(machine._take(2)),
    "SETITEMS": lambda machine, argument: machine._update(machine._since_mark()),
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._call,
    "NEWOBJ": _Machine._new_object,
    "BINPERSID": _Machine._refer,
    "BUILD": _Machine._build,
}
