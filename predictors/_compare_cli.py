"""What `hilnas compare` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hilnas.cli import Settings
from hilnas.errors import UsageError
from hilnas.output import answer, show_json, show_table
from hilnas.units import format_seconds
from predictors._options import show_figures, show_interval

if TYPE_CHECKING:
    from predictors._additivity import AuditReport
    from predictors._audit import Findings
    from predictors._comparing import Comparison
    from search_spaces._base import SearchSpace

_WORST = 5
_SHOWN = 12


def show_comparison(comparison: Comparison, space: str) -> None:
    """Print figures, bands, the largest errors with what may explain them, and what to measure next."""
    show_figures(comparison.predictor, comparison.judgement)
    bands = comparison.bands
    shares = ", ".join(f"{name.removeprefix('within_')} %: {share:.0%}" for name, share in bands.within.items())
    click.echo(f"within {shares}; bias {_signed(bands.bias, bands.bias_interval)}")
    if comparison.graph:
        click.echo(f"graph that is costed: {comparison.graph}")
    for text in comparison.different:
        click.echo(f"different from when it was fitted: {text}")
    rows = [
        (
            row.architecture,
            f"{row.predicted_s * 1e3:.4g} {show_interval(row.lower_s, row.upper_s)}",
            f"{row.measured_s * 1e3:.4g}" + (f" ± {row.measured_half_width:.1%}" if row.measured_half_width else ""),
            f"{row.error:+.1%}",
            "; ".join(row.reasons) or "nothing unusual: the model's own",
        )
        for row in comparison.rows[:_WORST]
    ]
    columns = ("architecture", "predicted ms", "measured ms", "error", "what may explain it")
    show_table(columns, rows, f"the {len(rows)} largest errors on {comparison.device}")
    click.echo(f"comparison_id: {comparison.comparison_id}")
    again = f"hilnas fit {comparison.device} --predictor {comparison.predictor} --space {space}"
    if comparison.next_command:
        click.echo(f"what would tell most next: {comparison.next_command}")
    if comparison.source == "measured":
        click.echo(f"these architectures are recorded now; learn from them: {again}")


def run_audit(
    settings: Settings,
    space: SearchSpace,
    device: str,
    n: int,
    pairs: int | None,
    predictor: str | None,
    recorded: bool,
    gates: tuple[str, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Audit a device and print what was found."""
    if predictor is not None or gates:
        raise UsageError("--additivity compares sums, not predictions", "", "Leave --predictor and --gate away.")
    from predictors._additivity import MAX_PAIRS, AuditRequest, audit_device
    from profiler._progress import progress_bar
    from profiler._workspace import Workspace

    request = AuditRequest(device, n, MAX_PAIRS if pairs is None else pairs, seed, recorded)
    with Workspace.open(settings.workspace) as workspace, progress_bar(f"compare {device}") as progress:
        report = audit_device(workspace, space, request, settings.configs, progress)
    if as_json:
        show_json(answer(report.to_json(), seed))
        return
    show_audit(report)


def show_audit(report: AuditReport) -> None:
    """Print sum against networks, blocks, pairs, and what a correction gives."""
    found = report.findings
    n_new = (report.n_networks_measured, report.n_blocks_measured, report.n_pairs_measured)
    click.echo(f"{report.request.device}, {report.space}: {found.n} networks ({found.parameters['runtime']})")
    click.echo("measured now: {} networks, {} blocks, {} chains of two".format(*n_new))
    low, high = found.slope_interval
    early, late = (format_seconds(value) for value in found.intercept_interval_s)
    click.echo(f"graph that is costed: {found.graph}; latency over sum of blocks: {found.ratio:.3f} (median)")
    click.echo(
        f"latency = {format_seconds(found.intercept_s)} [{early}, {late}] + {found.slope:.3f} [{low:.3f}, {high:.3f}]"
        f" x sum; spread {found.residual_sd:.1%}"
    )
    click.echo(f"entries together are known to ± {found.parameters['table_half_width']:.1%}")
    if found.call_s is not None:
        click.echo(f"a call costs {format_seconds(found.call_s)} beside its blocks")
    if report.layers:
        layers = report.layers
        click.echo(f"latency over sum of the runtime's layers: {layers['ratio']:.3f} ({layers['n']} profiled networks)")
    _show_held_out(found)
    _show_blocks(found)
    _show_pairs(report)
    click.echo(f"comparison_id: {report.comparison_id}")
    click.echo(f"next: {report.remedy}")


def _show_held_out(found: Findings) -> None:
    figures = ("mape", "within_5", "within_10", "bias", "worst")
    names = {
        "sum": "sum as it is",
        "additive": "a + b x sum",
        "additive_residual": f"with correction ({found.parameters['correction']})",
    }
    rows = [(names[name], *(getattr(scores, figure) for figure in figures)) for name, scores in found.held_out.items()]
    show_table(("held-out networks", *figures), rows, f"{found.n} networks, each predicted without it")


def _show_blocks(found: Findings) -> None:
    rows = [
        (
            item.blocks[0] + (f" and {len(item.blocks) - 1} more" if len(item.blocks) > 1 else ""),
            f"{item.coefficient:.3f} [{item.lower:.3f}, {item.upper:.3f}]",
            f"{item.share:.1%}",
            f"{item.contribution:.1%}",
            "breaks additivity" if item.breaks else "",
        )
        for item in found.blocks[:_SHOWN]
    ]
    columns = ("block", "cost in networks / entry", "of latency", "error by it", "")
    show_table(columns, rows, "blocks, what contributes most first; blocks that always occur together share a line")
    if found.constant_blocks:
        click.echo(f"in every network alike, so not to be told apart: {', '.join(found.constant_blocks)}")


def _show_pairs(report: AuditReport) -> None:
    found = [item for item in report.findings.pairs if item.verdict != "additive"]
    rows = [
        (
            item.first,
            item.second,
            f"{format_seconds(item.saving_s)} [{format_seconds(item.lower_s)}, {format_seconds(item.upper_s)}]",
            f"{item.saving_s / item.apart_s:.1%}",
            f"{item.share:.1%}",
            item.verdict,
        )
        for item in found[:_SHOWN]
    ]
    n = len(report.findings.pairs)
    title = f"{len(found)} of {n} pairs of blocks do not add up"
    if n == 0:
        click.echo("no pairs of blocks are measured")
    elif rows:
        show_table(("first", "second", "saved together", "of both", "of latency at most", ""), rows, title)
    else:
        click.echo(title)
    if report.pairs_missing:
        click.echo(f"{report.pairs_missing} pairs that occur are not measured: {report.remedy}")


def _signed(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:+.1%}" + ("" if interval is None else f" [{interval[0]:+.1%}, {interval[1]:+.1%}]")
