"""Int8 models: what the builder makes of a network, and that devices measure it."""

import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from devices._base import Device
from devices._config import parse_config
from hilnas import plugins
from hilnas.cli import cli
from hilnas.errors import UsageError
from hilnas.records import MeasurementProtocol
from profiler._artifacts import ArtifactStore
from profiler._campaign import measure
from profiler._models import model_workload
from profiler._plan import architecture_workload, block_workloads, load_space, sample_workloads
from profiler._workspace import Workspace
from profiler.builders._int8 import to_int8
from profiler.builders.onnxruntime import OnnxRuntime
from profiler.builders.onnxruntime_int8 import OnnxRuntimeInt8
from search_spaces._in_float import in_float
from search_spaces._onnx import to_onnx

SMALL = load_space("nasbench201", '{"depth":1,"resolution":16,"width":8}')
QUANTISED = load_space("quantised_cnn", '{"resolution":16,"width":8}')
QUICK = replace(
    MeasurementProtocol(),
    min_invocations=2,
    max_invocations=2,
    min_warmup_s=0.01,
    max_warmup_s=0.1,
    min_calls=5,
    min_measure_s=0.02,
    max_measure_s=0.05,
    sentinel_every=0,
)


@pytest.fixture
def builder(tmp_path):
    return OnnxRuntimeInt8(ArtifactStore(tmp_path / "artifacts"))


@pytest.fixture(autouse=True)
def own_leases(tmp_path, monkeypatch):
    monkeypatch.setattr("devices._lease.lease_folder", lambda: tmp_path / "leases")


