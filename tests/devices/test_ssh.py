"""The connection to a board, against a real sshd: who is trusted, who is let in, what is said when it fails."""

import inspect
import socket
import subprocess
import threading

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import _errors
from devices._config import SshOptions
from devices._errors import HostKeyRefused, LoginRefused, Unreachable
from devices._host_keys import AcceptFingerprint, add_key, fingerprint
from devices._link import ConnectionLost
from devices._ssh import Address, connect, resolve, shell_words, translated_ssh
from devices.agent._wire import MAX_LINE_BYTES, Closed, WireError
from hilnas.deadline import Deadline
from hilnas.errors import DeviceError, HilnasError, UsageError


def address_of(board, **changes):
    options = board.config().ssh.model_copy(update=changes)
    return resolve(options)


@pytest.fixture
def connection(sshd):
    opened = connect("loop", address_of(sshd), 10.0)
    yield opened
    opened.close()


def run(connection, *argv, data=b""):
    return connection.run(argv, Deadline.after(20.0), data)


def test_a_command_has_output_errors_and_a_status(connection):
    done = run(connection, "sh", "-c", "cat; echo oops >&2; exit 3", data=b"abc")
    assert (done.status, done.output, done.errors.strip()) == (3, b"abc", "oops")


WORDS = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=25, deadline=None)
@given(words=st.lists(WORDS, min_size=1, max_size=6))
def test_whatever_stands_in_a_word_arrives_as_that_word(sshd, words):
    opened = connect("loop", address_of(sshd), 10.0)
    try:
        done = run(opened, "printf", "%s\\n", *words)
    finally:
        opened.close()
    assert done.output.decode().split("\n")[:-1] == words


@pytest.mark.parametrize("evil", ["a\nb", "a\0b", "a\rb"])
def test_words_no_shell_can_be_trusted_with_are_refused(evil):
    with pytest.raises(UsageError):
        shell_words(["echo", evil])


def test_an_unknown_host_key_is_refused_with_the_command_that_accepts_it(own_sshd):
    own_sshd.known_hosts.write_text("")
    with pytest.raises(HostKeyRefused) as caught:
        connect("pi5", address_of(own_sshd), 10.0)
    shown = subprocess.run(["ssh-keygen", "-lf", f"{own_sshd.folder}/host.pub"], capture_output=True, text=True)
    key = shown.stdout.split()[1]
    assert f"hilnas devices doctor pi5 --accept-key {key}" in caught.value.remedy


def test_a_key_is_accepted_by_its_fingerprint_only(own_sshd):
    own_sshd.known_hosts.write_text("")
    wrong = AcceptFingerprint("pi5", "SHA256:" + "A" * 43)
    with pytest.raises(HostKeyRefused, match="not SHA256:AAA"):
        connect("pi5", address_of(own_sshd), 10.0, wrong)
    assert wrong.accepted is None
    key = paramiko.Ed25519Key.from_private_key_file(str(own_sshd.folder / "host"))
    right = AcceptFingerprint("pi5", fingerprint(key))
    connect("pi5", address_of(own_sshd), 10.0, right).close()
    add_key(own_sshd.known_hosts, *right.accepted)
    connect("pi5", address_of(own_sshd), 10.0).close()


def test_a_changed_host_key_is_refused_and_the_stale_entry_named(own_sshd):
    own_sshd.stop()
    own_sshd.change_host_key(known=False)
    own_sshd.start()
    with pytest.raises(HostKeyRefused, match="HAS CHANGED") as caught:
        connect("pi5", address_of(own_sshd), 10.0)
    remedy = caught.value.remedy
    removal = remedy[remedy.index("ssh-keygen") : remedy.index(";")]
    subprocess.run(removal.replace("'", "").split(), check=True, capture_output=True)
    fingerprint_said = remedy.rpartition(" ")[2]
    policy = AcceptFingerprint("pi5", fingerprint_said)
    connect("pi5", address_of(own_sshd), 10.0, policy).close()
    assert policy.accepted is not None


def test_who_is_not_let_in_is_told_how_to_get_in(own_sshd):
    (own_sshd.folder / "authorized").write_text("")
    with pytest.raises(LoginRefused) as caught:
        connect("pi5", address_of(own_sshd), 10.0)
    assert "ssh-copy-id" in caught.value.remedy


def test_nobody_there_is_unreachable(own_sshd):
    own_sshd.stop()
    with pytest.raises(Unreachable, match="cannot be reached"):
        connect("pi5", address_of(own_sshd), 2.0)


def test_something_else_on_the_port_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        address = Address("127.0.0.1", port, "x", (), True, (), None, None)
        with pytest.raises(Unreachable):
            connect("pi5", address, 0.5)


def test_a_passphrase_is_asked_of_the_key_agent(own_sshd, tmp_path):
    path = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(path)], check=True)
    with pytest.raises(LoginRefused, match="passphrase") as caught:
        connect("pi5", address_of(own_sshd, identity=str(path)), 10.0)
    assert "ssh-add" in caught.value.remedy


