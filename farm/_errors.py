"""What can be wrong with the farm itself."""

from __future__ import annotations

from hilnas.errors import HilnasError


class FarmUnavailable(HilnasError):
    """Stand-in boards, or one of their abilities, cannot be had on this machine."""


class FarmFailure(HilnasError):
    """A stand-in board does not do what was asked of it."""
