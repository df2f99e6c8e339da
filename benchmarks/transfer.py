"""How well a few measurements of a new device do, with other devices of public tables as sources.

Every row is a device of which everything is known: a predictor chooses `n` networks, sees their times, and is judged
on the others that no source was asked for; mean ± standard deviation over the seeds. Best source: the one that ranks
the same n networks best, scaled by their median ratio. HELP: its published Spearman, of networks within the middle
80 % of the target's times, from 10 measurements and 10 of fixed networks; here nothing is cut off.

With --pack NAME the devices are those of a source pack that ships, each with the others as sources: half of the cells
are drawn for these, and the target is judged on the rest.

With --intervals 20 networks are chosen and 20 more drawn at random. Width: of the 90 % interval over the prediction.
Violations: of the networks whose upper bound keeps the median of the target, those that do not; acceptance: of those
that keep it, those whose upper bound does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks._public_devices import Device, Task, import_devices, pack_tasks, reference_folder, tasks
from benchmarks._transfer_rows import CEILING, Figure, Row, averages, head, line
from hilnas.errors import HilnasError, UnknownName
from hilnas.output import answer
from predictors._sources import read_values
from predictors._trial_records import TrialRequest
from predictors._trials import cores, processes, run_trials
from profiler._plan import load_space
from profiler._workspace import Workspace
from search_spaces._base import SearchSpace

_BUDGETS = {"nasbench201": (5, 10, 20, 50), "fbnet": (10, 20)}
_POINTS = {
    "spearman": "Spearman",
    "within_10": "within 10 %",
    "best_source_spearman": "best source",
    "best_source_within_10": "its within 10 %",
}
_INTERVALS = {
    "coverage_90": "coverage",
    "interval_width": "width",
    "violation_rate": "violations",
    "acceptance_rate": "acceptance",
}
_CHOSEN, _DRAWN = 20, 20
_SAMPLES, _PACK_SAMPLES = 900, 100
#: The ceiling: this predictor on so many random architectures, at most this share of the distinct ones.
_BEST, _MOST, _SHARE, _CEILING_SEEDS = "gradient_boosting", 5000, 0.8, 3


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says (no targets: all)."""

    space: str
    pack: str
    budgets: tuple[int, ...]
    seeds: int
    source_samples: int
    targets: tuple[str, ...]
    intervals: bool
    ceiling: bool
    workers: int
    markdown: bool
    json: bool


def rows_of(workspace: Workspace, space: SearchSpace, listed: Sequence[Task], chosen: Options) -> Iterator[Row]:
    """Yield the rows of all tasks as they are done."""
    columns = _INTERVALS if chosen.intervals else _POINTS
    with processes(min(chosen.workers, chosen.seeds)) as pool:
        for task, target, request in _requests(workspace, space, listed, chosen):
            found = run_trials(workspace, space, request, pool=pool)
            figures = {name: _by_seed([getattr(item, name) for item in found.trials]) for name in columns}
            device = f"{target.name} (sum)" if target.is_sum else target.name
            published = None if chosen.intervals else task.spearman.get(target.name)
            yield Row(task.name, device, target.family, request.budget, found.n_evaluated, figures, published)


def _requests(
    workspace: Workspace, space: SearchSpace, listed: Sequence[Task], chosen: Options
) -> Iterator[tuple[Task, Device, TrialRequest]]:
    """Yield what is evaluated: every target of every task, then, where asked for, the ceiling of every target."""
    budgets, drawn = ((_CHOSEN + _DRAWN,), _DRAWN) if chosen.intervals else (chosen.budgets, 0)
    for task in listed:
        sources = tuple(item.address for item in task.sources)
        for target, budget in itertools.product(task.targets, budgets):
            samples, seeds = chosen.source_samples, chosen.seeds
            yield task, target, TrialRequest("transfer", target.address, sources, samples, budget, drawn, seeds)
    if not chosen.ceiling:
        return
    targets = dict.fromkeys(target for task in listed for target in task.targets)
    ceiling = Task(CEILING, (), tuple(targets))
    for target in targets:
        known = map(space.parse, read_values(workspace, target.address, space))
        distinct = len({space.canonical(item) for item in known if space.graph(item).connected})
        n, seeds = min(_MOST, int(_SHARE * distinct)), min(_CEILING_SEEDS, chosen.seeds)
        yield ceiling, target, TrialRequest(_BEST, target.address, budget=n, calibration=drawn, seeds=seeds)


