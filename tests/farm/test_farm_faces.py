"""Faces say and do what the boards they stand for say and do."""

import json
import re

import pytest

from farm import faces
from farm.faces import _parts
from hilnas.errors import UnknownName


@pytest.fixture(scope="module")
def nano(shared_farm):
    return shared_farm.add("nano", face="jetson_nano", runtime=False)


@pytest.fixture
def on_pi(pi, login):
    with login(pi) as session:
        yield session


@pytest.fixture
def on_orin(orin, login):
    with login(orin) as session:
        yield session


@pytest.fixture
def on_nano(nano, login):
    with login(nano) as session:
        yield session


def test_every_face_loads_and_names_a_kind():
    assert faces.names() == ["arm64", "jetson_nano", "linux", "orin_nano", "pi5"]
    for name in faces.names():
        face = faces.load(name)
        assert (face.name, face.kind in {"raspberry_pi", "jetson", "ssh_linux"}) == (name, True)
        assert all((faces.PROGRAMS / program).is_file() for program in face.programs.values())
    with pytest.raises(UnknownName, match="pi6"):
        faces.load("pi6")


@pytest.mark.parametrize("name", ["pi5", "orin_nano", "jetson_nano", "arm64"])
def test_no_link_below_sys_points_nowhere(name, tmp_path):
    faces.write_tree(faces.load(name).sys, tmp_path)
    links = [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert links
    assert [path for path in links if not path.exists()] == []


def test_cores_that_share_a_clock_are_linked_to_it(tmp_path):
    faces.write_tree(_parts.cores({"0-1": 1000, "2-2": 2000}, [500, 2000], "ondemand performance", "x"), tmp_path)
    cpu = tmp_path / "devices/system/cpu"
    clocks = [(cpu / f"cpu{core}/cpufreq/scaling_cur_freq").read_text() for core in range(3)]
    assert clocks == ["1000\n", "1000\n", "2000\n"]
    assert (cpu / "online").read_text() == "0-2\n"


def test_a_pi_knows_itself(on_pi):
    assert on_pi.run("tr -d '\\0' < /sys/firmware/devicetree/base/model").output == "Raspberry Pi 5 Model B Rev 1.0"
    assert "CPU part\t: 0xd0b" in on_pi.run("cat /proc/cpuinfo").output
    assert on_pi.run("vcgencmd measure_temp").output == "temp=61.2'C\n"
    assert on_pi.run("vcgencmd measure_volts core").output == "volt=0.8563V\n"
    assert re.fullmatch(r"frequency\(\d+\)=24000000\d\d\n", on_pi.run("vcgencmd measure_clock arm").output)
    assert on_pi.run("vcgencmd no_such").status == 1


def test_a_pi_measures_twelve_rails(on_pi):
    lines = on_pi.run("vcgencmd pmic_read_adc").output.splitlines()
    found = [re.fullmatch(r" *(\w+)_([AV]) (current|volt)\(\d+\)=(\d+\.\d{8})([AV])", line) for line in lines]
    assert all(found)
    amperes, volts = ({item[1] for item in found if item[2] == unit} for unit in "AV")
    assert len(amperes) == 12
    assert volts - amperes == {"EXT5V", "BATT"}


def test_a_pi_throttles_now_and_remembers_until_it_boots(pi, on_pi, login):
    assert on_pi.run("vcgencmd get_throttled").output == "throttled=0x0\n"
    pi.throttle(True)
    assert on_pi.run("vcgencmd get_throttled").output == "throttled=0x50005\n"
    assert on_pi.run("cat /sys/devices/platform/soc/soc:firmware/get_throttled").output == "50005\n"
    assert "1500000" in on_pi.run("vcgencmd measure_clock arm").output
    pi.throttle(False)
    assert on_pi.run("vcgencmd get_throttled").output == "throttled=0x50000\n"
    pi.reboot()
    with login(pi) as after:
        assert after.run("vcgencmd get_throttled").output == "throttled=0x0\n"


def test_root_alone_sets_a_governor_until_the_next_boot(orin, on_orin, login):
    path = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    assert on_orin.run(f"echo performance > {path}").status == 1
    assert on_orin.run(f"echo performance | sudo -n tee {path}").status == 0
    assert on_orin.run(f"cat {path}").output == "performance\n"
    orin.reboot()
    with login(orin) as after:
        assert after.run(f"cat {path}").output == "schedutil\n"


def test_power_modes_of_an_orin(orin, on_orin, login):
    assert on_orin.run("nvpmodel -q").output == "NV Power Mode: MAXN_SUPER\n2\n"
    modes = on_orin.run("nvpmodel -p --verbose").output
    assert "NVPM VERB: POWER_MODEL: ID=1 NAME=25W" in modes
    assert "NVPM VERB: PM_CONFIG: DEFAULT=MAXN_SUPER(2)" in modes
    refused = on_orin.run("nvpmodel -m 1")
    assert (refused.status, "NVPM ERROR" in refused.output) == (255, True)
    assert on_orin.run("sudo -n nvpmodel -m 1 && nvpmodel -q").output == "NV Power Mode: 25W\n1\n"
    assert on_orin.run("cat /sys/class/devfreq/17000000.gpu/max_freq").output == "918000000\n"
    orin.reboot()
    with login(orin) as after:
        assert after.run("cat /sys/class/devfreq/17000000.gpu/max_freq").output == "918000000\n"
        check_other_modes(after)


def check_other_modes(on_orin):
    assert "Invalid power model ID: 9" in on_orin.run("sudo -n nvpmodel -m 9").output
    declined = on_orin.run("sudo -n nvpmodel -m 3 < /dev/null")
    assert (declined.status, "DO YOU WANT TO REBOOT NOW?" in declined.output) == (255, True)
    assert on_orin.run("sudo -n nvpmodel -m 2 && nvpmodel -q").output == "NV Power Mode: MAXN_SUPER\n2\n"


def test_clocks_of_an_orin_are_stored_locked_and_restored(on_orin):
    refused = on_orin.run("jetson_clocks --show")
    assert (refused.status, refused.output) == (1, "Error: Run this script(/usr/bin/jetson_clocks) as a root user\n")
    before = on_orin.run("sudo -n jetson_clocks --show").output
    assert "SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano" in before
    assert re.search(r"^GPU MinFreq=306000000 MaxFreq=\d+ CurrentFreq=\d+$", before, re.MULTILINE)
    assert on_orin.run("sudo -n jetson_clocks --store /root/clocks && sudo -n jetson_clocks").status == 0
    locked = on_orin.run("sudo -n jetson_clocks --show").output
    assert "GPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000" in locked
    assert re.search(r"^cpu5: .* MinFreq=(\d+) MaxFreq=\1 CurrentFreq=\1 ", locked, re.MULTILINE)
    assert on_orin.run("sudo -n jetson_clocks --restore /root/clocks").status == 0
    assert on_orin.run("sudo -n jetson_clocks --show").output == before


def test_sensors_of_an_orin(orin, on_orin):
    rails = "/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*"
    assert on_orin.run(f"cat {rails}/in1_label {rails}/in1_input {rails}/curr1_input").output == "VDD_IN\n5064\n940\n"
    assert on_orin.run("cat /sys/class/hwmon/hwmon2/name /sys/class/devfreq/*/device/of_node/name").output == (
        "soctherm_oc\ngpu\0"
    )
    assert on_orin.run("head -c 5 /etc/nv_tegra_release").output == "# R36"
    assert on_orin.run("ls /sys/kernel/debug").status == 2
    orin.throttle(True)
    assert on_orin.run("cat /sys/class/hwmon/hwmon*/oc3_event_cnt").output == "7\n"
    orin.throttle(False)
    assert on_orin.run("cat /sys/class/hwmon/hwmon*/oc3_event_cnt").output == "7\n"
    lines = on_orin.run("timeout 1 tegrastats --interval 100").output.splitlines()
    assert len(lines) >= 2
    assert all(re.search(r"^\d\d-\d\d-\d{4} .* tj@49.156C VDD_IN 4760mW/4778mW ", line) for line in lines)


def test_a_nano_speaks_the_old_way(on_nano):
    assert on_nano.run("nvpmodel -q").output == "NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n"
    rails = "/sys/bus/i2c/drivers/ina3221x/*/iio:device0"
    assert on_nano.run(f"cat {rails}/rail_name_0 {rails}/in_power0_input").output == "POM_5V_IN\n935\n"
    line = on_nano.run("timeout 0.5 tegrastats --interval 100 | head -1").output
    assert re.match(r"RAM 331/3964MB .* EMC_FREQ 3%@204 GR3D_FREQ 0%@76 .* POM_5V_IN 935/933 ", line)


@pytest.mark.parametrize(("board", "start"), [("on_orin", "startH2dMs"), ("on_nano", "startInMs")])
def test_trtexec_builds_runs_and_exports(board, start, request):
    session = request.getfixturevalue(board)
    session.run("(printf '\\010\\007'; head -c 100000 /dev/zero) > model.onnx")
    options = "--saveEngine=model.engine --timingCacheFile=cache --exportTimes=times.json --warmUp=50 --duration=0.2"
    done = session.run(f"trtexec --onnx=model.onnx {options} --avgRuns=1 --useSpinWait")
    assert done.status == 0, done.output
    assert re.search(r"\[I\] GPU Compute Time: min = [\d.]+ ms, .* median = [\d.]+ ms", done.output)
    assert "&&&& PASSED TensorRT.trtexec" in done.output
    entries = json.loads(session.run("cat times.json").output)
    assert start in entries[0]
    assert entries[0]["startComputeMs"] < 50 < entries[-1]["startComputeMs"]  # the warm-up is in it
    assert all(entry["latencyMs"] >= entry["computeMs"] > 0 for entry in entries)
    again = session.run(
        "trtexec --loadEngine=model.engine --exportTimes=again.json --duration=0 --warmUp=0 --noDataTransfers"
    )
    assert again.status == 0
    entries = json.loads(session.run("cat again.json").output)
    assert len(entries) >= 10
    assert all(entry["latencyMs"] == pytest.approx(entry["computeMs"], abs=1e-5) for entry in entries)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("trtexec --onnx=no.onnx", "Could not open file no.onnx"),
        ("echo text > bad.onnx; trtexec --onnx=bad.onnx", "Failed to parse ONNX model"),
        ("echo text > bad.engine; trtexec --loadEngine=bad.engine", "Version tag does not match"),
        ("trtexec --onnx=no.onnx --fast", "Unknown option: --fast"),
        ("trtexec", "Model missing"),
    ],
)
def test_trtexec_fails_like_the_real_one(on_orin, command, complaint):
    done = on_orin.run(command)
    assert done.status == 1
    assert complaint in done.output
    assert "&&&& FAILED TensorRT.trtexec" in done.output


def test_a_smaller_power_mode_makes_trtexec_slower(on_orin):
    def median_ms():
        on_orin.run("trtexec --loadEngine=m.engine --exportTimes=t.json --warmUp=0 --duration=0 --iterations=30")
        times = sorted(entry["computeMs"] for entry in json.loads(on_orin.run("cat t.json").output))
        return times[len(times) // 2]

    on_orin.run("(printf '\\010\\007'; head -c 100000 /dev/zero) > m.onnx")
    assert on_orin.run("trtexec --onnx=m.onnx --saveEngine=m.engine --skipInference").status == 0
    fast = median_ms()
    on_orin.run("sudo -n nvpmodel -m 0")
    slow = median_ms()
    on_orin.run("sudo -n nvpmodel -m 2")
    assert slow > 1.4 * fast
