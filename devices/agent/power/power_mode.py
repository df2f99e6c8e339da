"""The power mode of a Jetson: which cores are on and how fast everything may run."""

from typing import Any, Dict, List

from ..sensors import cpu_clock, jetson_power_mode
from ..sensors._base import SensorUnavailable
from ..sensors._command import run
from ._base import NeedsReboot, PowerUnavailable, me, privileged, sudoers_lines, wait_until

_MAX_ID = 99


def apply(options: Dict[str, Any]) -> Dict[str, Any]:
    """Set the mode whose id is `options["mode"]`, and return the one there was and the clocks' limits since.

    A mode that needs a reboot is not set, and NeedsReboot says so, unless `allow_reboot`: then the board goes down at
    once, and the record says `rebooting`. Raise PowerUnavailable for a mode the board does not have or does not take,
    NeedsPassword where sudo refuses.
    """
    wanted, before = _mode_of(options), _mode()
    known = jetson_power_mode.modes()
    if known and str(wanted) not in known:
        there = ", ".join("%s %s" % item for item in sorted(known.items()))
        raise PowerUnavailable("no power mode %d here, only: %s" % (wanted, there))
    rebooting = _set(wanted, bool(options.get("allow_reboot")))
    return {"mode": before, "rebooting": rebooting, "clocks": {} if rebooting else _clocks()}


def undo(record: Dict[str, Any]) -> None:
    """Set the mode of a record; raise as `apply` does, NeedsReboot too: going back is never worth a reboot unasked."""
    if not record.get("rebooting"):
        _set(_mode_of(record), False)


def sudoers(user: str) -> List[str]:
    """Return the lines that allow a user to set each mode the board has, any of ten where it does not tell."""
    known = sorted(jetson_power_mode.modes()) or ["[0-9]"]
    return sudoers_lines(user, [["nvpmodel", "-m", number] for number in known])


def _set(wanted: int, allow_reboot: bool) -> bool:
    """Set a mode, and return whether the board reboots for it."""
    if _mode() == wanted:
        return False
    said = _ask_for(wanted, "")
    if "reboot required" in said.lower():
        if not allow_reboot:
            raise NeedsReboot("power mode %d needs a reboot; nothing was changed" % wanted)
        _refuse_errors(wanted, _ask_for(wanted, "YES\n"))
        return True
    _refuse_errors(wanted, said)
    if not wait_until(lambda: _mode() == wanted):
        raise PowerUnavailable("nvpmodel -m %d ran, but the mode is %d" % (wanted, _mode()))
    return False


def _ask_for(wanted: int, stdin: str) -> str:
    """Without an answer on stdin nvpmodel declines the reboot for us, which cancels the change."""
    return privileged(["nvpmodel", "-m", str(wanted)], lambda: sudoers(me()), stdin).text


def _refuse_errors(wanted: int, said: str) -> None:
    """The exit code is not enough: nvpmodel ends with 0 after errors too."""
    errors = [line for line in said.splitlines() if line.startswith("NVPM ERROR")]
    if errors:
        raise PowerUnavailable("nvpmodel -m %d: %s" % (wanted, "; ".join(errors)[:300]))


def _mode() -> int:
    try:
        return int(jetson_power_mode.parse(run(["nvpmodel", "-q"]).text)["id"])
    except (SensorUnavailable, ValueError) as error:
        raise PowerUnavailable(str(error)) from None


def _clocks() -> Dict[str, Any]:
    """A mode sets all limits anew, those of locked clocks too: whoever wants these must lock them again."""
    try:
        return cpu_clock.identity(cpu_clock.read())
    except (SensorUnavailable, ValueError):
        return {}


def _mode_of(values: Dict[str, Any]) -> int:
    mode = values.get("mode")
    if isinstance(mode, bool) or not isinstance(mode, int) or not 0 <= mode <= _MAX_ID:
        raise PowerUnavailable("no id of a power mode: %r" % str(mode)[:80])
    return mode
