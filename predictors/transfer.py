"""A new device from a handful of measurements: what other devices, features and decisions say, weighed by evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hilnas.records import Architecture
from predictors import _design
from predictors._base import Array, Model, Predictor
from predictors._graph_features import FEATURES, MODES
from predictors._kernels import KERNEL_FEATURES
from predictors._mixture import PARTS, Mixture, Rows
from predictors._prepared import Prepared, prepare, reference_networks
from predictors._views import Views, views_of
from search_spaces._base import SearchSpace

#: Networks chosen before the first is measured; the rest follow one by one, and from so many on several at a time.
_FIRST, _SEVERAL_FROM, _SEVERAL = 5, 20, 5
#: Until so many are measured, and until so sure which graph runs, what is least certain itself is measured next; until
#: so many, no graph is believed more than the others.
_EXPLORED, _SURE = 8, 0.9
#: From so many on, their median tells whether the model predicts too fast or too slow as a whole.
_CENTRED_FROM = 20
#: Candidates that are looked at, and those over which uncertainty is averaged.
_CANDIDATES, _REFERENCE = 1000, 250
#: From this budget on, so many of it are drawn at random: enough for conformal intervals, one-sided ones of 95 % too.
_CALIBRATED_FROM, _CALIBRATION = 40, 20


def n_drawn(budget: int) -> int:
    """Return how many of a budget of measurements are best drawn at random, for intervals."""
    return _CALIBRATION if budget >= _CALIBRATED_FROM else 0


class Transfer(Predictor):
    """Gaussian processes over other devices' times, features of the graph that runs, and decisions.

    Which graph the device runs (`as_trained`, `without_dead`, `live`) and how far each part is trusted is weighed by
    its evidence. Without sources, features and decisions are left. Networks to measure are chosen so that they leave
    least uncertainty about the rest. Intervals are conformal where enough of the measured networks were drawn at
    random (9 for 90 %), else those of the model, and say so in `parameters`.
    """

    minimum_samples = 10
    _prepared: Prepared | None = None

    def __init__(
        self,
        space: SearchSpace,
        *,
        sources: Sequence[Mapping[str, Any]] = (),
        seed: int = 0,
        coverage: float = 0.9,
    ) -> None:
        """Store the parameters; each of `sources` is the JSON of a Source, with `space` where it is another one."""
        super().__init__(space, seed=seed, coverage=coverage)
        self.sources = sources

    def choose(
        self,
        candidates: Sequence[Architecture],
        n: int,
        measured: Sequence[Architecture] = (),
        latency_s: ArrayLike = (),
    ) -> list[int]:
        """Return the places of up to n candidates whose measurement tells most about all; fewer where that is wise.

        Before anything is measured five are chosen at most, afterwards one at a time, since each changes what is best
        next; where many are measured that changes little, and it is five again.
        """
        prepared = self._prepare()
        seen = {self.space.canonical(item) for item in measured}
        places = self._looked_at(candidates, seen)
        if not places:
            return []
        drawn = [candidates[i] for i in places]
        forms = [self.space.canonical(item) for item in drawn]
        places_of: dict[str, list[int]] = {}
        for i, form in enumerate(forms):
            places_of.setdefault(form, []).append(i)
        same = [places_of[form] for form in forms]
        rows = prepared.rows(drawn)
        reference = range(min(_REFERENCE, len(drawn)))
        live = prepared.views.connected(measured) if len(measured) else np.zeros(0, bool)
        with threadpool_limits(limits=1, user_api="blas"):
            if live.sum() < 2:
                # Five networks tell no fusing runtime from another: their kernels would only draw extreme ones.
                settings = prepared.settings.without("kernels")
                chosen = _design.choose_first(rows, min(n, _FIRST), reference, settings, same)
                return [places[i] for i in chosen]
            known = prepared.rows([item for item, is_live in zip(measured, live, strict=True) if is_live])
            mixture = Mixture(known, np.asarray(latency_s, dtype=float)[live], prepared.settings)
            exploring = len(known) < _EXPLORED
            if exploring or mixture.mode_weights.max() < _SURE:
                mean, deviation = mixture.moments(rows, equally=exploring)
                return [places[int(np.argmax(deviation / mean))]]
            several = _SEVERAL if len(known) >= _SEVERAL_FROM else 1
            chosen = _design.choose_next(rows, min(n, several), reference, known, mixture, same)
        return [places[i] for i in chosen]

    def fit(
        self,
        X: Sequence[Architecture],
        y: ArrayLike,
        *,
        choices: Mapping[str, Any] | None = None,
        drawn: Sequence[bool] = (),
    ) -> Self:
        """Learn from architectures and their seconds; `drawn` says which of them were drawn at random (none).

        Raises ValueError as every predictor does.
        """
        if choices is None:
            live = views_of(self.space).connected(X)
            flags = np.array(drawn if len(drawn) else [False] * len(X), bool)[live]
            choices = {"drawn_at_random": np.flatnonzero(flags).tolist()}
        return super().fit(X, y, choices=choices)

    def parameters(self) -> dict[str, Any]:
        """Return which graph runs, how much each part and source says, and what the intervals are."""
        modes = {f"graph {name}": float(w) for name, w in zip(MODES, self._mixture.mode_weights, strict=True)}
        return {"interval": self._interval_kind(self.coverage), **modes, **self._shares()}

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        return np.hstack([views.matrix(name, architectures) for name in ("modes", "kernels", "encoding")])

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        mixture = Mixture(self._rows(inputs), y, self._prepare().settings)
        return lambda rows: mixture.moments(self._rows(rows), spread=False)[0]

    def _fit_models(
        self, inputs: Array, times: Array, folds: NDArray[np.intp], choices: Mapping[str, Any] | None
    ) -> None:
        self.choices_ = dict(choices or {})
        self._mixture = Mixture(self._rows(inputs), times, self._prepare().settings)
        mean, deviation = self._mixture.leave_one_out()
        mean = np.maximum(mean, self._mixture.fastest_s / 3)
        errors = np.log(times / mean)
        self._centre = float(np.median(errors)) if len(times) >= _CENTRED_FROM else 0.0
        self.residuals_ = errors - self._centre
        drawn = list(self.choices_.get("drawn_at_random", ()))
        #: How many of its standard deviations the model was off for each network that was drawn at random.
        self._scores = np.sort(np.abs(self.residuals_ / (deviation / mean))[drawn])
        self._model = lambda rows: self._moments(rows, spread=False)[0]

    def _moments(self, inputs: Array, spread: bool = True) -> tuple[Array, Array]:
        """Return seconds and the standard deviation of their logarithm, shape (n,) each."""
        mean, deviation = self._mixture.moments(self._rows(inputs), spread)
        return mean * np.exp(self._centre), deviation / mean

    def _with_bounds(self, inputs: Array, coverage: float) -> tuple[Array, Array, Array]:
        mean, deviation = self._moments(inputs)
        if self._interval_kind(coverage) == "conformal":
            times = float(self._scores[_rank(len(self._scores), coverage) - 1])
        else:
            times = float(norm.ppf((1 + coverage) / 2))
        return mean, mean * np.exp(-times * deviation), mean * np.exp(times * deviation)

    def _below(self, inputs: Array, limit_s: float) -> Array:
        mean, deviation = self._moments(inputs)
        times = np.log(limit_s / mean) / deviation
        n = len(self._scores)
        within = np.searchsorted(self._scores, np.abs(times), side="right")
        # Beyond all scores the model decides, but promises no less than they do.
        by_model = np.maximum(2 * norm.cdf(np.abs(times)) - 1, n / (n + 1))
        coverage = np.where(within < n, within / (n + 1), by_model)
        return np.asarray((1 + np.sign(times) * coverage) / 2)

    def _interval_kind(self, coverage: float) -> str:
        """Return `conformal` where enough networks were drawn at random for the coverage, else `model`."""
        return "conformal" if _rank(len(self._scores), coverage) <= len(self._scores) else "model"

    def _shares(self) -> dict[str, float]:
        """Return which share of the spread of predictions over the space each source and part brings."""
        reference = self._prepare().rows(reference_networks(self.space, self.seed))
        total = self._mixture.contributions(reference)
        names = [f"source {item.name}" for item in self._prepare().surrogates]
        parts = [name for name in PARTS if name not in ("constant", "sources")]
        return dict(zip([*names, *(f"part {name}" for name in parts)], total.tolist(), strict=True))

    def _prepare(self) -> Prepared:
        if self._prepared is None:
            self._prepared = prepare(self.space, self.sources, self.seed)
        return self._prepared

    def _rows(self, inputs: Array) -> Rows:
        n = len(MODES) * len(FEATURES)
        features, kernels, decisions = np.split(inputs, [n, n + len(KERNEL_FEATURES)], axis=1)
        return self._prepare().rows_of(features.reshape(-1, len(MODES), len(FEATURES)), kernels, decisions)

    def _looked_at(self, candidates: Sequence[Architecture], seen: set[str]) -> list[int]:
        """Return the places of candidates to look at: connected ones, of forms that are not measured."""
        found = []
        for place in np.random.default_rng(self.seed).permutation(len(candidates)):
            item = candidates[place]
            if self.space.canonical(item) not in seen and views_of(self.space).connected([item])[0]:
                found.append(int(place))
            if len(found) == _CANDIDATES:
                break
        return found


def _rank(n: int, coverage: float) -> int:
    """Return which of n scores, from the smallest, bounds a further one with this probability (split conformal)."""
    return max(1, math.ceil(coverage * (n + 1)))
