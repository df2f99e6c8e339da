"""The PyTorch view of a supernet: a module that mixes, with weights of its own for everything that may be chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces._graph import Block, Call, Operator
from search_spaces._moments import he_normal, weight_deviation
from search_spaces._quantiser_torch import FixedPointConv2d
from search_spaces._supergraph import Joint, Mixture, Part, Share, Step, Supergraph, Term, sources_of
from search_spaces._torch import function_of, layer_of

Chosen = Mapping[int, frozenset[Share]]
#: Steps, each with the names of the tensors that nothing reads after it.
_Plan = tuple[tuple[Step, tuple[str, ...]], ...]


class SupernetModule(nn.Module):
    """Runs a supernet under distributions that are handed in: its own parameters are weights alone.

    Normalisations have no scale and no shift, which could undo what a mixture says. `shared`: what reads one tensor
    reads one ReLU of it.
    """

    def __init__(self, graph: Supergraph, seed: int = 0, shared: bool = False) -> None:
        super().__init__()
        self.graph, self._shared = graph, shared
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            blocks = {call.name: _BlockModule(call.block) for call in graph.calls}
            self.calls = nn.ModuleDict(blocks)
            self.common = nn.ModuleList()
            for names in graph.twins:
                self.common.extend(_in_common([blocks[name] for name in names]))
        self._plans: dict[frozenset[tuple[int, frozenset[Share]]], _Plan] = {}

    def forward(self, x: Tensor, shares: Sequence[Tensor], chosen: Chosen | None = None) -> Tensor:
        """Return the outputs, shape (batch, classes), under one distribution a row, each of shape (choices,).

        `chosen` maps cells to the shares that alone are left in them, with weight 1: those run as derived networks do.
        """
        chosen = chosen or {}
        tensors: dict[str, Tensor] = {"input": x}
        rectified: dict[str, Tensor] = {}
        for step, unused in self._plan(chosen):
            if isinstance(step, Call):
                tensors[step.name] = self._run(step, tensors, rectified)
            elif isinstance(step, Mixture):
                tensors[step.name] = _mixed(step, tensors, () if step.cell in chosen else shares, x)
            elif isinstance(step, Part):
                tensors[step.name] = tensors[step.source][:, step.start : step.stop]
            elif isinstance(step, Joint):
                joined = torch.cat([tensors[name] for name in step.sources], 1)
                tensors[step.name] = functional.channel_shuffle(joined, step.groups)
            for name in unused:
                tensors.pop(name)
                rectified.pop(name, None)
        return tensors[self.graph.output]

    def _run(self, call: Call, tensors: Mapping[str, Tensor], rectified: dict[str, Tensor]) -> Tensor:
        module, inputs = self.calls[call.name], [tensors[name] for name in call.inputs]
        if not self._shared or not module.rectifies:
            return module(*inputs)  # type: ignore[no-any-return]
        source = call.inputs[0]
        if source not in rectified:
            rectified[source] = functional.relu(inputs[0])
        return module(*inputs, rectified=rectified[source])  # type: ignore[no-any-return]

    def _plan(self, chosen: Chosen) -> _Plan:
        """Return the steps that are needed, each with the tensors that nothing reads after it."""
        key = frozenset(chosen.items())
        if key not in self._plans:
            self._plans.clear()  # derived cells change all the time, and seldom back
            steps = self.graph.needed(chosen)
            last = {name: number for number, step in enumerate(steps) for name in sources_of(step)}
            unused = [tuple(name for name, own in last.items() if own == number) for number in range(len(steps))]
            self._plans[key] = tuple(zip(steps, unused, strict=True))
        return self._plans[key]


class _BlockModule(nn.Module):
    """Runs the operators of one block."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self._first = block.operators[0].kind
        self._steps: list[tuple[str, tuple[str, ...], Callable[..., Tensor]]] = []
        for operator in block.operators:
            self._steps.append((operator.name, operator.inputs, self._compute(operator)))

    @property
    def convolutions(self) -> dict[str, nn.Conv2d]:
        """Return the convolutions by the names of their operators."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, nn.Conv2d)}

    def borrow(self, name: str, common: _Common) -> None:
        """Let a convolution compute with its part of common weights, and none of its own."""
        layer = self.convolutions[name]
        layer.register_parameter("weight", None)
        layer.register_parameter("bias", None)
        compute = partial(common.convolve, layer)
        self._steps = [(own, sources, compute if own == name else old) for own, sources, old in self._steps]

    def _compute(self, operator: Operator) -> Callable[..., Tensor]:
        layer = layer_of(operator, affine=False)
        if layer is None:
            return function_of(operator)
        if isinstance(layer, FixedPointConv2d):
            # The weights torch draws are so small that coarse formats round them all to 0; nothing would ever learn.
            nn.init.normal_(layer.weight, std=weight_deviation(operator))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.layers[operator.name] = layer
        return layer

    @property
    def rectifies(self) -> bool:
        """Return whether the block begins with a ReLU of its first input, which it uses for nothing else."""
        _, sources, _ = self._steps[0]
        others = [source for _, own, _ in self._steps[1:] for source in own]
        return self._first == "relu" and sources == ("in0",) and "in0" not in others and len(self._steps) > 1

    def forward(self, *inputs: Tensor, rectified: Tensor | None = None) -> Tensor:
        """Return the block's output; `rectified` is the result of its first operator, where that is known."""
        tensors = {f"in{i}": item for i, item in enumerate(inputs)}
        steps = self._steps
        if rectified is not None:
            tensors[steps[0][0]], steps = rectified, steps[1:]
        for name, sources, compute in steps:
            tensors[name] = compute(*(tensors[source] for source in sources))
        return tensors[self._steps[-1][0]]


