"""The contract of a predictor: scikit-learn's estimator over architectures, seconds with intervals out."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hilnas.errors import UsageError
from hilnas.records import Architecture, Prediction, Provenance
from predictors._by_decision import MOST_CELLS, Cells, Parts, Sums, all_architectures, changed_once, checked_codes
from predictors._conformal import assign_folds, cv_plus, cv_plus_below
from predictors._linear import ColumnsLine
from predictors._views import GRAPHS_KEPT, Views, views_of
from search_spaces._base import SearchSpace

Array = NDArray[np.float64]
#: A fitted model: rows of features in, seconds out.
Model = Callable[[Array], Array]

_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Predictions:
    """Guesses in seconds, arrays of shape (n,), with lower_s <= mean_s <= upper_s, and where each comes from."""

    mean_s: Array
    lower_s: Array
    upper_s: Array
    provenance: tuple[Provenance, ...]

    def __len__(self) -> int:
        return len(self.provenance)

    def __iter__(self) -> Iterator[Prediction]:
        for values in zip(self.mean_s, self.lower_s, self.upper_s, self.provenance, strict=True):
            yield Prediction(float(values[0]), float(values[1]), float(values[2]), values[3])


class Predictor(BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no annotations
    """Learns seconds from measured architectures of one space.

    The constructor only stores its parameters. Networks whose output ignores their input take no time worth a name:
    they are left out of training, and predicted as the fastest time seen (`bound`), never slower.
    Intervals are CV+ on log-residuals: a model that has not seen a sample says how far off it is.
    """

    #: How many architectures to measure when a user does not say; two are enough to fit.
    minimum_samples: ClassVar[int]

    def __init__(self, space: SearchSpace, *, seed: int = 0, coverage: float = 0.9) -> None:
        self.space = space
        self.seed = seed
        self.coverage = coverage

    @abstractmethod
    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        """Return the rows the model reads, shape (n, d)."""

    @abstractmethod
    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        """Return a model of times y (n,) given rows (n, d); deterministic.

        A `ColumnsLine` promises that its columns add up over the blocks of a network.
        """

    def _inputs_of_fitted(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        """Return the rows as far as the fitted models read them: columns at the end may be missing."""
        return self._inputs(views, architectures)

    def _choose(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        """Return what the data decide (as JSON values) by looking only at what it is given."""
        return {}

    def _provenance(self) -> Provenance:
        """Return where predictions of connected architectures come from."""
        return "model"

    def requests(self) -> list[str]:
        """Return the lookup keys of the blocks whose times are still missing."""
        return []

    def choose(
        self,
        candidates: Sequence[Architecture],
        n: int,
        measured: Sequence[Architecture] = (),
        latency_s: ArrayLike = (),
    ) -> list[int]:
        """Return the places of up to n candidates to measure next: random here, of forms that are not measured yet."""
        seen = {self.space.canonical(item) for item in measured}
        found: list[int] = []
        for place in np.random.default_rng([self.seed, len(measured)]).permutation(len(candidates)):
            form = self.space.canonical(candidates[place])
            if len(found) < n and form not in seen:
                seen.add(form)
                found.append(int(place))
        return found

    def parameters(self) -> dict[str, Any]:
        """Return what the fit has found, as JSON values."""
        return dict(self.choices_)

    def fit(self, X: Sequence[Architecture], y: ArrayLike, *, choices: Mapping[str, Any] | None = None) -> Self:
        """Learn from architectures and their seconds, shape (n,).

        `choices` restores what an earlier fit on the same data chose. Raises ValueError for times that are not
        positive and finite, for fewer than two connected architectures and for lengths that differ.
        """
        times = _checked(X, y)
        self.views_ = views_of(self.space)
        connected = self.views_.connected(X)
        if connected.sum() < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 connected architectures, got {connected.sum()}")
        self.floor_s_ = float(times.min())
        used = [item for item, live in zip(X, connected, strict=True) if live]
        inputs, times = self._inputs(self.views_, used), times[connected]
        # The matrices are small: more threads only wait for each other, badly so beside other work.
        with threadpool_limits(limits=1, user_api="blas"):
            self._fit_models(inputs, times, self._folds(used), choices)
        self._parts: Parts | None = None
        self._seconds: Cells | Sums | None = None
        return self

    def predict(self, X: Sequence[Architecture], coverage: float | None = None) -> Predictions:
        """Return seconds with intervals of the given coverage (default: the constructor's).

        Raises scikit-learn's NotFittedError before `fit`.
        """
        check_is_fitted(self, "choices_")
        # Part by part: the graphs of a part are kept until all their views are made.
        parts = [self._predict(X[i : i + GRAPHS_KEPT], coverage) for i in range(0, max(len(X), 1), GRAPHS_KEPT)]
        return Predictions(
            np.concatenate([part.mean_s for part in parts]),
            np.concatenate([part.lower_s for part in parts]),
            np.concatenate([part.upper_s for part in parts]),
            tuple(itertools.chain.from_iterable(part.provenance for part in parts)),
        )

    def predict_codes(self, codes: ArrayLike) -> Array:
        """Return the seconds of architectures given as their decisions, integers of shape (n, decisions).

        They are the means of `predict`, shape (n,). In a small space, and where times add up over decisions, the first
        call prepares what all others look up. Raises UsageError for codes outside the space and NotFittedError before
        `fit`.
        """
        check_is_fitted(self, "choices_")
        found = checked_codes(codes, self.space.cardinalities)
        # A traced graph takes long to make, and of some architectures there is none.
        seconds = None if self.space.traced else self.by_decision()
        if seconds is not None:
            return seconds.of(found)
        return self.predict([self.space.architecture(tuple(row)) for row in found.tolist()]).mean_s

    def probability(self, X: Sequence[Architecture], limit_s: float) -> Array:
        """Return how likely each architecture takes at most `limit_s` seconds, shape (n,).

        It is at least p > 0.5 exactly where the upper bound of `predict` at the coverage 2p - 1 keeps the limit, and
        never more than what was measured can promise (with CV+, 1 - 1 / (2m + 2) of m architectures).
        """
        check_is_fitted(self, "choices_")
        found = np.full(len(X), float(self.floor_s_ <= limit_s))
        connected = self.views_.connected(X) if len(X) else np.zeros(0, bool)
        if connected.any():
            rows = self._fitted_rows([item for item, live in zip(X, connected, strict=True) if live])
            found[connected] = self._below(rows, limit_s)
        return found

    def expected_cost(self, probabilities: Any) -> Any:
        """Return the expected seconds of an architecture whose decisions are drawn independently.

        `probabilities[i]` holds the probabilities of decision i, as numpy arrays or torch tensors; the result is of
        the same kind and differentiable. In a small space every architecture is predicted once, then all are weighted;
        in a larger one times that add up over decisions are expected decision by decision. Both are exact, but that the
        second knows no floor. Raises UsageError where neither is possible and NotFittedError before `fit`.
        """
        check_is_fitted(self, "choices_")
        seconds = self.by_decision()
        if seconds is None:
            raise UsageError(
                f"{self.space.name} is too large for an exact expectation of {type(self).__name__}",
                f"It has more than {MOST_CELLS} architectures, and what was fitted does not add up over its decisions.",
                "Fit a lookup_table without correction, or macs_baseline.",
            )
        return seconds.expected(probabilities)

    def by_decision(self) -> Cells | Sums | None:
        """Return the seconds of every cell of a small space, or of every choice where they add up; else None.

        The first call after `fit` makes them.
        """
        shape = self.space.cardinalities
        if self._seconds is None and math.prod(shape) <= MOST_CELLS:
            self._seconds = Cells(self.predict(all_architectures(self.space)).mean_s.reshape(shape))
        if self._seconds is None and isinstance(self._model, ColumnsLine):
            parts = self._adding_up()
            self._seconds = None if parts is None else Sums.of_line(self._model, parts)
        return self._seconds

    def _adding_up(self) -> Parts | None:
        """Return how the rows that fitted models read add up over decisions; None where they do not."""
        if self._parts is None and self.space.choices() and isinstance(self._model, ColumnsLine):
            rows = self._inputs_of_fitted(self.views_, changed_once(self.space))
            self._parts = Parts.of(rows, self.space.cardinalities)
        return self._parts

    def _fitted_rows(self, architectures: Sequence[Architecture]) -> Array:
        """Return the rows that fitted models read."""
        parts = self._adding_up()
        if parts is None:
            return self._inputs_of_fitted(self.views_, architectures)
        return parts.rows(np.array([item.decisions for item in architectures]))

    def _predict(self, X: Sequence[Architecture], coverage: float | None) -> Predictions:
        n = len(X)
        mean, lower, upper = np.full(n, self.floor_s_), np.zeros(n), np.full(n, self.floor_s_)
        connected = self.views_.connected(X) if n else np.zeros(0, bool)
        if connected.any():
            used = [item for item, live in zip(X, connected, strict=True) if live]
            inputs = self._fitted_rows(used)
            found = self._with_bounds(inputs, self.coverage if coverage is None else coverage)
            mean[connected], lower[connected], upper[connected] = found
        return Predictions(mean, lower, upper, tuple(self._provenance() if live else "bound" for live in connected))

    def _with_bounds(self, inputs: Array, coverage: float) -> tuple[Array, Array, Array]:
        """Return seconds of rows and the bounds of their intervals, shape (n,) each."""
        mean = self._model(inputs)
        bounds = cv_plus(self._fold_logs(inputs), self.folds_, np.abs(self.residuals_), coverage)
        return mean, np.minimum(np.exp(bounds[0]), mean), np.maximum(np.exp(bounds[1]), mean)

    def _below(self, inputs: Array, limit_s: float) -> Array:
        """Return the probability that rows take at most so many seconds, shape (n,): the inverse of `_with_bounds`."""
        logs = self._fold_logs(inputs)
        below, above = cv_plus_below(logs, self.folds_, np.abs(self.residuals_), float(np.log(limit_s)))
        return np.where(self._model(inputs) <= limit_s, (1 + below) / 2, (1 - above) / 2)

    def _fold_logs(self, inputs: Array) -> Array:
        return np.column_stack([np.log(model(inputs)) for model in self._fold_models])

    def _fit_models(
        self, inputs: Array, times: Array, folds: NDArray[np.intp], choices: Mapping[str, Any] | None
    ) -> None:
        """Fit the model of everything and one for each fold left out; keep the log-residuals of the latter."""
        self.folds_ = folds
        self.choices_ = dict(self._choose(inputs, times, folds) if choices is None else choices)
        self.residuals_ = np.empty(len(times))
        fold_models: list[Model] = []
        for fold in range(folds.max() + 1):
            held = folds == fold
            model = self._train(inputs[~held], times[~held], self.choices_)
            self.residuals_[held] = np.log(times[held] / model(inputs[held]))
            fold_models.append(model)
        self._fold_models = fold_models
        self._model = self._train(inputs, times, self.choices_)

    def _folds(self, architectures: Sequence[Architecture]) -> NDArray[np.intp]:
        forms = [self.space.canonical(item) for item in architectures]
        if len(set(forms)) == 1:
            forms = [str(i) for i in range(len(forms))]
        return assign_folds(forms, min(_FOLDS, len(set(forms))), self.seed)


def _checked(X: Sequence[Architecture], y: ArrayLike) -> Array:
    times = np.array(y, dtype=float)
    if times.shape != (len(X),):
        raise ValueError(f"{len(X)} architectures need as many times, got an array of shape {times.shape}")
    if not np.all(np.isfinite(times) & (times > 0)):
        raise ValueError("times must be positive and finite")
    return times
