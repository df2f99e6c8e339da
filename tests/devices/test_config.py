"""Device configs: validated, found in order, written."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices._add import as_toml, need_free_name, new_config, write_config
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
    given = {"description": 'a "quoted" \\ line', "options": {"threads": 2}}
    config = new_config("two", "local_cpu", None, given)
    assert write_config(config, tmp_path / "new").exists()
    assert find_device("two", tmp_path / "new") == config
    with pytest.raises(UsageError, match="already"):
        need_free_name("two", tmp_path / "new")
    with pytest.raises(UnknownName):
        new_config("three", "toaster", None, {})
    with pytest.raises(UsageError):
        new_config("../evil", "local_cpu", None, {})


@pytest.mark.parametrize(
    ("url", "ssh"),
    [
        ("ssh://pi5", {"host": "pi5"}),
        ("ssh://nas@bench.local:2222", {"host": "bench.local", "user": "nas", "port": 2222}),
        ("ssh://[::1]:22/", {"host": "::1", "port": 22}),
    ],
)
def test_a_board_is_named_by_its_address(url, ssh):
    config = new_config("board", url, None, {})
    assert config.kind == "ssh_linux"
    assert config.ssh.model_dump(exclude_defaults=True) == ssh


@pytest.mark.parametrize(
    "url", ["ssh://", "http://pi5", "ssh://a:b", "ssh://a b", "ssh://-oProxyCommand=x", "ssh://a;b"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises((UsageError, UnknownName)):
        new_config("board", url, None, {})


@given(
    description=st.text(max_size=60).filter(lambda text: text.isprintable() or not text),
    threads=st.integers(1, 64),
    affinity=st.lists(st.integers(0, 63), max_size=4),
    argv=st.lists(st.text(min_size=1, max_size=20), max_size=4),
    user=st.none() | st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True),
)
def test_a_written_config_reads_back_the_same(description, threads, affinity, argv, user):
    values = {
        "kind": "ssh_linux",
        "description": description,
        "options": {"threads": threads, "affinity": affinity},
        "ssh": {"host": "pi5", "user": user},
        "meter": {"argv": argv},
        "power": {"clocks": True},
    }
    config = parse_config({"name": "b", **values}, "test")
    assert parse_config({"name": "b", **tomllib.loads(as_toml(config))}, "test") == config


METACHARACTERS = [";", "|", "&", "$(id)", "`id`", "\n", "\0", "'", '"', "<", ">", "*", " ", "\\", "\x1b[31m"]


@pytest.mark.parametrize("field", ["host", "user", "container", "python"])
@pytest.mark.parametrize("evil", [*METACHARACTERS, "-oProxyCommand=id", "--help"])
def test_shell_metacharacters_are_refused_where_they_would_reach_a_command(field, evil):
    text = evil if evil.startswith("-") else f"a{evil}b"
    with pytest.raises(UsageError, match=field):
        parse_config({"name": "b", "kind": "ssh_linux", "ssh": {"host": "h", field: text}}, "test")


@pytest.mark.parametrize("secret", ["password", "passphrase", "token"])
def test_a_secret_in_a_config_is_refused_with_the_reason(secret):
    with pytest.raises(UsageError, match="no secret"):
        parse_config({"name": "b", "kind": "ssh_linux", "ssh": {"host": "h", secret: "hunter2"}}, "test")


def test_configs_are_values():
    assert DeviceConfig(name="a", kind="fake") == DeviceConfig(name="a", kind="fake")
