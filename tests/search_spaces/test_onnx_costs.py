"""Costs of ONNX models: operators against counts by hand, shapes to be worked out, models that make no sense."""

from math import prod

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hilnas.errors import BadFile, UsageError
from search_spaces._layer_costs import Input
from search_spaces._onnx_costs import onnx_costs
from search_spaces._onnx_counts import COUNTED, WITHOUT_MACS, einsum_macs

FLOAT = TensorProto.FLOAT


def model(nodes, inputs, outputs=("y",), constants=(), opset=21, functions=(), domains=()):
    """Return a model; inputs and constants are name -> shape or array."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions))


def node(kind, inputs, outputs=("y",), **attributes):
    """Return a node; a text of inputs is one letter an input, a text of outputs is one."""
    results = [outputs] if isinstance(outputs, str) else list(outputs)
    return helper.make_node(kind, list(inputs), results, **attributes)


def weights(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def test_gemm_counts_in_each_order():
    for trans_a in (0, 1):
        for trans_b in (0, 1):
            shape = (4, 3) if trans_a else (3, 4)
            table = onnx_costs(
                model(
                    [node("Gemm", ("x", "w", "b"), transA=trans_a, transB=trans_b)],
                    [("x", FLOAT, shape)],
                    constants=[("w", weights(*((5, 4) if trans_b else (4, 5)))), ("b", weights(5))],
                )
            )
            assert (table.macs, table.params, table.weight_bytes) == (60, 25, 100)
            (row,) = table.rows
            assert (row.input_bytes, row.activation_bytes, row.output_shape) == (48, 60, (3, 5))


def test_quantised_convolutions_and_products():
    scale, zero = np.float32(1), np.uint8(0)
    x = [("x", TensorProto.UINT8, (1, 4, 6, 6))]
    small = [("s", np.array(scale)), ("z", np.array(zero)), ("w", weights(8, 2, 3, 3, dtype=np.uint8))]
    convolution = node("QLinearConv", ("x", "s", "z", "w", "s", "z", "s", "z"), group=2)
    table = onnx_costs(model([convolution], x, constants=small))
    assert table.macs == 8 * 2 * 9 * 16
    assert table.rows[0].activation_bytes == 8 * 16
    assert onnx_costs(model([node("ConvInteger", ("x", "w"), group=2)], x, constants=small)).macs == 8 * 2 * 9 * 16
    a = [("a", TensorProto.UINT8, (2, 3, 4))]
    other = [("b", weights(4, 5, dtype=np.uint8)), *small[:2]]
    assert onnx_costs(model([node("MatMulInteger", ("a", "b"))], a, constants=other)).macs == 120
    product = node("QLinearMatMul", ("a", "s", "z", "b", "s", "z", "s", "z"))
    assert onnx_costs(model([product], a, constants=other)).macs == 120


def test_weights_behind_dequantisation_are_weights_as_they_are_stored():
    nodes = [
        node("QuantizeLinear", ("x", "s", "z"), ("q",)),
        node("DequantizeLinear", ("q", "s", "z"), ("d",)),
        node("DequantizeLinear", ("w", "s"), ("wd",)),
        node("Conv", ("d", "wd")),
    ]
    constants = [
        ("s", np.array(0.5, np.float32)),
        ("z", np.array(0, np.int8)),
        ("w", weights(8, 3, 3, 3, dtype=np.int8)),
    ]
    table = onnx_costs(model(nodes, [("x", FLOAT, (1, 3, 8, 8))], constants=constants))
    rows = {row.kind: row for row in table.rows}
    assert [row.kind for row in table.rows] == ["QuantizeLinear", "DequantizeLinear", "Conv"]
    assert rows["Conv"].macs == 8 * 27 * 36 and rows["Conv"].weight_bytes == 216 + 4
    assert rows["QuantizeLinear"].activation_bytes == 192
    assert table.without_macs == {"DequantizeLinear": 1, "QuantizeLinear": 1}


def test_attention_and_recurrent_layers():
    four = [(name, FLOAT, (2, 3, 5 if name == "q" else 7, 8)) for name in "qkv"]
    assert onnx_costs(model([node("Attention", "qkv")], four, opset=23)).macs == 2 * 3 * 5 * 7 * 16
    three = [("q", FLOAT, (2, 5, 24)), ("k", FLOAT, (2, 7, 8)), ("v", FLOAT, (2, 7, 8))]
    grouped = node("Attention", "qkv", q_num_heads=3, kv_num_heads=1)
    assert onnx_costs(model([grouped], three, opset=23)).macs == 2 * 3 * 5 * 7 * 16
    for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        constants = [("w", weights(2, gates * 6, 5)), ("r", weights(2, gates * 6, 6))]
        layer = node(kind, ("x", "w", "r"), hidden_size=6, direction="bidirectional")
        table = onnx_costs(model([layer], [("x", FLOAT, (9, 2, 5))], constants=constants))
        assert table.macs == 9 * 2 * 2 * gates * 6 * 11, kind


@st.composite
def contractions(draw):
    """Draw an equation of two operands in which no index is summed of one operand alone."""
    groups = {label: draw(st.integers(2 if label in "ef" else 1, 4)) for label in "abcdef"}
    shared, left, right, inner = "ab"[: draw(st.integers(0, 2))], "c", "d", "ef"[: draw(st.integers(1, 2))]
    first = "".join(draw(st.permutations(shared + left + inner)))
    second = "".join(draw(st.permutations(shared + right + inner)))
    return first, second, "".join(draw(st.permutations(shared + left + right))), groups


@settings(max_examples=40, deadline=None)
@given(contractions())
def test_a_contraction_costs_what_torch_multiplies(drawn):
    import torch
    from torch import nn

    from search_spaces._module_costs import module_costs

    first, second, result, sizes = drawn
    equation = f"{first},{second}->{result}"
    shapes = [tuple(sizes[label] for label in term) for term in (first, second)]

    class Contract(nn.Module):
        def forward(self, x, y):
            return torch.einsum(equation, x, y)

    expected = prod(sizes[label] for label in {*first, *second})
    assert einsum_macs(equation, shapes) == expected
    assert module_costs(Contract(), [Input(shape) for shape in shapes]).macs == expected
    inputs = [(name, FLOAT, shape) for name, shape in zip("xy", shapes, strict=True)]
    assert onnx_costs(model([node("Einsum", "xy", equation=equation)], inputs)).macs == expected


def test_contractions_with_ellipsis_implicit_result_and_more_operands():
    assert einsum_macs("...ij,...jk->...ik", [(7, 2, 3), (1, 3, 4)]) == 7 * 24
    assert einsum_macs("i j , j k", [(2, 3), (3, 4)]) == 24
    assert einsum_macs("ij->ji", [(2, 3)]) == 0
    # (ab,bc) first costs 2*3*4, then with cd 2*4*5: the other order costs 3*4*5 + 2*3*5
    assert einsum_macs("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]) == min(24 + 40, 60 + 30)


def test_what_is_not_counted_is_listed_and_told_apart_from_what_has_nothing_to_count():
    nodes = [
        node("Relu", "x", "a"),
        node("GridSample", ("a", "grid"), "b"),
        helper.make_node("Fancy", ["b"], ["c"], domain="my.company"),
        node("Reshape", ("b", "shape"), "d"),
    ]
    inputs = [("x", FLOAT, (1, 2, 4, 4)), ("grid", FLOAT, (1, 3, 3, 2))]
    constants = [("shape", np.array([2, 9]))]
    table = onnx_costs(model(nodes, inputs, ("c", "d"), constants, domains=("my.company",)))
    assert table.without_macs == {"Relu": 1, "Reshape": 1}
    assert table.uncounted == {"GridSample": 1, "my.company.Fancy": 1}
    assert table.params == 0, "a shape is no parameter"
    assert [row.kind for row in table.rows] == ["Relu", "GridSample", "Fancy"], "views move nothing"


def test_a_product_behind_an_unknown_operator_is_listed_not_zero():
    nodes = [helper.make_node("Fancy", ["x"], ["a"], domain="my.company"), node("MatMul", ("a", "w"))]
    table = onnx_costs(model(nodes, [("x", FLOAT, (1, 4))], constants=[("w", weights(4, 4))], domains=("my.company",)))
    assert table.macs == 0 and table.uncounted == {"MatMul (shape not found)": 1, "my.company.Fancy": 1}


def test_graphs_in_nodes_are_listed():
    inner = helper.make_graph([node("MatMul", ("x", "x"), "inner")], "i", [], [onnx.ValueInfoProto(name="inner")])
    found = onnx_costs(
        model(
            [node("If", ("condition",), then_branch=inner, else_branch=inner)],
            [("x", FLOAT, (4, 4))],
            constants=[("condition", np.array(True))],
        )
    )
    assert found.uncounted == {"If": 1}


def test_functions_of_the_model_are_looked_into():
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    function = helper.make_function("own", "Twice", ["a", "b"], ["c"], body, [helper.make_opsetid("", 21)])
    call = helper.make_node("Twice", ["x", "w"], ["y"], domain="own")
    constants = [("w", weights(4, 5))]
    table = onnx_costs(
        model([call], [("x", FLOAT, (3, 4))], constants=constants, functions=[function], domains=("own",))
    )
    assert table.macs == 60 and not table.uncounted


def test_sizes_that_are_computed_are_worked_out():
    """Half of the channels, as an exporter writes `x.shape[1] // 2`."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", ("shape", "one"), "channels"),
        node("Div", ("channels", "two"), "half"),
        node("Slice", ("x", "zero", "half", "one"), "a"),
        node("Conv", ("a", "w")),
    ]
    integers = {"one": 1, "two": 2, "zero": 0}
    constants = [(name, np.array([value])) for name, value in integers.items()]
    table = onnx_costs(model(nodes, [("x", FLOAT, (1, 6, 5, 5))], constants=[*constants, ("w", weights(4, 3, 1, 1))]))
    assert table.macs == 4 * 3 * 25 and not table.uncounted


