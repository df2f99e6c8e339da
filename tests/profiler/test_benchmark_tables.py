"""Tables of published benchmarks by architecture: what is written in their layout arrives with units and identity."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilnas.errors import BadFile, UnknownName, UsageError
from profiler._import import import_request, import_table
from profiler._workspace import Workspace
from profiler.importers._torch_files import read_torch_file
from profiler.importers.analognasbench import text_of
from search_spaces.fbnet import FBNet
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
CELLS = [cell.text for cell in list(SPACE.enumerate())[::500]]
SLOW_FIXTURE = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
TIMES = st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=len(CELLS))


@pytest.fixture
def store(tmp_path):
    with Workspace.open(tmp_path / "w") as opened:
        yield opened.store


def hw_nas_bench(columns, cells=CELLS):
    """Return a pickle's content in the layout of HW-NAS-Bench."""
    configs = [{"name": "infer.tiny", "C": 16, "N": 5, "arch_str": text.split(":")[1]} for text in cells]
    return {"nasbench201": {"cifar10": {**columns, "config": configs}}, "fbnet": {}}


@SLOW_FIXTURE
@given(values=TIMES, protocol=st.integers(0, 5), kind=st.sampled_from(["list", "floats", "array", "float32"]))
def test_hw_nas_bench_arrives_in_seconds_and_joules(store, tmp_path, values, protocol, kind):
    shapes = {"list": list, "floats": lambda v: list(map(np.float64, v)), "array": np.array, "float32": np.float32}
    columns = {
        name: shapes[kind](values) for name in ("edgegpu_latency", "edgegpu_energy", "eyeriss_arithmetic_intensity")
    }
    path = tmp_path / "HW-NAS-Bench-v1_0.pickle"
    path.write_bytes(pickle.dumps(hw_nas_bench(columns, CELLS[: len(values)]), protocol))
    import_table(store, import_request(path, "hw", "nasbench201"))
    expected = np.asarray(columns["edgegpu_latency"], float)
    for name, factor, dimension, unit in (
        ("edgegpu_latency", 1e-3, "time", "ms"),
        ("edgegpu_energy", 1e-3, "energy", "mj"),
        ("eyeriss_arithmetic_intensity", 1.0, "none", "none"),
    ):
        column = store.table_column("hw", f"cifar10_{name}")
        assert (column.dimension, column.unit, column.batch, column.n_missing) == (dimension, unit, 1, 0)
        assert column.values == pytest.approx(dict(zip(CELLS, expected * factor, strict=False)), rel=1e-12)
    assert store.index_to_architecture("nasbench201") == dict(enumerate(CELLS[: len(values)]))


def test_what_the_compiler_refused_is_missing(store, tmp_path):
    path = tmp_path / "hw.pkl"
    path.write_bytes(pickle.dumps(hw_nas_bench({"edgetpu_latency": [1.0, -1, 2.0]}, CELLS[:3])))
    import_table(store, import_request(path, "hw", "nasbench201"))
    column = store.table_column("hw", "cifar10_edgetpu_latency")
    assert column.values == {CELLS[0]: 0.001, CELLS[2]: 0.002} and column.n_missing == 1