class _Common(nn.Module):
    """Weights of several convolutions at once: each takes the middle of the kernel and the first channels it needs.

    Sources: Once-for-All (Cai et al., ICLR 2020), with the kernel as in Single-Path NAS (Stamoulis et al., 2019); each
    convolution rounds its part to a format of its own.
    """

    def __init__(self, convolutions: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        shapes = [item.weight.shape for item in convolutions]
        self.weight = nn.Parameter(torch.empty([max(sizes) for sizes in zip(*shapes, strict=True)]))
        forms = [item.form for item in convolutions if isinstance(item, FixedPointConv2d)]
        nn.init.normal_(self.weight, std=he_normal(self.weight[0].numel(), forms))
        biased = any(item.bias is not None for item in convolutions)
        self.bias = nn.Parameter(torch.zeros(self.weight.shape[0])) if biased else None

    def convolve(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        """Return what a convolution computes with its part of the weights."""
        outputs, inputs, kernel = layer.out_channels, layer.in_channels // layer.groups, layer.kernel_size[0]
        start = (self.weight.shape[-1] - kernel) // 2
        middle = slice(start, start + kernel)
        bias = None if self.bias is None else self.bias[:outputs]
        found: Tensor = layer._conv_forward(x, self.weight[:outputs, :inputs, middle, middle], bias)
        return found


def _in_common(blocks: Sequence[_BlockModule]) -> list[_Common]:
    """Give the convolutions of blocks that stand for one another weights in common, by the operator's name."""
    by_operator: dict[str, list[_BlockModule]] = {}
    for block in blocks:
        for operator in block.convolutions:
            by_operator.setdefault(operator, []).append(block)
    found = []
    for operator, own in by_operator.items():
        found.append(_Common([block.convolutions[operator] for block in own]))
        for block in own:
            block.borrow(operator, found[-1])
    return found


def _mixed(step: Mixture, tensors: Mapping[str, Tensor], shares: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return the sum of a mixture's terms, weighted where there are shares."""
    total: Tensor | None = None
    for term in step.terms:
        value = tensors[term.source] if not shares else tensors[term.source] * _weight(term, shares)
        missing = step.spec.shape[1] - value.shape[1]
        if missing:
            value = functional.pad(value, (0, 0, 0, 0, 0, missing))
        total = value if total is None else total + value
    return x.new_zeros((x.shape[0], *step.spec.shape[1:])) if total is None else total


def _weight(term: Term, shares: Sequence[Tensor]) -> Tensor | float:
    weight: Tensor | float = 1.0
    for row, choice in term.shares:
        weight = weight * shares[row][choice]
    return weight
