"""Costs of every layer: one result from a graph, a module and an ONNX file."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional

from search_spaces._costs import static_costs
from search_spaces._layer_costs import Input, LayerCosts, graph_costs, named_once
from search_spaces._module_costs import module_costs
from search_spaces._onnx import to_onnx
from search_spaces._onnx_costs import onnx_costs
from search_spaces._onnx_export import export_onnx
from search_spaces._torch import to_module
from search_spaces.nasbench201 import NasBench201
from search_spaces.quantised_cnn import QuantisedCnn

SPACE = NasBench201(width=4, depth=1, resolution=8)


def fvcore_macs(module, shape):
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, torch.zeros(shape))
    found = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return sum(found[name] for name in ("conv", "linear", "matmul", "mm", "addmm", "bmm"))


def exported(module, shape):
    return onnx_costs(onnx.load_model_from_string(export_onnx(module, [Input(shape)])))


def test_the_figures_of_one_layer():
    row = LayerCosts(
        "a", "conv", ((1, 2),), (1, 3), macs=600, params=6, input_bytes=8, weight_bytes=24, activation_bytes=12
    )
    assert row.traffic_bytes == 44 and row.intensity == pytest.approx(1200 / 44)
    assert LayerCosts("b", "view", (), (), 0, 0, 0, 0, 0).intensity is None
    assert row.to_json()["traffic_bytes"] == 44


@given(st.lists(st.sampled_from("abc"), max_size=8))
def test_names_are_told_apart(names):
    found = named_once(names)
    assert len(set(found)) == len(names) and [name.partition("#")[0] for name in found] == names


@settings(max_examples=12, deadline=None)
@given(st.tuples(*[st.integers(0, 4)] * 6))
def test_graph_module_and_file_agree_on_random_cells(cell):
    graph = SPACE.graph(SPACE.architecture(cell)).without_dead()
    ours, costs = graph_costs(graph), static_costs(graph)
    assert (ours.macs, ours.params, ours.weight_bytes) == (costs.macs, costs.params, costs.weight_bytes)
    assert (ours.activation_bytes, ours.flops) == (costs.activation_bytes, costs.flops)
    module = module_costs(to_module(graph), [Input(SPACE.input_shape)])
    assert (module.macs, module.params) == (costs.macs, costs.params) and module.cross_check.agrees
    file = onnx_costs(onnx.load_model_from_string(to_onnx(graph)))
    assert file.macs == costs.macs
    assert not ours.uncounted and not module.uncounted and not file.uncounted
    if not any(operator.kind == "zeros" for _, operator in graph.operators):
        assert (module.activation_bytes, module.traffic_bytes) == (ours.activation_bytes, ours.traffic_bytes)


def test_low_bit_weights_and_activations_are_counted_in_bits():
    space = QuantisedCnn(classes=10, width=8)
    graph = space.graph(space.sample(np.random.default_rng(0)))
    ours, costs = graph_costs(graph), static_costs(graph)
    assert ours.weight_bytes == costs.weight_bytes < 4 * ours.params
    assert ours.without_macs["quantise"] > 0


def test_a_traced_graph_lists_what_it_does_not_count():
    from search_spaces._trace import trace

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x):
            return torch.cdist(self.layer(x).sigmoid(), torch.ones(2, 4, device=x.device))

    table = graph_costs(trace(lambda: (Odd(), (3, 6))))
    assert table.macs == 3 * 6 * 4 and table.without_macs["sigmoid"] == 1
    assert table.uncounted and all("dist" in name for name in table.uncounted)


@st.composite
def convolutions(draw):
    """Draw a convolution (plain or transposed, one- to three-dimensional) and an input that fits."""
    dims, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, stride, dilation = (draw(st.integers(1, 3)) for _ in range(3))
    transposed = draw(st.booleans())
    kind = getattr(nn, f"Conv{'Transpose' if transposed else ''}{dims}d")
    layer = kind(
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        kernel,
        stride,
        padding=draw(st.integers(0, min(1, kernel - 1))),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    sizes = [draw(st.integers(1 + dilation * (kernel - 1) + 1, 9)) for _ in range(dims)]
    return layer, (draw(st.integers(1, 2)), layer.in_channels, *sizes)


def written(layer, shape):
    """Return the convolution as the node that ONNX has for it."""
    fields = {"kernel_shape": "kernel_size", "strides": "stride", "dilations": "dilation", "group": "groups"}
    attributes = {name: getattr(layer, field) for name, field in fields.items()}
    names = ["x", *(name for name, _ in layer.named_parameters())]
    kind = "ConvTranspose" if layer.transposed else "Conv"
    node = helper.make_node(kind, names, ["y"], pads=layer.padding * 2, **attributes)
    entry = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    constants = [numpy_helper.from_array(item.detach().numpy(), name) for name, item in layer.named_parameters()]
    return helper.make_model(helper.make_graph([node], "g", [entry], [onnx.ValueInfoProto(name="y")], constants))


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_convolutions_of_any_form_have_the_count_of_fvcore(drawn):
    layer, shape = drawn
    module = nn.Sequential(layer).eval()
    found, file = module_costs(module, [Input(shape)]), onnx_costs(written(layer, shape))
    assert found.macs == file.macs == fvcore_macs(module, shape) > 0
    assert found.params == file.params == sum(item.numel() for item in module.parameters())
    assert found.rows[0].output_shape == file.rows[0].output_shape == tuple(module(torch.zeros(shape)).shape)
    assert found.traffic_bytes == file.traffic_bytes


class Product(nn.Module):
    """One matrix product of two slices of the input, with a broadcast batch where asked for."""

    def __init__(self, rows, inner, columns, one):
        super().__init__()
        self.sizes, self.one = (rows, inner, columns), one

    def forward(self, x):
        rows, inner, columns = self.sizes
        right = x[:, :inner, :columns]
        return x[:, :rows, :inner] @ (right[:1] if self.one else right)


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(1, 5)] * 3), st.integers(1, 3), st.booleans())
def test_matrix_products_have_the_count_of_fvcore(sizes, batch, one):
    rows, inner, columns = sizes
    module, shape = Product(*sizes, one), (batch, 6, 6)
    found = module_costs(module, [Input(shape)])
    assert found.macs == exported(module, shape).macs == fvcore_macs(module, shape) == batch * rows * inner * columns
    assert [row.kind for row in found.rows if row.macs] in (["bmm"], ["mm"])


class Many(nn.Module):
    """Operators in many places: a layer used twice, a leaf with several products, attention, a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.twice, self.own = nn.Linear(8, 8), Own()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.lstm = nn.LSTM(8, 4, batch_first=True)
        self.unread = nn.Linear(3, 3)

    def forward(self, x):
        x = self.twice(functional.relu(self.twice(x)))
        x = self.own(x) + self.attention(x, x, x, need_weights=False)[0]
        x = functional.scaled_dot_product_attention(x, x, x)
        return torch.fft.rfft(self.lstm(x)[0]).abs()