def test_hw_nas_bench_says_its_units_unless_the_user_knows_better(store, tmp_path):
    path = tmp_path / "hw.pkl"
    path.write_bytes(pickle.dumps(hw_nas_bench({"edgegpu_latency": [1.0], "odd_metric": [3.0]}, CELLS[:1])))
    with pytest.raises(UsageError, match="cifar10_odd_metric"):
        import_table(store, import_request(path, "hw", "nasbench201"))
    odd = "cifar10_odd_metric=none"
    with pytest.raises(UsageError, match="in ms by its format"):
        import_table(store, import_request(path, "hw", "nasbench201", ["s", odd]))
    import_table(store, import_request(path, "hw", "nasbench201", ["cifar10_edgegpu_latency=s", odd]))
    assert store.table_column("hw", "cifar10_edgegpu_latency").values == {CELLS[0]: 1.0}
    with pytest.raises(UsageError, match="cifar11_x"):
        import_table(store, import_request(path, "hw", "nasbench201", ["cifar11_x=s", odd]))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ([1, 2], "search spaces"),
        ({"darts": {}}, "darts"),
        ({"nasbench201": 5}, "nothing of the space"),
        ({"nasbench201": {}}, "no"),
        ({"nasbench201": {"cifar10": [1]}}, "HW-NAS-Bench"),
        ({"nasbench201": {"cifar10": {1: [1.0]}}}, "HW-NAS-Bench"),
        (hw_nas_bench({"a_latency": [1.0], "b_latency": [1.0, 2.0]}), "values"),
        (hw_nas_bench({"a_latency": ["fast"]}), "a str at 0"),
        (hw_nas_bench({"a_latency": [-3.0]}, CELLS[:1]), "negative"),
        (hw_nas_bench({"a_latency": [float("inf")]}, CELLS[:1]), "too large"),
        (hw_nas_bench({"a_latency": [1.0, 2.0]}, CELLS[:1] * 2), "twice"),
        (hw_nas_bench({"a_latency": [1.0]}, ["x:|conv~0|"]), "row 0"),
        ({"nasbench201": {"c": {"a_latency": [1.0], "config": [{}]}}}, "arch_str"),
        ({"nasbench201": {"c": {"a_latency": [1.0]}}}, "index alone"),
    ],
)
def test_a_pickle_that_is_no_hw_nas_bench_is_refused(store, tmp_path, content, word):
    path = tmp_path / "hw.pickle"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError) as caught:
        import_table(store, import_request(path, "hw", "nasbench201"))
    assert word in str(caught.value) and store.table_names() == []


def help_folder(tmp_path, files, beside):
    folder = tmp_path / "nasbench201"
    (folder / "latency").mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        torch.save(value, folder / "latency" / f"{name}.pt")
    for name, value in beside.items():
        torch.save(value, folder / name)
    return folder


@SLOW_FIXTURE
@given(values=TIMES, kind=st.sampled_from(["list", "float", "double", "numpy"]))
def test_help_folders_arrive_with_units_batch_and_identity(store, tmp_path, values, kind):
    make = {"list": list, "float": torch.FloatTensor, "double": torch.DoubleTensor, "numpy": np.array}[kind]
    n = len(values)
    index = {text.split(":")[1]: i for i, text in enumerate(CELLS[:n])}
    files = {"titanx_256": make(values), "silver_4114": make(values[:-1])}
    folder = help_folder(tmp_path, files, {"str_arch2idx.pt": index, "hardware_embedding_index.pt": [0]})
    for given_path in (folder, folder / "latency"):
        import_table(store, import_request(given_path, "help", "nasbench201"))
        gpu, cpu = store.table_column("help", "titanx_256"), store.table_column("help", "silver_4114")
        exact = torch.FloatTensor(values).double().tolist() if kind == "float" else values
        assert gpu.values == pytest.approx({CELLS[i]: value / 1000 for i, value in enumerate(exact)}, rel=1e-12)
        assert (gpu.batch, cpu.batch, gpu.unit, gpu.dimension, cpu.n_missing) == (256, None, "ms", "time", 1)


def test_a_folder_that_is_not_helps_is_asked_for_unit_and_identity(store, tmp_path):
    folder = help_folder(tmp_path, {"board_1": torch.tensor([1.0])}, {})
    with pytest.raises(BadFile, match="index alone"):
        import_table(store, import_request(folder, "h", "nasbench201"))
    torch.save({CELLS[0].split(":")[1]: 0}, folder / "str_arch2idx.pt")
    import_table(store, import_request(folder, "h", "nasbench201"))  # now it is HELP's, and HELP's are ms
    (folder / "str_arch2idx.pt").unlink()
    with pytest.raises(UsageError, match="unit of the column 'board_1'"):
        import_table(store, import_request(folder, "h2", "nasbench201"))
    import_table(store, import_request(folder, "h2", "nasbench201", ["us"], ["board_1=8"]))
    column = store.table_column("h2", "board_1")
    assert column.values == pytest.approx({CELLS[0]: 1e-6}) and column.batch == 8


