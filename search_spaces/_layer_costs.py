"""What every layer of a network costs: one table, whether it comes from a graph, a module or an ONNX file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from search_spaces._graph import Graph, Operator

Shape = tuple[int, ...]


class Input(NamedTuple):
    """One input of a network; an empty name stands for the next one in order."""

    shape: Shape
    dtype: str = "float32"
    name: str = ""

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape)) or "scalar"
        return (f"{self.name}=" if self.name else "") + text + ("" if self.dtype == "float32" else f":{self.dtype}")


@dataclass(frozen=True, slots=True)
class LayerCosts:
    """The costs of one layer, or of one operator that belongs to no layer, in one call.

    `macs` are multiply-adds of convolutions, linear layers and matrix products (what fvcore's handlers of these
    count, bias additions excluded). `activation_bytes` are its outputs; `params` those it is the first to read, so
    that they add up; `weight_bytes` all parameters it reads.
    """

    name: str
    kind: str
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    macs: int
    params: int
    input_bytes: int
    weight_bytes: int
    activation_bytes: int

    @property
    def traffic_bytes(self) -> int:
        """Return inputs, weights and outputs, each moved once."""
        return self.input_bytes + self.weight_bytes + self.activation_bytes

    @property
    def intensity(self) -> float | None:
        """Return the arithmetic intensity (roofline model): floating-point operations a byte of traffic."""
        return intensity(self.macs, self.traffic_bytes)

    def to_json(self) -> dict[str, Any]:
        """Return all values by name."""
        return {**asdict(self), "traffic_bytes": self.traffic_bytes, "intensity": self.intensity}


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What an independent counter says of the same network; `reason` is empty exactly when both agree."""

    counter: str
    macs: int
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Return whether both counted the same."""
        return not self.reason


@dataclass(frozen=True)
class CostTable:
    """The costs of a network, layer by layer and in all.

    `params` and `weight_bytes` count every parameter once, also what no layer reads. Operators without a count are
    listed by name with how often they occur: `without_macs` are known to have no multiply-adds as defined above
    (element by element, pooling, normalisation, moving values); of the `uncounted` nothing is known, so the totals
    are a lower bound where there are any.
    """

    source: str
    inputs: tuple[Input, ...]
    rows: tuple[LayerCosts, ...]
    params: int
    weight_bytes: int
    without_macs: Mapping[str, int] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)
    cross_check: CrossCheck | None = None

    @property
    def macs(self) -> int:
        """Return the multiply-adds of all layers."""
        return sum(row.macs for row in self.rows)

    @property
    def flops(self) -> int:
        """Return floating-point operations: two a multiply-add."""
        return 2 * self.macs

    @property
    def activation_bytes(self) -> int:
        """Return the outputs of all layers together."""
        return sum(row.activation_bytes for row in self.rows)

    @property
    def traffic_bytes(self) -> int:
        """Return what all layers read and write when nothing stays in a cache between them."""
        return sum(row.traffic_bytes for row in self.rows)

    @property
    def intensity(self) -> float | None:
        """Return floating-point operations a byte of traffic."""
        return intensity(self.macs, self.traffic_bytes)

    @property
    def totals(self) -> dict[str, Any]:
        """Return the sums by name."""
        names = ("macs", "flops", "params", "weight_bytes", "activation_bytes", "traffic_bytes", "intensity")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> dict[str, Any]:
        """Return totals, rows and what was not counted."""
        check = self.cross_check
        return {
            "source": self.source,
            "inputs": [str(item) for item in self.inputs],
            **self.totals,
            "without_macs": dict(self.without_macs),
            "uncounted": dict(self.uncounted),
            "cross_check": None if check is None else {**asdict(check), "agrees": check.agrees},
            "layers": [row.to_json() for row in self.rows],
        }


def intensity(macs: int, traffic_bytes: int) -> float | None:
    """Return 2 x MACs over the bytes moved, None where nothing is moved."""
    return 2 * macs / traffic_bytes if traffic_bytes else None


def named_once(names: Sequence[str]) -> list[str]:
    """Return the names, those that come again with `#2`, `#3` ... behind them."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return found


def graph_costs(graph: Graph) -> CostTable:
    """Return the costs of a graph, dead calls included, one row an operator; the sums are those of `static_costs`.

    Views of traced graphs move nothing: they have no row, and their outputs are not counted as activations.
    """
    named = [(f"{call.name}.{operator.name}", operator) for call, operator in graph.operators if not _is_view(operator)]
    rows = tuple(_operator_row(name, operator) for name, operator in named)
    without: Counter[str] = Counter()
    uncounted: Counter[str] = Counter()
    for _, operator in named:
        if operator.kind not in _COUNTED and not operator.macs:
            (without if _is_known(operator) else uncounted)[_kind(operator)] += 1
    return CostTable(
        "graph",
        (Input(graph.input.shape, name="input"),),
        rows,
        sum(row.params for row in rows),
        sum(row.weight_bytes for row in rows),
        dict(sorted(without.items())),
        dict(sorted(uncounted.items())),
    )


def _operator_row(name: str, operator: Operator) -> LayerCosts:
    return LayerCosts(
        name,
        _kind(operator),
        (operator.input_spec.shape,) * len(operator.inputs),
        operator.output_spec.shape,
        operator.macs,
        operator.params,
        operator.moved_bytes - operator.output_spec.size_bytes,
        (operator.params * operator.weight_bits + 7) // 8,
        operator.output_spec.size_bytes,
    )


#: The kinds of ours that are counted; the others are known to have no multiply-adds, but what was traced.
_COUNTED = ("conv2d", "linear")


def _kind(operator: Operator) -> str:
    return operator.kind if operator.traced is None else operator.traced.name


def _is_view(operator: Operator) -> bool:
    return operator.traced is not None and not operator.traced.like


def _is_known(operator: Operator) -> bool:
    if operator.traced is None:
        return True
    from search_spaces._aten import name_without_macs

    return name_without_macs(operator.traced.name)
