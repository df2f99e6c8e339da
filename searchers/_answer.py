"""What `hilnas search` prints: one JSON value, and tables made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hilnas.errors import HilnasError, Inconclusive, Infeasible
from hilnas.output import answer, show_table
from hilnas.records import Architecture
from profiler._metrics import stored_names
from searchers._cost_models import PredictedCost
from searchers._figures import Figure, paired_difference
from searchers._oracle import best_feasible
from searchers._problem import Evaluation, Study
from searchers._reach import shown
from searchers._request import RANDOM, Setup
from searchers._search import Studies
from searchers._verify import Candidate, Verified
from searchers.evaluators.tabular import Tabular

#: Figures of which the paired difference to random search is given.
_COMPARED = ("score", "accuracy", "feasible_share", "late_feasible_share")
_ORACLE = "the score is the accuracy that is reported: this is an oracle, not a result of searching"
_TAUGHT = "the labels are of the accuracy that is reported: learn from validation accuracy instead"


@dataclass(frozen=True)
class _Oracle:
    """The best accuracy and the best objective of all feasible architectures, None where they are not known."""

    accuracy: float | None
    objective: float | None


def search_answer(study_id: str, setup: Setup, studies: Studies, verified: Verified) -> dict[str, Any]:
    """Return the JSON answer; docs/searchers.md says what each field is."""
    request = setup.request
    oracle = _Oracle(best_feasible(setup, setup.accuracy), best_feasible(setup, _objective(setup)))
    own = _figures(setup, studies.own, oracle)
    values: dict[str, Any] = {
        "study_id": study_id,
        "searcher": request.searcher,
        "options": dict(setup.options),
        "space": setup.space.name,
        "space_options": dict(setup.space.options),
        "device": request.device,
        "predictor": setup.predictor,
        "offline": request.offline,
        "constraints": [asdict(item) for item in setup.constraints],
        "score_source": setup.evaluator.describe(),
        "accuracy_source": request.accuracy,
        "evaluations": setup.evaluations,
        "seeds": [study.problem.seed for study in studies.own],
        "notes": _notes(setup),
        "winner": _winner(setup, verified, studies.searcher),
        **_json(own),
    }
    beside = {name: _beside(setup, verified, name, found, own, oracle) for name, found in studies.beside.items()}
    if RANDOM in beside:
        values[RANDOM] = beside.pop(RANDOM)
        values["difference"] = values[RANDOM].pop("difference")
    if beside:
        values["baselines"] = beside
    values["candidates"] = [
        {"searcher": name, **_candidate(setup, item, won=item is verified.winner(name))}
        for name, items in verified.by_searcher.items()
        for item in items
    ]
    values["run_ids"] = list(verified.run_ids)
    return answer(values, request.seed)


def _beside(
    setup: Setup,
    verified: Verified,
    name: str,
    studies: Sequence[Study],
    own: Mapping[str, Figure],
    oracle: _Oracle,
) -> dict[str, Any]:
    """Return the fields of a baseline, and how much better the searcher is over paired seeds."""
    figures = _figures(setup, studies, oracle)
    differences = {key: paired_difference(own[key].per_seed, figures[key].per_seed) for key in _COMPARED}
    compared = {key: None if found is None else asdict(found) for key, found in differences.items()}
    return {"winner": _winner(setup, verified, name), **_json(figures), "difference": compared}


def verdict_error(setup: Setup, studies: Studies, verified: Verified) -> HilnasError | None:
    """Return why no winner can be reported, None where there is one."""
    if verified.winner(studies.searcher) is not None:
        return None
    limits = ", ".join(setup.request.limits) or "the connected part of the space"
    if not any(study.ranked for study in studies.own):
        return _nothing_feasible(setup, studies, limits)
    measured = verified.by_searcher[studies.searcher]
    verdicts = [item.verdict for item in measured]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in dict.fromkeys(verdicts))
    what = f"none of {len(measured)} candidates keeps {limits} when it is measured: {counts}"
    if measured and set(verdicts) == {"exceeds"}:
        return Infeasible(what, "The predictions were too low.", "Fit again with more samples, or raise the limit.")
    return Inconclusive(what, "", "Measure again, add --top N for more candidates, or raise the limit.")


def _nothing_feasible(setup: Setup, studies: Studies, limits: str) -> HilnasError:
    seen = [item for study in studies.own for item in study.evaluations]
    failed = sum(item.cause is not None for item in seen)
    what = f"nothing among {len(seen)} evaluations keeps {limits}"
    first = setup.constraints[0].metric if setup.constraints else None
    known = [item for item in seen if item.cause is None and first in item.bounds]
    if not known or first is None:
        cause = next((item.cause for item in seen if item.cause), "")
        return Infeasible(what, f"{failed} of them failed, the first with: {cause}")
    least = min(known, key=lambda item: item.bounds[first])
    best = f"The smallest {first} among them is {shown(first, least.bounds[first])}: {least.architecture}"
    longer = "search longer: --evaluations N" if setup.pictures is None else "search where limits steer: dca_nas"
    return Infeasible(what, f"{best} ({failed} failed).", f"Raise the limit, or {longer}")


def _notes(setup: Setup) -> list[str]:
    request = setup.request
    if request.accuracy is None:
        return []
    searched = request.accuracy in request.score.split(",")
    return [_ORACLE] * searched + [_TAUGHT] * (request.accuracy == request.labels)


def _figures(setup: Setup, studies: Sequence[Study], oracle: _Oracle) -> dict[str, Figure]:
    """Return figures over seeds: of each seed's winner as it was searched, and of its evaluations.

    The best of all feasible architectures is the same under every seed; a regret is what a winner lacks to it.
    """
    winners = [study.winner for study in studies]
    scores = [winner.score if winner else None for winner in winners]
    accuracies = [_accuracy(setup, winner.architecture) if winner else None for winner in winners]
    figures = {
        "score": Figure.of(scores),
        "accuracy": Figure.of(accuracies),
        "feasible": Figure.of([float(winner is not None) for winner in winners]),
        "feasible_share": Figure.of([study.feasible_share for study in studies]),
        "late_feasible_share": Figure.of([study.late_feasible_share for study in studies]),
        "feasible_share_last_100": Figure.of([study.feasible_share_last_100 for study in studies]),
        "distinct": Figure.of([study.distinct for study in studies]),
        "failed": Figure.of([study.failed for study in studies]),
        "elapsed_s": Figure.of([study.elapsed_s for study in studies]),
        "oracle_accuracy": Figure.of([oracle.accuracy for _ in studies]),
        "accuracy_regret": _regret(oracle.accuracy, accuracies),
    }
    if _objective(setup) is not None:
        figures |= {"objective": figures["score"], "objective_regret": _regret(oracle.objective, scores)}
    for constraint in setup.constraints:
        figures[stored_names()[constraint.metric]] = Figure.of([_cost(winner, constraint.metric) for winner in winners])
    return figures


def _objective(setup: Setup) -> Mapping[str, float] | None:
    """Return the table that is searched, None where scores are computed."""
    return setup.evaluator.values if isinstance(setup.evaluator, Tabular) else None


def _regret(best: float | None, found: Sequence[float | None]) -> Figure:
    return Figure.of([None if best is None or value is None else best - value for value in found])


def _cost(winner: Evaluation | None, metric: str) -> float | None:
    return winner.costs.get(metric) if winner else None


def _accuracy(setup: Setup, architecture: Architecture) -> float | None:
    return None if setup.accuracy is None else setup.accuracy.get(architecture.text)


def _json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: asdict(figure) for name, figure in figures.items()}


def _winner(setup: Setup, verified: Verified, searcher: str) -> dict[str, Any] | None:
    found = verified.winner(searcher)
    return None if found is None else _candidate(setup, found, won=True)


def _candidate(setup: Setup, item: Candidate, won: bool) -> dict[str, Any]:
    """Return one row: `latency_s` is what was measured, where something was, else the table's or predicted value.

    The accuracy is looked up for the winner alone: it is no help in choosing.

    `probability` is how likely the predictor holds it that the limit on latency is kept.
    """
    row: dict[str, Any] = {
        "architecture": item.architecture.text,
        "seed": item.seed,
        "score": item.score,
        "accuracy": _accuracy(setup, item.architecture) if won else None,
        "verdict": item.verdict,
    }
    for metric, cost in item.costs.items():
        row[stored_names()[metric]] = cost.value
        if cost.provenance not in (None, "table"):
            row |= {"predicted_s": cost.value, "predicted_lower_s": cost.lower, "predicted_upper_s": cost.upper}
            row["provenance"] = cost.provenance
            row["probability"] = _probability(setup, item.architecture)
    measured = item.measurement
    if measured is not None:
        row |= {"latency_s": measured.latency_s, "measured_s": measured.latency_s}
        row |= {"measured_lower_s": measured.lower_s, "measured_upper_s": measured.upper_s}
        row["cause"] = measured.cause
    return row


def _probability(setup: Setup, architecture: Architecture) -> float | None:
    """Return how likely the predictor holds the limit on latency to be kept, None where there is none."""
    limit_s = setup.limit("latency")
    model = next((item for item in setup.cost_models if isinstance(item, PredictedCost)), None)
    return None if model is None or limit_s is None else model.probability(architecture, limit_s)


def show_answer(values: Mapping[str, Any]) -> None:
    """Print an answer as tables."""
    limits = ", ".join(f"{item['metric']} <= {shown(item['metric'], item['limit'])}" for item in values["constraints"])
    seeds = values["seeds"]
    many = f"{len(seeds)} seeds from {seeds[0]}, mean ± sd" if len(seeds) > 1 else f"seed {seeds[0]}"
    title = f"{values['space']} on {values['device'] or 'no device'}, {limits or 'no limit'}: {many}"
    title += " (figures as searched, before the winners were measured)" if values["run_ids"] else ""
    columns = {values["searcher"]: values}
    if RANDOM in values:
        columns[RANDOM] = values[RANDOM]
    columns |= values.get("baselines", {})
    rows = [
        (label, *(_spread(column[name], factor) for column in columns.values()), *_difference(values, name, factor))
        for name, label, factor in _SHOWN
        if any(column[name]["mean"] is not None for column in columns.values() if name in column)
    ]
    counted = "" if "searches" in values else f", {values['evaluations']} evaluations"
    header = [f"{name}{counted}" for name in columns]
    compared = ["difference [95 %]"] if "difference" in values else []
    show_table(("", *header, *compared), rows, title)
    _show_candidates(values["candidates"], any(item["confidence"] is not None for item in values["constraints"]))


_SHOWN = (
    ("score", "winner's score", 1.0),
    ("accuracy", "winner's accuracy, %", 1.0),
    ("oracle_accuracy", "best feasible accuracy there is, %", 1.0),
    ("accuracy_regret", "what the winner lacks to it", 1.0),
    ("objective_regret", "what the score lacks to the best feasible one", 1.0),
    ("latency_s", "winner's latency, ms", 1e3),
    ("energy_j", "winner's energy, mJ", 1e3),
    ("macs", "winner's MACs, M", 1e-6),
    ("params", "winner's parameters, M", 1e-6),
    ("aops", "winner's AOPS, G", 1e-9),
    ("feasible_share", "feasible share, %", 100.0),
    ("late_feasible_share", "feasible share of the last fifth, %", 100.0),
    ("distinct", "different architectures", 1.0),
    ("failed", "failed evaluations", 1.0),
)


def _spread(figure: Mapping[str, Any], factor: float) -> str:
    if figure["mean"] is None:
        return "n/a"
    mean = f"{figure['mean'] * factor:.4g}"
    return mean if figure["sd"] is None else f"{mean} ± {figure['sd'] * factor:.2g}"


def _difference(values: Mapping[str, Any], name: str, factor: float) -> list[str]:
    """Return the cell with the difference to random search, no cell where there is none to compare with."""
    if "difference" not in values:
        return []
    found = values["difference"].get(name)
    if found is None:
        return [""]
    mean = f"{found['mean'] * factor:+.3g}"
    if found["lower"] is None:
        return [mean]
    return [f"{mean} [{found['lower'] * factor:+.3g}, {found['upper'] * factor:+.3g}]"]


def _show_candidates(candidates: Sequence[Mapping[str, Any]], confident: bool) -> None:
    """Print the table of winners: predicted [interval], measured ± half its interval, verdict.

    `confident`: somebody asked how likely the limit is kept.
    """
    rows = [
        (
            item["searcher"],
            item["architecture"].partition(":")[2],
            item["score"],
            item["accuracy"],
            _predicted(item),
            *([_likely(item)] if confident else []),
            _measured(item),
            item["verdict"],
        )
        for item in candidates
    ]
    likely = ["P(limit kept)"] if confident else []
    show_table(
        ("searcher", "architecture", "score", "accuracy %", "predicted ms", *likely, "measured ms", "verdict"), rows
    )


def _predicted(item: Mapping[str, Any]) -> str | None:
    if "predicted_s" in item:
        interval = f"[{item['predicted_lower_s'] * 1e3:.4g}, {item['predicted_upper_s'] * 1e3:.4g}]"
        return f"{item['predicted_s'] * 1e3:.4g} {interval}"
    return None


def _likely(item: Mapping[str, Any]) -> str | None:
    return None if item.get("probability") is None else f"{item['probability']:.1%}"


def _measured(item: Mapping[str, Any]) -> str | None:
    if item.get("measured_s") is not None:
        half_s = (item["measured_upper_s"] - item["measured_lower_s"]) / 2
        return f"{item['measured_s'] * 1e3:.4g} ± {half_s * 1e3:.2g}"
    if "predicted_s" not in item and item.get("latency_s") is not None:
        return f"{item['latency_s'] * 1e3:.4g} (table)"
    return None
