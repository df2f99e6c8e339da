"""Installing wheels offline: what comes out, what hostile wheels are told, what stays when something goes wrong."""

import base64
import hashlib
import io
import json
import os
import platform
import stat
import struct
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices._package import packed_agent
from devices._wheels import fitting_wheels
from devices.agent import _blobs, _host, _install
from devices.agent._install import InstallError, install, installed, remove

ANY = "py3-none-any"


def recorded(name, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}"


def build(path, files, name="tiny", version="1.0", tag=ANY, record=None, metadata=None):
    """Write a wheel of a few files (name -> bytes) and return its path; `record` replaces the last lines of RECORD."""
    info = f"{name}-{version}.dist-info"
    own = {
        **files,
        f"{info}/METADATA": (metadata or f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n").encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    lines = [recorded(item, data) for item, data in own.items()] if record is None else record
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for item, data in own.items():
            archive.writestr(item, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]))
    return str(path)


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "runtime")


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def left_over(folder):
    return [path.name for path in Path(folder).parent.iterdir() if path.name.startswith("runtime") and path.is_dir()]


def test_a_wheel_is_unpacked_and_described(tmp_path, folder):
    path = build(tmp_path / "a.whl", {"tiny/__init__.py": b"x = 3\n", "tiny/deep/data.bin": b"\0" * 5000})
    manifest = install([path], folder)
    inside = ["METADATA", "RECORD", "WHEEL"]
    assert listed(folder) == sorted(
        [
            _install.MANIFEST,
            "tiny/__init__.py",
            "tiny/deep/data.bin",
            *[f"tiny-1.0.dist-info/{item}" for item in inside],
        ]
    )
    (wheel,) = manifest["wheels"]
    assert (wheel["name"], wheel["version"], wheel["tags"], wheel["files"]) == ("tiny", "1.0", [ANY], 5)
    assert wheel["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert installed(folder) == manifest
    code = f"import sys; sys.path.insert(0, {folder!r}); import tiny; print(tiny.x)"
    assert subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True).stdout == "3\n"


def test_data_folders_are_merged_and_scripts_ignored(tmp_path, folder):
    data = "tiny-1.0.data"
    files = {
        f"{data}/{item}": b"x" for item in ("purelib/a.py", "platlib/b.so", "scripts/run", "headers/h.h", "data/d")
    }
    install([build(tmp_path / "a.whl", files)], folder)
    assert {"a.py", "b.so"} == {name for name in listed(folder) if "dist-info" not in name} - {_install.MANIFEST}


def test_a_new_installation_replaces_the_old(tmp_path, folder):
    install([build(tmp_path / "a.whl", {"old.py": b""})], folder)
    one, two = (build(tmp_path / f"{name}.whl", {f"{name}.py": b""}, name=name) for name in ("one", "two"))
    assert [wheel["name"] for wheel in install([one, two], folder)["wheels"]] == ["one", "two"]
    assert {"one.py", "two.py"} <= set(listed(folder))
    assert "old.py" not in listed(folder)
    assert left_over(folder) == ["runtime"]
    remove(folder)
    assert left_over(folder) == []
    remove(folder)
    assert installed(folder) is None


HOSTILE_NAMES = ["../evil.py", "/evil.py", "a/../../evil.py", "a//b.py", "./b.py", "a\\..\\b.py", "C:b.py", "a\nb.py"]


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "tiny-1.0.data/purelib/../../../evil.py", "x" * 300])
def test_members_that_lead_out_of_the_folder(tmp_path, folder, name):
    path = build(tmp_path / "a.whl", {name: b"evil"})
    with pytest.raises(InstallError, match="leads out of the folder"):
        install([path], folder)
    assert [item.name for item in tmp_path.iterdir()] == ["a.whl"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path, folder, kind):
    path = build(tmp_path / "a.whl", {})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (kind | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InstallError, match="is a link or no file"):
        install([path], folder)


BAD_RECORDS = {
    "is not what RECORD says": [recorded("a.py", b"other").rpartition(",")[0] + ",4"],
    "is not in RECORD": [],
    "no good hash": ["a.py,md5=abc,4"],
    "no good hash of": ["a.py,,4"],
    "not in the wheel": [recorded("a.py", b"good"), recorded("b.py", b"")],
}


