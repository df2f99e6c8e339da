"""Sub-spaces of quantised CNNs (RADARS) whose supernets' training memory was measured, and files of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilnas.errors import BadFile

#: Layers of the space (RADARS, Table I).
LAYERS = 6
Format = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LayerChoices:
    """What may be chosen for a layer: kernels, and formats (integer and fraction bits) of activations and weights."""

    kernels: tuple[int, ...]
    activations: tuple[Format, ...]
    weights: tuple[Format, ...]

    @property
    def formats(self) -> int:
        """Return the combinations of formats: candidates of each kernel."""
        return len(self.activations) * len(self.weights)

    @property
    def candidates(self) -> int:
        """Return all combinations."""
        return len(self.kernels) * self.formats


SubSpace = tuple[LayerChoices, ...]


@dataclass(frozen=True, slots=True)
class MeasuredSubSpace:
    """A sub-space and the memory, in MB, that training its supernet took."""

    layers: SubSpace
    measured_mb: float


def load(path: Path) -> list[MeasuredSubSpace]:
    """Return the measured sub-spaces of a file; raise BadFile, naming the row and what is wrong with it."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise BadFile(f"{path} is no list of measured sub-spaces", "", _FORM)
    found = []
    for i, row in enumerate(rows):
        try:
            found.append(_row(row))
        except (ValueError, TypeError, KeyError) as error:
            missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise BadFile(f"{path}: row {i} is no measured sub-space: {missing}", "", _FORM) from error
    return found


_FORM = (
    'Expected is [{"layers": [{"kernels": [1, 3], "activation_bits": [[3, 6]], "weight_bits": [[1, 3]]}, ... six], '
    '"measured_mb": 7409}, ...]'
)


def _row(row: Any) -> MeasuredSubSpace:
    layers, measured = row["layers"], row["measured_mb"]
    if not isinstance(layers, list) or len(layers) != LAYERS:
        raise ValueError(f"it has no list of {LAYERS} layers")
    if isinstance(measured, bool) or not isinstance(measured, int | float) or not 0 < measured < float("inf"):
        raise ValueError(f"measured_mb is {measured!r}")
    return MeasuredSubSpace(tuple(map(_layer, layers)), float(measured))


def _layer(layer: Any) -> LayerChoices:
    kernels = tuple(sorted(map(_whole, _several(layer["kernels"], "kernels"))))
    activations, weights = (
        tuple(sorted(map(_format, _several(layer[key], key)))) for key in ("activation_bits", "weight_bits")
    )
    for name, items in (("kernels", kernels), ("activation_bits", activations), ("weight_bits", weights)):
        if len(set(items)) != len(items):
            raise ValueError(f"{name} names one twice")
    if any(kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"kernels {kernels} are not all odd")
    return LayerChoices(kernels, activations, weights)


def _several(items: Any, name: str) -> list[Any]:
    if not isinstance(items, list) or not items:
        raise ValueError(f"{name} is no list of choices: {items!r}")
    return items


def _whole(item: Any) -> int:
    if isinstance(item, bool) or not isinstance(item, int) or item < 1:
        raise ValueError(f"{item!r} is no positive whole number")
    return item


def _format(item: Any) -> Format:
    if not isinstance(item, list) or len(item) != 2:
        raise ValueError(f"{item!r} is no pair of integer and fraction bits")
    return _whole(item[0]), _whole(item[1])
