"""Measured block times, added up: time = a + b x sum of the entries of the blocks that run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.records import Architecture, Provenance
from predictors._base import Array, Model, Predictor
from predictors._entries import BlockEntry, EntryValue, one_environment
from predictors._errors import MissingEntries
from predictors._graph_choice import GRAPHS
from predictors._linear import ColumnsLine, fit_line, fit_ridge
from predictors._suggesting import with_options
from predictors._table_choices import CORRECTIONS, Fit, held_out_errors, left_out, simplest
from predictors._views import Views
from search_spaces._base import SearchSpace

_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)
#: Fewer whole networks decide nothing but the line: neither a correction nor another graph than the likeliest.
MIN_FOR_CHOICES = 8
_MIN_FOR_LINE = 3
_N = len(GRAPHS)


class LookupTable(Predictor):
    """A table of block times with an intercept and a scale fitted on whole networks, robustly.

    Leaving networks out decides whether there is an intercept, which graph is costed (`_graph_choice.GRAPHS`), and
    whether what the sum leaves over is corrected by a ridge regression on pairs of kernels or on all kernels
    (provenance `model` then).
    """

    minimum_samples = 20

    def __init__(
        self,
        space: SearchSpace,
        *,
        entries: Mapping[str, EntryValue] | None = None,
        correction: bool | None = None,
        graph: str = "auto",
        seed: int = 0,
        coverage: float = 0.9,
    ) -> None:
        """Store the parameters.

        `entries`: lookup key -> seconds, or a `BlockEntry` as JSON; `correction` on, off, or chosen (None); `graph`
        one of GRAPHS or chosen (auto).
        """
        super().__init__(space, seed=seed, coverage=coverage)
        self.entries = entries
        self.correction = correction
        self.graph = graph

    def requests(self) -> list[str]:
        """Return the lookup keys of the blocks of the space that have no entry."""
        known = self.entries or {}
        return [block.key for block in self.space.blocks() if block.key not in known]

    def parameters(self) -> dict[str, Any]:
        """Return what was chosen and fitted, how well the entries are known, and the residuals.

        `graph_errors`: mean |log error| of the line on samples left out, by graph; `a_s` in seconds;
        `entry_half_width` the typical relative half width of an entry, `table_half_width` that of a network's sum if
        entries err independently (0: not known); residuals are measured / predicted - 1, of the sum on the samples it
        was fitted on and of predictions that were held out.
        """
        entries = self._table()
        half_widths = [entry.half_width_s / entry.latency_s for entry in entries]
        return {
            **self.choices_,
            **_residual("held_out", np.exp(self.residuals_) - 1),
            "entries": len(entries),
            "entry_half_width": float(np.median(half_widths)),
            "runtime": one_environment(entries),
        }

    def _inputs(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        """Return for each of GRAPHS the sum, then its half width, then the view `runtime`."""
        entries = self._table()
        counts = self._counts(views, architectures)
        variances = counts**2 @ np.array([entry.half_width_s**2 for entry in entries])
        return np.hstack([_sums(counts, entries), np.sqrt(variances), views.matrix("runtime", architectures)])

    def _inputs_of_fitted(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        """Return the sums alone where no correction reads more: the view `runtime` takes longest."""
        if self.choices_["correction"] != "none":
            return self._inputs(views, architectures)
        return _sums(self._counts(views, architectures), self._table())

    def _counts(self, views: Views, architectures: Sequence[Architecture]) -> Array:
        """Return how often each block is paid for in each of GRAPHS, shape (n, GRAPHS, blocks)."""
        return views.matrix("costed", architectures).reshape(len(architectures), _N, -1)

    def _choose(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        if self.graph not in ("auto", *GRAPHS):
            raise ValueError(f"graph must be auto, {', '.join(GRAPHS)}, not {self.graph!r}")
        folds = left_out(inputs, folds)
        chosen = self._line_choice(inputs, y, folds)
        chosen |= self._correction_choice(inputs, y, folds, chosen)
        place = GRAPHS.index(chosen["graph"])
        line = fit_line(inputs[:, [place]], y, chosen["intercept"])
        return {
            **chosen,
            "a_s": line.intercept,
            "b": float(line.coefficients[0]),
            **_residual("table", y / line(inputs[:, [place]]) - 1),
            "table_half_width": float(np.median(inputs[:, _N + place] / inputs[:, place])),
        }

    def _line_choice(self, inputs: Array, y: Array, folds: NDArray[np.intp]) -> dict[str, Any]:
        """Return the graph, whether there is an intercept, and how much each graph errs."""
        names = list(GRAPHS) if self.graph == "auto" else [self.graph]
        if len(y) < MIN_FOR_CHOICES:
            names = names[:1]
        found = [{"graph": name, "intercept": item, **_NONE} for name in names for item in (True, False)]
        n = len(np.unique(folds))
        if n < _MIN_FOR_LINE:
            # One network has no slope, and a line through what is left of two is none: nothing could be compared.
            return {**found[min(n, 2) - 1], "graph_errors": {}}
        errors = [held_out_errors(_fit(choice), inputs, y, folds) for choice in found]
        means = [float(item.mean()) for item in errors]
        best = [min((i, i + 1), key=means.__getitem__) for i in range(0, len(found), 2)]
        chosen = found[best[simplest([errors[place] for place in best])]]
        return {**chosen, "graph_errors": {found[place]["graph"]: means[place] for place in best}}

    def _correction_choice(
        self, inputs: Array, y: Array, folds: NDArray[np.intp], line: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the correction that wins on networks left out; none unless it wins by a standard error."""
        if self.correction is False or (self.correction is None and len(y) < MIN_FOR_CHOICES):
            return dict(_NONE)
        found = [
            {"correction": name, "correction_alpha": alpha} for name, alpha in itertools.product(CORRECTIONS, _ALPHAS)
        ]
        if folds.max() == 0:
            return found[0] if self.correction else dict(_NONE)
        errors = [held_out_errors(_fit({**line, **choice}), inputs, y, folds) for choice in found]
        best = int(np.argmin([item.mean() for item in errors]))
        if self.correction:
            return found[best]
        without = held_out_errors(_fit({**line, **_NONE}), inputs, y, folds)
        return found[best] if simplest([without, errors[best]]) else dict(_NONE)

    def _train(self, inputs: Array, y: Array, choices: Mapping[str, Any]) -> Model:
        return _fit(choices)(inputs, y)

    def _provenance(self) -> Provenance:
        return "table" if self.choices_["correction_alpha"] is None else "model"

    def _table(self) -> list[BlockEntry]:
        """Return the entries in the order of `space.blocks()`."""
        missing = self.requests()
        if missing:
            raise MissingEntries(
                f"lookup_table lacks {len(missing)} block times of {self.space.name}: {', '.join(missing)}",
                "They were not measured on this device, or not with these options of the space.",
                with_options(f"Measure them: hilnas profile DEVICE --space {self.space.name} --blocks", self.space),
            )
        known = self.entries or {}
        entries = [BlockEntry.of(known[block.key]) for block in self.space.blocks()]
        one_environment(entries)
        return entries


def _sums(counts: Array, entries: Sequence[BlockEntry]) -> Array:
    return np.asarray(counts @ np.array([entry.latency_s for entry in entries]))


_NONE: Mapping[str, Any] = {"correction": "none", "correction_alpha": None}


def _fit(choices: Mapping[str, Any]) -> Fit:
    """Return what trains as the choices say."""
    column = [GRAPHS.index(choices["graph"])]
    intercept, alpha = bool(choices["intercept"]), choices["correction_alpha"]
    shown = [2 * _N + i for i in CORRECTIONS.get(choices["correction"], ())]

    def train(inputs: Array, y: Array) -> Model:
        line = fit_line(inputs[:, column], y, intercept)
        if alpha is None:
            return ColumnsLine(line, column)
        added = fit_ridge(inputs[:, shown], y, alpha, robust=True, base=line(inputs[:, column]))
        return lambda rows: np.maximum(line(rows[:, column]) + added(rows[:, shown]), line.floor)

    return train


def _residual(name: str, errors: Array) -> dict[str, float]:
    """Return standard deviation and largest size of relative errors (measured / predicted - 1)."""
    return {f"{name}_residual_sd": float(errors.std()), f"{name}_residual_worst": float(np.abs(errors).max())}
