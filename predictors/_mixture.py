"""Gaussian processes of a network's time, averaged over which graph a device runs and how far each view is trusted.

A time is modelled relative to a base (what other devices, or sums of features, say), so that errors are relative:
y / base = f + error. f is a sum of six independent parts, each with a scale of its own: a constant, other devices'
times, features of the graph that runs, the kernels a runtime may make of it, decisions, and pairs of decisions. With
ten measurements no scale can be fitted; many are drawn instead and weighted by their evidence (Rasmussen and Williams
2006, Eq. 2.30), the more so the better they explain the other devices from each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from predictors._evidence import TAILS_VARIANCE, Explained, explain

Array = NDArray[np.float64]

PARTS = ("constant", "sources", "features", "kernels", "decisions", "pairs")
#: Scales are drawn evenly in their logarithm; a part may be left out, with this probability.
_LOWEST = (0.3, 0.03, 0.03, 0.03, 0.01, 0.003)
_HIGHEST = (3.0, 6.0, 6.0, 2.0, 0.5, 0.2)
_LEFT_OUT = (0.0, 0.25, 0.15, 0.3, 0.4, 0.5)
_NOISE = (0.004, 0.15)
_N_SETTINGS = 800
_ALMOST_NOTHING = 1e-3
#: So many settings a graph are kept; the others weigh next to nothing.
_KEPT = 12
#: A base is at least this share of the fastest time.
_FLOOR = 0.3
_LEAST_WEIGHT = 1e-3
_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Rows:
    """Networks as the model sees them, for each graph a runtime may run (the first axis of all but `decisions`).

    base (modes, n); sources (modes, n, k), features (modes, n, d) and kernels (modes, n, c), scaled so that a row's
    product with itself is about 1; decisions (n, e), scaled so that two networks' product is the share of decisions
    they have in common.
    """

    base: Array
    sources: Array
    features: Array
    kernels: Array
    decisions: Array

    def __len__(self) -> int:
        return len(self.decisions)

    def take(self, places: Sequence[int] | slice) -> Rows:
        """Return some of the networks."""
        where = places if isinstance(places, slice) else list(places)
        base, sources, features, kernels = (
            item[:, where] for item in (self.base, self.sources, self.features, self.kernels)
        )
        return Rows(base, sources, features, kernels, self.decisions[where])

    def join(self, others: Rows) -> Rows:
        """Return these networks and then the others."""
        parts = [
            np.concatenate([getattr(self, item.name), getattr(others, item.name)], axis=int(item.name != "decisions"))
            for item in fields(self)
        ]
        return Rows(*parts)


@dataclass(frozen=True, eq=False)
class Settings:
    """Scales of PARTS, shape (m, 6), and of errors (m,), and the logarithm of how likely each is beforehand (m,)."""

    scales: Array
    noise: Array
    log_prior: Array

    def take(self, places: NDArray[np.intp]) -> Settings:
        """Return some of the settings."""
        return Settings(*(item[places] for item in vars(self).values()))

    def covariances(self, parts: Array) -> Array:
        """Return the covariances of all settings, shape (m, ...), of those of the parts at scale 1, (6, ...)."""
        return np.tensordot(self.scales**2, parts, 1)

    @property
    def noise_variance(self) -> Array:
        """Return the variance of the error of a new measurement, shape (m,)."""
        return self.noise**2 * TAILS_VARIANCE

    def without(self, part: str) -> Settings:
        """Return the same settings with one of PARTS left out."""
        scales = self.scales.copy()
        scales[:, PARTS.index(part)] = _ALMOST_NOTHING
        return replace(self, scales=scales)


def draw_settings(seed: int) -> Settings:
    """Return settings, each as likely as any other."""
    rng = np.random.default_rng(seed)
    shape = (_N_SETTINGS, len(PARTS))
    scales = np.exp(rng.uniform(np.log(_LOWEST), np.log(_HIGHEST), shape))
    scales[rng.random(shape) < np.array(_LEFT_OUT)] = _ALMOST_NOTHING
    lowest, highest = np.log(_NOISE)
    noise = np.exp(rng.uniform(lowest, highest, _N_SETTINGS))
    return Settings(scales, noise, np.zeros(_N_SETTINGS))


def products(first: Rows, second: Rows, mode: int, bases: tuple[Array, Array]) -> Array:
    """Return the covariance of each part at scale 1 between networks, shape (6, n, m), relative to their bases."""
    shared = first.decisions @ second.decisions.T
    parts = [
        np.ones_like(shared),
        first.sources[mode] @ second.sources[mode].T,
        first.features[mode] @ second.features[mode].T,
        first.kernels[mode] @ second.kernels[mode].T,
        shared,
        shared**2,
    ]
    return np.stack(parts) / np.outer(*bases)


@dataclass(frozen=True, eq=False)
class Stage:
    """Gaussian processes of one graph on the same measured networks, relative to one base.

    `log_weights` (m,) of the `settings` that were kept, `scale_s` the seconds of a base of 1; `explained` is what each
    makes of the measured networks' `relative` times (k,).
    """

    mode: int
    measured: Rows
    base: Array
    scale_s: float
    settings: Settings
    log_weights: Array
    relative: Array
    explained: Explained

    @property
    def shares(self) -> Array:
        """Return the weights of the settings among themselves, shape (m,)."""
        return np.asarray(np.exp(self.log_weights - logsumexp(self.log_weights)))

    def means(self, rows: Rows, base: Array) -> Array:
        """Return seconds by every setting, shape (m, n)."""
        return self._means(self._crossed(rows, base), base)

    def moments(self, rows: Rows, base: Array) -> tuple[Array, Array]:
        """Return seconds and the variance of a new measurement by every setting, (m, n) each, in (square) seconds."""
        crossed = self._crossed(rows, base)
        own = self.settings.covariances(own_products(rows, self.mode, base))
        explained = ((crossed @ self.explained.roots) ** 2).sum(axis=2)
        relative = np.maximum(own - explained, 0.0) + self.settings.noise_variance[:, None]
        return self._means(crossed, base), relative * (base * self.scale_s) ** 2

    def terms(self, rows: Rows, base: Array) -> Array:
        """Return the terms of the means, shape (m, 1 + sources + 4, n): constant, each source, the further parts."""
        covariances = products(rows, self.measured, self.mode, (base, self.base))
        squares, solved = self.settings.scales**2, self.explained.weights
        parts = np.einsum("mg,gij,mj->mgi", squares, covariances, solved) * base
        weights = (solved / self.base) @ self.measured.sources[self.mode] * squares[:, [PARTS.index("sources")]]
        sources = weights[:, :, None] * rows.sources[self.mode].T
        return np.asarray(np.concatenate([parts[:, :1], sources, parts[:, 2:]], axis=1) * self.scale_s)

    def leave_one_out(self) -> tuple[Array, Array, Array]:
        """Return for each measured network what each setting says that has not seen it, shape (m, n) each.

        Mean in seconds, variance of a measurement in square seconds, and the logarithm of the setting's weight without
        the network.
        """
        mean, variance, added = self.explained.leave_one_out(self.relative)
        unit = self.base * self.scale_s
        measured = variance + self.settings.noise_variance[:, None]
        return mean * unit, measured * unit**2, self.log_weights[:, None] - added + np.log(unit)

    def _crossed(self, rows: Rows, base: Array) -> Array:
        """Return the covariance by every setting of networks with the measured ones, shape (m, n, measured)."""
        return self.settings.covariances(products(rows, self.measured, self.mode, (base, self.base)))

    def _means(self, crossed: Array, base: Array) -> Array:
        return np.asarray((crossed @ self.explained.weights[:, :, None])[:, :, 0] * base * self.scale_s)


def own_products(rows: Rows, mode: int, base: Array) -> Array:
    """Return the variance of each part at scale 1 of every network, shape (6, n), relative to its base."""
    shared = (rows.decisions**2).sum(axis=1)
    sums = [(part[mode] ** 2).sum(axis=1) for part in (rows.sources, rows.features, rows.kernels)]
    return np.stack([np.ones_like(shared), *sums, shared, shared**2]) / base**2


def fit_stage(mode: int, measured: Rows, base: Array, times: Array, settings: Settings) -> Stage:
    """Return the processes of a graph given networks (n,) and their seconds; those of little evidence are left out."""
    relative = times / base
    scale_s = float(np.median(relative))
    covariances = settings.covariances(products(measured, measured, mode, (base, base)))
    explained = explain(covariances, settings.noise, relative / scale_s)
    # The density is that of the times, not of the relative ones: only so can graphs be compared.
    scores = explained.log_evidence + settings.log_prior - np.log(base * scale_s).sum()
    kept = np.argsort(-scores)[:_KEPT]
    # What was left out counts for the graph, too.
    weights = scores[kept] + logsumexp(scores) - logsumexp(scores[kept])
    return Stage(mode, measured, base, scale_s, settings.take(kept), weights, relative / scale_s, explained.take(kept))


class Mixture:
    """The average of all graphs' processes, by their evidence.

    Each graph is fitted twice: the second time relative to what the first predicts.
    """

    def __init__(self, measured: Rows, times: Array, settings: Settings) -> None:
        """Fit to networks and their seconds, shape (n,)."""
        self.fastest_s = float(times.min())
        self._stages: list[tuple[Stage, Stage]] = []
        for mode in range(len(measured.base)):
            first = fit_stage(mode, measured, measured.base[mode], times, settings)
            base = self._second_base(first, measured)
            self._stages.append((first, fit_stage(mode, measured, base, times, settings)))
        totals = np.array([logsumexp(last.log_weights) for _, last in self._stages])
        #: How likely each graph is to be the one that runs, shape (modes,).
        self.mode_weights = np.exp(totals - logsumexp(totals))

    def moments(self, rows: Rows, spread: bool = True, equally: bool = False) -> tuple[Array, Array]:
        """Return mean and standard deviation of a new measurement in seconds, shape (n,) each; 0 without `spread`.

        `equally` believes all graphs alike.
        """
        parts = [self._moments(rows.take(slice(at, at + _ROWS)), spread, equally) for at in range(0, len(rows), _ROWS)]
        mean, deviation = (np.concatenate(item) for item in zip(*parts, strict=True))
        return np.maximum(mean, self.fastest_s / 3), deviation

    def components(self, rows: Rows, equally: bool = False) -> list[tuple[Stage, Array, float]]:
        """Return the stages that matter with the base of every network and their weight."""
        weights = np.full_like(self.mode_weights, 1 / len(self._stages)) if equally else self.mode_weights
        return [
            (last, self._second_base(first, rows), float(weight))
            for (first, last), weight in zip(self._stages, weights, strict=True)
            if weight > _LEAST_WEIGHT
        ]

    def leave_one_out(self) -> tuple[Array, Array]:
        """Return mean and standard deviation, in seconds, of models that have not seen each measured network.

        Nor have the weights of settings and graphs; only the base of the second fit has.
        """
        found = zip(*(last.leave_one_out() for _, last in self._stages), strict=True)
        means, variances, log_weights = (np.concatenate(item) for item in found)
        shares = np.exp(log_weights - logsumexp(log_weights, axis=0))
        mean = (shares * means).sum(axis=0)
        return mean, np.sqrt((shares * (variances + (means - mean) ** 2)).sum(axis=0))

    def contributions(self, rows: Rows) -> Array:
        """Return which share of the spread of predictions over networks each source and the further parts bring.

        Shape (sources + 4,): covariance of a term with the sum, over the sum's variance; they and the constant's add
        to 1.
        """
        terms = sum(
            weight * np.einsum("m,mtn->tn", stage.shares, stage.terms(rows, base))
            for stage, base, weight in self.components(rows)
        )
        centred = np.asarray(terms) - np.asarray(terms).mean(axis=1, keepdims=True)
        total = centred.sum(axis=0)
        return np.asarray(centred @ total / max(float(total @ total), 1e-300))[1:]

    def _moments(self, rows: Rows, spread: bool, equally: bool) -> tuple[Array, Array]:
        means, weights, variances = [], [], []
        for stage, base, weight in self.components(rows, equally):
            weights.append(stage.shares * weight)
            if spread:
                mean, variance = stage.moments(rows, base)
                variances.append(variance)
            else:
                mean = stage.means(rows, base)
            means.append(mean)
        every, shares = np.concatenate(means), np.concatenate(weights) / np.concatenate(weights).sum()
        mean = shares @ every
        if not spread:
            return mean, np.zeros_like(mean)
        return mean, np.sqrt(shares @ (np.concatenate(variances) + (every - mean) ** 2))

    def _second_base(self, first: Stage, rows: Rows) -> Array:
        mean = first.shares @ first.means(rows, rows.base[first.mode])
        return np.asarray(np.maximum(mean, _FLOOR * self.fastest_s) / first.scale_s)
