"""What all sensors share."""

from typing import Optional


class SensorUnavailable(Exception):
    """This machine does not show what the sensor reads; the text says why."""


def read_text(path: str) -> Optional[str]:
    """Return the stripped text of a small file, None where it is not there or not ours to read."""
    try:
        with open(path) as file:
            return file.read(65536).strip()
    except OSError:
        return None


def read_number(path: str) -> Optional[float]:
    """Return the number in a small file, None where there is no file; raise ValueError for a text that is none."""
    text = read_text(path)
    return None if text is None else float(text)
