"""Blocks: counts, chains."""

import numpy as np
import onnxruntime
import pytest

from search_spaces._blocks import block_graph, lookup_counts
from search_spaces._onnx import to_onnx
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(width=4, depth=2, resolution=8)
BLOCKS = {block.key: block for block in SPACE.blocks()}


def test_nineteen_blocks():
    kinds = [block.kind for block in SPACE.blocks()]
    assert len(BLOCKS) == 19
    per_stage = ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "sum2", "sum3")
    assert all(kinds.count(kind) == 3 for kind in per_stage)
    assert (kinds.count("stem"), kinds.count("reduction"), kinds.count("head")) == (1, 2, 1)


def test_counts_of_the_live_graph_and_of_all():
    cell = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|avg_pool_3x3~1|none~2|")
    live, everything = lookup_counts(SPACE.graph(cell)), lookup_counts(SPACE.graph(cell), live=False)
    assert live["nor_conv_3x3/1x4x8x8/1x4x8x8/w32a32"] == 2
    assert everything["nor_conv_3x3/1x4x8x8/1x4x8x8/w32a32"] == 4
    assert live["sum2/1x4x8x8/1x4x8x8/w32a32"] == 2
    assert live["stem/1x3x8x8/1x4x8x8/w32a32"] == live["head/1x16x2x2/1x10/w32a32"] == 1


def test_constants_are_not_counted():
    cell = SPACE.parse("|none~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|none~2|")
    assert not any(key.startswith("zeros") for key in lookup_counts(SPACE.graph(cell), live=False))


@pytest.mark.parametrize("kind", ["nor_conv_3x3", "avg_pool_3x3", "sum3"])
def test_chains_survive_the_runtime_s_optimiser(kind, tmp_path):
    """What is measured are `repeat` kernels, not fewer."""
    block = next(block for block in SPACE.blocks() if block.kind == kind)
    graph = block_graph(block, repeat=4)
    assert [call.inputs[0] for call in graph.calls] == ["input", "copy0", "copy1", "copy2"]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = onnxruntime.InferenceSession(to_onnx(graph), options, providers=["CPUExecutionProvider"])
    x = np.ones(graph.input.shape, np.float32)
    assert session.run(None, {"input": x})[0].shape == graph.input.shape
    import onnx

    left = onnx.load(tmp_path / "optimised.onnx").graph.node
    wanted = {"nor_conv_3x3": ("Conv", "FusedConv"), "avg_pool_3x3": ("AveragePool",), "sum3": ("Add", "Sum")}[kind]
    per_block = 2 if kind == "sum3" else 1
    assert sum(node.op_type in wanted for node in left) == 4 * per_block


def test_a_block_that_changes_the_shape_is_not_chained():
    stem = next(block for block in SPACE.blocks() if block.kind == "stem")
    assert len(block_graph(stem).calls) == 1
    with pytest.raises(ValueError, match="changes the shape"):
        block_graph(stem, repeat=2)
