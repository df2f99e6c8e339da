"""`hilnas fit`, `hilnas predict` and `hilnas compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hilnas.cli import Settings
from hilnas.output import answer, json_option, show_json, show_table
from predictors._options import SEED, SPACE, SPACE_OPTIONS, load_named_space, show_figures
from predictors._predict_cli import predict as predict

if TYPE_CHECKING:
    from hilnas.gates import Gate
    from predictors._comparing import Comparison
    from predictors._fitting import FitReport

_SHOWN_SOURCES = 5


@click.command()
@click.argument("device")
@click.option("--predictor", required=True, help="gradient_boosting, lookup_table, macs_baseline, transfer ...")
@SPACE
@SPACE_OPTIONS
@click.option("--budget", type=click.IntRange(2), help="Architectures to have in all; missing ones are measured.")
@click.option(
    "--interval",
    metavar="PERCENT",
    help="Measure no more once 90 % intervals are so narrow, e.g. 15% (mean width over random architectures).",
)
@click.option(
    "--sources",
    metavar="DEVICE[@SPACE],...",
    help="Devices to learn from: names, table:NAME/COLUMN, source_pack:NAME/DEVICE; or none.  [default: all there are]",
)
@click.option("--train", "n_train", type=click.IntRange(2), help="Architectures to train on before judging.")
@click.option(
    "--test",
    "n_test",
    type=click.IntRange(1),
    help="Architectures to judge on.  [default: a third, below 30 each one once]",
)
@SEED
@json_option
@click.pass_obj
def fit(
    settings: Settings,
    device: str,
    predictor: str,
    space: str,
    space_options: tuple[str, ...],
    budget: int | None,
    interval: str | None,
    sources: str | None,
    n_train: int | None,
    n_test: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Fit a predictor to what is recorded for DEVICE, measuring first what it needs and is not there.

    It is judged on architectures that were held out, then fitted on all and saved. DEVICE is the name of a config,
    or table:NAME/COLUMN for a column of times.

    The predictor chooses what is measured: at random, but transfer looks at what is known and takes what tells most.
    transfer learns from other devices, too, and so does the baseline best_source_scaling: without --sources, from
    every device and table of the workspace with 20 usable architectures of the space, and from source packs that ship.

    \b
    Examples:
      hilnas fit local_cpu --predictor lookup_table --budget 10
      hilnas fit local_cpu --predictor gradient_boosting --train 200 --test 100
      hilnas fit pi5 --predictor transfer --budget 10
      hilnas fit pi5 --predictor transfer --sources pi4,table:phones/pixel3_ms --interval 15% --budget 30
    """
    from predictors._fitting import FitRequest, fit_device
    from predictors._options import read_names, read_percent
    from profiler._progress import progress_bar
    from profiler._workspace import Workspace

    request = FitRequest(
        device, predictor, budget, n_train, n_test, seed,
        None if interval is None else read_percent(interval, "--interval"),
        None if sources is None else read_names(sources),
    )  # fmt: skip
    with Workspace.open(settings.workspace) as workspace, progress_bar(f"fit {device}") as progress:
        report = fit_device(workspace, load_named_space(space, space_options), request, settings.configs, progress)
    if as_json:
        show_json(answer(report.to_json(), seed))
        return
    _show_fit(report, space)


