"""The loop of a sampled search: suggest, evaluate, update, until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from hilnas.errors import HilnasError
from hilnas.records import Architecture
from searchers._base import Searcher
from searchers._cost_models import Cost, CostModel
from searchers._problem import Evaluation, Problem, Study
from searchers.evaluators._base import Evaluator, Score

#: Called with the new evaluations after every batch.
Watch = Callable[[Sequence[Evaluation]], None]


def run_study(
    searcher: Searcher,
    evaluator: Evaluator,
    cost_models: Sequence[CostModel],
    problem: Problem,
    *,
    name: str = "",
    recorded: Sequence[Evaluation] = (),
    watch: Watch | None = None,
) -> Study:
    """Return the study of one searcher on one problem.

    `cost_models` gives the constrained metrics, one each. `recorded` holds the first evaluations of an interrupted
    study: the searcher is driven over them again, so that it goes on as if it had never stopped. Raises HilnasError
    where it suggests something else than what was recorded.
    """
    started = time.monotonic()
    searcher.inform(cost_models)
    judge = _Judge(evaluator, cost_models, problem)
    done: list[Evaluation] = []
    while len(done) < problem.evaluations:
        suggested = searcher.suggest(min(searcher.batch, problem.evaluations - len(done)))
        known = _known(recorded[len(done) : len(done) + len(suggested)], suggested, len(done))
        batch = [*known, *judge.evaluate(suggested[len(known) :])]
        searcher.update(batch)
        rewards = searcher.last_rewards or [None] * len(batch)
        batch = [replace(item, reward=reward) for item, reward in zip(batch, rewards, strict=True)]
        done += batch
        if watch is not None and len(known) < len(batch):
            watch(batch[len(known) :])
    return Study(name or type(searcher).__name__, problem, tuple(done), time.monotonic() - started)


def _known(recorded: Sequence[Evaluation], suggested: Sequence[Architecture], start: int) -> Sequence[Evaluation]:
    for i, (item, architecture) in enumerate(zip(recorded, suggested, strict=False)):
        if item.architecture != architecture:
            raise HilnasError(
                f"the study cannot be resumed: evaluation {start + i + 1} would be another architecture",
                "The searcher, its options or the space have changed since it was recorded.",
                "Start a new study.",
            )
    return recorded


class _Judge:
    """Turns architectures into evaluations; what was judged once is not judged again."""

    def __init__(self, evaluator: Evaluator, cost_models: Sequence[CostModel], problem: Problem) -> None:
        self._evaluator = evaluator
        self._cost_models = cost_models
        self._problem = problem
        self._known: dict[Architecture, Evaluation] = {}

    def evaluate(self, architectures: Sequence[Architecture]) -> list[Evaluation]:
        new = list(dict.fromkeys(item for item in architectures if item not in self._known))
        if new:
            scores = self._evaluator.evaluate(new)
            costs = [model.costs(new) for model in self._cost_models]
            for i, architecture in enumerate(new):
                own = {model.metric: column[i] for model, column in zip(self._cost_models, costs, strict=True)}
                self._known[architecture] = replace(
                    judged(self._problem, architecture, scores[i], own), may_win=self._evaluator.may_win(architecture)
                )
        return [self._known[item] for item in architectures]


def judged(problem: Problem, architecture: Architecture, score: Score, costs: dict[str, Cost]) -> Evaluation:
    """Return the evaluation of a candidate from its score and costs; either may be missing with a cause."""
    values = {metric: cost.value for metric, cost in costs.items() if cost.value is not None}
    bounds = {metric: cost.bound for metric, cost in costs.items() if cost.bound is not None}
    causes = [cause for cause in (score.cause, *(cost.cause for cost in costs.values())) if cause is not None]
    cause = "; ".join(causes) or None
    feasible = cause is None and problem.feasible(bounds)
    return Evaluation(architecture, None if score.cause is not None else score.value, values, bounds, feasible, cause)
