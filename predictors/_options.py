"""What the commands of predictors share: options, and how figures are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hilnas.output import show_table

if TYPE_CHECKING:
    from predictors._evaluation import Scores
    from predictors._judging import Judgement
    from search_spaces._base import SearchSpace

SPACE = click.option(
    "--space", default="nasbench201", show_default=True, help="Search space, or the TOML file of a family of networks."
)
SPACE_OPTIONS = click.option(
    "--space-option", "space_options", multiple=True, metavar="NAME=N", help="Option of the space (width=32)."
)
SEED = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)


def load_named_space(name: str, options: tuple[str, ...]) -> SearchSpace:
    """Return the space of a name, or of the TOML file of a family, with options NAME=N."""
    from profiler._asked import space_options_json
    from profiler._plan import load_space

    return load_space(name, space_options_json(options))


def show_figures(name: str, judgement: Judgement) -> None:
    """Print a judgement: the predictor beside its baselines and the noise ceiling."""
    from predictors._judging import BEST_SOURCE, NO_SOURCE

    columns: dict[str, Scores | None] = {name: judgement.scores}
    columns |= {f"{baseline} (baseline)": scores for baseline, scores in judgement.baselines.items()}
    columns["noise ceiling"] = judgement.noise_ceiling
    rows = [
        (figure, *(None if scores is None else getattr(scores, figure) for scores in columns.values()))
        for figure in judgement.scores.to_json()
        if figure != "limit_s"
    ]
    show_table(
        ("figure", *columns), rows, f"trained on {judgement.n_train} at a time, tested on {judgement.scores.n} others"
    )
    if BEST_SOURCE not in judgement.baselines:
        click.echo(f"{BEST_SOURCE} (baseline): {NO_SOURCE}")


def show_interval(lower_s: float, upper_s: float) -> str:
    """Return an interval in milliseconds."""
    return f"[{lower_s * 1e3:.4g}, {upper_s * 1e3:.4g}]"


def read_names(text: str) -> tuple[str, ...]:
    """Return the names of a list such as `a,b`; `none` for none."""
    names = (item.strip() for item in text.split(","))
    return () if text.strip() == "none" else tuple(filter(None, names))


def read_percent(text: str, option: str) -> float:
    """Return the share that a text such as `15%` stands for; raise UsageError for anything but one above 0."""
    from hilnas.errors import UsageError
    from hilnas.units import parse_quantity

    share = parse_quantity(text, "percent") / 100
    if share <= 0:
        raise UsageError(f"{option} must be above 0 %, not {text}")
    return share
