"""Measured block times, added up: time = a + b x sum of the entries of the blocks that run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture, Provenance
from predictors._base import Array, Model, Predictor
from predictors._errors import MissingEntries
from predictors._linear import fit_line, fit_ridge
from predictors._views import Views
from search_spaces._base import SearchSpace

_ALPHAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: A correction of the sum is tried with at least so many whole networks.
_MIN_FOR_CORRECTION = 8


class LookupTable(Predictor):
    """A table of block times with an intercept and a scale fitted on whole networks, robustly.

    Blocks are counted in the live graph. What a runtime saves by fusing across blocks is corrected by a ridge
    regression on its kernels, switched on only when that wins in cross-validation (provenance `model` then).
    """

    minimum_samples = 20

    def __init__(
        self,
        space: SearchSpace,
        *,
        entries: Mapping[str, float] | None = None,
        correction: bool | None = None,
        seed: int = 0,
        coverage: float = 0.9,
    ) -> None:
        """Store the parameters: `entries` lookup key -> seconds; `correction` on, off, or chosen (None)."""
        super().__init__(space, seed=seed, coverage=coverage)
        self.entries = entries
        self.correction = correction

    def requests(self) -> list[str]:
        """Return the lookup keys of the blocks of the space that have no entry."""
        known = self.entries or {}
        return [block.key for block in self.space.blocks() if block.key not in known]

    def parameters(self) -> dict[str, Any]:
        """Return a (seconds), b, the residual of the sum and of the held-out predictions, the correction."""
        return {**self.choices_, **_residual("held_out", np.exp(self.residuals_) - 1)}

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        times = self._entry_vector()
        counts = views.matrix("live_blocks", architectures)
        return np.column_stack([counts @ times, views.matrix("runtime", architectures)])

    def _choose(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        line = fit_line(inputs[:, :1], y)
        found = {
            "a_s": line.intercept,
            "b": float(line.coefficients[0]),
            **_residual("table", y / line(inputs[:, :1]) - 1),
        }
        candidates = self._candidates(len(y))
        errors = [self._held_out_error(inputs, y, folds, alpha) for alpha in candidates]
        return {**found, "correction_alpha": candidates[int(np.argmin(errors))]}

    def _candidates(self, n: int) -> tuple[float | None, ...]:
        """Return the penalties of the correction to try; None stands for no correction."""
        if self.correction is None:
            return (None, *_ALPHAS) if n >= _MIN_FOR_CORRECTION else (None,)
        return _ALPHAS if self.correction else (None,)

    def _held_out_error(self, inputs: Array, y: Array, folds: NDArray[np.intp], alpha: float | None) -> float:
        logs = np.empty(len(y))
        for fold in range(folds.max() + 1):
            held = folds == fold
            model = self._train(inputs[~held], y[~held], {"correction_alpha": alpha})
            logs[held] = np.log(model(inputs[held]) / y[held])
        return float(np.abs(logs).mean())

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        line = fit_line(inputs[:, :1], y)
        alpha = choices["correction_alpha"]
        if alpha is None:
            return lambda rows: line(rows[:, :1])
        added = fit_ridge(inputs[:, 1:], y, alpha, robust=True, base=line(inputs[:, :1]))
        return lambda rows: np.maximum(line(rows[:, :1]) + added(rows[:, 1:]), line.floor)

    def _provenance(self) -> Provenance:
        return "table" if self.choices_["correction_alpha"] is None else "model"

    def _entry_vector(self) -> Array:
        missing = self.requests()
        if missing:
            raise MissingEntries(
                f"lookup_table lacks {len(missing)} block times of {self.space.name}: {', '.join(missing)}",
                "They were not measured on this device, or not with these options of the space.",
                f"Measure them: hilnas profile DEVICE --space {self.space.name} --blocks",
            )
        entries = dict(self.entries or {})
        times = np.array([entries[block.key] for block in self.space.blocks()], dtype=float)
        if not all(math.isfinite(item) and item > 0 for item in times):
            raise ValueError("the entries of a lookup table must be positive and finite seconds")
        return times


def _residual(name: str, errors: Array) -> dict[str, float]:
    """Return standard deviation and largest size of relative errors (measured / predicted - 1)."""
    return {f"{name}_residual_sd": float(errors.std()), f"{name}_residual_worst": float(np.abs(errors).max())}