def test_help_says_which_network_of_fbnet_an_index_is(store, tmp_path):
    rng = np.random.default_rng(0)
    networks = [FBNet().sample(rng) for _ in range(5)]
    meta = {"arch": [{"op_idx_list": list(network.decisions)} for network in networks]}
    folder = help_folder(tmp_path, {"raspi4": [5.0, 4, 3, 2, 1]}, {"metainfo.pt": meta})
    import_table(store, import_request(folder, "f", "fbnet"))
    expected = {network.text: (5 - i) / 1000 for i, network in enumerate(networks)}
    assert store.table_column("f", "raspi4").values == pytest.approx(expected)
    torch.save({"arch": [{"op_idx_list": [9] * 22}]}, folder / "metainfo.pt")
    with pytest.raises(UsageError):
        import_table(store, import_request(folder, "f", "fbnet"))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (torch.zeros(2, 2), "no vector"),
        (torch.zeros(4)[::2], "no vector"),
        (torch.zeros(2, dtype=torch.complex64), "refused"),
        (torch.zeros(2, dtype=torch.bfloat16), "refused"),
        (torch.nn.Parameter(torch.zeros(2)), "refused"),
        ({"a": 1}, "not a list of numbers"),
        ("text", "not a list of numbers"),
        ([1.0, "x"], "not a number"),
        ([], "empty"),
        (torch.tensor([-1.0]), "negative"),
        (torch.tensor([float("inf")]), "too large"),
    ],
)
def test_what_is_no_vector_of_latencies_is_refused(store, tmp_path, value, word):
    folder = help_folder(tmp_path, {"a": value}, {"str_arch2idx.pt": {CELLS[0].split(":")[1]: 0}})
    with pytest.raises(BadFile, match=word):
        import_table(store, import_request(folder, "h", "nasbench201"))


@given(
    st.lists(st.floats(-1e9, 1e9, width=32), max_size=9), st.sampled_from(["float16", "float32", "float64", "int64"])
)
def test_vectors_of_torch_are_what_torch_reads(tmp_path_factory, values, dtype):
    tensor = torch.tensor(values).to(getattr(torch, dtype))[len(values) // 3 :]  # a view: the storage is longer
    path = tmp_path_factory.mktemp("t") / "v.pt"
    torch.save(tensor, path)
    found = read_torch_file(path).value.values
    np.testing.assert_array_equal(found, torch.load(path, weights_only=True).numpy())


def test_a_storage_that_claims_more_than_is_there_is_refused(tmp_path):
    """torch.load takes the size on trust, weights_only or not."""
    path = tmp_path / "v.pt"
    torch.save(torch.zeros(3), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    members[name] = members[name].replace(b"K\x03", b"K\x7f")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BadFile, match="larger than its bytes"):
        read_torch_file(path)


class DriftMeasurement:
    """As the package defines it."""

    def __init__(self, value, uncertainty):
        self.value, self.uncertainty = value, uncertainty


class Architecture:
    """As the package defines it."""

    def __init__(self, code, accuracy, drift):
        self.architecture, self.baseline_accuracy, self.analog_drift_60 = code, accuracy, drift


CODES = st.dictionaries(
    st.tuples(*[st.integers(0, 4)] * 6),
    st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(0, 20)),
    min_size=1,
    max_size=8,
)