@pytest.mark.parametrize("message", BAD_RECORDS)
def test_hashes_that_do_not_hold(tmp_path, folder, message):
    good = build(tmp_path / "good.whl", {"a.py": b"good"})
    manifest = install([good], folder)
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(good) as archive:
        rest = [recorded(f"{info}/{item}", archive.read(f"{info}/{item}")) for item in ("METADATA", "WHEEL")]
    path = build(tmp_path / "a.whl", {"a.py": b"good"}, record=[*BAD_RECORDS[message], *rest])
    with pytest.raises(InstallError, match=message):
        install([path], folder)
    assert installed(folder) == manifest
    assert left_over(folder) == ["runtime"]


def test_sizes_that_do_not_hold(tmp_path, folder):
    line = recorded("a.py", b"good").rpartition(",")[0]
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(build(tmp_path / "good.whl", {"a.py": b"good"})) as archive:
        rest = [recorded(f"{info}/{item}", archive.read(f"{info}/{item}")) for item in ("METADATA", "WHEEL")]
    install([build(tmp_path / "a.whl", {"a.py": b"good"}, record=[f"{line},", *rest])], folder)
    with pytest.raises(InstallError, match="is not what RECORD says"):
        install([build(tmp_path / "a.whl", {"a.py": b"good"}, record=[f"{line},5", *rest])], folder)


def test_another_machine_s_wheel(tmp_path, folder, monkeypatch):
    here, other = ("x86_64", "aarch64") if platform.machine() == "x86_64" else ("aarch64", "x86_64")
    monkeypatch.setattr(platform, "machine", lambda: here)
    path = build(tmp_path / "a.whl", {}, tag=f"cp311-cp311-manylinux_2_28_{other}")
    with pytest.raises(InstallError, match=f"manylinux_2_28_{other}, not for {here}"):
        install([path], folder)
    install([build(tmp_path / "b.whl", {}, tag=f"cp311-cp311-manylinux_2_28_{here}")], folder)
    monkeypatch.setattr(struct, "calcsize", lambda _: 4)
    with pytest.raises(InstallError, match="not for"):
        install([str(tmp_path / "b.whl")], folder)


def test_bombs(tmp_path, folder, monkeypatch):
    path = build(tmp_path / "a.whl", {"zeros": b"\0" * (3 << 20)})
    assert Path(path).stat().st_size < 10_000
    monkeypatch.setattr(_install, "MAX_BYTES", 2 << 20)
    with pytest.raises(InstallError, match="more than 2 MiB"):
        install([path], folder)
    monkeypatch.setattr(_install, "MAX_FILES", 10)
    with pytest.raises(InstallError, match="more than 10 files"):
        install([build(tmp_path / "b.whl", {f"{i}.py": b"" for i in range(9)})], folder)
    halves = [build(tmp_path / f"{i}.whl", {f"{i}/{j}": b"" for j in range(4)}, name=f"n{i}") for i in range(2)]
    with pytest.raises(InstallError, match="more than 10 files"):
        install(halves, folder)
    assert not left_over(folder)


def test_a_member_larger_than_it_says(tmp_path, folder):
    """The limits count what the index says; more than that is not unpacked."""
    path = Path(build(tmp_path / "a.whl", {"zeros": b"\0" * 100_000}))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 100_000), struct.pack("<L", 10)))
    with pytest.raises(InstallError, match="not a wheel that can be unpacked"):
        install([str(path)], folder)


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(_blobs, "free_bytes", lambda folder: 1 << 20)
    with pytest.raises(InstallError, match="disk full: tiny needs 64 MiB"):
        install([build(tmp_path / "a.whl", {})], folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metadata": "Name: other\nVersion: 1.0\n"}, "says that it is other"),
        ({"metadata": "Name: a b\nVersion: 1.0\n"}, "no name in METADATA"),
        ({"metadata": "Name: tiny\n"}, "no version in METADATA"),
        ({"files": {"b-1.dist-info/WHEEL": b""}}, "needs one .dist-info/WHEEL"),
        ({"files": {"a": b"", "a/b": b""}}, "File exists|Not a directory"),
    ],
)
def test_wheels_put_together_badly(tmp_path, folder, arguments, message):
    with pytest.raises(InstallError, match=message):
        install([build(tmp_path / "a.whl", **{"files": {}, **arguments})], folder)