def _by_seed(values: Sequence[float | None]) -> Figure:
    defined = tuple(value for value in values if value is not None)
    return defined if len(defined) == len(values) else None


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=list(_BUDGETS), default="nasbench201")
    parser.add_argument("--pack", default="", help="devices of this source pack instead of public tables")
    parser.add_argument("--budgets", type=_numbers, help="measurements of the target (5,10,20,50; fbnet: 10,20)")
    parser.add_argument("--seeds", type=int, default=20, help="repetitions (default: 20)")
    parser.add_argument("--source-samples", type=int, help="measurements of each source (900; of a pack: 100)")
    parser.add_argument("--targets", default="", help="only these devices, e.g. raspi4,titanx_32")
    parser.add_argument("--intervals", action="store_true", help="judge intervals instead of predictions")
    parser.add_argument("--ceiling", action="store_true", help=f"also {_BEST} on {_MOST} measurements: slow")
    parser.add_argument("--workers", type=int, default=cores(), help="seeds at once (default: one a core)")
    parser.add_argument("--markdown", action="store_true", help="print tables of Markdown")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    found = vars(parser.parse_args(arguments))
    budgets = found.pop("budgets") or _BUDGETS[found["space"]]
    samples = found.pop("source_samples") or (_PACK_SAMPLES if found["pack"] else _SAMPLES)
    targets = tuple(filter(None, found.pop("targets").split(",")))
    return Options(**found, budgets=budgets, source_samples=samples, targets=targets)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _tasks(workspace: Workspace, chosen: Options) -> list[Task]:
    if chosen.pack:
        return pack_tasks(chosen.pack)
    return tasks(chosen.space, import_devices(workspace, reference_folder(), chosen.space))


def _only(listed: Sequence[Task], names: Sequence[str]) -> list[Task]:
    """Return the tasks with the named targets alone, all of them where none is named."""
    known = {target.name for task in listed for target in task.targets}
    for name in names:
        if name not in known:
            raise UnknownName("target", name, known)
    left = (
        replace(task, targets=tuple(item for item in task.targets if not names or item.name in names))
        for task in listed
    )
    return [task for task in left if task.targets]


def _notes(listed: Sequence[Task], chosen: Options) -> Iterator[str]:
    """Yield what else is known of the tasks."""
    if chosen.ceiling:
        yield f"{CEILING}: {_BEST}, trained on {_MOST} random networks, at most {_SHARE:.0%} of the distinct ones"
    for task in listed:
        sources = ", ".join(item.name for item in task.sources)
        lacking = f"; in no table: {', '.join(task.missing)}" if task.missing else ""
        published = "" if task.mean is None else f"; HELP's mean over all of its targets {task.mean:.3f}"
        yield f"{task.name}: sources {sources}{lacking}{published}"
    if any(item.is_sum for task in listed for item in (*task.sources, *task.targets)):
        yield "(sum): every time is a sum over a table of blocks; no network was measured"


def run(chosen: Options) -> None:
    """Evaluate and print."""
    space = load_space(chosen.space)
    with tempfile.TemporaryDirectory() as temporary, Workspace.open(Path(temporary)) as workspace:
        listed = _only(_tasks(workspace, chosen), chosen.targets)
        title = head(_INTERVALS if chosen.intervals else _POINTS, chosen.markdown)
        if not chosen.json:
            print(title)
        rows = []
        for row in rows_of(workspace, space, listed, chosen):
            rows.append(row)
            if not chosen.json:
                print(line(row.cells(), chosen.markdown), flush=True)
    means, notes = averages(rows), list(_notes(listed, chosen))
    if chosen.json:
        found = {**asdict(chosen), "rows": [item.to_json() for item in (*rows, *means)], "notes": notes}
        print(json.dumps(answer(found, 0), indent=2))
        return
    print("", title, *(line(item.cells(), chosen.markdown) for item in means), "", *notes, sep="\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code."""
    try:
        run(_options(arguments))
    except HilnasError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
