"""Start the agent: the supervisor on stdin and stdout, or with --template the process it forks workers from."""

import json
import os
import signal
import sys

from . import _supervisor, _template
from ._wire import Closed, Lines


def main() -> None:
    """Run until the other side goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the controller's: it ends us by closing the pipe
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if sys.argv[1:2] == ["--template"]:
        _template.serve(sys.argv[2], json.loads(sys.argv[3]))
        return
    private = os.dup(1)
    os.dup2(2, 1)
    try:
        _supervisor.Supervisor(Lines(0, private)).serve()
    except Closed:
        pass  # the controller has gone while it was answered


if __name__ == "__main__":
    main()
