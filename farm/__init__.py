"""Stand-in boards: real sshds in namespaces of this machine, with the files, commands and faults of real boards.

For tests and benchmarks; not part of what is installed, and nothing that is installed imports it.

    with Farm() as farm:
        board = farm.add("pi5", face="pi5")
        board.cut()
"""

from farm._board import Board
from farm._errors import FarmFailure, FarmUnavailable
from farm._farm import Farm, farms
from farm._needs import why_unavailable
from farm._processes import Process

__all__ = ["Board", "Farm", "FarmFailure", "FarmUnavailable", "Process", "farms", "why_unavailable"]
