"""The kernels of a runtime: by hand, and against what ONNX Runtime makes of the same graphs."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from predictors._kernels import KERNEL_FEATURES, kernel_features
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces._onnx import to_onnx
from search_spaces.fbnet import FBNet
from search_spaces.nasbench201 import NasBench201

SMALL = NasBench201(width=8, depth=1, resolution=8)


def features(graph):
    found = kernel_features(graph)
    assert found.shape == (len(KERNEL_FEATURES),)
    return dict(zip(KERNEL_FEATURES, found.tolist(), strict=True))


def cell(text, space=SMALL):
    return features(space.graph(space.parse(text)))


EMPTY = "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"


def test_a_cell_of_skips_leaves_the_skeleton():
    """Stem, two reductions (pool, three convolutions, a sum a convolution takes over), head."""
    found = cell(EMPTY)
    assert found["n_convkxk"] == 1 + 2 * 2
    assert found["n_conv1x1"] == 2
    assert found["n_pool"] == 2 + 1
    assert found["n_fused_add"] == 2
    assert found["n_add"] == 0
    assert found["n_linear"] == found["n_norm"] == 1


def test_equal_poolings_of_one_tensor_are_computed_once():
    twice = cell("|avg_pool_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    once = cell("|avg_pool_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    assert twice["n_pool"] == once["n_pool"] == 3 + 3
    assert twice["n_add"] == once["n_add"] + 3


def test_convolutions_share_the_relu_but_not_themselves():
    found = cell("|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    base = cell(EMPTY)
    assert found["n_convkxk"] == base["n_convkxk"] + 6
    # The ReLU of the cell's input serves both convolutions; where that input is a sum taken over, it is fused.
    assert found["n_relu"] + found["n_fused_relu"] == base["n_relu"] + base["n_fused_relu"] + 3


def test_a_sum_of_two_poolings_is_fused_by_nobody():
    found = cell("|avg_pool_3x3~0|+|nor_conv_1x1~0|none~1|+|none~0|avg_pool_3x3~1|avg_pool_3x3~2|")
    assert found["n_add"] == 3


def test_a_sum_with_a_constant_is_a_kind_of_its_own():
    found = cell("|none~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    assert found["n_add_constant"] == 3
    assert found["n_fused_add"] == cell(EMPTY)["n_fused_add"]


def test_what_is_dead_is_not_there():
    dead = cell("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    assert dead == cell("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")


def test_a_constant_output_has_no_kernels():
    assert not kernel_features(SMALL.graph(SMALL.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"))).any()


@pytest.mark.parametrize("seed", range(10))
def test_renaming_nodes_of_a_cell_leaves_as_many_kernels(seed):
    """Nodes 1 and 2 may be exchanged where no edge joins them; only the order within sums of three differs."""
    rng = np.random.default_rng(seed)
    a, b, c, d, e = (int(item) for item in rng.integers(1, 5, size=5))
    first = features(SMALL.graph(SMALL.architecture((a, b, 0, c, d, e))))
    second = features(SMALL.graph(SMALL.architecture((b, a, 0, c, e, d))))
    for name in ("n_conv1x1", "n_convkxk", "n_pool", "elements_pool", "n_linear", "n_norm"):
        assert first[name] == second[name]
    sums = [sum(found[name] for name in ("n_add", "n_fused_add")) for found in (first, second)]
    assert sums[0] == sums[1]


def test_depthwise_and_large_convolutions_are_told_apart():
    spec = TensorSpec((1, 8, 4, 4))
    operators = (
        Operator("a", "conv2d", ("in0",), spec, spec, kernel=3, padding=1, groups=8),
        Operator("b", "conv2d", ("a",), spec, spec, kernel=5, padding=2),
        Operator("r", "relu", ("b",), spec, spec),
    )
    found = features(Graph(spec, (Call("x", Block("sep", (spec,), operators), ("input",)),)))
    assert found["n_depthwise"] == found["n_convkxk"] == found["n_fused_relu"] == 1
    assert found["n_relu"] == 0
    assert found["depthwise_to_convkxk"] == 1
    assert found["kernel_depth"] == 3


def test_grouped_convolutions_are_depthwise_only_where_every_channel_is_a_group():
    """Layer 3: two pointwise convolutions of two groups, a shuffle, a depthwise one; sum and ReLUs are fused."""
    space = FBNet(resolution=8)
    skips = ["skip"] * 22
    bare, found = cell("|".join(skips), space), cell("|".join([*skips[:2], "k5_e1_g2", *skips[3:]]), space)
    changes = {name: found[name] - bare[name] for name in KERNEL_FEATURES if found[name] != bare[name]}
    assert changes["n_conv1x1"] == 2
    assert changes["n_depthwise"] == changes["n_other"] == changes["n_fused_add"] == 1
    assert changes["n_fused_relu"] == 2
    assert changes["elements_depthwise"] == 24 * 8 * 8
    assert found["n_relu"] == found["n_add"] == 0


def test_shuffles_of_other_groups_are_other_kernels():
    spec = TensorSpec((1, 8, 4, 4))
    for groups in (2, 4):
        operators = (
            Operator("a", "channel_shuffle", ("in0",), spec, spec, groups=2),
            Operator("b", "channel_shuffle", ("in0",), spec, spec, groups=groups),
            Operator("add", "add", ("a", "b"), spec, spec),
        )
        found = features(Graph(spec, (Call("x", Block("shuffles", (spec,), operators), ("input",)),)))
        assert found["n_other"] == groups // 2


def optimised_kinds(graph, tmp_path):
    """Return how many nodes of each kind ONNX Runtime is left with."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(to_onnx(graph), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)


def test_onnx_runtime_has_as_many_convolutions_and_shuffles(tmp_path):
    space = FBNet(resolution=8, classes=3)
    for architecture in space.sample_distinct(10, seed=4):
        graph = space.graph(architecture)
        kinds, found = optimised_kinds(graph, tmp_path), features(graph)
        convolutions = found["n_conv1x1"] + found["n_convkxk"] + found["n_depthwise"]
        assert convolutions == kinds["Conv"] + kinds["FusedConv"]
        assert found["n_other"] == kinds["Transpose"]


def test_onnx_runtime_has_as_many_kernels(tmp_path):
    """Pools and convolutions, on any processor; it turns the head's normalisation into a convolution on some."""
    for architecture in SMALL.sample_distinct(25, seed=3):
        graph = SMALL.graph(architecture)
        kinds, found = optimised_kinds(graph, tmp_path), features(graph)
        assert found["n_pool"] == kinds["AveragePool"] + kinds["GlobalAveragePool"]
        convolutions = found["n_conv1x1"] + found["n_convkxk"] + found["n_norm"]
        assert 0 <= convolutions - kinds["Conv"] - kinds["FusedConv"] - kinds["BatchNormalization"] <= 1
