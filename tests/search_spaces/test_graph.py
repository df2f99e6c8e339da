"""The graph: shapes, costs of operators, dead and constant parts."""

import pytest

from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec

SPEC = TensorSpec((1, 4, 8, 8))
CONV = Block("conv", (SPEC,), (Operator("conv", "conv2d", ("in0",), SPEC, SPEC, kernel=3, padding=1),))
SUM = Block("sum2", (SPEC, SPEC), (Operator("add", "add", ("in0", "in1"), SPEC, SPEC),))
ZEROS = Block("zeros", (), (Operator("zeros", "zeros", (), SPEC, SPEC),))


@pytest.mark.parametrize(("bits", "expected"), [(32, 1024), (8, 256), (4, 128), (1, 32)])
def test_tensors_are_sized_in_bits(bits, expected):
    assert TensorSpec((1, 4, 8, 8), bits).size_bytes == expected
    assert TensorSpec((1, 3), bits).size_bytes == (3 * bits + 7) // 8


def test_grouped_convolution():
    operator = Operator("c", "conv2d", ("in0",), SPEC, SPEC, kernel=3, padding=1, groups=4, bias=True)
    assert operator.macs == 4 * 8 * 8 * 9
    assert operator.params == 4 * 9 + 4


def test_linear():
    before, after = TensorSpec((2, 64)), TensorSpec((2, 10))
    operator = Operator("l", "linear", ("in0",), before, after, bias=True)
    assert operator.macs == 2 * 64 * 10
    assert operator.params == 64 * 10 + 10


def test_keys_tell_kind_shapes_and_bits():
    assert CONV.key == "conv/1x4x8x8/1x4x8x8/w32a32"
    low = TensorSpec((1, 4, 8, 8), bits=4)
    block = Block("conv", (low,), (Operator("conv", "conv2d", ("in0",), low, low, weight_bits=2),))
    assert block.key == "conv/1x4x8x8/1x4x8x8/w2a4"
    assert ZEROS.key == "zeros/1x4x8x8/w32a32"


def test_dead_calls_are_those_that_do_not_reach_the_output():
    calls = (Call("a", CONV, ("input",)), Call("b", CONV, ("a",)), Call("c", CONV, ("a",)), Call("d", CONV, ("c",)))
    graph = Graph(SPEC, calls, output="c")
    assert [call.name for call in graph.without_dead().calls] == ["a", "c"]
    assert graph.without_dead().output == "c"
    assert graph.connected


def test_live_calls_depend_on_the_input():
    calls = (
        Call("zero", ZEROS, ()),
        Call("constant", CONV, ("zero",)),
        Call("a", CONV, ("input",)),
        Call("dead", CONV, ("a",)),
        Call("both", SUM, ("constant", "a")),
    )
    graph = Graph(SPEC, calls)
    assert [call.name for call in graph.without_dead().calls] == ["zero", "constant", "a", "both"]
    live = graph.live()
    assert [(call.name, call.inputs) for call in live.calls] == [("a", ("input",)), ("both", ("a",))]
    assert graph.block_counts == {CONV: 3, SUM: 1, ZEROS: 1}


def test_constant_network():
    graph = Graph(SPEC, (Call("a", CONV, ("input",)), Call("zero", ZEROS, ()), Call("b", CONV, ("zero",))))
    assert not graph.connected
    assert graph.live().calls == ()
    assert [call.name for call in graph.without_dead().calls] == ["zero", "b"]
