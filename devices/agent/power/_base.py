"""What all power states share: their errors, and running a program with the right to change the machine."""

import os
import pwd
import re
import time
from typing import Any, Callable, List

from ..sensors._base import SensorUnavailable
from ..sensors._command import Output, find, run

#: Some settings take a moment; 10 looks, 10 ms apart.
_LOOKS = 10
_PAUSE_S = 0.01
#: jetson_clocks and nvpmodel are scripts that start dozens of programs, and a tired board is slow.
_TIMEOUT_S = 20.0
_REFUSED = re.compile(r"sudo: |Sorry, user |\S+ is not in the sudoers file")


class PowerUnavailable(Exception):
    """This machine does not have the state, or did not take it; the text says why."""


class NeedsPassword(Exception):
    """sudo would ask for a password; `lines` for /etc/sudoers would allow it."""

    def __init__(self, lines: List[str]) -> None:
        super(NeedsPassword, self).__init__("sudo asks for a password; allow it in sudoers: %s" % "; ".join(lines))
        self.lines = lines


class NeedsReboot(Exception):
    """The state cannot be had without a reboot; the text says why."""


def privileged(argv: List[str], allow: Callable[[], List[str]], stdin: str = "") -> Output:
    """Run a program as root, through `sudo -n` where we are not root, and return what it said.

    `allow` gives the lines for sudoers. Raise NeedsPassword where sudo refuses, PowerUnavailable where the program is
    missing or does not end.
    """
    try:
        command = [find(argv[0])] + argv[1:]
        if is_root():
            return run(command, _TIMEOUT_S, stdin)
        done = run(["sudo", "-n"] + command, _TIMEOUT_S, stdin)
    except (SensorUnavailable, ValueError) as error:
        raise PowerUnavailable(str(error)) from None
    if done.code != 0 and any(_REFUSED.match(line) for line in done.text.splitlines()):
        raise NeedsPassword(allow())
    return done


def wait_until(holds: Callable[[], bool]) -> bool:
    """Say whether something holds, now or within a tenth of a second."""
    for look in range(_LOOKS):
        if holds():
            return True
        if look + 1 < _LOOKS:
            time.sleep(_PAUSE_S)
    return False


def is_root() -> bool:
    """Say whether this process may do everything."""
    return os.geteuid() == 0


def me() -> str:
    """Return the name of the user that this process runs as, its number where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "#%d" % os.geteuid()


def sudoers_lines(user: str, commands: List[List[str]]) -> List[str]:
    """Return a line of sudoers for each command: exactly this program with exactly these arguments.

    Raise ValueError for a user's name that would say something else there.
    """
    if not re.match(r"(#\d{1,10}|[A-Za-z_][\w.-]{0,63}\$?)$", user):
        raise ValueError("no user's name: %r" % user[:80])
    return ["%s ALL=(root) NOPASSWD: %s" % (user, " ".join([_path(argv[0])] + argv[1:])) for argv in commands]


def text_of(values: Any, key: str, pattern: str) -> str:
    """Return the text of an option or a record that has a pattern; raise PowerUnavailable for another."""
    value = values.get(key) if isinstance(values, dict) else None
    if not isinstance(value, str) or not re.match(pattern + "$", value):
        raise PowerUnavailable("%s is no text that can be used: %r" % (key, str(value)[:80]))
    return value


def _path(name: str) -> str:
    try:
        return find(name)
    except SensorUnavailable:
        return "/usr/bin/" + name
