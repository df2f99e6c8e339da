"""What `hilnas search` asks for, and the objects it stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilnas import plugins
from hilnas.errors import UsageError
from hilnas.records import Constraint, canonical_json
from profiler._metrics import dimensions, metrics, static_names
from search_spaces._base import SearchSpace
from searchers._base import Searcher
from searchers._columns import METRIC_OF, column_of
from searchers._cost_models import CostModel, PredictedCost, StaticCost, TableCost
from searchers._options import option_defaults, read_options, split_pairs
from searchers._problem import Problem
from searchers._scores import evaluator_of
from searchers.evaluators._base import Evaluator

if TYPE_CHECKING:
    from devices._config import DeviceConfig
    from profiler._workspace import Workspace
    from searchers._expected_cost import RelaxedCost
    from searchers.supernets._base import GradientSearcher, Pictures

#: Evaluations of a search that names no budget: the paper's 500 episodes.
DEFAULT_EVALUATIONS = 500
RANDOM = "random_search"


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The options of the command as plain values, enough to run it again."""

    searcher: str
    space: str
    space_options: str = "{}"
    device: str | None = None
    limits: tuple[str, ...] = ()
    score: str = "nwot"
    score_options: tuple[str, ...] = ()
    fusion: str | None = None
    labels: str | None = None
    label_budget: int = 100
    accuracy: str | None = None
    episodes: int | None = None
    evaluations: int | None = None
    seed: int = 0
    seeds: int = 1
    options: tuple[str, ...] = ()
    predictor: str | None = None
    top: int = 3
    offline: bool = False
    baselines: bool = False
    data: str | None = None
    train_winner: int = 0
    memory: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON value."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SearchRequest:
        """Return the request of a JSON value; keys it does not know are left out."""
        known = {item.name for item in fields(cls)}
        options: dict[str, Any] = {}
        for name in known & value.keys():
            options[name] = tuple(value[name]) if isinstance(value[name], list) else value[name]
        return cls(**options)


@dataclass(frozen=True)
class PictureSetup:
    """What a search on pictures has beside: the pictures, the options of the networks it trains, relaxed costs."""

    pictures: Pictures
    skeleton: Mapping[str, Any]
    costs: Mapping[str, RelaxedCost] = field(repr=False)
    memory_bytes: int = 0


@dataclass(frozen=True)
class Setup:
    """What the names of a request stand for. `device` is set where winners can be measured again."""

    request: SearchRequest
    space: SearchSpace
    constraints: tuple[Constraint, ...]
    evaluations: int
    searcher: type[Searcher] | type[GradientSearcher]
    options: Mapping[str, Any]
    evaluator: Evaluator
    cost_models: tuple[CostModel, ...]
    predictor: str | None
    accuracy: Mapping[str, float] | None = field(repr=False)
    device: DeviceConfig | None
    pictures: PictureSetup | None = None

    def problem(self, seed: int) -> Problem:
        """Return the problem under one seed."""
        options = canonical_json(dict(self.space.options))
        return Problem(self.space.name, self.constraints, self.evaluations, seed, options)

    def limit(self, metric: str) -> float | None:
        """Return the limit (SI) on a metric, None where there is none."""
        return next((item.limit for item in self.constraints if item.metric == metric), None)


def set_up(workspace: Workspace, request: SearchRequest, configs: Path | None) -> Setup:
    """Return what a request stands for; raise UsageError, UnknownName or NotFitted for what cannot be had."""
    from profiler._plan import load_space

    space = load_space(request.space, request.space_options)
    if request.data is not None:
        from searchers._picture_request import set_up_pictures

        return set_up_pictures(workspace, request, space, configs)
    searcher = plugins.load("searchers", request.searcher, Searcher)
    options = read_options(split_pairs(request.options), option_defaults(searcher), request.searcher)
    constraints = constraints_of(request.limits)
    models, predictor = cost_models_of(workspace, request, space, constraints)
    accuracy = None if request.accuracy is None else column_of(workspace, request.accuracy, space, "--accuracy")
    return Setup(
        request=request,
        space=space,
        constraints=constraints,
        evaluations=_budget(request, searcher(space, Problem(space.name, (), 1, 0), **options).batch),
        searcher=searcher,
        options=options,
        evaluator=evaluator_of(workspace, request, space),
        cost_models=models,
        predictor=predictor,
        accuracy=None if accuracy is None else accuracy.values,
        device=real_device(request, configs),
    )


