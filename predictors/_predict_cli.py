"""`hilnas predict`: of architectures, or, with --evaluate, of a device of which everything is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hilnas.cli import Settings
from hilnas.output import answer, json_option, show_json, show_table
from predictors._options import SPACE, SPACE_OPTIONS, load_named_space, show_interval

if TYPE_CHECKING:
    from predictors._trial_records import TrialRequest


@click.command()
@click.argument("device", required=False)
@click.argument("architectures", nargs=-1, metavar="[ARCHITECTURE]...")
@click.option("--predictor", help="Which fitted predictor.  [default: the best on held-out architectures]")
@SPACE
@SPACE_OPTIONS
@click.option("--evaluate", is_flag=True, help="Judge a predictor on a device of which everything is known.")
@click.option("--target", metavar="DEVICE", help="With --evaluate: that device, e.g. table:NAME/COLUMN.")
@click.option(
    "--sources",
    metavar="DEVICE,...",
    default="",
    help="With --evaluate: devices to learn from; DEVICE@SPACE of another space.",
)
@click.option(
    "--source-samples",
    type=click.IntRange(20),
    default=900,
    show_default=True,
    help="Architectures drawn of each space for its sources.",
)
@click.option("--budget", type=click.IntRange(2), default=10, show_default=True, help="Measurements of the target.")
@click.option(
    "--calibration",
    type=click.IntRange(0),
    help="How many of the budget are drawn at random for intervals.  [default: 20 of 40 or more]",
)
@click.option("--seeds", type=click.IntRange(1), default=20, show_default=True, help="Repetitions.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The first of them.")
@click.option("--workers", type=click.IntRange(1), help="Repetitions at once.  [default: one a core]")
@json_option
@click.pass_obj
def predict(
    settings: Settings,
    device: str | None,
    architectures: tuple[str, ...],
    predictor: str | None,
    space: str,
    space_options: tuple[str, ...],
    evaluate: bool,
    target: str | None,
    sources: str,
    source_samples: int,
    budget: int,
    calibration: int | None,
    seeds: int,
    seed: int,
    workers: int | None,
    as_json: bool,
) -> None:
    """Predict the latency of architectures on DEVICE, with the measured value beside it where there is one.

    With --evaluate: give a predictor a few measurements of a device that it chooses, judge it on all others, and
    repeat that with other random choices.

    \b
    Examples:
      hilnas predict local_cpu "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
      hilnas predict --evaluate --predictor transfer --target table:new/ms --sources table:a/ms,table:b/ms --budget 10
      hilnas predict --evaluate --space fbnet --target table:new/ms --sources table:a/ms,table:b/ms@nasbench201
    """
    from hilnas.errors import UsageError

    if evaluate:
        if device or architectures or not target:
            raise UsageError("--evaluate needs --target, and neither a device nor architectures beside it")
        from predictors._trial_records import TrialRequest
        from predictors._trials import cores

        names = tuple(filter(None, (item.strip() for item in sources.split(","))))
        request = TrialRequest(predictor or "transfer", target, names, source_samples, budget, calibration, seeds, seed)
        _evaluate(settings, space, space_options, request, workers or cores(), as_json)
        return
    if device is None or not architectures:
        raise UsageError("DEVICE and at least one ARCHITECTURE are needed", "", "See: hilnas predict --help")
    _predict(settings, device, architectures, predictor, space, space_options, as_json)


def _predict(
    settings: Settings,
    device: str,
    architectures: tuple[str, ...],
    predictor: str | None,
    space: str,
    space_options: tuple[str, ...],
    as_json: bool,
) -> None:
    from hilnas.errors import UsageError
    from predictors._predicting import predict_device
    from profiler._workspace import Workspace

    models = [text for text in architectures if text.lower().endswith(".onnx")]
    if models:
        raise UsageError(
            f"{models[0]} is a model file; predictors read architectures of a search space",
            "",
            f"Measure it: hilnas profile {device} --model {models[0]}",
        )
    built = load_named_space(space, space_options)
    parsed = [built.parse(text) for text in architectures]
    with Workspace.open(settings.workspace) as workspace:
        name, rows = predict_device(workspace, built, device, parsed, predictor, settings.configs)
    if as_json:
        show_json(answer({"device": device, "space": space, "predictor": name, "predictions": rows}))
        return
    columns = ("architecture", "predicted ms", "interval ms", "from", "measured ms")
    shown = [
        (
            row["architecture"],
            f"{row['mean_s'] * 1e3:.4g}",
            show_interval(row["lower_s"], row["upper_s"]),
            row["provenance"],
            None if row["measured_s"] is None else f"{row['measured_s'] * 1e3:.4g}",
        )
        for row in rows
    ]
    show_table(columns, shown, f"{name} on {device}")


def _evaluate(
    settings: Settings,
    space: str,
    space_options: tuple[str, ...],
    request: TrialRequest,
    workers: int,
    as_json: bool,
) -> None:
    from predictors._trials import processes, run_trials
    from profiler._progress import progress_bar
    from profiler._workspace import Workspace

    built = load_named_space(space, space_options)
    with (
        Workspace.open(settings.workspace) as workspace,
        processes(min(workers, request.seeds)) as pool,
        progress_bar(f"evaluate {request.predictor}") as progress,
    ):
        found = run_trials(workspace, built, request, progress, pool)
    if as_json:
        show_json(answer({"space": space, **found.to_json()}, request.first_seed))
        return
    rows = [(name, values["mean"], values["sd"]) for name, values in found.figures().items()]
    show_table(
        ("figure", "mean", "sd"),
        rows,
        f"{request.predictor} on {request.target}: {request.budget} measurements, {request.seeds} seeds,"
        f" judged on {found.n_evaluated} others",
    )
    show_table(("fitted with the first seed", "value"), list(found.parameters.items()))
