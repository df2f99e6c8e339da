"""The baseline everybody has: time = a + b x multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture
from predictors._base import Array, Model, Predictor
from predictors._linear import ColumnsLine, fit_line
from predictors._views import Views

#: The columns of the view `macs`.
_COUNTS = ("live", "as_trained")


class MacsBaseline(Predictor):
    """A robust line through MACs, of the live graph or of the graph as trained, whichever fits the training data."""

    minimum_samples = 10

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        return views.matrix("macs", architectures)

    def _choose(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        lines = [fit_line(inputs[:, [i]], y) for i in range(len(_COUNTS))]
        errors = [np.abs(np.log(line(inputs[:, [i]]) / y)).mean() for i, line in enumerate(lines)]
        best = int(np.argmin(errors))
        line = lines[best]
        return {"macs": _COUNTS[best], "a_s": line.intercept, "b_s": float(line.coefficients[0])}

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        column = [_COUNTS.index(choices["macs"])]
        return ColumnsLine(fit_line(inputs[:, column], y), column)