@click.command()
@click.argument("device")
@click.option("--n", type=click.IntRange(1), default=30, show_default=True, help="How many new architectures.")
@click.option("--predictor", help="Which fitted predictor.  [default: the best on held-out architectures]")
@SPACE
@SPACE_OPTIONS
@click.option("--recorded", is_flag=True, help="Use what is recorded and was not trained on; measure nothing.")
@click.option("--additivity", is_flag=True, help="Audit whether times of blocks add up to those of networks.")
@click.option("--pairs", type=click.IntRange(0), help="Pairs of blocks to audit at most.  [default: 60]")
@click.option("--gate", "gates", multiple=True, help='Exit 3 when a figure fails, e.g. "within_10>=0.9".')
@SEED
@json_option
@click.pass_obj
def compare(
    settings: Settings,
    device: str,
    n: int,
    predictor: str | None,
    space: str,
    space_options: tuple[str, ...],
    recorded: bool,
    additivity: bool,
    pairs: int | None,
    gates: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Compare predictions with measurements of architectures that DEVICE's predictor has not seen.

    Gates look at the figures of the predictor: mape, within_5, within_10, spearman, kendall, bias, worst, coverage,
    interval_width, violation_mean, violation_upper.

    --additivity needs no predictor: it compares the sum of measured blocks with measured networks (--n of them at
    least), finds pairs of blocks that are fused, blocks that cost more or less inside a network, and says how much a
    correction of the sum helps. What is not recorded is measured first, unless --recorded is given.

    \b
    Examples:
      hilnas compare local_cpu --n 30
      hilnas compare local_cpu --additivity --n 60
      hilnas compare local_cpu --gate "within_10>=0.9" --gate "coverage>=0.8"
    """
    from hilnas.gates import parse_gate
    from predictors._compare_cli import run_audit
    from predictors._comparing import CompareRequest, compare_device
    from predictors._evaluation import FIGURES
    from profiler._progress import progress_bar
    from profiler._workspace import Workspace

    if additivity:
        run_audit(
            settings,
            load_named_space(space, space_options),
            device,
            n,
            pairs,
            predictor,
            recorded,
            gates,
            seed,
            as_json,
        )
        return
    if pairs is not None:
        raise click.UsageError("--pairs belongs to --additivity")
    wanted = [parse_gate(text, FIGURES) for text in gates]
    request = CompareRequest(device, predictor, n, seed, recorded)
    with Workspace.open(settings.workspace) as workspace, progress_bar(f"compare {device}") as progress:
        comparison = compare_device(
            workspace, load_named_space(space, space_options), request, settings.configs, progress
        )
    _show_judged(comparison, wanted, space, seed, as_json)


def _show_judged(comparison: Comparison, gates: list[Gate], space: str, seed: int, as_json: bool) -> None:
    from predictors._compare_cli import show_comparison

    figures = comparison.judgement.scores.to_json()
    failed = [gate for gate in gates if not gate.holds(figures[gate.name])]
    if as_json:
        checked = [{"gate": str(gate), "value": figures[gate.name], "holds": gate not in failed} for gate in gates]
        show_json(answer({**comparison.to_json(), "gates": checked}, seed))
    else:
        show_comparison(comparison, space)
    if failed:
        _fail(failed, comparison, space)


def _fail(gates: list[Gate], comparison: Comparison, space: str) -> None:
    from hilnas.errors import GateFailed

    figures = comparison.judgement.scores.to_json()
    values = {gate: figures[gate.name] for gate in gates}
    shown = "; ".join(f"{gate}: it is {'n/a' if value is None else f'{value:.4g}'}" for gate, value in values.items())
    again = f"hilnas fit {comparison.device} --predictor {comparison.predictor} --space {space}"
    raise GateFailed(
        f"a gate does not hold: {shown}",
        "The predictor had not seen these architectures.",
        f"Look at the largest errors, then fit with more samples: {again} --budget N",
    )


def _show_fit(report: FitReport, space: str) -> None:
    request = report.request
    measured = f"{report.n_measured} of them and {report.n_blocks_measured} blocks measured now"
    click.echo(f"{request.predictor} for {request.device} on {report.space}: {report.n_fitted} samples, {measured}")
    wide = "" if report.interval_width is None else f" (90 % intervals are {report.interval_width:.1%} wide)"
    click.echo(f"no more were measured: {report.stopped}{wide}")
    click.echo(f"sources: {_weighed(report)}")
    if report.judgement is None:
        click.echo("too few to hold any out: how good it is, is not known; see: hilnas compare")
    else:
        show_figures(request.predictor, report.judgement)
        click.echo("Figures are of samples that were held out; the saved predictor is fitted on all.")
    show_table(("fitted", "value"), list(report.parameters.items()))
    click.echo(f"saved: {report.path}")
    click.echo(f"next: hilnas compare {request.device} --predictor {request.predictor} --space {space}")


def _weighed(report: FitReport) -> str:
    """Return the sources, those first that say most where the predictor knows how much."""
    weights = {name: report.parameters.get(f"source {name}") for name in report.sources}
    ordered = sorted(weights.items(), key=lambda item: -(item[1] or 0.0))
    shown = [name if weight is None else f"{name} {weight:.0%}" for name, weight in ordered[:_SHOWN_SOURCES]]
    others = [f"{len(ordered) - _SHOWN_SOURCES} others"] if len(ordered) > _SHOWN_SOURCES else []
    return ", ".join([*shown, *others]) or "none"
