"""`hilnas search`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hilnas.cli import Settings
from hilnas.output import json_option, show_json

if TYPE_CHECKING:
    from pathlib import Path

    from profiler._campaign import Progress
    from searchers._records import StudyLog
    from searchers._request import SearchRequest, Setup
    from searchers._search import Studies


@click.command()
@click.argument("searcher", required=False)
@click.option("--space", help="Search space, or the TOML file of a family of networks.")
@click.option(
    "--space-option", "space_options", multiple=True, metavar="NAME=N", help="Option of the space (width=32)."
)
@click.option("--device", help="Name of a config, or table:NAME/COLUMN for a column of times or energies.")
@click.option(
    "--max",
    "limits",
    multiple=True,
    metavar="QUANTITY",
    help="Upper limit with unit, e.g. latency=12ms, latency=12ms@95%, energy=3mJ, macs=60M, params=1M, aops=9G.",
)
@click.option(
    "--score",
    "--objective",
    help="Indicator, table:NAME/COLUMN, or several with commas; or forest: what is maximised.  [default: nwot]",
)
@click.option(
    "--score-option",
    "score_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Setting of the indicator (batch=64), or option of the space for the network it scores (depth=5).",
)
@click.option("--fusion", type=click.Choice(["fi", "rank"]), help="Make one of several scores: by labels, or by ranks.")
@click.option("--labels", help="table:NAME/COLUMN of validation accuracies, for --fusion fi and --score forest.")
@click.option("--label-budget", type=click.IntRange(10), default=100, show_default=True, help="Labels used, a seed.")
@click.option("--reward", type=click.Choice(["paper", "strict", "none"]), help="Short for --set reward=...")
@click.option("--data", help="Folder of pictures to search with, or digits: for searches that train a supernet.")
@click.option(
    "--train-winner",
    type=click.IntRange(1),
    metavar="EPOCHS",
    help="Train the winner of every seed from scratch, and test it on pictures that chose nothing.",
)
@click.option(
    "--memory", help="What training a supernet may take, with unit (512MiB): for searches that fit theirs to it."
)
@click.option("--accuracy", help="table:NAME/COLUMN that is reported beside the winners; never searched with.")
@click.option("--episodes", type=click.IntRange(1), help="Updates of the searcher; each takes its `samples`.")
@click.option("--evaluations", type=click.IntRange(1), help="Architectures to evaluate.  [default: 500]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=1, help="Repeat under N seeds, from --seed on.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="Option of the searcher (samples=10).")
@click.option("--predictor", help="Which fitted predictor.  [default: the best on held-out architectures]")
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Candidates measured per searcher.")
@click.option("--baselines", is_flag=True, help="Run all other searchers beside, and the one without R_LAT.")
@click.option("--offline", is_flag=True, help="Touch no device: winners are then only predicted.")
@click.option("--resume", metavar="STUDY", help="Go on with a study that was stopped (`last`: the newest).")
@json_option
@click.pass_obj
def search(
    settings: Settings,
    searcher: str | None,
    space: str | None,
    space_options: tuple[str, ...],
    device: str | None,
    limits: tuple[str, ...],
    score: str | None,
    score_options: tuple[str, ...],
    fusion: str | None,
    labels: str | None,
    label_budget: int,
    reward: str | None,
    data: str | None,
    train_winner: int | None,
    memory: str | None,
    accuracy: str | None,
    episodes: int | None,
    evaluations: int | None,
    seed: int,
    seeds: int,
    options: tuple[str, ...],
    predictor: str | None,
    top: int,
    baselines: bool,
    offline: bool,
    resume: str | None,
    as_json: bool,
) -> None:
    """Search a space for the architecture of the highest score that keeps the limits on a device.

    Random search with the same number of evaluations and the same seeds runs beside every other SEARCHER. On a real
    device a fitted predictor guides the search, and the winners are measured again before they are printed.

    \b
    Examples:
      hilnas search latency_reward_rl --space nasbench201 --device local_cpu --max latency=2ms
      hilnas search latency_reward_rl --space nasbench201 --device table:pi4/latency_ms --max latency=40ms \\
          --score table:val/accuracy --seeds 10 --offline
      hilnas search latency_reward_rl --space nasbench201 --device table:pi4/latency_ms --max latency=40ms \\
          --score table:z/naswot,table:z/synflow --fusion fi --labels table:val/accuracy --offline --baselines
      hilnas search --resume last
    """
    from searchers._request import SearchRequest

    request = None
    if resume is None:
        others = (*score_options, fusion, labels, episodes, evaluations, reward, baselines)
        data = _pictures(searcher, score, data, others)
        if data is None and (train_winner or memory):
            _refuse_training(searcher, "--train-winner" if train_winner else "--memory")
        request = SearchRequest(
            *_named(searcher, space, space_options), device, limits, score or "nwot", score_options,
            fusion, labels, label_budget, accuracy, episodes, evaluations, seed, seeds,
            options if reward is None else (*options, f"reward={reward}"), predictor, top, offline, baselines,
            data, train_winner or 0, memory,
        )  # fmt: skip
    elif searcher or space:
        _refuse_both()
    _run(settings, request, resume, as_json)


def _named(searcher: str | None, space: str | None, space_options: tuple[str, ...]) -> tuple[str, str, str]:
    """Return the names of searcher and space, and the space's options: all of them, a file may change."""
    from hilnas import plugins
    from hilnas.errors import UsageError
    from hilnas.records import canonical_json
    from profiler._asked import space_options_json
    from profiler._plan import load_space

    if searcher is None:
        known = ", ".join(plugins.names("searchers"))
        raise UsageError("no searcher was named", f"Known: {known}.", "Write: hilnas search SEARCHER --space S ...")
    if space is None:
        known = ", ".join(plugins.names("search_spaces"))
        raise UsageError("no search space was named", f"Known: {known}.", f"Add: --space {known.split(', ')[0]}")
    built = load_space(space, space_options_json(space_options))
    return searcher, built.name, canonical_json(dict(built.options))


