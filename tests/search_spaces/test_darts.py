"""DARTS: published networks, texts and genotypes, shapes of cells."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from hilnas.errors import UsageError
from search_spaces._blocks import block_graph
from search_spaces._costs import static_costs
from search_spaces._torch import to_module
from search_spaces._weights import make_weights
from search_spaces.darts import OPERATIONS, Darts

#: Genotypes as their authors printed them (DARTS, second order; PC-DARTS on CIFAR-10).
DARTS_V2 = """Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5],
reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"""
PC_DARTS = """Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), ('dil_conv_3x3', 1),
('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_3x3', 1)], normal_concat=range(2, 6),
reduce=[('sep_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0),
('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], reduce_concat=range(2, 6))"""
SPACE = Darts()
IMAGENET = {"imagenet": 1, "width": 48, "cells": 14}

decisions = st.tuples(*(st.integers(0, size - 1) for size in SPACE.cardinalities))


@pytest.mark.parametrize(
    "genotype, options, millions",
    [(DARTS_V2, {}, 3.3), (DARTS_V2, IMAGENET, 4.7), (PC_DARTS, {}, 3.6), (PC_DARTS, IMAGENET, 5.3)],
)
def test_published_networks_have_their_published_parameters(genotype, options, millions):
    space = Darts(**options)
    assert round(static_costs(space.graph(space.parse(genotype))).params / 1e6, 1) == millions


@given(decisions)
def test_texts_and_genotypes_are_read_back(chosen):
    architecture = SPACE.architecture(chosen)
    assert SPACE.parse(architecture.text) == SPACE.parse(SPACE.genotype(architecture)) == architecture


def test_the_order_of_a_nodes_edges_does_not_matter():
    text = SPACE.parse(DARTS_V2).text
    turned = text.replace("|sep_conv_3x3~0|sep_conv_3x3~1|+", "|sep_conv_3x3~1|sep_conv_3x3~0|+")
    assert turned != text and SPACE.parse(turned) == SPACE.parse(text)


@pytest.mark.parametrize(
    "text, message",
    [
        (DARTS_V2.replace("sep_conv_3x3", "sep_conv_3x4"), "unknown operation 'sep_conv_3x4'"),
        (
            DARTS_V2.replace("('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0)", "('sep_conv_3x3', 0)"),
            "no genotype",
        ),
        (DARTS_V2.replace("[2, 3, 4, 5]", "[3, 4, 5]"), "no genotype of darts"),
        (
            "Genotype(normal=__import__('os').system('true'), normal_concat=[], reduce=[], reduce_concat=[])",
            "no genotype",
        ),
        ("Genotype(" + "(" * 5000, "no genotype"),
        ("Genotype(normal=1)", "no genotype"),
        (SPACE.parse(DARTS_V2).text.replace("sep_conv_3x3~0|", "sep_conv_3x3~1|", 1), "cannot read"),
        (SPACE.parse(DARTS_V2).text.replace("~2", "~7"), "cannot read"),
        ("|a~0|b~1|;|", "four nodes"),
        (SPACE.parse(DARTS_V2).text.replace("~2", "~" + "9" * 5000), "is not OPERATION~SOURCE"),
        (DARTS_V2.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', 1e400)"), "no genotype"),
        (DARTS_V2.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', 0.5)"), "no genotype"),
    ],
)
def test_other_texts_are_refused_and_nothing_is_executed(text, message):
    with pytest.raises(UsageError, match=message):
        SPACE.parse(text)


@pytest.mark.parametrize(
    "options", [{"width": 7}, {"cells": 0}, {"resolution": 30}, {"imagenet": 2}, {"imagenet": 1, "resolution": 100}]
)
def test_options_without_sense_are_refused(options):
    with pytest.raises(UsageError, match="darts"):
        Darts(**options)


@pytest.mark.parametrize("cells, reducing", [(20, (6, 13)), (8, (2, 5)), (4, (1, 2)), (1, (0,))])
def test_the_reduction_cells_stand_at_a_third_and_two_thirds(cells, reducing):
    graph = Darts(width=4, cells=cells).graph(SPACE.parse(DARTS_V2))
    sides = [call.block.output.shape[2] for call in graph.calls if call.block.kind == "concat"]
    halved = [i for i, (before, after) in enumerate(zip([32, *sides], sides, strict=False)) if after < before]
    assert tuple(halved) == reducing and len(sides) == cells


def test_the_imagenet_stem_divides_the_resolution_by_eight():
    graph = Darts(imagenet=1, width=4, cells=3, resolution=64).graph(SPACE.parse(PC_DARTS))
    sizes = {call.name: call.block.output.shape[1:3] for call in graph.calls}
    assert (sizes["stem0"], sizes["stem1"]) == ((4, 16), (4, 8))


def test_a_factorised_reduction_joins_the_even_and_the_odd_places():
    space = Darts(width=4, cells=2)
    block = next(item for item in space.blocks() if item.kind == "factorised_reduce")
    graph = block_graph(block)
    weights = make_weights(graph)
    even, odd = (
        next(values for name, values in weights.items() if name.endswith(f"{part}.weight")) for part in ("even", "odd")
    )
    x = torch.randn(block.inputs[0].shape, generator=torch.Generator().manual_seed(0))
    active = x.relu()
    halves = (
        functional.conv2d(active, torch.from_numpy(even), stride=2),
        functional.conv2d(active[:, :, 1:, 1:], torch.from_numpy(odd), stride=2),
    )
    variance = next(values for name, values in weights.items() if name.endswith("running_var"))
    expected = torch.cat(halves, 1) / torch.sqrt(torch.from_numpy(variance)[:, None, None] + 1e-5)
    assert torch.allclose(to_module(graph, weights).eval()(x), expected, atol=1e-5)


def test_every_operation_is_in_a_block_of_each_stride():
    kinds = [item.kind for item in Darts(width=4, cells=4).blocks()]
    assert all(kinds.count(name) >= 3 for name in OPERATIONS if name != "skip_connect")