def dynamic():
    return model(
        [node("MatMul", ("x", "w"), "a"), node("Add", ("a", "z"))],
        [("x", FLOAT, ("batch", 4)), ("z", FLOAT, ("batch", 5))],
        constants=[("w", weights(4, 5))],
    )


def test_dynamic_shapes_are_asked_for_and_taken_by_name_or_in_order():
    with pytest.raises(UsageError, match="dynamic shape") as caught:
        onnx_costs(dynamic())
    assert "--shape x=1x4" in caught.value.remedy
    assert onnx_costs(dynamic(), [Input((3, 4)), Input((3, 5))]).macs == 60
    table = onnx_costs(dynamic(), [Input((2, 5), name="z"), Input((2, 4))])
    assert table.macs == 40 and [str(item) for item in table.inputs] == ["x=2x4", "z=2x5"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([Input((3, 4))], "'z' has a dynamic shape"),
        ([Input((3, 4), name="nope"), Input((3, 5))], "no input 'nope'"),
        ([Input((3, 4)), Input((3, 5)), Input((1,))], "more shapes than inputs"),
        ([Input((3, 9)), Input((3, 5))], "does not fit"),
        ([Input((3, 4, 1)), Input((3, 5))], "does not fit"),
    ],
)
def test_a_shape_that_is_missing_or_does_not_fit(inputs, words):
    with pytest.raises(UsageError, match=words):
        onnx_costs(dynamic(), inputs)