class Own(nn.Module):
    """A module without children that multiplies twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(8, 5)), nn.Parameter(torch.zeros(5, 8))

    def forward(self, x):
        return torch.einsum("bld,dk->blk", x, self.first) @ self.second


def test_layers_and_operators_outside_of_them_have_names():
    module = Many().train()
    table = module_costs(module, [Input((2, 6, 8))])
    rows = {row.name: row for row in table.rows}
    assert len(rows) == len(table.rows)
    assert list(rows)[:3] == ["twice", "Many.relu", "twice#2"], "in the order of their calls"
    assert rows["twice"].macs == rows["twice#2"].macs == 2 * 6 * 8 * 8
    assert (rows["twice"].params, rows["twice#2"].params) == (72, 0)
    assert rows["twice"].weight_bytes == rows["twice#2"].weight_bytes == 288
    assert rows["own.bmm"].macs == rows["own.mm"].macs == 2 * 6 * 8 * 5 or {"own.mm", "own.mm#2"} <= rows.keys()
    assert rows["lstm"].kind == "LSTM" and rows["lstm"].macs == 2 * 6 * (16 * 8 + 16 * 4)
    assert rows["Many.relu"].macs == 0 and rows["Many.relu"].input_shapes == ((2, 6, 8),)
    assert sum(row.macs for name, row in rows.items() if name.startswith("attention.")) == 2 * 6 * (24 * 8 + 64 + 96)
    assert sum(row.macs for name, row in rows.items() if name.startswith("Many.")) == 2 * 6 * 6 * 16
    assert table.params == sum(item.numel() for item in module.parameters())
    assert sum(row.params for row in table.rows) == table.params - 12
    assert table.cross_check.agrees and table.cross_check.macs == table.macs
    assert table.uncounted == {"_fft_r2c": 1}
    assert module.training and module.lstm.training, "modes are given back"


def test_a_network_that_looks_at_values_is_run_on_some():
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x) if float(x.sum()) > -1e9 else x

    assert module_costs(Looks(), [Input((3, 4))]).macs == 48


def test_inference_mode_inside_of_a_network_hides_nothing():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            with torch.inference_mode():
                return torch.matmul(self.layer(x), torch.ones(2, 3, device=x.device))

    table = module_costs(Hidden(), [Input((5, 4))])
    assert table.macs == 5 * 8 + 5 * 6 and not table.uncounted


def test_nothing_is_allocated_for_weights_without_values():
    with torch.device("meta"):
        module = nn.Sequential(*[nn.Linear(2**15, 2**15, bias=False) for _ in range(32)])
    table = module_costs(module, [Input((1, 2**15))])
    assert table.macs == 2**35 and table.weight_bytes == 2**37


@pytest.mark.parametrize("inputs", [[Input((1, 5))], [], [Input((1, 4)), Input((1, 4))], [Input((1, 4), name="y")]])
def test_an_input_that_does_not_fit_is_an_error_with_the_shape(inputs):
    from hilnas.errors import UsageError

    with pytest.raises(UsageError, match="the network fails on the input") as caught:
        module_costs(nn.Linear(4, 2), inputs)
    assert "--shape" in caught.value.remedy


def test_inputs_are_named_and_typed():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = nn.Embedding(9, 4), nn.Linear(4, 4)

        def forward(self, x, ids):
            return self.layer(x) + self.table(ids).mean(1)

    table = module_costs(Two(), [Input((2, 4)), Input((2, 3), "int64", "ids")])
    assert table.macs == 32 and [str(item) for item in table.inputs] == ["2x4", "ids=2x3:int64"]
    assert table.without_macs["embedding"] == 1


@pytest.mark.parametrize("module", [nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())])
def test_json_has_rows_totals_and_what_is_left_out(module):
    found = module_costs(module, [Input((1, 3, 8, 8))]).to_json()
    assert found["flops"] == 2 * found["macs"] == 2 * sum(row["macs"] for row in found["layers"])
    assert found["cross_check"]["agrees"] is True and found["uncounted"] == {}
    assert found["intensity"] == pytest.approx(found["flops"] / found["traffic_bytes"])