def _pictures(searcher: str | None, score: str | None, data: str | None, others: tuple[object, ...]) -> str | None:
    """Return the pictures to search with, None for searches that sample; digits where nobody names any."""
    from pathlib import Path

    from hilnas import plugins
    from hilnas.errors import UsageError
    from searchers._supernet_jobs import PACKAGE

    if searcher is None:
        return data
    trains = searcher in plugins.names(PACKAGE)
    if data is None and not (trains and score is None):
        if trains and searcher not in plugins.names("searchers"):
            raise UsageError(f"{searcher} trains on pictures: it reads no scores", "", "Leave --score out.")
        return None
    if not trains:
        known = ", ".join(plugins.names(PACKAGE))
        raise UsageError(
            f"{searcher} does not train on pictures",
            f"Searches that do: {known}.",
            "Or: --score trained --score-option data=FOLDER",
        )
    if score is not None or any(others):
        raise UsageError(
            "a search on pictures is judged by pictures",
            "--score, --score-option, --fusion, --labels, --reward, --episodes, --evaluations and --baselines serve "
            "other searches.",
            "Leave them out.",
        )
    # A study goes on from wherever it is asked to.
    return "digits" if data is None or data == "digits" else str(Path(data).expanduser().resolve())


def _refuse_training(searcher: str | None, option: str) -> None:
    from hilnas.errors import UsageError

    raise UsageError(
        f"{option} is for searches that train on pictures, and {searcher} has none",
        "",
        "Leave it out, or score by training: --score trained --score-option data=FOLDER",
    )


def _refuse_both() -> None:
    from hilnas.errors import UsageError

    raise UsageError("--resume stands alone", "The study holds its searcher, space and options.")


def _run(settings: Settings, request: SearchRequest | None, resume: str | None, as_json: bool) -> None:
    from profiler._progress import progress_bar
    from profiler._workspace import Workspace
    from searchers._answer import search_answer, verdict_error
    from searchers._picture_answer import nothing_proposed
    from searchers._reach import check_reachable
    from searchers._records import StudyLog
    from searchers._request import SearchRequest, set_up
    from searchers._verify import verify

    with Workspace.open(settings.workspace) as workspace:
        folder = workspace.path / "studies"
        log = None if resume is None else StudyLog.open(folder, resume)
        if log is not None and (ended := log.answer()) is not None:
            _show(ended, as_json)
            return
        request = request or SearchRequest.from_json(log.request if log else {})
        setup = set_up(workspace, request, settings.configs)
        check_reachable(setup.space, setup.cost_models, setup.constraints)
        log = log or StudyLog.create(folder, request.to_json())
        _tell(log)
        with progress_bar(f"search {request.searcher}") as progress:
            studies, details = _studies(setup, log, folder, progress)
            verified = verify(workspace, setup, studies.by_name, progress)
            details |= _trained(setup, studies, progress)
        values = search_answer(log.study_id, setup, studies, verified) | details
        log.finish(values)
    _show(values, as_json)
    error = nothing_proposed(values) or verdict_error(setup, studies, verified)
    if error is not None:
        raise error


def _studies(setup: Setup, log: StudyLog, folder: Path, progress: Progress) -> tuple[Studies, dict[str, Any]]:
    """Return the studies, and what only searches on pictures have to say."""
    if setup.pictures is None:
        from searchers._search import search as run_searches

        return run_searches(setup, log, progress), {}
    from profiler._metrics import stored_names
    from searchers._picture_study import search_on_pictures

    found = search_on_pictures(setup, log, folder / log.study_id, progress)
    explained = {stored_names()[name]: cost.explained for name, cost in setup.pictures.costs.items()}
    return found.studies, {"searches": list(found.searches), "explained": explained}


def _trained(setup: Setup, studies: Studies, progress: Progress) -> dict[str, Any]:
    """Return what the winners are worth when they are trained from scratch, where that was asked for."""
    if setup.pictures is None or not setup.request.train_winner:
        return {}
    from searchers._retraining import retrain_winners

    return {"retrained": retrain_winners(setup, studies, progress)}


def _show(values: dict[str, Any], as_json: bool) -> None:
    from searchers._answer import show_answer

    if as_json:
        show_json(values)
        return
    show_answer(values)
    if "searches" in values:
        from searchers._picture_answer import remarks, show_searches

        show_searches(values)
        for text in remarks(values):
            click.echo(text)
    click.echo(f"study_id: {values['study_id']}")


def _tell(log: StudyLog) -> None:
    click.echo(f"study {log.study_id} (stopped? go on with: hilnas search --resume {log.study_id})", err=True)
