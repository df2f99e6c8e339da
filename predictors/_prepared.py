"""What transfer knows of a space and of other devices before anything of the new device is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture, canonical_json
from predictors._evidence import explain
from predictors._graph_features import MODES
from predictors._mixture import Rows, Settings, draw_settings, products
from predictors._sources import Source, source_space
from predictors._surrogates import Surrogate, fit_surrogate, views_of_rows
from predictors._views import Views, views_of
from search_spaces._base import SearchSpace

Array = NDArray[np.float64]
#: Random networks of the space to which features are scaled.
_REFERENCE = 300
_LEAST_BASE = 0.1
#: Sources are explained from each other with so many measurements, so often.
_PRACTICE, _REPEATS = 10, 4
#: How much of what sources say about scales is believed of a new device.
_BELIEVED = 0.3


@dataclass(frozen=True, eq=False)
class Prepared:
    """Surrogates of the sources, scales of what the model sees, and settings weighted by what explains the sources."""

    views: Views
    surrogates: tuple[Surrogate, ...]
    feature_scale: Array
    kernel_scale: Array
    decision_scale: float
    settings: Settings

    def rows(self, architectures: Sequence[Architecture], without: str = "") -> Rows:
        """Return the networks as the model sees them, one source left out where it is named."""
        features, decisions = views_of_rows(self.views, architectures)
        return self.rows_of(features, self.views.matrix("kernels", architectures), decisions, without)

    def rows_of(self, features: Array, kernels: Array, decisions: Array, without: str = "") -> Rows:
        """Return the networks of features (n, modes, d), kernels (n, c) and decisions (n, e) as the model sees them."""
        scaled = (features * self.feature_scale).transpose(1, 0, 2)
        # Who fuses kernels has first left out what need not run.
        fused = np.zeros((len(MODES), *kernels.shape))
        fused[MODES.index("live")] = kernels * self.kernel_scale
        told = [item.relative(features, decisions) for item in self.surrogates if item.name != without]
        if told:
            relative = np.stack(told, axis=2)
            base = relative.mean(axis=2)
        else:
            base = scaled.mean(axis=2)
            base = base / np.maximum(base.mean(axis=1, keepdims=True), 1e-300)
            relative = np.zeros((*base.shape, 0))
        return Rows(
            np.maximum(base, _LEAST_BASE),
            relative / np.sqrt(max(1, len(told))),
            scaled,
            fused,
            decisions * self.decision_scale,
        )


def prepare(space: SearchSpace, sources: Sequence[Mapping[str, Any]], seed: int) -> Prepared:
    """Return what sources (the JSON of each, with `space` where it is of another one) tell; none leave features alone.

    What was prepared before is remembered: predictors are fitted again and again with the same sources. Raises
    ValueError for a source with bad times.
    """
    return _remembered(
        type(space), canonical_json(dict(space.options)), canonical_json([dict(x) for x in sources]), seed
    )


@lru_cache(maxsize=32)
def _remembered(kind: type[SearchSpace], options: str, sources: str, seed: int) -> Prepared:
    space = kind(**json.loads(options))
    listed = json.loads(sources)
    spaces = [source_space(item, space) for item in listed]
    return _prepare(space, [(Source.from_json(item, own), own) for item, own in zip(listed, spaces, strict=True)], seed)


def _prepare(space: SearchSpace, sources: Sequence[tuple[Source, SearchSpace]], seed: int) -> Prepared:
    views = views_of(space)
    surrogates = tuple(
        fit_surrogate(source, own, views_of(own), own.reference == space.reference, seed) for source, own in sources
    )
    reference = reference_networks(space, seed)
    features, decisions = views_of_rows(views, reference)
    decision_scale = 1 / np.sqrt((decisions**2).sum(axis=1).mean())
    scales = _scale(features.reshape(-1, features.shape[-1])), _scale(views.matrix("kernels", reference))
    prepared = Prepared(views, surrogates, *scales, float(decision_scale), draw_settings(seed))
    same = [source for source, own in sources if own.reference == space.reference]
    return replace(prepared, settings=_weighted(prepared, same, seed))


def reference_networks(space: SearchSpace, seed: int) -> list[Architecture]:
    """Return random connected networks of a space."""
    rng = np.random.default_rng(seed)
    drawn = [space.sample(rng) for _ in range(_REFERENCE)]
    return [item for item, live in zip(drawn, views_of(space).connected(drawn), strict=True) if live]


def _scale(rows: Array) -> Array:
    """Return the scale of every column, shape (d,), at which a row's product with itself is about 1."""
    scale = np.maximum(np.sqrt((rows**2).mean(axis=0)), 1e-300)
    varies = rows.std(axis=0) > 1e-9 * scale
    return np.asarray(np.where(varies, 1 / scale, 0.0) / np.sqrt(max(1, varies.sum())))


def _weighted(prepared: Prepared, sources: Sequence[Source], seed: int) -> Settings:
    """Return the settings, the likelier the better they explain each source from the others."""
    settings = prepared.settings
    if len(sources) < 2:
        return settings
    rng = np.random.default_rng(seed)
    total = np.zeros(len(settings.noise))
    for source in sources:
        own = next(item for item in prepared.surrogates if item.name == source.name)
        n = min(_PRACTICE, len(source.architectures))
        for _ in range(_REPEATS):
            places = rng.choice(len(source.architectures), n, replace=False)
            rows = prepared.rows([source.architectures[i] for i in places], without=source.name)
            base = rows.base[own.mode]
            relative = source.latency_s[places] / base
            covariances = settings.covariances(products(rows, rows, own.mode, (base, base)))
            total += explain(covariances, settings.noise, relative / np.median(relative)).log_evidence
    return replace(settings, log_prior=_BELIEVED * total / (_REPEATS * len(sources)))
