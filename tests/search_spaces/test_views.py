"""PyTorch and ONNX beyond what every space's contract asks: 200 cells, constants, odd blocks, copies."""

import copy
import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._onnx import to_onnx
from search_spaces._torch import GraphModule, load_weights, read_weights, to_module
from search_spaces._weights import make_weights
from search_spaces.nasbench201 import NasBench201

SMALL = NasBench201(width=4, depth=2, resolution=8)


pytestmark = pytest.mark.usefixtures("one_thread")


def random_weights(graph, seed=0):
    """Return random weights and statistics, biases included."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(0.5, 1.5, values.shape).astype(np.float32) if values.ndim == 1 else values
        for name, values in make_weights(graph, seed).items()
    }


def assert_agree(graph, weights, seed=0):
    x = np.random.default_rng(seed).standard_normal(graph.input.shape, dtype=np.float32)
    with torch.no_grad():
        expected = to_module(graph, weights).eval()(torch.from_numpy(x)).numpy()
    model = to_onnx(graph, weights)
    onnx.checker.check_model(onnx.load_model_from_string(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    got = session.run(["output"], {"input": x})[0]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_200_cells_agree():
    space = NasBench201(width=8, depth=1, resolution=8)
    for seed, architecture in enumerate(space.sample_distinct(200, seed=0)):
        graph = space.graph(architecture)
        assert_agree(graph, random_weights(graph, seed), seed)


@pytest.mark.parametrize(
    "cell", [(0,) * 6, (3, 3, 3, 0, 0, 0), (0, 2, 3, 0, 4, 3), (0, 0, 3, 3, 2, 2), (1,) * 6, (4,) * 6]
)
def test_disconnected_and_extreme_cells_agree(cell):
    graph = SMALL.graph(SMALL.architecture(cell))
    assert_agree(graph, random_weights(graph))


def test_published_size_and_batch_agree():
    space = NasBench201(batch=2)
    graph = space.graph(space.architecture((3, 2, 4, 1, 3, 0)))
    assert_agree(graph, random_weights(graph))


def test_grouped_and_biased_convolutions_agree():
    """Folding with a bias, groups, a normalisation that follows something else, a linear layer without bias."""
    entry, middle, small = TensorSpec((1, 4, 9, 9)), TensorSpec((1, 8, 9, 9)), TensorSpec((1, 8, 5, 5))
    pooled, out = TensorSpec((1, 8)), TensorSpec((1, 5))
    operators = (
        Operator("conv", "conv2d", ("in0",), entry, middle, kernel=3, padding=1, groups=2, bias=True),
        Operator("bn", "batch_norm", ("conv",), middle, middle),
        Operator("relu", "relu", ("bn",), middle, middle),
        Operator("depthwise", "conv2d", ("relu",), middle, small, kernel=5, stride=2, padding=2, groups=8, bias=True),
        Operator("relu2", "relu", ("depthwise",), small, small),
        Operator("bn2", "batch_norm", ("relu2",), small, small),
        Operator("pool", "avg_pool2d", ("bn2",), small, small, kernel=3, padding=1),
        Operator("global", "global_avg_pool", ("pool",), small, pooled),
        Operator("fc", "linear", ("global",), pooled, out),
    )
    graph = Graph(entry, (Call("net", Block("net", (entry,), operators), ("input",)),))
    assert_agree(graph, random_weights(graph))
    kinds = [node.op_type for node in onnx.load_model_from_string(to_onnx(graph)).graph.node]
    assert kinds.count("BatchNormalization") == 1


def test_a_normalisation_read_elsewhere_is_not_lost():
    """The convolution's own result is read twice: nothing may be folded into it."""
    spec = TensorSpec((1, 4, 6, 6))
    operators = (
        Operator("conv", "conv2d", ("in0",), spec, spec, kernel=3, padding=1),
        Operator("bn", "batch_norm", ("conv",), spec, spec),
        Operator("add", "add", ("bn", "conv"), spec, spec),
    )
    graph = Graph(spec, (Call("net", Block("net", (spec,), operators), ("input",)),))
    assert_agree(graph, random_weights(graph))


def test_only_what_reaches_the_output_is_written():
    dead = SMALL.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_1x1~0|none~1|none~2|")
    model = onnx.load_model_from_string(to_onnx(SMALL.graph(dead)))
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 1 + 6 + 6
    assert not any("e01" in item.name for item in model.graph.initializer)
    constant = onnx.load_model_from_string(to_onnx(SMALL.graph(SMALL.architecture((0,) * 6))))
    assert [item.name for item in constant.graph.input] == ["input"]


def test_modules_can_be_copied_and_pickled():
    graph = SMALL.graph(SMALL.architecture((0, 0, 3, 2, 4, 3)))
    module = to_module(graph).eval()
    x = torch.randn(3, 3, 8, 8)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(x), module(x))
        next(iter(other.layers.values())).weight.data.zero_()
        assert not torch.equal(other(x), module(x))


def test_building_leaves_torch_s_generator_alone():
    before = torch.random.get_rng_state()
    to_module(SMALL.graph(SMALL.architecture((2,) * 6)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_any_batch_runs():
    module = to_module(SMALL.graph(SMALL.architecture((0,) * 6))).eval()
    assert module(torch.zeros(5, 3, 8, 8)).shape == (5, 10)


def test_missing_weights_are_named():
    graph = SMALL.graph(SMALL.architecture((2,) * 6))
    weights = make_weights(graph)
    del weights["head.classifier.bias"]
    for use in (lambda: to_onnx(graph, weights), lambda: load_weights(GraphModule(graph), weights)):
        with pytest.raises(KeyError, match=r"head\.classifier\.bias"):
            use()


def test_reading_does_not_share_memory():
    module = to_module(SMALL.graph(SMALL.architecture((2,) * 6)))
    weights = read_weights(module)
    weights["stem.conv.weight"][:] = 0
    assert module.layers["stem__conv"].weight.abs().max() > 0