def test_two_wheels_that_do_not_go_together(tmp_path, folder):
    one = build(tmp_path / "one.whl", {"same.py": b""}, name="one")
    with pytest.raises(InstallError, match="one is there twice"):
        install([one, build(tmp_path / "again.whl", {}, name="one")], folder)
    with pytest.raises(InstallError, match=r"one and two both have same\.py"):
        install([one, build(tmp_path / "two.whl", {"same.py": b""}, name="two")], folder)
    for paths in ([], [str(tmp_path / "missing.whl")], [str(tmp_path)]):
        with pytest.raises(InstallError):
            install(paths, folder)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_wheels_are_errors_of_ours(tmp_path_factory, data):
    """One byte changed or the end cut off: either it is noticed, or what was installed is what was recorded."""
    here = tmp_path_factory.mktemp("damaged")
    path = Path(build(here / "a.whl", {"a.py": b"some text that is compressed " * 9}))
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    path.write_bytes(
        good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 : data.draw(st.integers(at, len(good)))]
    )
    try:
        install([str(path)], str(here / "runtime"))
    except InstallError:
        assert not left_over(here / "runtime")
    else:
        assert (here / "runtime" / "a.py").read_bytes() == b"some text that is compressed " * 9


def test_an_interrupted_swap_is_undone(tmp_path, folder, monkeypatch):
    manifest = install([build(tmp_path / "a.whl", {"a.py": b""})], folder)
    new = build(tmp_path / "b.whl", {"b.py": b""})
    rename = os.rename

    def refuse(source, target):
        if source.endswith(".part"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(InstallError, match="Input/output error"):
        install([new], folder)
    assert installed(folder) == manifest
    monkeypatch.undo()
    Path(folder).rename(folder + ".old")  # as a power cut between the two renames leaves it
    assert installed(folder) == manifest
    install([new], folder)
    assert left_over(folder) == ["runtime"]


def rebuilt(name, folder):
    """Write a wheel from an installed distribution and return its path."""
    found = distribution(name)
    wheel = found.read_text("WHEEL")
    tags = [line[5:] for line in wheel.splitlines() if line.startswith("Tag: ")]
    info = f"{name}-{found.version}.dist-info"
    buffer = io.StringIO()
    path = folder / f"{name}-{found.version}-{'.'.join(tags[0].split('-')[:1])}-{'-'.join(tags[0].split('-')[1:])}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in found.files:
            if file.hash is None or ".." in file.parts or file.name in ("INSTALLER", "REQUESTED", "direct_url.json"):
                continue
            archive.write(file.locate(), str(file))
            buffer.write(f"{file},{file.hash.mode}={file.hash.value},{file.size}\n")
        archive.writestr(f"{info}/RECORD", f"{buffer.getvalue()}{info}/RECORD,,\n")
    return path


RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy, onnxruntime
assert numpy.__file__.startswith(sys.argv[1]) and onnxruntime.__file__.startswith(sys.argv[1])
print(json.dumps([numpy.__version__, onnxruntime.__version__, onnxruntime.get_available_providers()]))
"""


def test_the_real_runtime_works_from_its_wheels_alone(tmp_path, folder):
    """ONNX Runtime and numpy as they are installed here, made wheels again: nothing else is needed to import them."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    made = [rebuilt("onnxruntime", wheels), rebuilt("numpy", wheels)]
    assert fitting_wheels(wheels, _host.host_facts()) == made
    manifest = install([str(path) for path in made], folder)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", RUN, folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    numpy, runtime, providers = json.loads(done.stdout)
    assert [wheel["version"] for wheel in manifest["wheels"]] == [runtime, numpy]
    assert "CPUExecutionProvider" in providers


def test_python_3_6_installs(tmp_path, folder):
    found = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
    if not found:
        pytest.skip("no Python 3.6 below ~/.pyenv/versions")
    archive = tmp_path / "agent.pyz"
    archive.write_bytes(packed_agent()[1])
    good, bad = build(tmp_path / "a.whl", {"a.py": b"x"}), build(tmp_path / "b.whl", {"../b.py": b"x"})
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from hilnas_agent import _install\n"
        "print(json.dumps(_install.install([sys.argv[2]], sys.argv[4])))\n"
        "try: _install.install([sys.argv[3]], sys.argv[4])\n"
        "except _install.InstallError as error: print(error)"
    )
    command = [str(found[0]), "-I", "-S", "-c", code, str(archive), good, bad, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert json.loads(said[0]) == installed(folder)
    assert said[1] == "b.whl: ../b.py leads out of the folder or is no name of a file"
