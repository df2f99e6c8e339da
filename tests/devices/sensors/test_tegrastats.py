"""Lines of tegrastats from eight boards and five releases, parsed to values read off by hand."""

import time
from pathlib import Path

import pytest

from devices.agent.sensors import tegrastats
from devices.agent.sensors._base import SensorUnavailable

MIB = 1 << 20


def parsed(output, name):
    found = tegrastats.parse(output(f"{name}_tegrastats"))
    assert found["unknown"] == [], "every token of a line of a real board is understood"
    return found


def test_a_nano(output):
    found = parsed(output, "nano")
    assert found["memory"] == {
        "RAM": {
            "used_bytes": 613 * MIB,
            "total_bytes": 3964 * MIB,
            "largest_free_block_bytes": 4 * MIB,
            "free_blocks": 634,
        },
        "SWAP": {"used_bytes": 0, "total_bytes": 1982 * MIB, "cached_bytes": 0},
    }
    assert found["cpus"] == [{"load": load, "clock_hz": 102e6} for load in (0.02, 0.01, 0.0, 0.0)]
    assert found["engines"]["GR3D_FREQ"] == {"load": 0.0, "clocks_hz": []}
    assert found["zones_celsius"] == {"PLL": 39.0, "CPU": 40.5, "GPU": 41.0, "AO": 46.0, "thermal": 41.0}, "no dummy"
    assert found["rails_w"] == pytest.approx({"POM_5V_IN": 0.9, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.123})
    assert (found["power_w"], found["formula"]) == (pytest.approx(0.9), "POM_5V_IN")


def test_a_tx1(output):
    found = parsed(output, "tx1")
    assert found["memory"]["IRAM"] == {
        "used_bytes": 0,
        "total_bytes": 252 * 1024,
        "largest_free_block_bytes": 252 * 1024,
        "free_blocks": 1,
    }
    assert found["engines"]["EMC_FREQ"] == {"load": 0.07, "clocks_hz": [408e6]}
    assert found["engines"]["GR3D_FREQ"] == {"load": 0.0, "clocks_hz": [76e6]}
    assert found["engines"]["APE"] == {"load": None, "clocks_hz": [25e6]}
    assert found["zones_celsius"]["Tdiode"] == 42.75
    assert found["power_w"] == pytest.approx(2.532)


def test_cores_that_are_off_and_no_rails(output):
    found = parsed(output, "tx2")
    assert [cpu is None for cpu in found["cpus"]] == [False, True, True, False, False, False]
    assert found["rails_w"] == {}
    assert found["power_w"] is None
    assert "PMIC" not in found["zones_celsius"]


def test_an_agx_xavier_adds_six_rails(output):
    found = parsed(output, "agx_xavier")
    assert found["cpus"][4:] == [None] * 4
    assert found["zones_celsius"]["GPU"] == 42.0
    assert found["rails_w"]["GPU"] == 0.0, "the rail GPU is not the zone GPU"
    assert found["power_w"] == pytest.approx(0.310 + 0.931 + 0.466 + 1.522)
    assert found["formula"] == "GPU + CPU + SOC + CV + VDDRQ + SYS5V"


def test_an_agx_orin(output):
    found = parsed(output, "agx_orin")
    assert len(found["cpus"]) == 12
    assert found["engines"]["GR3D_FREQ"] == {"load": 0.0, "clocks_hz": [0.0, 0.0]}
    assert found["engines"]["VIC_FREQ"] == {"load": None, "clocks_hz": [729e6]}
    assert not {"CV0", "CV1", "CV2", "GPU"} & set(found["zones_celsius"]), "-256 C is a sensor without power"
    assert found["zones_celsius"]["tj"] == 44.343
    assert "NC" not in found["rails_w"]
    assert found["power_w"] == pytest.approx(2.340 + 0.390 + 4.025)


