"""A campaign for people, and for `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from hilnas.output import answer, show_json, show_table
from hilnas.units import format_seconds
from profiler._campaign import CampaignResult
from profiler._comparison import Ratio
from profiler._export import metric_summary, shown_summary
from profiler._layers import LayerProfile

#: Of how many workloads layers are printed, and how many of each; exports have all.
_SHOWN_PROFILES = 3
_SHOWN_LAYERS = 15


def show_campaign(
    done: CampaignResult,
    seed: int,
    as_json: bool,
    profiles: Sequence[LayerProfile] = (),
    ratios: Sequence[Ratio] = (),
) -> None:
    """Print what a campaign has measured: its summary, the layers of its workloads and the ratios between them."""
    if as_json:
        found: dict[str, Any] = {"metrics": metric_summary(done.measurements)}
        if ratios:
            found["comparison"] = [asdict(ratio) for ratio in ratios]
        if profiles:
            found["layers"] = [profile.to_json() for profile in profiles]
        show_json(answer({**asdict(done.summary), **found}, seed))
        return
    show_summary(done)
    show_layers(profiles)
    for ratio in ratios:
        slower = f"{ratio.name} is {ratio.ratio:.3f} ± {ratio.half_width:.3f} times slower than {ratio.reference}"
        click.echo(f"{slower} ({ratio.pairs} paired rounds, {ratio.confidence:.0%} interval)")


def show_summary(done: CampaignResult) -> None:
    """Print the counts of a campaign, its metrics, and why workloads failed."""
    shown = {key: value for key, value in asdict(done.summary).items() if key != "causes"}
    show_table(("run", done.run_id), [(key, value) for key, value in shown.items() if key != "run_id"])
    metrics = shown_summary(done.measurements)
    if metrics:
        show_table(("metric", "median", "workloads", "scope, or why not"), metrics)
    for name, cause in list(done.summary.causes.items())[:10]:
        click.echo(f"{name}: {cause}", err=True)


def show_layers(profiles: Sequence[LayerProfile]) -> None:
    """Print the dearest layers of the first few workloads, and of each its sum against the whole."""
    for profile in profiles[:_SHOWN_PROFILES]:
        dearest = sorted(profile.layers, key=lambda layer: -layer.median_s)[:_SHOWN_LAYERS]
        rows = [(x.name, x.operator, x.provider, format_seconds(x.median_s), f"{x.share:.1%}") for x in dearest]
        show_table(("layer", "operator", "provider", "median", "share"), rows, profile.workload.name)
        click.echo(profile.text())
    if len(profiles) > _SHOWN_PROFILES:
        click.echo(f"{len(profiles) - _SHOWN_PROFILES} more workloads: hilnas runs export RUN --layers")
