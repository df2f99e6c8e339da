"""A linear model of what a network costs a machine, and boosted trees for what it leaves over."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture
from predictors._base import Array, Model, Predictor
from predictors._kernels import KERNEL_FEATURES
from predictors._trees import LinearChoice, choose_linear, choose_rounds, fit_boosted
from predictors._views import Views
from search_spaces._base import SearchSpace
from search_spaces._features import FEATURES

_STAGES = (25, 50, 100)
_ALPHAS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_N_RUNTIME = len(FEATURES) + len(KERNEL_FEATURES)
#: What the linear model may be shown: columns of the inputs.
_COLUMNS = {"runtime": slice(0, _N_RUNTIME), "as_trained": slice(_N_RUNTIME, None), "both": slice(None)}
#: Trees on fewer samples than this learn noise.
_MIN_FOR_TREES = 40


class GradientBoosting(Predictor):
    """Ridge regression on relative errors, then gradient boosting on its log-residuals.

    Cross-validation on the training data decides which graph the linear model is shown (what a runtime is left with,
    what was trained, or both), its penalty and loss, and how many trees help: none when none do.
    """

    minimum_samples = 60

    def __init__(
        self, space: SearchSpace, *, view: str = "auto", rounds: int | None = None, seed: int = 0, coverage: float = 0.9
    ) -> None:
        """Store the parameters: `view` auto, runtime, as_trained or both; `rounds` of boosting (None: chosen)."""
        super().__init__(space, seed=seed, coverage=coverage)
        self.view = view
        self.rounds = rounds

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        runtime, trained = views.matrix("runtime", architectures), views.matrix("as_trained", architectures)
        return np.hstack([runtime, trained])

    def _choose(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        if self.view not in ("auto", *_COLUMNS):
            raise ValueError(f"view must be auto, {', '.join(_COLUMNS)}, not {self.view!r}")
        names = list(_COLUMNS) if self.view == "auto" else [self.view]
        choices = [LinearChoice(*item) for item in itertools.product(names, _ALPHAS, (False, True))]
        best = choose_linear(inputs, y, folds, _COLUMNS, choices)
        rounds = self.rounds
        if rounds is None:
            enough = len(y) >= _MIN_FOR_TREES
            columns = _COLUMNS[best.view]
            rounds = choose_rounds(inputs, y, folds, columns, best, _STAGES, self.seed) if enough else 0
        return {"view": best.view, "alpha": best.alpha, "robust": best.robust, "rounds": rounds}

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        linear = LinearChoice(choices["view"], choices["alpha"], choices["robust"])
        return fit_boosted(inputs, y, _COLUMNS[linear.view], linear, choices["rounds"], self.seed)
