"""Links to boards: a veth pair each, below a prefix that can never be routed off the machine.

An unreachable route for the whole prefix is laid before the first namespace is made and stays until the last board has
gone; boards have no default route; links are cut at the board's end, so that the route to it stays here as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from farm._errors import FarmUnavailable
from farm._host import STATE, attempt, call, wait_until

PREFIX = IPv4Network("10.231.0.0/16")
_METRIC = "4096"
_GUARD = ("unreachable", str(PREFIX), "metric", _METRIC)
_LINKS = PREFIX.num_addresses // 4
_FOLDER = STATE / "links"


@dataclass(frozen=True, slots=True)
class Link:
    """One board's link: four addresses of the prefix, a network namespace, devices at both ends."""

    index: int
    namespace: str

    @property
    def near_address(self) -> str:
        """Return the machine's own address on the link."""
        return str(PREFIX[4 * self.index + 1])

    @property
    def address(self) -> str:
        """Return the board's address."""
        return str(PREFIX[4 * self.index + 2])

    def create(self) -> None:
        """Make namespace and devices and bring them up."""
        call("ip", "netns", "add", self.namespace)
        call("ip", "link", "add", self._veth, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        quiet = Path(f"/proc/sys/net/ipv6/conf/{self._veth}/disable_ipv6")
        if quiet.exists():  # no neighbour discovery: a link without traffic of its own
            quiet.write_text("1")
        call("ip", "addr", "add", f"{self.near_address}/30", "dev", self._veth)
        call("ip", "link", "set", self._veth, "up")
        self._inside("addr", "add", f"{self.address}/30", "dev", "eth0")
        self._inside("link", "set", "eth0", "up")
        self._inside("link", "set", "lo", "up")

    def remove(self) -> None:
        """Remove whatever is left of it."""
        for device in (self._veth, self.outer_tun):
            attempt("ip", "link", "del", device)
        attempt("ip", "netns", "del", self.namespace)

    def cut(self) -> None:
        """Take the link down at the board's end."""
        self._inside("link", "set", "eth0", "down")
        attempt("ip", "-n", self.namespace, "link", "set", self.inner_tun, "down")

    def mend(self) -> None:
        """Bring the link up again; what was held against the other end while it was down is forgotten."""
        self._inside("link", "set", "eth0", "up")
        state = Path(f"/sys/class/net/{self._veth}/operstate")
        wait_until(lambda: state.read_text().strip() == "up", 5.0, f"the carrier of {self._veth}")
        attempt("ip", "neigh", "flush", "dev", self._veth)
        if attempt("ip", "-n", self.namespace, "link", "set", self.inner_tun, "up"):
            self._route_back()

    def detour(self) -> None:
        """Lead all packets through two TUN devices instead; both ends keep their addresses and connections."""
        call("ip", "tuntap", "add", self.outer_tun, "mode", "tun")
        self._inside("tuntap", "add", self.inner_tun, "mode", "tun")
        call("ip", "link", "set", self.outer_tun, "up")
        self._inside("link", "set", self.inner_tun, "up")
        call("ip", "route", "replace", f"{self.address}/32", "dev", self.outer_tun, "src", self.near_address)
        self._route_back()

    def straight(self) -> None:
        """Lead packets over the veth pair again."""
        attempt("ip", "link", "del", self.outer_tun)
        attempt("ip", "-n", self.namespace, "link", "del", self.inner_tun)

    @property
    def outer_tun(self) -> str:
        """Return the name of the machine's end of the detour."""
        return f"hft{self.index}"

    @property
    def inner_tun(self) -> str:
        """Return the name of the board's end of the detour."""
        return "wire0"

    @property
    def _veth(self) -> str:
        return f"hfv{self.index}"

    def _inside(self, *words: str) -> None:
        call("ip", "-n", self.namespace, *words)

    def _route_back(self) -> None:
        self._inside("route", "replace", f"{self.near_address}/32", "dev", self.inner_tun, "src", self.address)


def take_link(namespace: str, owner: str) -> Link:
    """Reserve a link that no farm has; lay the guard route first. Raises FarmUnavailable when none is free."""
    with _locked():
        call("ip", "route", "replace", *_GUARD)
        _FOLDER.mkdir(exist_ok=True)
        taken = {int(path.name) for path in _FOLDER.iterdir()}
        free = [index for index in range(_LINKS) if index not in taken]
        if not free:
            raise FarmUnavailable(f"all {_LINKS} links are taken", "", "Run: python -m farm down")
        # Not the lowest: whoever still dials the address of a board that has gone must not meet another one.
        index = random.choice(free)
        (_FOLDER / str(index)).write_text(owner)
    return Link(index, namespace)


def give_back(link: Link) -> None:
    """Give a link's addresses back; the last one takes the guard route along."""
    with _locked():
        (_FOLDER / str(link.index)).unlink(missing_ok=True)
        if not any(_FOLDER.iterdir()):
            attempt("ip", "route", "del", *_GUARD)


def links_of(owner: str) -> list[int]:
    """Return the numbers of the links that a farm has reserved."""
    if not _FOLDER.is_dir():
        return []
    found = []
    for path in _FOLDER.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.read_text() == owner:
                found.append(int(path.name))
    return sorted(found)


def guarded() -> bool:
    """Say whether the guard route is laid."""
    return call("ip", "route", "show", "exact", str(PREFIX), "metric", _METRIC).startswith("unreachable")


@contextmanager
def _locked() -> Iterator[None]:
    STATE.mkdir(mode=0o755, exist_ok=True)
    with (STATE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
