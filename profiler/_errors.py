"""What can be wrong with the records.

BadFile            (hilnas.errors) exit 2: corrupt, newer or foreign database
└── NewerDatabase  written by a newer hilnas
DiskFull           (HilnasError) exit 1: nothing more can be stored
WorkspaceBusy      (HilnasError) exit 1: another process keeps the database locked
"""

from __future__ import annotations

from hilnas.errors import BadFile, HilnasError


class NewerDatabase(BadFile):
    """The database was written by a newer hilnas."""


class DiskFull(HilnasError):
    """Nothing more can be stored."""


class WorkspaceBusy(HilnasError):
    """Another process keeps the database locked."""
