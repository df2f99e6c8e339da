"""What is known of ONNX operators: their multiply-adds, or that they have none.

Convolutions, matrix products (quantised ones too), contractions, attention and recurrent layers are counted as their
torch counterparts are: each weight once a position it is applied at, padding included, bias additions not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Shapes = Sequence[Shape]
#: Multiply-adds from the attributes, the shapes of all inputs (empty where one is left out) and of the first output.
Count = Callable[[Mapping[str, Any], Shapes, Shape], int]


def _conv(weight: int) -> Count:
    def count(attributes: Mapping[str, Any], inputs: Shapes, output: Shape) -> int:
        return output[0] * prod(inputs[weight]) * prod(output[2:])

    return count


def _conv_transpose(attributes: Mapping[str, Any], inputs: Shapes, output: Shape) -> int:
    return inputs[0][0] * prod(inputs[1]) * prod(inputs[0][2:])


def _gemm(attributes: Mapping[str, Any], inputs: Shapes, output: Shape) -> int:
    inner = inputs[0][0] if attributes.get("transA", 0) else inputs[0][1]
    return inner * prod(output)


def _matmul(attributes: Mapping[str, Any], inputs: Shapes, output: Shape) -> int:
    return prod(output) * inputs[0][-1]


def _einsum(attributes: Mapping[str, Any], inputs: Shapes, output: Shape) -> int:
    return einsum_macs(attributes["equation"].decode(), inputs)


def _recurrent(attributes: Mapping[str, Any], inputs: Shapes, output: Shape) -> int:
    return inputs[0][0] * inputs[0][1] * (prod(inputs[1]) + prod(inputs[2]))


def _attention(attributes: Mapping[str, Any], inputs: Shapes, output: Shape) -> int:
    """Count queries by keys and weights by values: (batch, heads, length, size) or (batch, length, heads x size)."""
    query, key, value = inputs[:3]
    past = inputs[4][-2] if len(inputs) > 4 and inputs[4] else 0
    if len(query) == 4:
        return prod(query[:3]) * (key[2] + past) * (query[3] + value[3])
    heads, of_keys = int(attributes["q_num_heads"]), int(attributes["kv_num_heads"])
    return query[0] * query[1] * (key[1] + past) * (query[2] + value[2] // of_keys * heads)


def einsum_macs(equation: str, shapes: Shapes) -> int:
    """Return the multiply-adds of a contraction: of two operands, or pair by pair in the order numpy finds best.

    A pair costs the product of the sizes of all its indices. One operand costs nothing.
    """
    terms = _terms(equation, shapes)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms[:-1], shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    operands, wanted = terms[:-1], terms[-1]
    if len(operands) < 2:
        return 0
    order = [(0, 1)] if len(operands) == 2 else _order(terms, shapes)
    macs = 0
    for step in order:
        taken = [operands.pop(i) for i in sorted(step, reverse=True)]
        labels = set().union(*taken)
        if len(taken) > 1:
            macs += prod(sizes[label] for label in labels)
        operands.append("".join(sorted(labels & set(wanted).union(*operands))))
    return macs


def _order(terms: Sequence[str], shapes: Shapes) -> list[tuple[int, ...]]:
    views = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    path = np.einsum_path(",".join(terms[:-1]) + "->" + terms[-1], *views, optimize="optimal")[0]
    return [tuple(step) for step in path[1:]]


def _terms(equation: str, shapes: Shapes) -> list[str]:
    """Return the labels of every operand and of the result, those of an ellipsis spelt out."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms, widest = [], 0
    for term, shape in zip(left.split(","), shapes, strict=True):
        extra = len(shape) - len(term.replace("...", ""))
        widest = max(widest, extra)
        terms.append(term.replace("...", _SPARE[:extra][::-1]))
    if not arrow:
        letters = "".join(term for term in left.replace("...", "").split(","))
        right = ("..." if "..." in left else "") + "".join(sorted(x for x in set(letters) if letters.count(x) == 1))
    return [*terms, right.replace("...", _SPARE[:widest][::-1])]


#: Labels that no equation uses, the last axis of an ellipsis first.
_SPARE = "ÀÁÂÃÄÅÆÇÈÉÊË"

COUNTED: dict[str, Count] = {
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Einsum": _einsum,
    "Attention": _attention,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}

_ELEMENTS = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil
    Celu Clip Cos Cosh CumProd CumSum Div Dropout Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid
    HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu
    Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu Where
    Xor RotaryEmbedding"""
_POOLING = """
    AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool MaxRoiPool MaxUnpool Resize RoiAlign
    Upsample"""
_NORMALISATION = """
    BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization
    MeanVarianceNormalization RMSNormalization Softmax LogSoftmax Hardmax"""
_REDUCTION = """
    ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare TopK NonMaxSuppression Unique"""
_MOVING = """
    BitCast Cast CastLike CenterCropPad Col2Im Compress Concat Constant ConstantOfShape DepthToSpace Expand EyeLike
    Gather GatherElements GatherND NonZero OneHot Pad RandomNormal RandomNormalLike RandomUniform RandomUniformLike
    Range ReverseSequence Scatter ScatterElements ScatterND Shape Size Slice SpaceToDepth Split TensorScatter Tile
    Transpose Trilu"""
_NUMBERS = "DequantizeLinear DynamicQuantizeLinear QuantizeLinear"

#: Operators of the standard domain that only give a tensor another shape or name: they move nothing.
VIEWS = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))
#: Operators of the standard domain that are known to have no multiply-adds of the kinds above.
WITHOUT_MACS = VIEWS.union(
    *(names.split() for names in (_ELEMENTS, _POOLING, _NORMALISATION, _REDUCTION, _MOVING, _NUMBERS))
)