@SLOW_FIXTURE
@given(rows=CODES, protocol=st.integers(0, 5))
def test_analog_nas_bench_arrives_with_its_uncertainties(store, tmp_path, monkeypatch, rows, protocol):
    module = __import__("types").SimpleNamespace(Architecture=Architecture, DriftMeasurement=DriftMeasurement)
    monkeypatch.setitem(__import__("sys").modules, __name__, module)
    content = {code: Architecture(code, a, DriftMeasurement(b, c)) for code, (a, b, c) in rows.items()}
    (tmp_path / "data.anb").write_bytes(pickle.dumps(content, protocol))
    header = "architecture,baseline_accuracy,analog_drift_60,params\n"
    lines = [f'"{code}",{a!r},{b!r} ± {c!r},7' for code, (a, b, c) in rows.items()]
    (tmp_path / "benchmark_data.csv").write_text(header + "\n".join(lines) + "\n")
    for name in ("data.anb", "benchmark_data.csv"):
        import_table(store, import_request(tmp_path / name, "analog"))
        drift = store.table_column("analog", "analog_drift_60")
        assert drift.values == {text_of(code): b for code, (_, b, _) in rows.items()}
        assert drift.spreads == {text_of(code): c for code, (_, _, c) in rows.items()}
        assert (drift.dimension, drift.spread_kind, drift.space) == ("percent", "sd", "nasbench201")
        accuracy = store.table_column("analog", "baseline_accuracy")
        assert accuracy.values == {text_of(code): a for code, (a, _, _) in rows.items()} and not accuracy.spreads


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ([1], "architecture -> metrics"),
        ({}, "architecture -> metrics"),
        ({(0, 0, 0, 0, 0, 5): {"baseline_accuracy": 1.0}}, "no architecture"),
        ({(0, 0, 0): {"baseline_accuracy": 1.0}}, "no architecture"),
        ({(0,) * 6: 5}, "objects with metrics"),
        ({(0,) * 6: {"baseline_accuracy": "high"}}, "no accuracy"),
        ({(0,) * 6: {"baseline_accuracy": 101.0}}, "above 100"),
        ({(0,) * 6: {"baseline_accuracy": [1]}}, "no accuracy"),
        ({(0,) * 6: {"baseline_accuracy": 1.0}, (1,) * 6: {}}, "not every architecture"),
    ],
)
def test_an_analog_file_that_is_none_is_refused(store, tmp_path, content, word):
    (tmp_path / "data.anb").write_bytes(pickle.dumps(content))
    with pytest.raises(BadFile, match=word):
        import_table(store, import_request(tmp_path / "data.anb", "analog"))


def test_codes_of_naslib_are_the_architectures_of_the_reference_table(reference_data):
    import csv
    import gzip

    with gzip.open(reference_data / "nb201_analog.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15_625
    for row in rows:
        assert text_of([int(digit) for digit in row["naslib_code"].split("-")]) == f"nasbench201:{row['arch_str']}"


def test_units_batches_and_names_that_make_no_sense_are_said(tmp_path):
    for arguments in (
        {"units": ["ms", "s"]},
        {"batches": ["0"]},
        {"batches": ["x=-1"]},
        {"name": "../evil"},
        {"name": None},
    ):
        with pytest.raises(UsageError):
            import_request(tmp_path / "f.csv", **{"name": "t", "space": "nasbench201", **arguments})
    with pytest.raises(UnknownName):
        import_request("source_pack:nothing_ships_under_this_name")


def test_accuracies_between_0_and_1_are_not_taken_for_percent(store, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"arch_str,acc\n{CELLS[0]},0.91\n{CELLS[1]},\n")
    import_table(store, import_request(path, "a", "nasbench201", ["fraction"]))
    assert store.table_column("a", "acc").values == {CELLS[0]: 91.0}
    path.write_text(f"arch_str,acc\n{CELLS[0]},9100\n")
    with pytest.raises(BadFile, match="above 100"):
        import_table(store, import_request(path, "a", "nasbench201", ["percent"]))
