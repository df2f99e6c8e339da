"""`hilnas profile --static` and `--model package.module:function` as users type them."""

import json
import subprocess
import sys

import onnx
import pytest

from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201

CODE = """
from torch import nn


def build(width=4):
    print("building")
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 5)), (1, 3, 8, 8)


def fails():
    raise ValueError("no such thing")
"""
CELL = "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


@pytest.fixture
def hilnas(tmp_path):
    (tmp_path / "my_networks.py").write_text(CODE)

    def run(*arguments, code=0, as_json=True):
        command = [sys.executable, "-m", "hilnas.cli", "--workspace", str(tmp_path / "w"), *arguments]
        command += ["--json"] if as_json else []
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr and "Warning" not in done.stderr
        return json.loads(done.stdout) if as_json and code == 0 else done

    return run


def test_the_costs_of_a_function_of_a_file_and_of_an_architecture(hilnas, tmp_path):
    macs = 8 * 27 * 36 + 8 * 36 * 5
    found = hilnas("profile", "--static", "my_networks:build", "--argument", "width=8")
    assert found["macs"] == sum(row["macs"] for row in found["layers"]) == macs
    assert found["cross_check"]["agrees"] and found["uncounted"] == {} and found["inputs"] == ["1x3x8x8"]
    shown = hilnas("profile", "--static", "my_networks:build", "--shape", "2x3x8x8", as_json=False).stdout
    assert "Conv2d" in shown and "2x4x6x6" in shown and "building" not in shown
    space = NasBench201(depth=1)
    graph = space.graph(space.parse(CELL))
    (tmp_path / "a.onnx").write_bytes(to_onnx(graph))
    file = hilnas("profile", "--static", "a.onnx")
    cell = hilnas("profile", "--static", f"nasbench201:{CELL}", "--space-option", "depth=1")
    assert cell["source"] == "graph" and file["source"] == "onnx"
    assert file["macs"] == sum(op.macs for _, op in graph.without_dead().operators)
    assert cell["macs"] == sum(op.macs for _, op in graph.operators)


def test_a_function_that_fails_leaves_the_other_to_be_measured(hilnas):
    done = hilnas(
        "profile",
        "local_cpu",
        "--model",
        "my_networks:build",
        "--model",
        "my_networks:fails",
        "--invocations",
        "5",
        "--wait",
        "3min",
    )
    assert done["failed"] == 1 and done["ok"] + done["rejected"] == 1
    assert done["causes"]["my_networks:fails"] == "build: my_networks:fails raised ValueError: no such thing"


def test_several_inputs_and_external_data_are_measured(hilnas, tmp_path):
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in ("x", "z")]
    nodes = [helper.make_node("Add", ["x", "z"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, [out], [weight]), ir_version=8)
    model.opset_import[0].version = 15
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    done = hilnas(
        "profile",
        "local_cpu",
        "--model",
        "m.onnx",
        "--shape",
        "8x64",
        "--shape",
        "z=8x64",
        "--invocations",
        "5",
        "--wait",
        "3min",
    )
    assert done["failed"] == 0 and done["ok"] + done["rejected"] == 1
    (tmp_path / "m.bin").unlink()
    refused = hilnas("profile", "local_cpu", "--model", "m.onnx", "--shape", "8x64", code=2, as_json=False)
    assert "the external data of 'w' is missing: m.bin" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("profile",), "no device was named"),
        (("profile", "fake", "--static", "a.onnx"), "--static stands alone"),
        (("profile", "--static", "missing.onnx"), "missing.onnx cannot be read"),
        (("profile", "--static", "my_networks:fails"), "raised ValueError: no such thing"),
        (("profile", "fake", "--model", "my_networks:fails"), "raised ValueError: no such thing"),
        (("profile", "fake", "--model", "my_networks:build", "--shape", "1xfour"), "cannot read the shape"),
    ],
)
def test_bad_input_is_a_clear_error(hilnas, arguments, words):
    done = hilnas(*arguments, code=2, as_json=False)
    assert words in done.stderr and done.stdout == ""
