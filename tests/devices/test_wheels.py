"""Choosing wheels for a board: tags, versions, requirements, and errors that say what would fit."""

import logging
import shlex
import zipfile
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.tags import sys_tags

from devices._untrusted import plain_json
from devices._wheels import advice, choose_wheels, fitting_wheels, supported_tags
from devices.agent import _host
from hilnas.errors import BadFile, DeviceError, UsageError


def facts(python="3.11.2", machine="aarch64", libc=("glibc", "2.36"), **more):
    return {"machine": machine, "python": python, "libc": list(libc), "implementation": "cpython", **more}


def tags(**changes):
    return [str(tag) for tag in supported_tags(facts(**changes))]


def wheel(folder, file, *lines, name=None):
    """Write a wheel that has only METADATA and return its path."""
    own, version = file.split("-")[:2]
    text = "\n".join(["Metadata-Version: 2.1", f"Name: {name or own}", f"Version: {version}", *lines, "", "Text"])
    path = folder / file
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{own}-{version}.dist-info/METADATA", text)
    return path


ARM = "cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"
INTEL = "cp311-cp311-manylinux_2_28_x86_64.whl"


def test_tags_of_this_machine_are_those_of_packaging():
    """Ours are made from facts alone; packaging asks the interpreter. `linux_*` is not for wheels that travel."""
    ours = set(supported_tags(plain_json(_host.host_facts())))
    theirs = {tag for tag in sys_tags() if not tag.platform.startswith("linux_")}
    assert {tag for tag in theirs if tag.platform != "any"} <= ours
    assert {tag for tag in ours if tag.interpreter.startswith("cp")} <= theirs


def test_tags_of_boards():
    found = tags()
    assert found[0] == "cp311-cp311-manylinux_2_36_aarch64"
    assert found.index("cp311-cp311-manylinux_2_17_aarch64") + 1 == found.index("cp311-cp311-manylinux2014_aarch64")
    assert {"cp311-abi3-manylinux_2_28_aarch64", "cp38-abi3-manylinux2014_aarch64", "py3-none-any"} <= set(found)
    assert not any("2_37" in tag or "2_16" in tag or "2010" in tag or "x86" in tag for tag in found)
    assert {"cp312-cp312-manylinux1_x86_64", "cp312-cp312-manylinux2010_x86_64"} <= set(
        tags(python="3.12.1", machine="x86_64")
    )


def test_tags_of_old_python_other_libraries_and_narrow_pythons():
    assert tags(python="3.6.9", libc=("glibc", "2.27"))[0] == "cp36-cp36m-manylinux_2_27_aarch64"
    assert tags(libc=("musl", "1.2"))[:2] == ["cp311-cp311-musllinux_1_2_aarch64", "cp311-cp311-musllinux_1_1_aarch64"]
    assert tags(libc=())[0] == "cp311-cp311-linux_aarch64"
    assert tags(bits=32)[0] == "cp311-cp311-manylinux_2_36_armv7l"
    assert tags(machine="arm64") == tags()
    assert not any(tag.startswith("cp") for tag in tags(implementation="pypy"))


ANYTHING = st.none() | st.integers() | st.text(max_size=12) | st.lists(st.text(max_size=6) | st.integers(), max_size=3)


@given(st.fixed_dictionaries(dict.fromkeys(("machine", "python", "libc", "implementation", "bits"), ANYTHING)))
def test_facts_are_not_trusted(foreign):
    for each in (foreign, {**facts(), "libc": foreign["libc"], "implementation": foreign["implementation"]}):
        try:
            assert "py3-none-any" in map(str, supported_tags(each))
        except DeviceError as error:
            assert "Python" in error.what
        assert advice(each)


@pytest.mark.parametrize("python", ["", "three", "3", "3.x", "33.1", "3.111"])
def test_python_must_be_a_version(python):
    with pytest.raises(DeviceError, match="no wheel can be named"):
        tags(python=python)


def test_the_newest_fitting_version_is_taken(tmp_path):
    wheel(tmp_path, f"onnxruntime-1.9.0-{ARM}")
    best = wheel(tmp_path, f"onnxruntime-1.10.0-{ARM}")
    wheel(tmp_path, f"onnxruntime-1.11.0rc1-{ARM}")
    wheel(tmp_path, f"onnxruntime-1.31.1-{INTEL}")
    wheel(tmp_path, f"onnxruntime-1.32.0-{ARM}", "Requires-Python: >=3.12")
    numpy = wheel(tmp_path, f"numpy-2.0-{ARM}")
    assert fitting_wheels(tmp_path, facts()) == [best, numpy]


def test_a_pre_release_is_better_than_nothing_and_the_better_tag_than_the_older(tmp_path):
    only = wheel(tmp_path, f"ncnn-1.0rc1-{ARM}")
    assert fitting_wheels(tmp_path, facts(), ["ncnn"]) == [only]
    wheel(tmp_path, "one-1.0-py3-none-any.whl")
    wheel(tmp_path, "one-1.0-cp311-cp311-manylinux2014_aarch64.whl")
    newer = wheel(tmp_path, "one-1.0-cp311-cp311-manylinux_2_28_aarch64.whl")
    assert fitting_wheels(tmp_path, facts(), ["one"]) == [newer]
    build = wheel(tmp_path, "one-1.0-2-cp311-cp311-manylinux_2_28_aarch64.whl")
    assert fitting_wheels(tmp_path, facts(), ["one"]) == [build]


