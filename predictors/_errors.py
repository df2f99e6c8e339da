"""What can be wrong with predictors.

MissingEntries  (UsageError)  exit 2: a lookup table lacks block times
NotFitted       (UsageError)  exit 2: no predictor is saved for the device and space
BadFile         (hilnas.errors) exit 2: a saved predictor cannot be used
"""

from __future__ import annotations

from hilnas.errors import UsageError


class MissingEntries(UsageError):
    """A lookup table lacks block times; the error lists them and the command that measures them."""


class NotFitted(UsageError):
    """No predictor is saved for the device and space."""
