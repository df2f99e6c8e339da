"""The PyTorch view of a graph: a module that trains, and weights in and out of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from search_spaces._graph import Graph, Operator
from search_spaces._quantiser_torch import FixedPointConv2d, Quantiser, Ste, StepwiseBatchNorm2d
from search_spaces._weights import Weights, make_weights

Compute = Callable[..., Tensor]


class GraphModule(nn.Module):
    """Runs every call of a graph, the dead ones included: the network as it is trained.

    `ste` is the gradient of rounding, where numbers are fixed point.
    """

    def __init__(self, graph: Graph, ste: Ste = "identity") -> None:
        graph.need_own()
        super().__init__()
        self.graph = graph
        self._ste: Ste = ste
        self.layers = nn.ModuleDict()
        #: Name of a layer -> `call.operator`, the prefix of its weights (a module's name has no dots).
        self.prefixes: dict[str, str] = {}
        #: (output, compute, inputs) in order, with global tensor names.
        self._steps: list[tuple[str, Compute, tuple[str, ...]]] = []
        for call in graph.calls:
            last = call.block.operators[-1].name
            for operator in call.block.operators:
                names = tuple(_global_name(call.name, call.inputs, source) for source in operator.inputs)
                output = call.name if operator.name == last else f"{call.name}.{operator.name}"
                stepwise = operator.name in call.block.stepwise
                self._steps.append((output, self._compute(call.name, operator, stepwise), names))
        read = {name for call in graph.calls for name in call.inputs}
        self._dead_ends = [call.name for call in graph.calls if call.name not in read and call.name != graph.output]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, shape (batch, classes); any batch size will do.

        What nobody reads is added with weight zero, as where a published operation multiplies by zero: dead calls are
        run, traced and counted, and their parameters have a gradient (of zero).
        """
        tensors = {"input": x}
        for output, compute, names in self._steps:
            inputs = [tensors[name] for name in names]
            tensors[output] = compute(*inputs) if inputs else compute(x)
        result = tensors[self.graph.output]
        for name in self._dead_ends:
            result = result + 0.0 * tensors[name].mean()
        return result

    def _compute(self, call: str, operator: Operator, stepwise: bool) -> Compute:
        layer = StepwiseBatchNorm2d(operator.output_spec.shape[1]) if stepwise else layer_of(operator, self._ste)
        if layer is None:
            return function_of(operator)
        name = f"{call}__{operator.name}"
        self.layers[name] = layer
        self.prefixes[name] = f"{call}.{operator.name}"
        return layer


def to_module(graph: Graph, weights: Weights | None = None, seed: int = 0, ste: Ste = "identity") -> GraphModule:
    """Return the network as a module in training mode, with the given weights or the seeded ones."""
    with torch.random.fork_rng(devices=[]):  # torch draws weights that are replaced here
        module = GraphModule(graph, ste)
    load_weights(module, make_weights(graph, seed) if weights is None else weights)
    return module


def load_weights(module: GraphModule, weights: Weights) -> None:
    """Copy weights by name into the module; raise KeyError for one that is missing."""
    with torch.no_grad():
        for name, tensor in _named_tensors(module):
            tensor.copy_(torch.from_numpy(np.array(weights[name], np.float32)))


def read_weights(module: GraphModule) -> dict[str, NDArray[np.float32]]:
    """Return the module's weights and statistics by name, as `to_onnx` takes them."""
    return {name: tensor.detach().cpu().numpy().astype(np.float32) for name, tensor in _named_tensors(module)}


def _named_tensors(module: GraphModule) -> list[tuple[str, Tensor]]:
    found = []
    for name, layer in module.layers.items():
        for parameter, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
            if parameter != "num_batches_tracked":
                found.append((f"{module.prefixes[name]}.{parameter}", tensor))
    return found


def _global_name(call: str, inputs: tuple[str, ...], source: str) -> str:
    if source.startswith("in") and source[2:].isdigit():
        return inputs[int(source[2:])]
    return f"{call}.{source}"


def layer_of(operator: Operator, ste: Ste = "identity", affine: bool = True) -> nn.Module | None:
    """Return the module of an operator, None for a plain function; `affine`: normalisation scales and shifts."""
    before, after = operator.input_spec.shape[1], operator.output_spec.shape[1]
    window = (operator.kernel, operator.stride, operator.padding)
    if operator.kind == "conv2d" and operator.form is not None:
        return FixedPointConv2d((before, after), *window, operator.groups, operator.bias, operator.form, ste)
    if operator.kind == "conv2d":
        return nn.Conv2d(before, after, *window, operator.dilation, operator.groups, bias=operator.bias)
    if operator.kind == "linear":
        return nn.Linear(before, after, bias=operator.bias)
    if operator.kind == "batch_norm":
        return nn.BatchNorm2d(after, affine=affine)
    if operator.kind == "relu":
        return nn.ReLU()
    if operator.kind == "avg_pool2d":
        return nn.AvgPool2d(*window, count_include_pad=False)
    if operator.kind == "max_pool2d":
        return nn.MaxPool2d(*window)
    if operator.kind == "flatten":
        return nn.Flatten()
    if operator.kind == "channel_shuffle":
        return nn.ChannelShuffle(operator.groups)
    if operator.kind == "quantise":
        assert operator.form is not None
        return Quantiser(operator.form, ste)
    return None


def function_of(operator: Operator) -> Compute:
    """Return what an operator without a module computes."""
    if operator.kind == "add":
        return torch.add
    if operator.kind == "global_avg_pool":
        return _global_average
    if operator.kind == "concat":
        return _concat
    if operator.kind == "crop":
        return _crop
    return partial(_zeros, operator.output_spec.shape[1:])


def _zeros(shape: tuple[int, ...], x: Tensor) -> Tensor:
    """Return zeros for the batch of the network's input."""
    return x.new_zeros((x.shape[0], *shape))


def _concat(*inputs: Tensor) -> Tensor:
    return torch.cat(inputs, 1)


def _crop(x: Tensor) -> Tensor:
    return x[:, :, 1:, 1:]


def _global_average(x: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(x, 1).flatten(1)
