"""What comes from a board or a config is hostile until proven otherwise: more than 10,000 generated inputs.

Every one is either understood within the limits or refused with a typed error; nothing else ever comes out.
"""

import json
import os
import string
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from devices._config import parse_config
from devices._conversation import Conversation
from devices._doubt import Worked, advice, doubt, identity
from devices._errors import AgentLost, AgentProtocolError
from devices._ssh import shell_words
from devices._untrusted import Answer, plain_json, plain_text
from devices.agent import PROTOCOL_VERSION, _assemble, _plugins
from devices.agent._blobs import BlobError, Blobs
from devices.agent._wire import MAX_LINE_BYTES, Closed, Lines, WireError, decode
from hilnas.deadline import Deadline
from hilnas.errors import HilnasError

#: Examples of the generated tests; their sum is what the last test counts.
EXAMPLES = {
    "lines": 2000,
    "answers": 1500,
    "conversations": 1000,
    "json": 1500,
    "texts": 800,
    "states": 1200,
    "blobs": 800,
    "recipes": 800,
    "configs": 1000,
    "words": 800,
}
FUZZ = {
    name: settings(max_examples=n, deadline=None, suppress_health_check=list(HealthCheck))
    for name, n in EXAMPLES.items()
}

EVIL_TEXT = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "\x1b[2J\x1b]0;owned\x07",
            "a\nb",
            "../../etc/passwd",
            "$(reboot)",
            "'; rm -rf ~; '",
            "\0",
            "‮",
            "-oProxyCommand=x",
        ]
    ),
    st.text(alphabet=string.punctuation + "\r\n\t\0", max_size=40),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    EVIL_TEXT,
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(EVIL_TEXT, inner, max_size=5), max_leaves=20
)
ANSWER_KEYS = st.sampled_from([*Answer.model_fields, "op", "protocol", "host", "__class__", "extra"])
MESSAGES = st.dictionaries(ANSWER_KEYS, JSON, max_size=8)


class Said(Lines):
    """A board that says exactly these bytes."""

    def __init__(self, data):
        super().__init__()
        self._data = data

    def read(self, timeout_s):
        chunk, self._data = self._data[:65536], self._data[65536:]
        return chunk

    def write(self, data):
        pass


@FUZZ["lines"]
@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_line_is_an_object_or_refused(line):
    try:
        assert isinstance(decode(line), dict)
    except WireError as error:
        assert len(str(error)) < 400


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 1_000_000,
        b'{"a":' * 500_000,
        b'{"id": NaN}',
        b'{"id": -Infinity}',
        b'{"id": ' + b"9" * 100_000 + b"}",
        b'{"a": "' + b"\\u0000" * 1000 + b'"',
    ],
    ids=["deep list", "deep object", "nan", "infinity", "long number", "torn"],
)
def test_bombs_are_refused(bomb):
    with pytest.raises(WireError):
        decode(bomb)


def test_a_line_of_100_mib_is_refused_before_it_is_read():
    class Endless(Lines):
        read_bytes = 0

        def read(self, timeout_s):
            self.read_bytes += 65536
            assert self.read_bytes < 2 * MAX_LINE_BYTES
            return b"x" * 65536

    line = Endless()
    with pytest.raises(WireError, match="more than"):
        line.receive(1.0)


@FUZZ["answers"]
@given(MESSAGES)
def test_an_answer_is_valid_or_refused_and_valid_ones_are_harmless(message):
    try:
        answer = Answer.model_validate(message)
    except ValidationError:
        return
    text = answer.cause + answer.stage + answer.stop + json.dumps(answer.before, allow_nan=False)
    assert text.isprintable() or not text
    assert all(0 < ns < 10**13 for ns in answer.samples_ns)
    assert 0 <= answer.busy_s < 1e7


HELLO = json.dumps({"op": "hello", "protocol": PROTOCOL_VERSION, "boot_id": "0-1", "host": {}}).encode() + b"\n"


@FUZZ["conversations"]
@given(
    st.lists(MESSAGES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60), max_size=4), st.booleans()
)
def test_whatever_a_board_says_a_conversation_ends_in_an_answer_or_a_typed_error(said, greets):
    data = (HELLO if greets else b"") + b"\n".join([*said, b""])
    try:
        conversation = Conversation("evil", Said(data), Deadline.after(5))
        conversation.ask({"op": "state"}, Deadline.after(5))
    except (AgentLost, AgentProtocolError) as error:
        shown = error.what + error.cause + error.remedy
        assert shown.isprintable()


