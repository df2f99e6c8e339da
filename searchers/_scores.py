"""The evaluator that `--score`, `--fusion` and `--labels` stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hilnas import plugins
from hilnas.errors import UsageError
from search_spaces._base import SearchSpace
from searchers._columns import METRIC_OF, column_of
from searchers._options import option_defaults, read_options, split_pairs
from searchers.evaluators._base import Evaluator

if TYPE_CHECKING:
    from profiler._table_records import TableColumn
    from profiler._workspace import Workspace
    from searchers._request import SearchRequest
    from searchers.evaluators._labels import Labels

#: The score that needs labels alone.
FOREST = "forest"
#: Ways to make one score of several.
FUSIONS = ("fi", "rank")


def evaluator_of(workspace: Workspace, request: SearchRequest, space: SearchSpace) -> Evaluator:
    """Return where scores come from; raise UsageError for names that do not fit together."""
    names = [name.strip() for name in request.score.split(",")]
    _check(request, names)
    if names == [FOREST]:
        from searchers.evaluators.forest import Forest

        return Forest(space, labels=_labels(workspace, request, space))
    parts = [_one(workspace, request, space, name) for name in names]
    if request.fusion == "fi":
        from searchers.evaluators.fusion_indicator import FusionIndicator

        return FusionIndicator(space, parts=parts, labels=_labels(workspace, request, space))
    if request.fusion == "rank":
        from searchers.evaluators.rank_fusion import RankFusion

        return RankFusion(space, parts=parts)
    return parts[0]


def _check(request: SearchRequest, names: Sequence[str]) -> None:
    if "" in names or len(set(names)) < len(names):
        raise UsageError(f"--score {request.score} has an empty name or one twice", "", "Write: --score A,B")
    if FOREST in names and (len(names) > 1 or request.fusion):
        raise UsageError("the forest learns from labels alone", "It fuses nothing.", "Write: --score forest --labels T")
    if len(names) > 1 and request.fusion is None:
        raise UsageError(
            f"{len(names)} scores need a fusion",
            "rank: the worst of their ranks. fi: a weighted sum, learned from labels.",
            "Add: --fusion rank, or --fusion fi --labels table:NAME/COLUMN",
        )
    needs = request.fusion == "fi" or names == [FOREST]
    if needs and request.labels is None:
        raise UsageError("labels are missing", "A fusion indicator and a forest learn from them.", _ADD_LABELS)
    if not needs and request.labels is not None:
        raise UsageError("--labels serve --fusion fi and --score forest only", "", "Leave --labels out.")
    computed = [name for name in names if not name.startswith("table:") and name != FOREST]
    if request.score_options and len(computed) != 1:
        raise UsageError(f"{request.score} has no --score-option", "It sets one computed indicator.")


_ADD_LABELS = "Add the validation accuracy: --labels table:NAME/COLUMN"


def _one(workspace: Workspace, request: SearchRequest, space: SearchSpace, name: str) -> Evaluator:
    if name == "trained":
        from searchers.evaluators.trained import Trained

        return Trained.asked(space, request.score_options, workspace.path / "scores")
    if not name.startswith("table:"):
        return _zero_cost(workspace, request, space, name)
    from searchers.evaluators.tabular import Tabular

    column = _column_of_scores(workspace, name, space, "--score")
    return Tabular(space, values=column.values, source=name, unit=column.unit)


def _column_of_scores(workspace: Workspace, address: str, space: SearchSpace, option: str) -> TableColumn:
    column = column_of(workspace, address, space, option)
    if column.dimension in METRIC_OF:
        raise UsageError(
            f"{address} holds {column.dimension}: less of it is better, of a score more is",
            "",
            "Name it as the device: --device " + address,
        )
    return column


def _labels(workspace: Workspace, request: SearchRequest, space: SearchSpace) -> Labels:
    from searchers.evaluators._labels import Labels

    column = _column_of_scores(workspace, str(request.labels), space, "--labels")
    return Labels(column.values, request.label_budget, str(request.labels))


def _zero_cost(workspace: Workspace, request: SearchRequest, space: SearchSpace, name: str) -> Evaluator:
    from searchers.evaluators.zero_cost import ZeroCost
    from searchers.evaluators.zero_cost._base import Indicator

    kind = plugins.load("searchers.evaluators.zero_cost", name, Indicator, "indicator")
    own = option_defaults(kind)
    given = read_options(split_pairs(request.score_options), {**space.options, **own}, name)
    settings = {option: value for option, value in given.items() if option in own}
    proxy = {option: value for option, value in given.items() if option not in own}
    return ZeroCost(space, indicator=name, settings=settings, proxy=proxy, cache=workspace.path / "scores")
