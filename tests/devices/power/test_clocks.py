"""Clocks are stored before they are locked, and never when they are locked already."""

from pathlib import Path

import pytest

from devices.agent.power import clocks
from devices.agent.power._base import NeedsPassword, PowerUnavailable

BOARDS = Path(__file__).parents[2] / "fixtures" / "boards"
FREE, LOCKED = BOARDS / "nano_5w_jetson_clocks.txt", BOARDS / "nano_5w_jetson_clocks_locked.txt"
#: What the real script does with its state, as far as others see it: it asks before it overwrites a file.
SCRIPT = """
echo "$*" >> {log}
case "$1" in
--show) if [ -e {flag} ]; then cat {locked}; else cat {free}; fi;;
--store) if [ -e "$2" ]; then echo "File $2 already exists. Can I overwrite it? Y/N:"; read answer
    [ "$answer" = Y ] || {{ echo "Error: file $2 already exists!"; exit 1; }}; fi
  echo stored > "$2";;
--restore) [ -e "$2" ] || {{ echo "Error: $2 file not found !"; exit 1; }}; rm -f {flag};;
"") {lock};;
esac
"""


@pytest.fixture
def jetson(root, program, tmp_path):
    """Return a function that makes a board with a jetson_clocks, and what it was asked so far."""
    (root / "var/lib").mkdir(parents=True)
    flag, log = tmp_path / "locked", tmp_path / "log"

    def make(lock=f"touch {flag}", is_locked=False):
        program("jetson_clocks", SCRIPT.format(log=log, flag=flag, locked=LOCKED, free=FREE, lock=lock))
        if is_locked:
            flag.touch()
        return lambda: [line.split(" ")[0] for line in log.read_text().splitlines() if line != "--show"]

    make.flag = flag
    return make


def test_clocks_are_stored_locked_and_restored(jetson):
    asked = jetson()
    record = clocks.apply({})
    assert record == {"stored": True}
    assert (asked(), jetson.flag.exists()) == (["--store", ""], True)
    clocks.undo(record)
    assert (asked(), jetson.flag.exists()) == (["--store", "", "--restore"], False)


def test_the_file_of_an_earlier_time_is_overwritten(jetson, plant):
    jetson()
    old = plant("/var/lib/hilnas-clocks.conf", "old")
    clocks.apply({})
    assert old.read_text() == "stored\n"


def test_clocks_that_somebody_else_locked_are_not_stored_and_stay(jetson):
    """What would be stored is the locked state."""
    asked = jetson(is_locked=True)
    record = clocks.apply({})
    assert (record, asked()) == ({"stored": False}, [])
    clocks.undo(record)
    assert jetson.flag.exists()


def test_clocks_that_do_not_lock_are_an_error_and_restored(jetson):
    asked = jetson(lock="true")
    with pytest.raises(PowerUnavailable, match="not locked"):
        clocks.apply({})
    assert asked() == ["--store", "", "--restore"]


def test_an_error_of_the_script_is_ours(jetson):
    jetson(lock="echo 'Error: Unknown GPU Type!'")
    with pytest.raises(PowerUnavailable, match="Unknown GPU"):
        clocks.apply({})


def test_who_is_not_root_goes_through_sudo(jetson, user):
    jetson()
    clocks.undo(clocks.apply({}))
    assert not jetson.flag.exists()


def test_a_refusal_names_the_lines_that_would_allow_it(jetson, refused):
    jetson()
    with pytest.raises(NeedsPassword) as caught:
        clocks.apply({})
    ends = ["--show", "--store /var/lib/hilnas-clocks.conf", '""', "--restore /var/lib/hilnas-clocks.conf"]
    assert [line.partition("jetson_clocks ")[2] for line in caught.value.lines] == ends
    assert not jetson.flag.exists()


def test_a_machine_that_is_no_jetson_says_so(root, program):
    with pytest.raises(PowerUnavailable, match="jetson_clocks is not installed"):
        clocks.apply({})
