"""Which architecture stands for all that compute the same function, whatever is asked first."""

from __future__ import annotations

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace

#: Above this many architectures a space is not searched for the first one of each canonical form.
_MOST = 1 << 16


def first_of_form(space: SearchSpace) -> dict[str, Architecture]:
    """Return the first architecture of every canonical form; none where they are too many, or the user's modules."""
    found: dict[str, Architecture] = {}
    if space.traced:  # one form is one network there, and finding all forms would take a trace each
        return found
    try:
        for i, architecture in enumerate(space.enumerate()):
            if i == _MOST:
                return {}
            found.setdefault(space.canonical(architecture), architecture)
    except UsageError:
        return {}
    return found
