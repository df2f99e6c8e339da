"""Start the agent: the supervisor on stdin and stdout, or the process of another role that it starts itself."""

import json
import os
import signal
import sys
from typing import Any

from . import _process
from ._wire import Closed, PipeLines


def main() -> None:
    """Run until the other side goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the controller's: it ends us by closing the pipe
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    home = sys.argv[2] if len(sys.argv) > 2 else _home()
    runtime = os.path.join(home, "runtime")
    if os.path.isdir(runtime):
        sys.path.insert(0, runtime)
    if role == "--template":
        from . import _template

        _template.serve(home, sys.argv[3], json.loads(sys.argv[4]))
    elif role == "--worker":
        from . import _template

        _template.work(sys.argv[3], json.loads(sys.argv[4]))
    elif role == "--stager":
        from . import _stager

        _stager.serve(home)
    else:
        _supervise(home)


def _supervise(home: str) -> None:
    from . import _supervisor

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost login is noticed by the end of stdin
    signal.signal(signal.SIGTERM, _end)
    try:
        _supervisor.Supervisor(PipeLines(0, _process.private_stdout()), home).serve()
    except Closed:
        pass  # the controller has gone while it was answered


def _end(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _home() -> str:
    """Return the folder above the one the packed agent lies in, or the user's cache."""
    packed = os.path.abspath(sys.argv[0])
    if packed.endswith(".pyz"):
        return os.path.dirname(os.path.dirname(packed))
    return os.path.join(os.path.expanduser("~"), ".cache", "hilnas")


if __name__ == "__main__":
    main()
