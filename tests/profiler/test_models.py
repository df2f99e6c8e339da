"""Any model as a workload: files with external data, functions of the user, and whatever can be wrong with them."""

import contextlib
import sys
import uuid

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hilnas.errors import BadFile, HilnasError, UsageError
from hilnas.records import canonical_json
from profiler import _onnx_file
from profiler._artifacts import ArtifactStore
from profiler._asked import Asked, asked_model, asked_workloads, parse_arguments, parse_input
from profiler._models import ModelSource, model_file, model_workload, model_workloads
from profiler._onnx_file import open_model, read_model
from profiler._plan import workload_module
from profiler._static import static_table
from profiler.builders.onnxruntime import OnnxRuntime
from profiler.builders.symbolic import Symbolic
from profiler.builders.torch_eager import TorchEager
from search_spaces._errors import CannotBuild, NetworkChanged
from search_spaces._layer_costs import Input

CODE = """
import torch
from torch import nn

print("imported")


def small(width=8, name="x", scale=1.0, deep=False):
    print("building")
    layers = [nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def shaped():
    return small(4), (1, 3, 16, 16)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.table = nn.Linear(8, 4), nn.Embedding(10, 4)

    def forward(self, x, ids):
        print("running")
        return self.layer(x) + self.table(ids).mean(1)


def two():
    return Two()


def both_shapes():
    class Sum(nn.Module):
        def forward(self, x, y):
            return x + y

    return Sum(), [(2, 3), (2, 3)]


def huge():
    return nn.Sequential(*[nn.Linear(2**14, 2**14) for _ in range(40)]), (1, 2**14)


def raises():
    raise RuntimeError("no luck")


def leaves():
    raise SystemExit(3)


def returns_three():
    return 3


def odd_shape():
    return small(), "wide"


def does_not_run():
    return nn.Linear(4, 4), (1, 5)


def cannot_be_exported():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x).real

    return Odd(), (3, 3)


number = 3
"""


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Give the name of a module of the user, in the current directory."""
    name = f"nets_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def small_model(rows="batch", data=None):
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 5])
    weight = numpy_helper.from_array(np.ones((4, 5), np.float32) if data is None else data, "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [entry], [out], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def external(path, location="weights.bin", offset=0, length=80, content=b"\0" * 80):
    """Write a model whose weights lie in another file."""
    model = small_model(1)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        weight.external_data.add(key=key, value=str(value))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    if content is not None:
        (path.parent / location).write_bytes(content)
    return path


def test_a_file_is_taken_as_it_is(store, tmp_path):
    data = small_model(2).SerializeToString()
    (tmp_path / "a.onnx").write_bytes(data)
    workload = model_workload(tmp_path / "a.onnx", store)
    assert (workload.input_shape, workload.name, workload.options) == ((2, 4), "a.onnx", "{}")
    assert model_file(workload, store)[1] == data


def test_dynamic_shapes_are_fixed_in_what_is_stored(store, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(small_model().SerializeToString())
    with pytest.raises(UsageError, match=r"a\.onnx: the input 'x' has a dynamic shape") as caught:
        model_workload(path, store)
    assert "--shape x=1x4" in caught.value.remedy
    one, two = (model_workload(ModelSource(str(path), (Input((n, 4)),)), store) for n in (1, 2))
    assert one.key != two.key and two.input_shape == (2, 4)
    onnx.checker.check_model(onnx.load_model_from_string(model_file(two, store)[1]), full_check=True)


def test_external_data_comes_inside(store, tmp_path):
    content = np.arange(20, dtype=np.float32).tobytes()
    path = external(tmp_path / "models" / "a.onnx", offset=16, content=b"\0" * 16 + content)
    model = onnx.load_model_from_string(model_file(model_workload(path, store), store)[1])
    assert numpy_helper.to_array(model.graph.initializer[0]).tobytes() == content
    assert static_table(ModelSource(str(path))).macs == 20


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"location": "../secret.bin", "content": None}, "outside of the model's folder"),
        ({"location": "/etc/hostname", "content": None}, "outside of the model's folder"),
        ({"location": "sub/../../secret.bin", "content": None}, "outside of the model's folder"),
        ({"content": None}, "is missing"),
        ({"length": 100}, "ends behind the file"),
        ({"offset": 40}, "ends behind the file"),
        ({"offset": -4}, "ends behind the file"),
        ({"offset": "four"}, "bad offset or length"),
    ],
)
def test_external_data_is_looked_at_before_it_is_read(store, tmp_path, values, words):
    (tmp_path / "secret.bin").write_bytes(b"\0" * 80)
    path = external(tmp_path / "models" / "a.onnx", **values)
    for use in (lambda: model_workload(path, store), lambda: static_table(ModelSource(str(path)))):
        with pytest.raises(BadFile, match=words):
            use()


def test_a_link_out_of_the_folder_is_refused(store, tmp_path):
    path = external(tmp_path / "models" / "a.onnx", content=None)
    (tmp_path / "secret.bin").write_bytes(b"\0" * 80)
    (tmp_path / "models" / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(BadFile, match="outside of the model's folder"):
        model_workload(path, store)


def test_a_file_that_is_no_model(store, tmp_path):
    path = tmp_path / "a.onnx"
    for data in (b"", b"noise" * 100, onnx.ModelProto(ir_version=8).SerializeToString()):
        path.write_bytes(data)
        for use in (lambda: model_workload(path, store), lambda: open_model(path)):
            with pytest.raises(BadFile, match=r"a\.onnx is no ONNX model"):
                use()
    with pytest.raises(BadFile, match="cannot be read: Is a directory"):
        open_model(tmp_path)


@given(st.binary(max_size=300))
def test_whatever_the_bytes_the_error_is_one_of_ours(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "a.onnx"
    data = bytearray(small_model(1).SerializeToString())
    data[len(data) // 3 : len(data) // 3 + len(noise)] = noise
    path.write_bytes(bytes(data))
    for use in (lambda: read_model(path), lambda: static_table(ModelSource(str(path)))):
        with contextlib.suppress(HilnasError):
            use()


def test_a_model_beyond_the_limit_is_refused(store, tmp_path, monkeypatch):
    path = external(tmp_path / "a.onnx")
    monkeypatch.setattr(_onnx_file, "MAX_MODEL_BYTES", path.stat().st_size + 10)
    with pytest.raises(BadFile, match="larger than 2 GiB"):
        model_workload(path, store)
    assert static_table(ModelSource(str(path))).macs == 20, "it can be counted all the same"
    monkeypatch.setattr(_onnx_file, "MAX_MODEL_BYTES", 10)
    with pytest.raises(BadFile, match="larger than 2 GiB"):
        open_model(path)


def test_a_function_is_exported_once_and_built_again(store, nets, capsys):
    import onnxruntime
    import torch

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    workload = model_workload(asked_model(f"{nets}:small", ["1x3x16x16"], ["width=4"]), store)
    assert torch.equal(before, torch.random.get_rng_state())
    assert workload == model_workload(asked_model(f"{nets}:small", ["1x3x16x16"], ["width=4"]), store)
    assert (workload.input_shape, workload.name) == ((1, 3, 16, 16), f"{nets}:small(width=4)")
    module = workload_module(workload)
    assert not module.training
    x = torch.randn(1, 3, 16, 16)
    session = onnxruntime.InferenceSession(model_file(workload, store)[1])
    (output,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(output, module(x).detach().numpy(), atol=1e-4)
    shown = capsys.readouterr()
    assert shown.out == "" and "building" in shown.err


def test_a_function_may_say_its_shape_and_take_several_inputs(store, nets, capsys):
    assert model_workload(ModelSource(f"{nets}:shaped"), store).input_shape == (1, 3, 16, 16)
    assert model_workload(asked_model(f"{nets}:shaped", ["2x3x8x8"]), store).input_shape == (2, 3, 8, 8)
    assert model_workload(ModelSource(f"{nets}:both_shapes"), store).input_shape == (2, 3)
    two = model_workload(asked_model(f"{nets}:two", ["2x8", "ids=2x5:int64"]), store)
    inputs = onnx.load_model_from_string(model_file(two, store)[1]).graph.input
    assert [(item.name, item.type.tensor_type.elem_type) for item in inputs] == [("input0", 1), ("ids", 7)]
    assert static_table(asked_model(f"{nets}:two", ["2x8", "ids=2x5:int64"])).macs == 64
    assert capsys.readouterr().out == ""


def test_a_function_of_several_inputs_is_a_program_of_torch_too(store, nets, capsys):
    import io

    import torch

    workload = model_workload(asked_model(f"{nets}:two", ["2x8", "ids=2x5:int64"]), store)
    first, second = (TorchEager(store).build(workload) for _ in range(2))
    assert first.sha256 == second.sha256 and first.path is not None
    program = torch.export.load(io.BytesIO(store.read(first.sha256, ".pt2"))).module()
    assert program(torch.zeros(2, 8), torch.zeros(2, 5, dtype=torch.int64)).shape == (2, 4)
    assert capsys.readouterr().out == ""


def test_a_model_that_was_thrown_away_is_exported_again(store, nets, tmp_path):
    workload = model_workload(ModelSource(f"{nets}:shaped"), store)
    digest, data = model_file(workload, store)
    store.path(digest, ".onnx").unlink()
    assert model_file(workload, store) == (digest, data)
    store.path(digest, ".onnx").unlink()
    (tmp_path / f"{nets}.py").write_text(CODE.replace("small(4)", "small(5)"))
    sys.modules.pop(nets)
    with pytest.raises(NetworkChanged, match="another network now"):
        model_file(workload, store)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("raises", CannotBuild, "raised RuntimeError: no luck"),
        ("leaves", CannotBuild, "raised SystemExit: 3"),
        ("returns_three", CannotBuild, "returns a int, no nn.Module"),
        ("odd_shape", CannotBuild, "returns 'wide', which is no input shape"),
        ("does_not_run", CannotBuild, "mat1 and mat2"),
        ("cannot_be_exported", CannotBuild, "torch cannot export the network to ONNX"),
        ("huge", CannotBuild, "40.0 GiB of weights"),
        ("small", UsageError, "the input shape of .* is not known"),
        ("nope", UsageError, "has no nope"),
        ("number", UsageError, "cannot be called"),
    ],
)
def test_a_function_that_gives_no_network(store, nets, name, kind, words):
    with pytest.raises(kind, match=words):
        model_workload(ModelSource(f"{nets}:{name}"), store)


def test_a_module_that_is_not_there_or_takes_other_arguments(store, nets):
    with pytest.raises(UsageError, match="cannot be imported"):
        model_workload(ModelSource("no_such_module:build"), store)
    with pytest.raises(CannotBuild, match="unexpected keyword argument 'depth'"):
        model_workload(asked_model(f"{nets}:shaped", [], ["depth=3"]), store)


def test_the_costs_of_what_fits_into_no_memory_and_of_what_fails(nets):
    assert static_table(ModelSource(f"{nets}:huge")).weight_bytes > 40 * 2**30
    with pytest.raises(UsageError, match="the network fails on the input 1x5"):
        static_table(ModelSource(f"{nets}:does_not_run"))
    with pytest.raises(CannotBuild, match="no luck"):
        static_table(ModelSource(f"{nets}:raises"))


def test_the_costs_of_an_architecture_by_prefix_or_space():
    from search_spaces._costs import static_costs
    from search_spaces.nasbench201 import NasBench201

    cell = "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    space = NasBench201(width=8)
    costs = static_costs(space.graph(space.parse(cell)))
    options = canonical_json({"width": 8})
    for text, name in ((f"nasbench201:{cell}", None), (cell, "nasbench201")):
        table = static_table(ModelSource(text), name, options)
        assert (table.macs, table.params) == (costs.macs, costs.params)
    with pytest.raises(UsageError, match="own input shape"):
        static_table(ModelSource(f"nasbench201:{cell}", (Input((1, 3, 8, 8)),)))
    with pytest.raises(UsageError, match="no file, no function and no architecture"):
        static_table(ModelSource("nonsense"))
    with pytest.raises(BadFile, match="No such file"):
        static_table(ModelSource("missing.onnx"))


def test_one_bad_model_of_several_is_a_workload_whose_build_fails(store, nets, tmp_path):
    (tmp_path / "noise.onnx").write_bytes(b"noise")
    names = [f"{nets}:shaped", f"{nets}:raises", "noise.onnx"]
    good, raising, noise = model_workloads([ModelSource(name) for name in names], store)
    assert OnnxRuntime(store).build(good).size_bytes > 0
    for builder in (OnnxRuntime(store), Symbolic(store)):
        for bad, words in ((raising, "no luck"), (noise, "no ONNX model")):
            with pytest.raises(HilnasError, match=words):
                builder.build(bad)
    with pytest.raises(CannotBuild, match="no luck"):
        model_workloads([ModelSource(f"{nets}:raises"), ModelSource("noise.onnx")], store)
    with pytest.raises(BadFile, match="No such file"):
        model_workloads([ModelSource(f"{nets}:shaped"), ModelSource("mistyped.onnx")], store)


def test_an_onnx_file_has_no_module(store, tmp_path):
    (tmp_path / "a.onnx").write_bytes(small_model(1).SerializeToString())
    with pytest.raises(UsageError, match="torch has no module of it"):
        workload_module(model_workload(tmp_path / "a.onnx", store))


@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=5),
    st.sampled_from(["float32", "int64", "uint8", "bool"]),
    st.sampled_from(["", "x", "input.1", "a/b:0", "encoder_hidden_states"]),
)
def test_inputs_are_read_as_they_are_written(shape, dtype, name):
    item = Input(tuple(shape), dtype, name)
    assert parse_input(str(item)) == item


@pytest.mark.parametrize("text", ["", "x", "1x", "x=", "1x-3", "0x3", "1x3:float99", "1x3:", "1,3", "=3", "9" * 40])
def test_a_shape_that_is_none(text):
    with pytest.raises(UsageError):
        parse_input(text)


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_arguments_keep_their_kind(values):
    texts = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in values.items()]
    found = parse_arguments(texts)
    assert found == values and all(type(found[name]) is type(value) for name, value in values.items())


def test_arguments_that_are_none():
    assert parse_arguments(["a=large", "b=", "c=nan"]) == {"a": "large", "b": "", "c": "nan"}
    for pairs in (["a"], ["=3"], ["1a=3"], ["a=1", "a=2"]):
        with pytest.raises(UsageError):
            parse_arguments(pairs)


def test_sources_come_back_from_their_text():
    source = ModelSource("a.b:c", (Input((1, 2)), Input((3,), "int64", "ids")), {"width": 8, "name": "x"})
    assert ModelSource.from_json(source.to_json()) == source


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"shapes": ["1x3"]}, "belong to --model"),
        ({"arguments": ["a=1"]}, "belong to --model"),
        ({"models": ["a.onnx"], "arguments": ["a=1"]}, "takes no arguments"),
        ({"models": ["a.b:c"], "shapes": ["x=1", "x=2"]}, "names an input twice"),
        ({"models": ["a.onnx"], "samples": 3}, "stands alone"),
        ({}, "nothing to measure was named"),
        ({"space": "nasbench201"}, "nothing of the space"),
    ],
)
def test_options_that_contradict_each_other(store, keywords, words):
    with pytest.raises(UsageError, match=words):
        asked_workloads(Asked(**keywords), store)
