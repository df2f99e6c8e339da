"""What can be wrong with a device.

    DeviceError             (hilnas.errors) exit 4
    ├── DeviceBusy          somebody else measures on it
    ├── Unreachable         no connection; trying again may help
    ├── HostKeyRefused      the board's host key is unknown or has changed
    ├── LoginRefused        the board does not let us in
    ├── BoardFull           no room on the board's disk
    ├── PowerRefused        a power state that was asked for cannot be set
    ├── AgentLost           the measuring program died or went silent
    ├── AgentProtocolError  what the measuring program says makes no sense
    └── RuntimeMissing      the backend's runtime cannot be imported there

Operating-system errors of starting a process or taking a lock are translated by `translated`, those of paramiko by
`devices._ssh.translated_ssh`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hilnas.errors import DeviceError


class DeviceBusy(DeviceError):
    """Somebody else measures on the device."""


class Unreachable(DeviceError):
    """There is no connection to the device; trying again may help."""


class HostKeyRefused(DeviceError):
    """The board's host key is unknown or has changed."""


class LoginRefused(DeviceError):
    """The board does not let us in."""


class BoardFull(DeviceError):
    """There is no room on the board's disk."""


class PowerRefused(DeviceError):
    """A power state that was asked for cannot be set."""


class AgentLost(DeviceError):
    """The measuring program died or went silent."""


class AgentProtocolError(DeviceError):
    """What the measuring program says makes no sense."""


class RuntimeMissing(DeviceError):
    """The backend's runtime cannot be imported on the device."""


@contextmanager
def translated(device: str) -> Iterator[None]:
    """Turn errors of the operating system into DeviceErrors that name the device."""
    try:
        yield
    except (BrokenPipeError, ConnectionError, EOFError) as error:
        raise AgentLost(f"the agent on {device} has gone: {error}", "It was killed or crashed.", _AGAIN) from error
    except FileNotFoundError as error:
        raise DeviceError(f"{device}: {error.filename} is missing", "", _DOCTOR.format(device)) from error
    except PermissionError as error:
        raise DeviceError(f"{device}: no permission for {error.filename}", "", _DOCTOR.format(device)) from error
    except OSError as error:
        raise DeviceError(f"{device}: {error.strerror or error}", "", _DOCTOR.format(device)) from error


_AGAIN = "What was measured is kept; continue with: hilnas runs resume RUN"
_DOCTOR = "Run: hilnas devices doctor {}"
