"""The training memory of a supernet of quantised CNNs (RADARS), from measured sub-spaces of it.

Every combination of a layer's kernels and formats is a candidate with weights of its own; all are computed and kept.
RADARS (Eq. 3 to 5) has a term for weights and one for activations. Two more are counted here: the largest workspaces
of convolutions, which weigh most where nearly everything is held (the last two layers), and a result that is kept for
each kernel and format of activations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.errors import UsageError
from predictors._sub_spaces import LAYERS, LayerChoices, MeasuredSubSpace, SubSpace, load

Array = NDArray[np.float64]

#: The network that was measured: channels of its input and layers, sides of its convolutions' results, batch.
CHANNELS, SIDES, BATCH = (3, 64, 64, 128, 128, 256, 256), (32, 32, 16, 16, 8, 8), 128
_FLOATS = 4 / 2**20  # MiB of a number
#: MiB of a layer's result for a batch of 128, and of a kernel of one weight.
_MAPS = np.array([BATCH * c * s * s * _FLOATS for c, s in zip(CHANNELS[1:], SIDES, strict=True)])
_KERNELS = np.array([a * b * _FLOATS for a, b in pairwise(CHANNELS)])
#: Layers whose workspace is counted.
_LAST = (4, 5)

FEATURES = ("activations", "weights", "workspaces", "mixtures")
#: Which of them grow with the batch.
_BY_BATCH = np.array([1.0, 0.0, 1.0, 1.0])
#: How many of them a model may use (the first two are RADARS' own), and whether outliers weigh less.
CHOICES = ((2, False), (3, False), (4, False), (2, True), (3, True), (4, True))
BASELINE = (2, False)

#: Huber's constant, and the rounds of reweighting.
_HUBER, _ROUNDS = 1.345, 10
#: Published in RADARS, Table II: the whole space, the sub-space that was searched, and one path of it.
PUBLISHED_GB = {"DNAS": 112.0, "RADARS": 10.43, "QuantNAS": 1.43}
GB_PER_MIB = 2**20 / 1e9


def features(layers: SubSpace, batch: int = BATCH) -> Array:
    """Return the quantities of FEATURES in MiB, shape (4,).

    Activations: a result for every candidate. Weights: those of every candidate. Workspaces: for the last two layers
    the input, unfolded for the largest kernel (batch x channels x k^2 x height x width). Mixtures: a result for every
    kernel and format of activations.
    """
    unfolded = [BATCH * CHANNELS[i] * SIDES[i] ** 2 * max(layers[i].kernels) ** 2 * _FLOATS for i in _LAST]
    values = [
        _MAPS @ [layer.candidates for layer in layers],
        _KERNELS @ [sum(k * k for k in layer.kernels) * layer.formats for layer in layers],
        sum(unfolded),
        _MAPS @ [len(layer.kernels) * len(layer.activations) for layer in layers],
    ]
    return np.array(values) * np.where(_BY_BATCH, batch / BATCH, 1.0)


@dataclass(frozen=True, eq=False)
class SupernetMemory:
    """A fitted model: MB = context + coefficients x features, nothing of it negative.

    What is called MB here is what nvidia-smi calls MiB. Coefficients are how many copies are held.
    """

    context_mb: float
    coefficients: Array

    def predict(self, layers: SubSpace, batch: int = BATCH) -> float:
        """Return MB that training takes; another batch than the one that was measured is an extrapolation."""
        return float(self.context_mb + features(layers, batch)[: len(self.coefficients)] @ self.coefficients)

    def to_json(self) -> dict[str, float]:
        """Return the context in MB and the coefficients by name."""
        named = zip(FEATURES, self.coefficients.tolist(), strict=False)
        return {"context_mb": self.context_mb, **dict(named)}


def fit(rows: Sequence[MeasuredSubSpace]) -> SupernetMemory:
    """Return the model whose choice predicts left-out sub-spaces best; raise UsageError for too few of them."""
    groups = _groups(rows)
    if max(groups, default=-1) < len(FEATURES) + 2:
        raise UsageError(
            f"{len(rows)} measured sub-spaces are too few for a model",
            f"At least {len(FEATURES) + 3} different ones are needed.",
        )
    x, y = _arrays(rows)
    best = min(CHOICES, key=lambda choice: np.abs(_left_out(x, y, groups, choice) - y).mean())
    return _solve(x, y, best)


def left_out(
    rows: Sequence[MeasuredSubSpace], choice: tuple[int, bool] | None = None
) -> tuple[Array, list[SupernetMemory]]:
    """Return for each row what a model says that has not seen its sub-space, and these models.

    Without a choice each model makes its own from the rows it sees: the figures do not flatter the choice.
    """
    groups, predicted, models = _groups(rows), np.zeros(len(rows)), []
    for train, test in _splits(groups):
        seen = [rows[i] for i in train]
        model = fit(seen) if choice is None else _solve(*_arrays(seen), choice)
        predicted[test] = [model.predict(rows[i].layers) for i in test]
        models.append(model)
    return predicted, models


def report(fit_path: Path, evaluate_path: Path | None = None) -> dict[str, Any]:
    """Return figures of a model of one file's rows on another's, or else on its own, left out in turn.

    `mae_mb`, `r2` and `worst_relative` are on rows that no model has seen: those of the evaluated file are not
    fitted where they stand in both.
    """
    rows = load(fit_path)
    judged = load(evaluate_path) if evaluate_path else rows
    if evaluate_path is None:
        predicted, models = left_out(rows)
        plain = left_out(rows, BASELINE)[0]
    else:
        held = {row.layers for row in judged}
        seen = [row for row in rows if row.layers not in held]
        models = [fit(seen)]
        plain_model = _solve(*_arrays(seen), BASELINE)
        predicted, plain = (np.array([m.predict(row.layers) for row in judged]) for m in (models[0], plain_model))
    truth = np.array([row.measured_mb for row in judged])
    return {
        "evaluated": "file" if evaluate_path else "left out in turn",
        "n": len(judged),
        "different": len({row.layers for row in judged}),
        "not_fitted": len(rows) - len(seen) if evaluate_path else 0,
        **_figures(truth, predicted),
        "baseline": _figures(truth, plain),
        "model": fit(rows if evaluate_path is None else seen).to_json(),
        "full_space": _whole(models, rows if evaluate_path is None else seen),
        "published_gb": PUBLISHED_GB,
        "predicted_mb": predicted.tolist(),
        "measured_mb": truth.tolist(),
    }


def whole_space() -> SubSpace:
    """Return all 144 candidates of every layer."""
    formats = tuple((i, f) for i in (1, 3) for f in (1, 3, 6))
    return (LayerChoices((1, 3, 5, 7), formats, formats),) * LAYERS


def one_path(kernel: int = 3) -> SubSpace:
    """Return one candidate a layer."""
    return (LayerChoices((kernel,), ((3, 6),), ((3, 6),)),) * LAYERS


def _whole(models: Sequence[SupernetMemory], rows: Sequence[MeasuredSubSpace]) -> dict[str, Any]:
    """Return the whole space and one path at two batch sizes; the range is that of the given models."""
    model = fit(rows)
    found = {}
    for batch in (BATCH, 2 * BATCH):
        every = [item.predict(whole_space(), batch) * GB_PER_MIB for item in models]
        found[str(batch)] = {
            "predicted_gb": model.predict(whole_space(), batch) * GB_PER_MIB,
            "range_gb": [min(every), max(every)],
            "one_path_gb": model.predict(one_path(), batch) * GB_PER_MIB,
        }
    return found


def _figures(truth: Array, predicted: Array) -> dict[str, float]:
    errors = predicted - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    return {
        "mae_mb": float(np.abs(errors).mean()),
        "r2": 1 - float((errors**2).sum()) / spread if spread else float("nan"),
        "worst_relative": float(np.abs(errors / truth).max()),
        "bias_mb": float(errors.mean()),
    }


def _arrays(rows: Sequence[MeasuredSubSpace]) -> tuple[Array, Array]:
    return np.array([features(row.layers) for row in rows]), np.array([row.measured_mb for row in rows])


def _groups(rows: Sequence[MeasuredSubSpace]) -> list[int]:
    """Return a number for each row, the same for the same sub-space."""
    numbers: dict[SubSpace, int] = {}
    return [numbers.setdefault(row.layers, len(numbers)) for row in rows]


def _splits(groups: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield indices to train on and to test on; each group is the test side once, whole."""
    for group in dict.fromkeys(groups):
        yield (
            [i for i, item in enumerate(groups) if item != group],
            [i for i, item in enumerate(groups) if item == group],
        )


def _left_out(x: Array, y: Array, groups: Sequence[int], choice: tuple[int, bool]) -> Array:
    found = np.zeros(len(y))
    for train, test in _splits(groups):
        model = _solve(x[train], y[train], choice)
        found[test] = model.context_mb + x[np.ix_(test, range(choice[0]))] @ model.coefficients
    return found


def _solve(x: Array, y: Array, choice: tuple[int, bool]) -> SupernetMemory:
    """Return the least squares without negative coefficients; robust: with Huber's loss, by reweighting."""
    from scipy.optimize import nnls

    used, robust = choice
    design = np.column_stack([np.ones(len(y)), x[:, :used]])
    scale = np.abs(design).max(axis=0)
    weights, solved = np.ones(len(y)), np.zeros(used + 1)
    for _ in range(_ROUNDS if robust else 1):
        root = np.sqrt(weights)
        solved = nnls(design / scale * root[:, None], y * root)[0]
        off = np.abs(design / scale @ solved - y)
        spread = max(float(np.median(off)) / 0.6745, 1e-6)
        weights = np.minimum(1.0, _HUBER * spread / np.maximum(off, 1e-9))
    solved = solved / scale
    return SupernetMemory(float(solved[0]), solved[1:])
