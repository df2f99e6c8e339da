"""Device configs: validated, found in order, written."""

import tomllib
from pathlib import Path

import pytest

from devices._add import add_device
from devices._config import BUILT_IN, DeviceConfig, find_device, known_devices, parse_config
from hilnas import plugins
from hilnas.errors import BadFile, UnknownName, UsageError

EXAMPLES = sorted((Path(__file__).parents[2] / "device_configs").glob("*.example.toml"))


def test_there_is_an_example_for_every_kind():
    assert {tomllib.loads(path.read_text())["kind"] for path in EXAMPLES} == set(plugins.names("devices"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_validates(path):
    config = parse_config({"name": "example", **tomllib.loads(path.read_text())}, str(path))
    assert config.kind in plugins.names("devices")


def test_an_unknown_key_names_the_nearest(tmp_path):
    (tmp_path / "pi.toml").write_text('kind = "local_cpu"\n[options]\nthread = 2\n')
    with pytest.raises(UsageError) as caught:
        find_device("pi", tmp_path)
    assert "options.thread" in caught.value.cause and "'threads'" in caught.value.cause


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("kind = ", "TOML"),
        ('kind = "local_cpu"\n[options]\nthreads = 0\n', "device config"),
        ('description = "no kind"\n', "device config"),
        ("kind = 3\n", "device config"),
    ],
)
def test_a_broken_config_is_a_clear_error(tmp_path, text, word):
    (tmp_path / "pi.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        find_device("pi", tmp_path)
    assert word in caught.value.what and "pi.toml" in caught.value.what


def test_a_config_that_is_no_text_or_too_large_is_refused(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.toml").write_text("# " + "x" * 70_000)
    for name in ("a", "b"):
        with pytest.raises(BadFile):
            find_device(name, tmp_path)


def test_an_unknown_device_is_suggested():
    with pytest.raises(UnknownName) as caught:
        find_device("local_cpi", Path("/nonexistent"))
    assert "'local_cpu'" in caught.value.cause


def test_examples_are_no_devices(tmp_path):
    (tmp_path / "x.example.toml").write_text('kind = "fake"\n')
    assert set(known_devices(tmp_path)) == set(BUILT_IN)


def test_replay_addresses_are_devices():
    assert find_device("table:a/b").kind == "replay"
    assert find_device("run:last").kind == "replay"


def test_a_device_is_added_once(tmp_path):
    path = add_device("two", "local_cpu", 2, 'a "quoted" \\ line', tmp_path / "new")
    config = find_device("two", tmp_path / "new")
    assert path.exists() and config.options.threads == 2 and config.description == 'a "quoted" \\ line'
    with pytest.raises(UsageError, match="already"):
        add_device("two", "local_cpu", 2, "", tmp_path / "new")
    with pytest.raises(UnknownName):
        add_device("three", "toaster", 1, "", tmp_path / "new")
    with pytest.raises(UsageError):
        add_device("../evil", "local_cpu", 1, "", tmp_path / "new")


def test_configs_are_values():
    assert DeviceConfig(name="a", kind="fake") == DeviceConfig(name="a", kind="fake")
