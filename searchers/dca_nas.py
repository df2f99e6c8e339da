"""DCA-NAS where architectures are looked up instead of trained: differentiable search under device limits.

Source: DCA-NAS (device constraint-aware NAS): the relaxed objective and the expected cost meet in a Lagrangian whose
multiplier ascends, and because a derived architecture costs something else than its relaxation, the bound of the search
is taken from a grid (the paper's lookup graph, LUG) by what the derived architectures really cost. No weights are
trained here. In place of the supernet's loss stands a model of the scores read so far, and what each round derives
and samples is read next: the most promising by expected improvement (Jones et al., 1998) among those that keep the
limits and have not been read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from hilnas.errors import UsageError
from hilnas.records import Architecture
from search_spaces._base import SearchSpace
from searchers._base import Searcher
from searchers._cost_models import CostModel, TableCost
from searchers._expected_cost import whole_table
from searchers._problem import Evaluation, Problem
from searchers._relaxation import Array, KernelModel, Relaxation, constrained_ascent
from searchers._torch import one_thread

#: Samples of the model that stands for costs without a whole table.
_COST_SAMPLES = 400
#: Random draws whose costs are asked together, and how often, before something less has to do.
_DRAWS = 64
_MAX_ROUNDS = 32
#: The kernel's parameters are fitted again when there are so many times the evaluations.
_REFIT = 1.25
_SPREAD = 1.0


class DcaNas(Searcher):
    """Searches under a grid of bounds around the limits at once, and reads what is derived and keeps the limits.

    first: random architectures before the first search. batch_size: architectures read between two. bounds: points of
    the grid, from `lowest` to `highest` times the limits. restarts: searches for each. steps, learning_rate and
    multiplier_rate: of the ascent in the logits and in the multipliers. draws: samples of each relaxed architecture,
    in which decisions are uniform with the probability `exploration`.
    multiplier: false gives differentiable search with a filter, for comparison: no cost is in its objective.
    """

    def __init__(
        self,
        space: SearchSpace,
        problem: Problem,
        *,
        first: int = 30,
        batch_size: int = 10,
        bounds: int = 8,
        lowest: float = 0.5,
        highest: float = 1.5,
        restarts: int = 3,
        steps: int = 40,
        learning_rate: float = 0.1,
        multiplier_rate: float = 0.05,
        draws: int = 16,
        exploration: float = 0.2,
        multiplier: bool = True,
    ) -> None:
        super().__init__(space, problem)
        if min(first, batch_size, bounds, restarts, steps, draws) < 1 or not 0 < lowest <= highest:
            raise UsageError("dca_nas needs counts of at least 1, and 0 < lowest <= highest")
        if not 0 <= exploration <= 1:
            raise UsageError(f"dca_nas needs an exploration from 0 to 1, not {exploration}")
        self._first, self._batch, self._restarts, self._draws = first, batch_size, restarts, draws
        self._grid = np.linspace(lowest, highest, bounds)
        self._steps, self._learning_rate, self._multiplier_rate = steps, learning_rate, multiplier_rate
        self._constrained, self._exploration = multiplier, exploration
        self._rng = np.random.default_rng(problem.seed)
        self._forms: set[str] = set()
        self._suggested: set[tuple[int, ...]] = set()
        self._read: list[Reading] = []
        self._parameters: Array | None = None
        self._fitted_to = 0
        self._limits = _Limits(problem, ())
        self._relaxed_costs: dict[str, Relaxation] = {}

    def inform(self, cost_models: Sequence[CostModel]) -> None:
        """Take in where costs come from, and relax them."""
        self._limits = _Limits(self.problem, cost_models)
        with one_thread():
            costs = {model.metric: relaxed(self.space, model) for model in cost_models if self._constrained}
        self._relaxed_costs = costs

    @property
    def batch(self) -> int:
        """Return how many architectures are read between two searches."""
        return self._batch

    def suggest(self, n: int) -> list[Architecture]:
        """Return n architectures that keep the limits: random ones first, then what searches derived or drew."""
        chosen: list[Architecture] = []
        if len(self._read) >= self._first:
            with one_thread():
                chosen = self._taken(self._most_promising(n))
        return chosen + self._random(n - len(chosen))

    def update(self, evaluations: Sequence[Evaluation]) -> None:
        """Learn the scores; what failed is not suggested again."""
        scored = [(item, item.score) for item in evaluations if item.score is not None]
        self._read += [Reading(item.architecture.decisions, score, item.feasible) for item, score in scored]

    def _random(self, n: int) -> list[Architecture]:
        """Return n random architectures that keep the limits and are new.

        Where none of another form is found an equivalent one has to do, and then anything.
        """
        found: list[Architecture] = []
        for equivalents in (False, True):
            for _ in range(_MAX_ROUNDS):
                if len(found) == n:
                    return found
                drawn = [self.space.sample(self._rng) for _ in range(_DRAWS)]
                found += self._taken(self._new(drawn, equivalents)[: n - len(found)])
        return found + [self.space.sample(self._rng) for _ in range(n - len(found))]

    def _taken(self, architectures: list[Architecture]) -> list[Architecture]:
        self._forms.update(map(self.space.canonical, architectures))
        self._suggested.update(item.decisions for item in architectures)
        return architectures

    def _most_promising(self, n: int) -> list[Architecture]:
        decisions = np.array([item.decisions for item in self._read])
        scores = [item.score for item in self._read]
        refit = len(scores) >= _REFIT * self._fitted_to
        model = KernelModel(decisions, scores, max(self.space.cardinalities), self._parameters, refit)
        if refit:
            self._parameters, self._fitted_to = model.parameters, len(scores)
        candidates = self._candidates(self._relaxed(model))
        found = self._new(self.space.architecture(tuple(map(int, item))) for item in candidates)
        if not found:
            return []
        means, deviations = model.predict(np.array([item.decisions for item in found]))
        gain = expected_improvement(means, deviations, model.standardised(best_kept(self._read)))
        return [found[i] for i in np.argsort(-gain, kind="stable")[:n]]

    def _relaxed(self, model: KernelModel) -> Array:
        """Return what the searches under all bounds end with, (searches, decisions, choices)."""
        sizes = np.array(self.space.cardinalities)
        grid = np.repeat(self._grid, self._restarts)
        logits = self._rng.normal(0.0, _SPREAD, (len(grid), len(sizes), sizes.max()))
        logits[:, np.arange(sizes.max()) >= sizes[:, None]] = -np.inf
        limits = {item.metric: item.limit for item in self.problem.constraints}
        bounds = np.outer(grid, [limits[metric] for metric in self._relaxed_costs])
        found, _ = constrained_ascent(
            model,
            tuple(self._relaxed_costs.values()),
            torch.tensor(bounds.reshape(len(grid), len(self._relaxed_costs))),
            torch.tensor(logits),
            steps=self._steps,
            learning_rate=self._learning_rate,
            multiplier_rate=self._multiplier_rate,
        )
        return found

    def _candidates(self, probabilities: Array) -> NDArray[np.int64]:
        """Return the derived decisions of relaxed architectures, and some drawn from each; each once, sorted."""
        sizes = np.array(self.space.cardinalities)[:, None]
        uniform = (np.arange(probabilities.shape[-1]) < sizes) / sizes
        cumulative = ((1 - self._exploration) * probabilities + self._exploration * uniform).cumsum(-1)[None]
        drawn = self._rng.random((self._draws, *probabilities.shape[:2], 1)) * cumulative[..., -1:] > cumulative
        derived = probabilities.argmax(-1)[None]
        return np.unique(np.concatenate([derived, drawn.sum(-1)]).reshape(-1, derived.shape[-1]), axis=0)

    def _new(self, architectures: Iterable[Architecture], equivalents: bool = False) -> list[Architecture]:
        """Return those that can be built, keep the limits and were not suggested, one a canonical form.

        `equivalents`: what has the form of a suggested one is new as well.
        """
        buildable = [item for item in architectures if not self.space.obstacle(item) and self.space.connected(item)]
        first: dict[str, Architecture] = {}
        for item, kept in zip(buildable, self._limits.kept(buildable), strict=True):
            if kept and item.decisions not in self._suggested:
                first.setdefault(self.space.canonical(item), item)
        return [item for form, item in first.items() if equivalents or form not in self._forms]

    def state(self) -> Any:
        """Return the generator's state, what was suggested and read, and the kernel's parameters."""
        return {
            "rng": self._rng.bit_generator.state,
            "suggested": sorted(map(list, self._suggested)),
            "read": [[list(item.decisions), item.score, item.feasible] for item in self._read],
            "parameters": None if self._parameters is None else self._parameters.tolist(),
            "fitted_to": self._fitted_to,
        }

    def load_state(self, value: Any) -> None:
        """Continue from a value that `state` returned."""
        self._rng.bit_generator.state = value["rng"]
        self._suggested = {tuple(decisions) for decisions in value["suggested"]}
        self._forms = {self.space.canonical(self.space.architecture(item)) for item in self._suggested}
        self._read = [Reading(tuple(decisions), score, feasible) for decisions, score, feasible in value["read"]]
        self._parameters = None if value["parameters"] is None else np.array(value["parameters"])
        self._fitted_to = value["fitted_to"]


class Reading(NamedTuple):
    """What was read of an architecture."""

    decisions: tuple[int, ...]
    score: float
    feasible: bool


def best_kept(read: Sequence[Reading]) -> float:
    """Return the highest score that keeps the limits; where none does the lowest of all, on which anything improves."""
    return max((item.score for item in read if item.feasible), default=min(item.score for item in read))


class _Limits:
    """Whether architectures keep the limits of a problem, asked once each."""

    def __init__(self, problem: Problem, cost_models: Sequence[CostModel]) -> None:
        self._problem = problem
        self._models = cost_models
        self._known: dict[Architecture, bool] = {}

    def kept(self, architectures: Sequence[Architecture]) -> list[bool]:
        """Return whether every limit is kept by each; without costs nothing is known against any."""
        new = list(dict.fromkeys(item for item in architectures if item not in self._known))
        columns = {model.metric: model.costs(new) for model in self._models} if new else {}
        for i, architecture in enumerate(new):
            bounds = {metric: costs[i].bound for metric, costs in columns.items()}
            known = {metric: bound for metric, bound in bounds.items() if bound is not None}
            self._known[architecture] = not self._models or self._problem.feasible(known)
        return [self._known[item] for item in architectures]


def relaxed(space: SearchSpace, model: CostModel) -> Relaxation:
    """Return the expectation of a cost: exact for a table of a space that is small enough, else by a kernel model."""
    table = whole_table(space, model) if isinstance(model, TableCost) else None
    if table is not None:
        return table
    rng = np.random.default_rng(0)
    samples = [space.sample(rng) for _ in range(_COST_SAMPLES)]
    known = [(item.decisions, cost.bound) for item, cost in zip(samples, model.costs(samples), strict=True)]
    priced = [(decisions, bound) for decisions, bound in known if bound is not None]
    if not priced:
        raise UsageError(f"no {model.metric} of {_COST_SAMPLES} random architectures of {space.name} is known")
    return _Scaled(
        KernelModel(np.array([item for item, _ in priced]), [bound for _, bound in priced], max(space.cardinalities))
    )


class _Scaled(Relaxation):
    """A kernel model in the unit of its values."""

    def __init__(self, model: KernelModel) -> None:
        self._model = model

    def expected(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the expected cost."""
        return self._model.mean + self._model.deviation * self._model.expected(probabilities)


def expected_improvement(means: Array, deviations: Array, best: float) -> Array:
    """Return E[max(0, f - best)] of normal f (Jones, Schonlau and Welch, 1998, equation 15)."""
    gain = means - best
    return np.asarray(gain * norm.cdf(gain / deviations) + deviations * norm.pdf(gain / deviations))
