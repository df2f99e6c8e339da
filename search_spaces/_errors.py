"""What can be wrong with an architecture of a space that is not ours alone.

UsageError
├── CannotBuild      excluded by its family, or its `build` does not give a network that runs
├── NetworkChanged   its `build` gives another network than when it was measured
└── NoBlocks         the space has no blocks that could be measured on their own
"""

from __future__ import annotations

from hilnas.errors import UsageError


class CannotBuild(UsageError):
    """There is no network of this architecture: the failure of one candidate, not of a command."""


class NetworkChanged(UsageError):
    """The architecture is another network now than it was when it was recorded."""


class NoBlocks(UsageError):
    """The space has no table of blocks."""
