"""Files that were made to do harm: refused, nothing executed, memory bounded, whatever the format."""

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import zipfile

import pytest
import torch

from hilnas.errors import BadFile, UsageError
from profiler._import import import_request, import_table
from profiler._workspace import Workspace

GIB = 1 << 30


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def torch_file(path, value, **replaced):
    """Write a torch file, some of its members replaced."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(path, "w") as changed:
        for name in archive.namelist():
            last = name.rsplit("/", 1)[-1].replace(".", "_")
            changed.writestr(name, replaced.get(last, archive.read(name)))


def in_latency(tmp_path, name):
    folder = tmp_path / name
    (folder / "latency").mkdir(parents=True)
    return folder, folder / "latency" / "d.pt"


def torch_with_code(tmp_path, touch):
    folder, path = in_latency(tmp_path, "code")
    torch.save({"a": Calls(os.system, touch)}, path)
    return folder


def torch_with_code_and_a_tensor(tmp_path, touch):
    folder, path = in_latency(tmp_path, "both")
    torch.save([torch.zeros(3), Calls(os.system, touch)], path)
    return folder


def old_torch_with_code(tmp_path, touch):
    folder, path = in_latency(tmp_path, "old")
    torch.save(Calls(os.system, touch), path, _use_new_zipfile_serialization=False)
    return folder


def code_beside_good_latencies(tmp_path, touch):
    folder, path = in_latency(tmp_path, "beside")
    torch.save([1.0], path)
    torch.save(Calls(os.system, touch), folder / "str_arch2idx.pt")
    return folder


def zip_bomb(tmp_path, touch):
    """One member that unfolds to 512 MiB."""
    folder, path = in_latency(tmp_path, "bomb")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/data.pkl", bytes(512 << 20))
    return folder


def overlapping_zip_bomb(tmp_path, touch):
    """Forty members that are the same bytes."""
    folder, path = in_latency(tmp_path, "overlap")
    body = bytes(1 << 20)
    name = b"a/data.pkl"
    import zlib

    crc = zlib.crc32(body)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, crc, len(body), len(body), len(name), 0) + name + body
    central = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, crc, len(body), len(body), 9, 0, 0, 0, 0, 0, 0)
        + b"a/data%03d" % i
        for i in range(40)
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 40, 40, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    return folder


def huge_tensor(tmp_path, touch):
    """A tensor of one number that claims to be 2**40 of them."""
    folder, path = in_latency(tmp_path, "huge")
    n = b"\x8a\x06" + (2**40).to_bytes(6, "little")
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + n + b"tQ"
    made = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + n + b"\x85K\x01\x85\x89}tR."
    torch_file(path, torch.zeros(1), data_pkl=made)
    return folder


def file_of(name, content):
    def write(tmp_path, touch):
        path = tmp_path / name
        path.write_bytes(content.replace(b"TOUCH", touch.encode()))
        return path

    write.__name__ = name.replace(".", "_")
    return write


def gzipped(unit=b"\0" * (1 << 24)):
    """Return 4 GiB in a few MiB: members of a gzip follow each other."""
    return gzip.compress(unit, 6) * ((4 << 30) // len(unit))


def yaml_laughs():
    """Ten levels of ten aliases each."""
    lines = ["a0: &a0 {mean: 1}"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)]
    return "\n".join(lines).encode()


NN = b'{"conv": {"A": {"latency": "1 +- 1", "config": '
HOSTILE = {
    "a pickle that calls os.system": file_of("a.pickle", b"cos\nsystem\n(S'TOUCH'\ntR."),
    "a pickle that calls eval": file_of("b.pkl", b"c__builtin__\neval\n(S'__import__(\"os\").system(\"TOUCH\")'\ntR."),
    "a pickle in a .anb": file_of("data.anb", b"cos\nsystem\n(S'TOUCH'\ntR."),
    "a text of 4 GiB that is not there": file_of("c.pickle", b"\x80\x04\x8e" + struct.pack("<Q", 4 * GIB) + b"x."),
    "three million containers": file_of("d.pickle", b"(" + b"]" * 3_000_000 + b"l."),
    "eight million dictionaries in each other": file_of("e.pickle", b"}" * 8_000_000 + b"."),
    "a memo of ten million": file_of("f.pickle", b"N" + b"\x94" * 10_000_000 + b"."),
    "nine million values": file_of("g.pickle", b"(" + b"G@\0\0\0\0\0\0\0" * 9_000_000 + b"l."),
    "a pickle that unfolds": file_of("h.pickle.gz", gzipped()),
    "a torch file with code": torch_with_code,
    "a torch file with code and a tensor": torch_with_code_and_a_tensor,
    "an old torch file with code": old_torch_with_code,
    "code beside good latencies": code_beside_good_latencies,
    "a zip bomb": zip_bomb,
    "an overlapping zip bomb": overlapping_zip_bomb,
    "a tensor that is not there": huge_tensor,
    "yaml with a tag": file_of("a.yaml", b"a: {mean: !!python/object/apply:os.system ['TOUCH']}\n"),
    "yaml with a tag as key": file_of("b.yaml", b"!!python/object/apply:os.system ['TOUCH']: {mean: 1}\n"),
    "a billion laughs": file_of("c.yaml", yaml_laughs()),
    "merged mappings": file_of("d.yaml", b"a: &a {mean: 1}\nb: {<<: *a, mean: 2}\n"),
    "deep yaml": file_of("e.yaml", b"a: " + b"[" * 1_000_000),
    "deep yaml of mappings": file_of("f.yaml", b"a: " + b"{a: " * 1_000_000),
    "yaml that unfolds": file_of("g.yaml.gz", gzipped(b"a" * (1 << 24))),
    "deep json": file_of("a.json", NN + b"[" * 3_000_000),
    "deep json of objects": file_of("b.json", NN + b'{"a":' * 1_000_000),
    "deep json that ends": file_of("c.json", NN + b"[" * 100_000 + b"]" * 100_000 + b"}}}"),
    "json with twenty million values": file_of("d.json", NN + b"[" + b"[]," * 20_000_000 + b"[]]}}}"),
    "json with a number of a million digits": file_of("e.json", NN + b'{"HW": ' + b"9" * 1_000_000 + b"}}}}"),
    "json with a number too large": file_of("f.json", NN + b'{"HW": 1e999}}}}'),
    "json with NaN": file_of("g.json", NN + b'{"HW": NaN}}}}'),
    "json with a negative time": file_of("h.json", b'{"conv": {"A": {"latency": "-1 +- 1"}}}'),
    "json that unfolds": file_of("i.json.gz", gzipped(NN.ljust(1 << 24))),
    "a csv that unfolds": file_of("a.csv.gz", gzipped(b"a,b\n" * (1 << 22))),
    "a csv of forty million cells": file_of("b.csv", b"a\n" + b",,,,,,,,,,,,,,,\n" * 2_500_000),
    "a csv with one long cell": file_of("c.csv", b"arch_str,a_ms\n" + b"x" * 50_000_000 + b",1\n"),
    "a pack with a path as a device": file_of("pack.json", b'{"devices": [{"name": "../../etc/passwd"}]}'),
}  # fmt: skip


def refused(store, path):
    """Import a file of unknown space as nasbench201; return what is said."""
    source = path.parent if path.name == "pack.json" else path
    with pytest.raises(UsageError) as caught:
        import_table(store, import_request(source, "t", "nasbench201", ["ms"]))
    return caught.value


@pytest.mark.parametrize("name", [name for name in HOSTILE if "unfold" not in name and "million" not in name])
def test_hostile_files_are_refused_and_nothing_is_executed(tmp_path, name):
    marker = tmp_path / "marker"
    path = HOSTILE[name](tmp_path, f"touch {marker}")
    with Workspace.open(tmp_path / "w") as workspace:
        error = refused(workspace.store, path)
        assert isinstance(error, BadFile) and error.cause and error.remedy and len(str(error)) < 1500
        assert workspace.store.table_names() == []
    assert not marker.exists()


def test_the_code_in_these_files_would_run(tmp_path):
    """The test above says something only if what it refuses works elsewhere."""
    path = torch_with_code(tmp_path, f"touch {tmp_path / 'marker'}")
    torch.load(path / "latency" / "d.pt", weights_only=False)
    assert (tmp_path / "marker").exists()
    assert pickle.loads(pickle.dumps(Calls(os.getpid))) == os.getpid()


CHILD = """
    import json, resource, sys
    from pathlib import Path
    from hilnas.errors import BadFile
    from profiler._import import import_request, import_table
    from profiler._workspace import Workspace

    def peak():
        # Not ru_maxrss: that begins with the peak of the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

    with Workspace.open(Path(sys.argv[1])) as workspace:
        try:
            import_table(workspace.store, import_request("missing.csv", "t", "nasbench201"))
        except BadFile:
            pass
        import profiler.importers.hwnasbench_pickle, profiler.importers.nnmeter_json, profiler.importers.help_folder
        before = peak()
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + (2 << 30), held + (2 << 30)))
        said = {}
        for path in sys.argv[2:]:
            try:
                import_table(workspace.store, import_request(path, "t", "nasbench201", ["ms"]))
                said[path] = "accepted"
            except BadFile as error:
                said[path] = error.what
            said[path] = [said[path], peak() - before]
    print(json.dumps(said))
"""


def test_hostile_files_take_less_than_a_gibibyte(tmp_path):
    """All of them in one process, whose peak only rises."""
    made = {}
    for i, (name, write) in enumerate(HOSTILE.items()):
        folder = tmp_path / str(i)
        folder.mkdir()
        path = write(folder, f"touch {tmp_path / 'marker'}")
        made[str(path.parent if path.name == "pack.json" else path)] = name
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path / "w"), *made]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    assert {made[path]: what for path, (what, _) in said.items() if what == "accepted"} == {}
    peaks = [peak for _, peak in said.values()]
    assert 50 << 20 < peaks[-1] < GIB, said  # some of these files are that large themselves
    assert not (tmp_path / "marker").exists()
