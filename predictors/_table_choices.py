"""What a lookup table decides by leaving samples out: intercept, graph, correction; a simpler choice wins a draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from predictors._kernels import KERNEL_FEATURES
from search_spaces._features import FEATURES

Array = NDArray[np.float64]
#: Trains on rows and times and returns the times of other rows.
Fit = Callable[[Array, Array], Callable[[Array], Array]]

#: Up to so many samples are left out one by one, more of them by folds.
_MAX_LEFT_OUT = 50
_RUNTIME = (*FEATURES, *KERNEL_FEATURES)
_OF_PAIRS = ("n_fused_add", "n_fused_relu", "n_read_twice", "kernel_depth", "peak_activation_bytes", "peak_tensors")

#: What a correction may be shown -> columns of the view `runtime`. `pairs`: which kernel reads which, what is fused or
#: read twice, depth, and the most that is alive at once; `kernels`: everything.
CORRECTIONS: dict[str, list[int]] = {
    "pairs": [i for i, name in enumerate(_RUNTIME) if "_to_" in name or name in _OF_PAIRS],
    "kernels": list(range(len(_RUNTIME))),
}


def left_out(inputs: Array, folds: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the fold of every sample, shape (n,): one each for up to 50, samples of equal rows together."""
    if len(inputs) > _MAX_LEFT_OUT:
        return folds
    _, groups = np.unique(inputs, axis=0, return_inverse=True)
    return groups.astype(np.intp).reshape(-1)


def held_out_errors(fit: Fit, inputs: Array, y: Array, folds: NDArray[np.intp]) -> Array:
    """Return |log error| of every sample, shape (n,), each predicted by a fit that has not seen its fold."""
    errors = np.empty(len(y))
    for fold in np.unique(folds):
        held = folds == fold
        errors[held] = np.abs(np.log(fit(inputs[~held], y[~held])(inputs[held]) / y[held]))
    return errors


def simplest(errors: Sequence[Array]) -> int:
    """Return the place of the first candidate whose errors (n,) are no worse than the best ones, by one standard error.

    The rule of Breiman, Friedman, Olshen and Stone (1984), on the differences of paired errors.
    """
    best = min(errors, key=lambda item: float(item.mean()))
    return next(place for place, item in enumerate(errors) if item is best or _draws(item - best))


def _draws(worse: Array) -> bool:
    """Return whether paired differences (n,) are no more than their standard error above 0."""
    if len(worse) < 2:
        return bool(worse.mean() <= 0)
    return bool(worse.mean() <= worse.std(ddof=1) / np.sqrt(len(worse)))
