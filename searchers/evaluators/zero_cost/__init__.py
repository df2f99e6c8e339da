"""Scores of untrained networks: one public module an indicator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from hilnas import plugins
from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers.evaluators._base import Evaluator, Score
from searchers.evaluators._forms import first_of_form
from searchers.evaluators.zero_cost._base import Indicator
from searchers.evaluators.zero_cost._cache import ScoreCache


class ZeroCost(Evaluator):
    """Scores an untrained network by an indicator, once for all architectures of a canonical form where they share it.

    `proxy` holds options of the space that the scored network has instead of the real one's (`{"depth": 5}`); they go
    before the indicator's own choice. `cache` is the folder for scores on disk, None for memory alone. Where a space
    can be enumerated, the first architecture of a form is the one that is scored, so that scores do not depend on the
    order of the questions.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        indicator: str = "nwot",
        settings: Mapping[str, Any] | None = None,
        proxy: Mapping[str, Any] | None = None,
        cache: Path | None = None,
    ) -> None:
        super().__init__(space)
        kind = plugins.load("searchers.evaluators.zero_cost", indicator, Indicator, "indicator")
        self._name = indicator
        self._indicator = kind(**(settings or {}))
        self.cost = self._indicator.cost
        self._scored = _scored_space(space, kind.proxy, proxy or {})
        self._cache = ScoreCache(cache, self.describe())

    def describe(self) -> dict[str, Any]:
        """Return the indicator with its settings and the space with its options."""
        fingerprint = self._indicator.fingerprint
        return {
            "score": self._name,
            "settings": dict(self._indicator.settings),
            "space": self.space.name,
            "space_options": dict(self._scored.options),
            **({"data_sha256": fingerprint} if fingerprint else {}),
        }

    def _scores(self, architectures: Sequence[Architecture]) -> list[Score]:
        return [self._score(architecture) for architecture in architectures]

    def _score(self, architecture: Architecture) -> Score:
        if not self._indicator.shared:
            return self._compute(architecture)
        form = self.space.canonical(architecture)
        score = self._cache.get(form)
        if score is None:
            score = self._compute(self._first_of_form.get(form, architecture))
            self._cache.put(form, score)
        return score

    def _compute(self, architecture: Architecture) -> Score:
        graph, what = self._scored.graph(architecture), f"{self._name} is not finite"
        if not self._scored.traced:
            return Score.of(self._indicator.score(graph), what)
        try:
            return Score.of(self._indicator.score(graph, partial(self._scored.module, architecture)), what)
        except Exception as error:  # a module of the user's may raise anything
            return Score.missing(f"{self._name} failed: {type(error).__name__}: {error}"[:500])

    @cached_property
    def _first_of_form(self) -> dict[str, Architecture]:
        return first_of_form(self.space)


def _scored_space(space: SearchSpace, usual: Mapping[str, Any], asked: Mapping[str, Any]) -> SearchSpace:
    """Return the space with the options that were asked for, and of an indicator's usual ones those that it takes."""
    scored = type(space)(**{**space.options, **asked})
    for option, value in usual.items():
        if option in space.options and option not in asked:
            with suppress(UsageError):  # a resolution that the skeleton cannot have
                scored = type(space)(**{**scored.options, option: value})
    return scored
