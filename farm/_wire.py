"""A slow link in user space: packets between two TUN devices are delayed, dropped and paced.

Run as `python -I -S _wire.py NAMESPACE OUTER INNER DELAY_S RATE_BIT_S LOSS`; standard library only. The kernels of
containers and small virtual machines often lack netem; this needs nothing but TUN.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000
_CLONE_NEWNET = 0x40000000
_MAX_PACKET = 65535
#: A packet that would wait longer than this for its turn is dropped, as a router's full queue does.
_QUEUE_S = 0.4


class Wire:
    """Both directions of one link: delay in seconds each way, rate in bits a second (0: unlimited), loss as a share."""

    def __init__(self, outer: int, inner: int, delay_s: float, rate_bit_s: float, loss: float) -> None:
        self._other = {outer: inner, inner: outer}
        self._free_at_s = {outer: 0.0, inner: 0.0}
        self._delay_s, self._rate_bit_s, self._loss = delay_s, rate_bit_s, loss
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def take(self, source: int, packet: bytes, now_s: float) -> None:
        """Accept a packet that one end has sent."""
        if self._loss and random.random() < self._loss:
            return
        at_s = now_s
        if self._rate_bit_s:
            at_s = max(now_s, self._free_at_s[source])
            if at_s - now_s > _QUEUE_S:
                return
            at_s += len(packet) * 8 / self._rate_bit_s
            self._free_at_s[source] = at_s
        self._count += 1  # equal times keep their order
        heapq.heappush(self._waiting, (at_s + self._delay_s, self._count, self._other[source], packet))

    def due(self, now_s: float) -> list[tuple[int, bytes]]:
        """Return what has to be delivered by now: end and packet."""
        found = []
        while self._waiting and self._waiting[0][0] <= now_s:
            _, _, end, packet = heapq.heappop(self._waiting)
            found.append((end, packet))
        return found

    def idle_s(self, now_s: float) -> float:
        """Return how long nothing has to be delivered."""
        return max(0.0, self._waiting[0][0] - now_s) if self._waiting else 1.0


def run(wire: Wire, ends: tuple[int, int]) -> None:
    """Carry packets for ever."""
    poller = select.epoll()
    for end in ends:
        poller.register(end, select.EPOLLIN)
    while True:
        for end, _ in poller.poll(wire.idle_s(time.monotonic())):
            _drain(wire, end)
        for end, packet in wire.due(time.monotonic()):
            _deliver(end, packet)


def _drain(wire: Wire, end: int) -> None:
    for _ in range(64):
        try:
            packet = os.read(end, _MAX_PACKET)
        except BlockingIOError:
            return
        except OSError:  # the device is down: a cut cable
            time.sleep(0.01)
            return
        wire.take(end, packet, time.monotonic())


def _deliver(end: int, packet: bytes) -> None:
    try:
        os.write(end, packet)
    except OSError:  # the device is down, or its queue is full: the packet is lost, as on a real cable
        return


def _attach(name: str) -> int:
    """Open a TUN device that exists in the current network namespace."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return end


def main(namespace: str, outer: str, inner: str, delay_s: str, rate_bit_s: str, loss: str) -> None:
    """Attach to both devices and carry packets."""
    near = _attach(outer)
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"entering {namespace}")
    ends = near, _attach(inner)
    run(Wire(*ends, float(delay_s), float(rate_bit_s), float(loss)), ends)


if __name__ == "__main__":
    main(*sys.argv[1:])