def test_an_orin_nano_under_load(output):
    found = parsed(output, "orin_nano_r36")
    assert found["cpus"][5] == {"load": 0.93, "clock_hz": 247e6}
    assert found["engines"]["GR3D_FREQ"] == {"load": 0.84, "clocks_hz": [713e6]}
    assert found["engines"]["NVDEC"] == {"load": 0.4, "clocks_hz": [115e6]}
    assert found["engines"]["OFA"] == {"load": None, "clocks_hz": [], "off": True}
    assert found["memory"]["SWAP"]["cached_bytes"] == 202 * MIB
    assert found["power_w"] == pytest.approx(17.946)


def test_three_values_a_rail_and_two_a_zone(output):
    """The first is now; what follows is mean and peak since tegrastats began."""
    found = parsed(output, "orin_nano_r39")
    assert found["rails_w"] == pytest.approx({"VDD_IN": 4.093, "VDD_CPU_GPU_CV": 0.802, "VDD_SOC": 1.243})
    assert found["zones_celsius"]["cpu"] == 47.562
    assert found["engines"]["EMC_FREQ"] == {"load": 0.05, "clocks_hz": [665e6]}
    assert "SWAP" not in found["memory"]


@pytest.mark.parametrize(
    ("text", "load", "clocks"),
    [
        ("0%@76", 0.0, [76e6]),
        ("33%", 0.33, []),
        ("63%@[621]", 0.63, [621e6]),
        ("12%@[1300,1301]", 0.12, [1300e6, 1301e6]),
        ("@[1000,1000,1000]", None, [1000e6] * 3),
    ],
)
def test_all_forms_of_the_gpu(text, load, clocks):
    line = f"RAM 1/2MB (lfb 1x512kB) CPU [1%@102,2%] EMC_FREQ 2%@1866 GR3D_FREQ {text} APE 150"
    found = tegrastats.parse(line)
    assert found["engines"]["GR3D_FREQ"] == {"load": load, "clocks_hz": clocks}
    assert found["engines"]["APE"]["clocks_hz"] == [150e6], "what follows is not swallowed"
    assert found["memory"]["RAM"]["largest_free_block_bytes"] == 512 * 1024
    assert found["cpus"][1] == {"load": 0.02, "clock_hz": None}
    assert found["unknown"] == []


def test_both_engines_below_one_heading():
    found = tegrastats.parse("RAM 1/2MB (lfb 1x4MB) CPU [off] APE 150 MTS fg 0% bg 7% AO@26.5C")
    assert found["engines"]["bg"] == {"load": 0.07, "clocks_hz": []}
    assert (found["unknown"], found["zones_celsius"]) == ([], {"AO": 26.5})


def test_what_is_new_is_kept_as_unknown():
    found = tegrastats.parse("RAM 1/2MB (lfb 1x4MB) CPU [1%@102] WARP 9.9c QUUX <7> VDD_IN 4000mW/4000mW")
    assert found["unknown"] == ["WARP", "9.9c", "QUUX", "<7>"]
    assert found["power_w"] == 4.0


@pytest.mark.parametrize("line", ["", "tegrastats: not found", "RAM 1/2MB (lfb 1x4MB)", "RAM 1/2MB CPU [x%@1]"])
def test_another_line_is_an_error(line):
    with pytest.raises(ValueError, match="tegrastats"):
        tegrastats.parse(line)


def test_the_program_and_its_children_are_ended_after_one_line(output, program, tmp_path):
    pids = tmp_path / "pids"
    line = output("nano_tegrastats").strip()
    script = f"#!/bin/sh\nsleep 60 &\necho $! $$ > {pids}\nwhile :; do echo '{line}'; sleep 0.1; done\n"
    program("tegrastats", script=script)
    assert tegrastats.read()["power_w"] == pytest.approx(0.9)
    deadline = time.monotonic() + 5.0
    while any(is_running(pid) for pid in pids.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_running(pid) for pid in pids.read_text().split())


def is_running(pid):
    """A process that nobody waits for stays as a zombie in a container without an init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_without_the_program_there_is_no_sensor(program):
    with pytest.raises(SensorUnavailable, match="not installed"):
        tegrastats.read()