def constraints_of(limits: Sequence[str]) -> tuple[Constraint, ...]:
    """Return the limits of texts such as `latency=12ms`; raise UsageError for two limits on one metric."""
    constraints = tuple(Constraint.parse(text, dimensions()) for text in limits)
    names = [item.metric for item in constraints]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two limits on {twice}", "", f"Name one: --max {limits[names.index(twice)]}")
    return constraints


def _budget(request: SearchRequest, batch: int) -> int:
    if request.episodes is not None and request.evaluations is not None:
        raise UsageError("--episodes and --evaluations name the budget twice", "", "Give one of them.")
    if request.episodes is not None:
        # Random search has no episodes of its own: one evaluation each, as for the paper's controller.
        return request.episodes * (1 if request.searcher == RANDOM else batch)
    return request.evaluations or DEFAULT_EVALUATIONS


def cost_models_of(
    workspace: Workspace, request: SearchRequest, space: SearchSpace, constraints: Sequence[Constraint]
) -> tuple[tuple[CostModel, ...], str | None]:
    """Return where the limited costs come from, and the name of the predictor; raise UsageError or NotFitted."""
    models: list[CostModel] = []
    predictor = None
    for constraint in constraints:
        if constraint.metric in static_names():
            models.append(StaticCost(constraint.metric, space))
        elif request.device is None:
            raise UsageError(
                f"a limit on {constraint.metric} needs a device", "", "Add --device NAME or --device table:NAME/COLUMN"
            )
        elif request.device.startswith("table:"):
            if request.predictor is not None:
                raise UsageError(f"{request.device} is exact and needs no predictor", "", "Leave --predictor out.")
            models.append(_table_cost(workspace, request.device, space, constraint))
        else:
            model, predictor = _predicted_cost(workspace, request, space, constraint)
            models.append(model)
    return tuple(models), predictor


def _table_cost(workspace: Workspace, address: str, space: SearchSpace, constraint: Constraint) -> TableCost:
    column = column_of(workspace, address, space, "--device")
    metric = METRIC_OF.get(column.dimension)
    if metric != constraint.metric:
        serves = (
            f"It serves limits on {metric}." if metric else "Only columns of time, energy or bytes serve as a device."
        )
        raise UsageError(
            f"{address} holds {column.dimension}, which says nothing about {constraint.metric}",
            serves,
            "See the columns: hilnas data list",
        )
    return TableCost(constraint.metric, column.values, address)


def _predicted_cost(
    workspace: Workspace, request: SearchRequest, space: SearchSpace, constraint: Constraint
) -> tuple[PredictedCost, str]:
    from predictors._registry import load_fitted

    if constraint.metric != "latency":
        asked_with = metrics()[constraint.metric].asked_with.replace("DEVICE", str(request.device))
        raise UsageError(
            f"nothing predicts the {constraint.metric} of {request.device}",
            "Predictors are fitted to latencies.",
            f"Name a table that has it: --device table:NAME/COLUMN. Measured values for one come from: {asked_with}",
        )
    fitted = load_fitted(workspace, str(request.device), space, request.predictor)
    most = float(fitted.predictor.probability(fitted.architectures[:1], math.inf)[0])
    if constraint.confidence is not None and constraint.confidence > most:
        raise UsageError(
            f"{fitted.name} of {request.device} cannot promise a limit with {constraint.confidence:.2%} confidence",
            f"It was fitted to {len(fitted.architectures)} architectures; {most:.1%} is the most they allow.",
            f"Lower the confidence, or fit to more: hilnas fit {request.device} --predictor {fitted.name} --budget N",
        )
    return PredictedCost(fitted.predictor, constraint.confidence), fitted.name


def real_device(request: SearchRequest, configs: Path | None) -> DeviceConfig | None:
    """Return the config of the device that measures the winners, None offline and for tables."""
    if request.device is None or request.device.startswith("table:"):
        return None
    from devices._config import find_device

    config = find_device(request.device, configs)
    return None if request.offline else config
