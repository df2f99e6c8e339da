"""Static costs: bits, repeated blocks, rows."""

import pytest

from search_spaces._costs import layer_rows, static_costs
from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec
from search_spaces.nasbench201 import NasBench201


def low_bit_graph():
    entry, middle = TensorSpec((1, 3, 8, 8), bits=8), TensorSpec((1, 4, 8, 8), bits=4)
    conv = Operator("conv", "conv2d", ("in0",), entry, middle, kernel=3, padding=1, weight_bits=2)
    pooled, out = TensorSpec((1, 4), bits=4), TensorSpec((1, 5))
    pool = Operator("pool", "global_avg_pool", ("in0",), middle, pooled)
    linear = Operator("fc", "linear", ("pool",), pooled, out, bias=True, weight_bits=16)
    calls = (
        Call("a", Block("a", (entry,), (conv,)), ("input",)),
        Call("b", Block("b", (middle,), (pool, linear)), ("a",)),
    )
    return Graph(entry, calls)


def test_bits_of_input_and_weights_make_aops():
    costs = static_costs(low_bit_graph())
    assert costs.macs == 4 * 64 * 27 + 20
    assert costs.flops == 2 * costs.macs
    assert costs.aops == 4 * 64 * 27 * 8 * 2 + 20 * 4 * 16
    assert costs.params == 108 + 25
    assert costs.weight_bytes == 108 * 2 // 8 + 25 * 2
    assert costs.activation_bytes == 4 * 64 // 2 + 2 + 20


@pytest.mark.parametrize("cell", [(3,) * 6, (0, 1, 2, 3, 4, 0), (0,) * 6])
def test_rows_add_up(cell):
    space = NasBench201(width=4, depth=2, resolution=8)
    graph = space.graph(space.architecture(cell))
    rows, costs = layer_rows(graph), static_costs(graph)
    assert len({row["layer"] for row in rows}) == len(rows)
    for name in ("macs", "params", "aops", "activation_bytes"):
        assert sum(row[name] for row in rows) == getattr(costs, name)


def test_costs_grow_with_the_batch_but_parameters_do_not():
    one, four = (
        static_costs(space.graph(space.architecture((3, 2, 4, 1, 3, 2))))
        for space in (NasBench201(depth=1), NasBench201(depth=1, batch=4))
    )
    assert (four.macs, four.activation_bytes) == (4 * one.macs, 4 * one.activation_bytes)
    assert (four.params, four.weight_bytes) == (one.params, one.weight_bytes)