def test_shapes_that_contradict_each_other_have_no_count():
    nodes = [node("MatMul", ("x", "w"))]
    table = onnx_costs(model(nodes, [("x", FLOAT, (1, 3))], constants=[("w", weights(4, 5))]))
    assert table.macs == 0 and table.uncounted == {"MatMul (shape not found)": 1}


@pytest.mark.parametrize("equation", ["ij,jk,kl->il", "ij->ij", "ijk,jk->ij"])
def test_an_equation_that_does_not_fit_makes_no_sense(equation):
    nodes = [node("Einsum", "xz", equation=equation)]
    result = helper.make_tensor_value_info("y", FLOAT, (2, 2))
    contradicting = model(nodes, [("x", FLOAT, (2, 3)), ("z", FLOAT, (3, 2))])
    contradicting.graph.output[0].CopyFrom(result)
    with pytest.raises(BadFile, match="makes no sense"):
        onnx_costs(contradicting)


def test_every_operator_of_the_standard_domain_is_spelt_right():
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    added_later = {"BitCast", "SwiGLU", "Swish", "RotaryEmbedding", "TensorScatter", "CumProd", "RMSNormalization"}
    assert (set(COUNTED) | WITHOUT_MACS) - known <= added_later
    assert not set(COUNTED) & WITHOUT_MACS