def test_requirements_come_along_and_missing_ones_are_reported(tmp_path, caplog):
    lines = ["flatbuffers", "sympy; extra == 'maths'", "old; python_version < '3.8'", "protobuf>=4", "numpy (>=1.21)"]
    runtime = wheel(tmp_path, f"onnxruntime-1.20.0-{ARM}", *[f"Requires-Dist: {line}" for line in lines])
    numpy = wheel(tmp_path, f"numpy-1.26.4-{ARM}")
    flat = wheel(tmp_path, "flatbuffers-25.1-py2.py3-none-any.whl", "Requires-Dist: absl_py")
    wheel(tmp_path, "protobuf-3.20.0-py3-none-any.whl")
    choice = choose_wheels(tmp_path, facts())
    assert choice.paths == (runtime, numpy, flat)
    assert choice.missing == ("absl-py", "protobuf")
    with caplog.at_level(logging.INFO, "hilnas.devices"):
        fitting_wheels(tmp_path, facts())
    assert "absl-py, protobuf" in caplog.text


def test_what_another_wheel_needs_limits_the_version(tmp_path):
    wheel(tmp_path, f"onnxruntime-1.18.0-{ARM}", "Requires-Dist: numpy<2")
    wheel(tmp_path, f"numpy-2.1.0-{ARM}")
    with pytest.raises(UsageError, match="no wheel of numpy") as caught:
        fitting_wheels(tmp_path, facts())
    assert "is not <2" in caught.value.cause
    older = wheel(tmp_path, f"numpy-1.26.4-{ARM}")
    assert fitting_wheels(tmp_path, facts())[1] == older


def test_a_wheel_for_another_machine_is_named_with_what_would_fit(tmp_path):
    wheel(tmp_path, f"onnxruntime-1.31.1-{INTEL}")
    wheel(tmp_path, f"onnxruntime-1.30.0-{ARM}", "Requires-Python: >=3.12")
    with pytest.raises(UsageError) as caught:
        fitting_wheels(tmp_path, facts())
    assert "fits Python 3.11 on aarch64 with glibc 2.36" in caught.value.what
    assert f"onnxruntime-1.31.1-{INTEL} is for cp311-cp311-manylinux_2_28_x86_64" in caught.value.cause
    assert "needs Python >=3.12" in caught.value.cause
    assert "cp311-cp311-manylinux_2_36_aarch64 would fit" in caught.value.cause
    assert "pip download" in caught.value.remedy


def test_an_empty_or_missing_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="no wheel of onnxruntime in"):
            fitting_wheels(folder, facts())


def test_files_that_are_no_wheels(tmp_path):
    cases = {
        "noname.whl": b"",
        f"numpy-1.0-{ARM}": b"no zip",
        f"numpy-1.x.y-{ARM}": b"",
        "numpy-1.0-../../x.whl".replace("/", "_"): b"",
    }
    for name, data in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(BadFile, match="is no wheel"):
            fitting_wheels(tmp_path, facts())
        path.unlink()
    path = tmp_path / f"numpy-1.0-{ARM}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("numpy/__init__.py", "")
    with pytest.raises(BadFile, match="is no wheel"):
        fitting_wheels(tmp_path, facts())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("numpy-1.0.dist-info/METADATA", "Name: numpy\n" + " " * (2 << 20))
    with pytest.raises(BadFile) as caught:
        fitting_wheels(tmp_path, facts())
    assert "too large" in caught.value.cause


def test_a_renamed_wheel_is_refused(tmp_path):
    wheel(tmp_path, f"numpy-1.0-{ARM}", name="evil")
    with pytest.raises(BadFile, match="of another wheel"):
        fitting_wheels(tmp_path, facts())


def test_advice_is_a_command_that_lists_every_platform():
    text = advice(facts(python="3.8.10", libc=("glibc", "2.31")))
    which, download, _, install = text.splitlines()
    assert "Python 3.8 gets onnxruntime 1.19.2 at most" in which
    words = shlex.split(download)
    assert words[:3] == ["pip", "download", "--only-binary=:all:"]
    assert words[-4:] == ["-d", "wheels", "onnxruntime<=1.19.2", "numpy"]
    assert words[words.index("--python-version") + 1] == "3.8"
    given = [word for before, word in pairwise(words) if before == "--platform"]
    assert given == [f"manylinux_2_{minor}_aarch64" for minor in range(31, 16, -1)] + ["manylinux2014_aarch64"]
    assert install == "hilnas devices add NAME --install-runtime wheels"


def test_advice_without_a_known_limit_and_without_wheels():
    assert "any onnxruntime that fits" in advice(facts())
    assert "ai-edge-litert numpy" in advice(facts(), "litert")
    assert "JetPack" in advice(facts(), "trtexec")
    assert "no wheel can be named" in advice({})
