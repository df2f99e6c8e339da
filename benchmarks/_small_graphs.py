"""A few networks written by hand as graphs: the usual shapes of small image networks."""

from __future__ import annotations

from search_spaces._graph import Block, Call, Graph, Operator, TensorSpec


class _Chain:
    """Appends operators to one block, each reading the last."""

    def __init__(self, channels: int, side: int) -> None:
        self.input = self._spec = TensorSpec((1, channels, side, side))
        self._operators: list[Operator] = []

    @property
    def channels(self) -> int:
        """Return the channels of the last result."""
        return self._spec.shape[1]

    @property
    def last(self) -> str:
        """Return the name of the last result."""
        return self._operators[-1].name if self._operators else "in0"

    def conv(self, channels: int, kernel: int = 3, stride: int = 1, groups: int = 1, relu: bool = True) -> _Chain:
        """Append a convolution with normalisation, and a ReLU unless told otherwise."""
        side = self._spec.shape[2]
        after = TensorSpec((1, channels, (side + stride - 1) // stride, (side + stride - 1) // stride))
        where = {"kernel": kernel, "stride": stride, "padding": kernel // 2, "groups": groups}
        self._add("conv2d", after, **where)
        self._add("batch_norm", after)
        return self._add("relu", after) if relu else self

    def residual(self, kernel: int = 3, inner: int | None = None) -> _Chain:
        """Append two convolutions around which the last result is added."""
        source, spec = self.last, self._spec
        self.conv(inner or self.channels, kernel).conv(spec.shape[1], kernel, relu=False)
        self._operators.append(Operator(self._name("add"), "add", (self.last, source), spec, spec))
        return self._add("relu", spec)

    def pool(self) -> _Chain:
        """Append a 2x2 maximum."""
        batch, channels, side, _ = self._spec.shape
        return self._add("max_pool2d", TensorSpec((batch, channels, side // 2, side // 2)), kernel=2, stride=2)

    def dense(self, units: int, relu: bool = True) -> _Chain:
        """Append a linear layer, and what makes its input flat."""
        if len(self._spec.shape) == 4:
            self._add("flatten", TensorSpec((1, self._spec.elements)))
        self._add("linear", TensorSpec((1, units)), bias=True)
        return self._add("relu", self._spec) if relu else self

    def classify(self, classes: int = 10) -> Graph:
        """Return the graph, ended by global pooling, where that is left to do, and a classifier."""
        if len(self._spec.shape) == 4:
            self._add("global_avg_pool", TensorSpec(self._spec.shape[:2]))
        self.dense(classes, relu=False)
        block = Block("network", (self.input,), tuple(self._operators))
        return Graph(self.input, (Call("net", block, ("input",)),))

    def _add(self, kind: str, after: TensorSpec, **where: int) -> _Chain:
        operator = Operator(self._name(kind), kind, (self.last,), self._spec, after, **where)  # type: ignore[arg-type]
        self._operators.append(operator)
        self._spec = after
        return self

    def _name(self, kind: str) -> str:
        return f"{kind}_{len(self._operators)}"


def small_graphs() -> dict[str, Graph]:
    """Return the networks by name."""
    return {
        "vgg": _Chain(3, 32).conv(32).conv(32).pool().conv(64).conv(64).pool().conv(128).classify(),
        "resnet": _Chain(3, 32).conv(32).residual().residual().conv(64, stride=2).residual().classify(),
        "bottlenecks": _Chain(3, 32).conv(64).conv(256, 1).residual(1, 64).residual(1, 64).classify(),
        "depthwise": _depthwise().classify(),
        "wide": _Chain(3, 16).conv(256, 5).conv(256, 5).classify(),
        "mlp": _Chain(3, 16).dense(1024).dense(1024).classify(),
        "large_picture": _Chain(3, 96).conv(16, stride=2).conv(32).pool().conv(64).pool().conv(64).classify(),
        "grouped": _Chain(3, 32).conv(64).conv(64, groups=4).conv(64, groups=4).conv(128, stride=2).classify(),
    }


def _depthwise() -> _Chain:
    chain = _Chain(3, 32).conv(32)
    for channels, stride in ((64, 1), (128, 2), (128, 1), (256, 2)):
        chain.conv(chain.channels, 3, stride, groups=chain.channels).conv(channels, 1)
    return chain