def outputs(model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def sqnr_db(model, quantised, shape):
    inputs = np.random.default_rng(7).standard_normal((8, *shape)).astype(np.float32)
    right = np.array([outputs(model, x) for x in inputs])
    wrong = np.array([outputs(quantised, x) for x in inputs]) - right
    return 10 * np.log10((right**2).sum() / (wrong**2).sum())


def tensors_of(model):
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def test_every_convolution_gets_int8_weights_a_scale_a_channel(builder):
    workload = sample_workloads(SMALL, 1, 3)[0]
    artifact = builder.build(workload)
    assert (artifact.backend, artifact.recipe_path) == ("onnxruntime_int8", None)
    data = Path(artifact.path).read_bytes()
    assert len(data) == artifact.size_bytes
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    tensors, made_by = tensors_of(model), {node.output[0]: node for node in model.graph.node}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        weight = made_by[node.input[1]]
        assert weight.op_type == "DequantizeLinear"
        values, scales = (tensors[name] for name in weight.input[:2])
        assert values.dtype == np.int8 and scales.shape == (values.shape[0],)
        assert made_by[node.input[0]].op_type == "DequantizeLinear"


@pytest.mark.parametrize("seed", range(3))
def test_outputs_stay_near_those_in_floating_point(seed):
    """8 bits leave about 30 to 40 dB after a few layers; a wrong scale or a wrong axis leaves none."""
    space = (SMALL, QUANTISED)[seed % 2]
    graph = in_float(space.graph(space.sample_distinct(3, seed)[-1]))
    model = to_onnx(graph)
    assert sqnr_db(model, to_int8(model), graph.input.shape) > 20


def test_older_runtimes_can_read_it():
    model = to_onnx(SMALL.graph(SMALL.sample_distinct(1, 0)[0]))
    made, before = (onnx.load_model_from_string(data) for data in (to_int8(model), model))
    assert [(item.domain, item.version) for item in made.opset_import] == [("", 15)]
    assert made.ir_version == before.ir_version


def test_a_fixed_point_network_is_quantised_from_its_floating_point(builder):
    architecture = QUANTISED.sample_distinct(1, 0)[0]
    built = builder.build(architecture_workload(QUANTISED, architecture))
    kinds = {node.op_type for node in onnx.load(built.path).graph.node}
    assert not kinds & {"Round", "Clip", "Div"} and "QuantizeLinear" in kinds
    assert Path(built.path).read_bytes() == to_int8(to_onnx(in_float(QUANTISED.graph(architecture))))


def test_blocks_are_built_but_for_those_that_only_round(builder):
    workloads = {item.subject.split(":")[2].split("/")[0]: item for item in block_workloads(QUANTISED)}
    conv = builder.build(workloads["conv3x3_bn_relu"])
    assert "QuantizeLinear" in {node.op_type for node in onnx.load(conv.path).graph.node}
    with pytest.raises(UsageError, match="no int8 form"):
        builder.build(workloads["quantise1.3"])


def test_nothing_is_left_behind_and_nothing_is_said(builder, tmp_path, monkeypatch, capfd):
    """Neither files nor handlers nor advice, also where the runtime has something to warn of."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    root = logging.getLogger()
    before = (list(root.handlers), root.level, root.manager.disable)
    model = onnx.load_model_from_string(to_onnx(SMALL.graph(SMALL.sample_distinct(1, 1)[0])))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "nobody_reads_me"))
    to_int8(model.SerializeToString())
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (list(root.handlers), root.level, root.manager.disable) == before
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def user_model(path, kind, shape, nodes, initializers=()):
    graph = helper.make_graph(
        nodes,
        "user",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_with_integer_inputs(builder, tmp_path):
    table = numpy_helper.from_array(np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32), "table")
    weight = numpy_helper.from_array(np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32), "weight")
    nodes = [helper.make_node("Gather", ["table", "x"], ["e"]), helper.make_node("MatMul", ["e", "weight"], ["y"])]
    path = user_model(tmp_path / "user.onnx", TensorProto.INT64, [1, 8], nodes, [table, weight])
    built = builder.build(model_workload(path, builder.artifacts))
    assert any(tensor.dtype == np.int8 for tensor in tensors_of(onnx.load(built.path)).values())


def test_a_model_that_cannot_be_quantised_is_refused(builder, tmp_path):
    nodes = [helper.make_node("NoSuchOperator", ["x"], ["y"])]
    path = user_model(tmp_path / "user.onnx", TensorProto.FLOAT, [1, 8], nodes)
    with pytest.raises(UsageError, match="not quantised to int8") as error:
        builder.build(model_workload(path, builder.artifacts))
    assert error.value.cause and error.value.remedy


def campaign(folder, config):
    """Return what a campaign measures: three networks of two spaces."""
    workloads = [*sample_workloads(SMALL, 2, 0), *sample_workloads(QUANTISED, 1, 0)]
    with Workspace.open(folder) as workspace:
        done = measure(workspace, config, workloads, protocol=QUICK)
        facts = workspace.store.environment_facts(workspace.store.campaign(done.run_id).environment)
    return done, facts


def measured(done):
    """Return the statuses of measurements: a machine in use may be doubted, but nothing may fail."""
    assert all(item.status in ("ok", "rejected") for item in done.measurements), done.summary.causes
    assert all(item.cause is None or "build" not in item.cause for item in done.measurements)
    return len(done.measurements)


def test_local_cpu_measures_it(tmp_path):
    config = parse_config({"name": "int8", "kind": "local_cpu", "backend": "onnxruntime_int8"}, "test")
    done, facts = campaign(tmp_path, config)
    assert measured(done) == 3
    assert facts["runtime"]["name"] == "onnxruntime" and facts["runtime"]["models"] == "int8"


def test_a_board_measures_it(sshd, tmp_path):
    """The model is sent whole: a board cannot write it from a recipe."""
    done, facts = campaign(tmp_path, sshd.config(backend="onnxruntime_int8"))
    assert measured(done) == 3
    assert facts["runtime"]["models"] == "int8"


def test_float_and_int8_are_different_environments():
    keys = set()
    for backend in ("onnxruntime", "onnxruntime_int8"):
        config = parse_config({"name": "cpu", "kind": "local_cpu", "backend": backend}, "test")
        keys.add(plugins.load("devices", "local_cpu", Device)(config).probe().key)
    assert len(keys) == 2


def test_the_same_network_is_another_artifact(tmp_path):
    store = ArtifactStore(tmp_path)
    workload = sample_workloads(SMALL, 1, 0)[0]
    assert OnnxRuntime(store).build(workload).sha256 != OnnxRuntimeInt8(store).build(workload).sha256


@pytest.mark.parametrize(("space", "said"), [("quantised_cnn", True), ("nasbench201", False)])
def test_the_command_line_says_what_a_latency_of_fixed_point_is(tmp_path, space, said):
    command = ["profile", "fake", "--space", space, "--samples", "1", "--json"]
    done = CliRunner().invoke(cli, ["--workspace", str(tmp_path), *command])
    assert done.exit_code == 0, done.output
    assert ("that of int8" in done.stderr) is said
    assert json.loads(done.stdout)["ok"] == 1