def test_the_users_configuration_counts(tmp_path):
    config = tmp_path / "config"
    config.write_text(
        "Host pi5\n  HostName 127.0.0.7\n  Port 2200\n  User nas\n  IdentityFile ~/.ssh/board\n  IdentitiesOnly yes\n"
        "  ProxyJump gate\nHost gate\n  HostName 127.0.0.8\n  User door\n"
    )
    found = resolve(SshOptions(host="pi5", config=str(config)))
    assert (found.host, found.port, found.user, found.identities_only) == ("127.0.0.7", 2200, "nas", True)
    assert found.identities[0].endswith(".ssh/board")
    assert (found.jump.host, found.jump.port, found.jump.user) == ("127.0.0.8", 22, "door")
    over = resolve(SshOptions(host="pi5", config=str(config), port=9, user="me", identity="/key"))
    assert (over.port, over.user, over.identities) == (9, "me", ("/key",))


def test_a_circle_of_jump_hosts_is_an_error(tmp_path):
    config = tmp_path / "config"
    config.write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    with pytest.raises(UsageError, match="jump"):
        resolve(SshOptions(host="a", config=str(config)))


def test_a_board_behind_a_jump_host_is_reached(own_sshd):
    (own_sshd.folder / "ssh_config").write_text(
        f"Host *\n  UserKnownHostsFile {own_sshd.known_hosts}\n  IdentityFile {own_sshd.identity}\n"
        f"Host behind\n  HostName 127.0.0.1\n  ProxyJump 127.0.0.1:{own_sshd.port}\n"
    )
    opened = connect("behind", address_of(own_sshd, host="behind"), 10.0)
    assert run(opened, "echo", "through").output == b"through\n"
    opened.close()


def test_files_go_both_ways_and_what_is_missing_says_so(connection, sshd):
    with connection.files() as files, files.open("greeting", "wb") as file:
        file.write(b"hello")
    assert (sshd.home / "greeting").read_bytes() == b"hello"
    with pytest.raises(FileNotFoundError), connection.files() as files:
        files.stat("nowhere")


def test_lines_tell_a_program_that_ends_from_a_connection_that_is_lost(own_sshd):
    opened = connect("loop", address_of(own_sshd), 10.0)
    ended = opened.start(["sh", "-c", "echo '{}'; echo last words >&2; exit 4"])
    assert ended.receive(10.0) == {}
    with pytest.raises(Closed, match=r"status 4.*last words") as caught:
        ended.receive(10.0)
    assert not isinstance(caught.value, ConnectionLost)
    lost = opened.start(["sleep", "60"])
    threading.Timer(0.3, own_sshd.cut).start()
    with pytest.raises(ConnectionLost):
        lost.receive(10.0)
    assert not opened.alive
    with pytest.raises(ConnectionLost):
        lost.send({"too": "late"})
    opened.close()


def test_a_program_that_complains_without_end_does_not_block(connection):
    noisy = connection.start(["sh", "-c", "head -c 8000000 /dev/zero >&2; echo '{\"done\": 1}'"])
    assert next(item for item in iter(lambda: noisy.receive(0.5), 0) if item) == {"done": 1}
    noisy.wait(5.0)


def test_an_endless_line_is_refused(connection):
    endless = connection.start(["sh", "-c", f"head -c {MAX_LINE_BYTES + 10**6} /dev/zero"])
    with pytest.raises(WireError, match="more than"):
        endless.receive(20.0)
    endless.wait(5.0)


def test_a_command_that_hangs_is_given_up(connection):
    with pytest.raises(DeviceError):
        connection.run(["sleep", "30"], Deadline.after(0.5))


FOREIGN = [
    kind
    for _, kind in inspect.getmembers(paramiko.ssh_exception, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == "paramiko.ssh_exception"
]


def made(kind):
    key = paramiko.Ed25519Key.generate() if hasattr(paramiko.Ed25519Key, "generate") else paramiko.RSAKey.generate(1024)
    arguments = {
        "BadHostKeyException": ("h", key, key),
        "BadAuthenticationType": ("x", ["publickey"]),
        "ChannelException": (1, "x"),
        "NoValidConnectionsError": ({("127.0.0.1", 1): OSError("x")},),
        "ProxyCommandFailure": ("cmd", "x"),
        "CouldNotCanonicalize": ("x",),
        "ConfigParseError": ("x",),
        "MessageOrderError": ("x",),
        "IncompatiblePeer": ("x",),
    }
    return kind(*arguments.get(kind.__name__, ("x",)))


@pytest.mark.parametrize(
    "kind", [*FOREIGN, EOFError, TimeoutError, ConnectionResetError, BrokenPipeError, socket.gaierror]
)
def test_every_foreign_error_becomes_one_of_ours(kind):
    address = Address("127.0.0.1", 22, "x", (), True, (), None, None)
    with pytest.raises(DeviceError) as caught, translated_ssh("pi5", address):
        raise made(kind)
    assert "pi5" in caught.value.what


def test_the_tree_of_errors_is_the_documented_one():
    kinds = [k for _, k in inspect.getmembers(_errors, inspect.isclass) if issubclass(k, DeviceError)]
    assert all(kind.__name__ in _errors.__doc__ for kind in kinds)
    assert all(issubclass(kind, HilnasError) for kind in kinds)