@FUZZ["json"]
@given(JSON)
def test_foreign_json_becomes_harmless_or_is_refused(value):
    try:
        found = plain_json(value)
    except ValueError:
        return
    text = json.dumps(found, allow_nan=False, ensure_ascii=False)
    assert "\x1b" not in text and "\x00" not in text
    assert plain_json(found) == found


@pytest.mark.parametrize("value", [[[[[[[[[[[0]]]]]]]]]], list(range(6000)), float("nan"), 2**63, {"a": object()}])
def test_too_deep_too_many_and_not_finite_are_refused(value):
    with pytest.raises(ValueError):
        plain_json(value)


@FUZZ["texts"]
@given(st.text(max_size=3000), st.integers(0, 1000))
def test_foreign_text_is_printable_and_short(text, limit):
    found = plain_text(text, limit)
    assert len(found) <= limit and (found.isprintable() or not found)


SENSORS = st.sampled_from([*_plugins.names("sensors"), "monotonic_s"])
STATES = st.dictionaries(SENSORS, JSON, max_size=6)


@FUZZ["states"]
@given(STATES, STATES)
def test_no_state_of_a_board_breaks_its_judgement(before, after):
    said = doubt(before, after, Worked(0.3, 0.3, 0.31, 1, 4.0))
    assert said is None or isinstance(said, str)
    identity(after)
    advice(after)


@FUZZ["blobs"]
@given(EVIL_TEXT | JSON, EVIL_TEXT | JSON)
def test_no_name_leads_out_of_the_folder_of_models(tmp_path_factory, name, digest):
    folder = tmp_path_factory.getbasetemp() / "blobs"
    blobs = Blobs(str(folder))
    for attempt in (lambda: blobs.path(digest), lambda: blobs.find(digest), lambda: blobs.adopt(name, digest)):
        try:
            path = attempt()
        except BlobError:
            continue
        assert os.path.realpath(path).startswith(str(folder))


def test_a_part_outside_of_the_folder_is_not_taken(tmp_path):
    (tmp_path / "secret").write_text("x")
    blobs = Blobs(str(tmp_path / "blobs"))
    for name in ("../secret", "/etc/passwd", "a" * 64 + ".ff.part/../../secret", "a" * 64 + ".ff.part\n"):
        with pytest.raises(BlobError):
            blobs.adopt(name, "a" * 64)


@FUZZ["recipes"]
@given(st.binary(max_size=400) | JSON.map(lambda value: zlib.compress(json.dumps(value).encode() + b"\n")))
def test_a_recipe_that_is_none_is_refused(tmp_path_factory, recipe):
    with pytest.raises(_assemble.RecipeError):
        _assemble.assemble(recipe, str(tmp_path_factory.getbasetemp() / "pool"))


FIELDS = st.sampled_from(
    ["name", "kind", "description", "backend", "options", "ssh", "power", "meter", "fake", "password"]
)


@FUZZ["configs"]
@given(
    st.dictionaries(FIELDS, JSON, max_size=5),
    st.dictionaries(st.sampled_from(["host", "user", "container", "python", "port", "token"]), JSON, max_size=4),
)
def test_a_config_is_valid_or_refused_and_valid_words_are_harmless(values, ssh):
    try:
        config = parse_config({"name": "b", "kind": "ssh_linux", **values, "ssh": ssh}, "fuzz")
    except HilnasError:
        return
    for word in (config.ssh.host, config.ssh.user, config.ssh.container, config.ssh.python):
        assert not word or not (set(word) & set(";|&$`'\"<>*?(){}!\n\r\0 \\#") or word.startswith("-"))


@FUZZ["words"]
@given(st.lists(EVIL_TEXT, min_size=1, max_size=5))
def test_words_are_quoted_so_that_a_shell_reads_them_back(words):
    import shlex

    try:
        line = shell_words(words)
    except HilnasError:
        return
    assert shlex.split(line) == words and "\n" not in line


def test_the_end_of_a_hostile_board_is_the_end():
    with pytest.raises(Closed):
        Said(b"").receive(1.0)


def test_there_are_more_than_ten_thousand_inputs():
    assert sum(EXAMPLES.values()) >= 10_000
