"""The clocks of a Jetson, locked at the highest that its power mode allows."""

from typing import Any, Dict, List

from ..sensors import jetson_clocks
from ..sensors._base import SensorUnavailable, rooted
from ._base import PowerUnavailable, me, privileged, sudoers_lines, wait_until

#: Where the state before lies. Only root may write there: jetson_clocks --restore writes, as root, whatever stands in
#: its file to wherever the file says, so a file of the user's own would make that user root.
_STORE = "/var/lib/hilnas-clocks.conf"


def apply(options: Dict[str, Any]) -> Dict[str, Any]:
    """Store the clocks' state and lock them; clocks that somebody else has locked are left alone, and stay so.

    Raise PowerUnavailable where there is no jetson_clocks, or it has not locked them; NeedsPassword where sudo refuses.
    """
    if _is_locked():
        return {"stored": False}  # what is stored now would be the locked state: it would undo nothing
    _run(["--store", rooted(_STORE)], "Y\n")  # it asks whether to overwrite the file of an earlier time
    _run([])
    record = {"stored": True}
    if not wait_until(_is_locked):
        undo(record)
        raise PowerUnavailable("jetson_clocks ran, but the clocks are not locked")
    return record


def undo(record: Dict[str, Any]) -> None:
    """Restore the clocks' state of before; raise as `apply` does."""
    if not record.get("stored"):
        return
    _run(["--restore", rooted(_STORE)])
    if not wait_until(lambda: not _is_locked()):
        raise PowerUnavailable("jetson_clocks --restore ran, but the clocks are still locked")


def sudoers(user: str) -> List[str]:
    """Return the lines that allow a user to look at, store, lock and restore clocks, the latter from our file only."""
    arguments: List[List[str]] = [["--show"], ["--store", _STORE], [], ["--restore", _STORE]]
    return sudoers_lines(user, [["jetson_clocks"] + (words or ['""']) for words in arguments])


def _is_locked() -> bool:
    try:
        return bool(jetson_clocks.parse(_run(["--show"]))["locked"])
    except (SensorUnavailable, ValueError) as error:
        raise PowerUnavailable(str(error)) from None


def _run(arguments: List[str], stdin: str = "") -> str:
    done = privileged(["jetson_clocks"] + arguments, lambda: sudoers(me()), stdin)
    if done.code != 0 or any(line.startswith("Error") for line in done.text.splitlines()):
        raise PowerUnavailable("jetson_clocks %s: %s" % (" ".join(arguments), done.text.strip()[-200:]))
    return done.text
