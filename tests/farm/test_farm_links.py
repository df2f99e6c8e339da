"""Links are cut, mended and slowed; whatever happens to them, no packet for a board leaves the machine."""

import contextlib
import socket
import threading
import time

import pytest

from farm._host import call

_ETH_P_ALL = 0x0003


class Sniffer:
    """Notes on which devices of the machine packets to a board are seen."""

    def __init__(self, board):
        self._address = socket.inet_aton(board.address)
        self.devices = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._socket.settimeout(0.05)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        time.sleep(0.1)
        self._done.set()
        self._thread.join()
        self._socket.close()

    def _listen(self):
        while not self._done.is_set():
            with contextlib.suppress(TimeoutError):
                packet, (device, protocol, *_) = self._socket.recvfrom(65535)
                target = packet[16:20] if protocol == 0x0800 else packet[24:28] if protocol == 0x0806 else b""
                if target == self._address:
                    self.devices.add(device)


def dial(board, timeout_s=8.0):
    socket.create_connection((board.address, board.port), timeout_s).close()


@pytest.fixture
def pc(farm):
    return farm.add("pc", runtime=False)


def test_a_cut_link_is_an_error_and_a_mended_one_goes_on(pc, login):
    ours = pc.state.link
    with login(pc) as session, Sniffer(pc) as sniffer:
        dial(pc)
        pc.cut()
        with pytest.raises(OSError):
            dial(pc)
        assert pc.state.is_cut
        pc.mend()
        dial(pc)
        assert session.run("echo still here").output == "still here\n"
    assert sniffer.devices == {f"hfv{ours.index}"}


@pytest.mark.parametrize(
    "words", [("link", "set", "{}", "down"), ("link", "del", "{}"), ("addr", "flush", "dev", "{}")]
)
def test_even_without_a_route_no_packet_goes_elsewhere(pc, words):
    device = f"hfv{pc.state.link.index}"
    with Sniffer(pc) as sniffer:
        call("ip", *(word.format(device) for word in words))
        began_s = time.monotonic()
        with pytest.raises(OSError):
            dial(pc)
        assert time.monotonic() - began_s < 5.0  # refused by the guard, not timed out somewhere
    assert sniffer.devices <= {device}


def test_a_board_cannot_reach_anything_but_us(pc, login):
    with login(pc) as session:
        assert session.run("ping -c1 -W1 192.0.2.1 || cat < /dev/tcp/192.0.2.1/80").status != 0
        assert pc.run(["ip", "route", "show", "default"]).stdout == ""


def test_a_link_is_delayed_both_ways_and_straight_again(pc, login):
    with login(pc) as session:
        pc.shape(delay_s=0.04)
        began_s = time.monotonic()
        session.run("true")
        assert time.monotonic() - began_s >= 0.08  # at least one message there and one back
        began_s = time.monotonic()
        dial(pc)
        assert time.monotonic() - began_s >= 0.08
        pc.shape(delay_s=0.001)
        assert session.run("echo on").output == "on\n"
        pc.shape()
        assert pc.state.wire is None
        assert session.run("echo straight").output == "straight\n"


def test_a_rate_is_kept(pc, login):
    with login(pc) as session, session.files() as files:
        pc.shape(rate_bit_s=8e6)
        began_s = time.monotonic()
        with files.open("/home/board/data", "wb") as file:
            file.set_pipelined(True)
            file.write(bytes(800_000))
        assert time.monotonic() - began_s >= 0.6  # 0.8 s at 1 MB/s, less what buffers hold


def test_a_lossy_link_still_delivers(pc, login):
    with login(pc) as session:
        pc.shape(loss=0.1)
        assert len(session.run("head -c 200000 /dev/zero | tr '\\0' x").output) == 200_000
        pc.shape(loss=1.0)
        with pytest.raises(OSError):
            dial(pc, 1.0)


def test_a_slow_link_is_cut_and_mended_too(pc, login):
    pc.shape(delay_s=0.01)
    with login(pc) as session, Sniffer(pc) as sniffer:
        pc.cut()
        with pytest.raises(OSError):
            dial(pc, 2.0)
        pc.mend()
        dial(pc)
        assert session.run("echo still here").output == "still here\n"
        began_s = time.monotonic()
        dial(pc)
        assert time.monotonic() - began_s >= 0.02
    assert sniffer.devices <= {f"hfv{pc.state.link.index}", f"hft{pc.state.link.index}"}


def test_a_slow_link_survives_a_reboot(pc, login):
    pc.shape(delay_s=0.01)
    pc.reboot()
    with login(pc) as session:
        assert session.run("hostname").output == "pc\n"
