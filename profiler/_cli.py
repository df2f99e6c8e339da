"""`hilnas profile`; `hilnas runs` and `hilnas data` have modules of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hilnas.cli import Settings
from hilnas.errors import UsageError
from hilnas.output import answer, json_option, show_json, show_table
from profiler._data_cli import data
from profiler._runs_cli import runs

__all__ = ["data", "profile", "runs"]

if TYPE_CHECKING:
    from profiler._asked import Asked
    from profiler._campaign import CampaignResult
    from profiler._comparison import Ratio
    from profiler._training_table import TrainingRequest
    from profiler._workspace import Workspace


@click.command()
@click.argument("device", required=False)
@click.option("--space", help="Search space to measure, or the TOML file of a family of networks.")
@click.option(
    "--space-option", "space_options", multiple=True, metavar="NAME=N", help="Option of the space (width=32)."
)
@click.option("--samples", type=click.IntRange(1), help="How many random architectures, distinct in what they compute.")
@click.option("--blocks", is_flag=True, help="Measure the blocks of the space: the entries of a lookup table.")
@click.option("--architecture", "architectures", multiple=True, help="Measure this architecture (may be repeated).")
@click.option("--model", "models", multiple=True, help="FILE.onnx or package.module:function; several: A against B.")
@click.option("--shape", "shapes", multiple=True, metavar="[NAME=]1x3x224x224", help="Shape of an input of a model.")
@click.option("--argument", "arguments", multiple=True, metavar="NAME=VALUE", help="What a --model function is given.")
@click.option("--static", metavar="MODEL", help="Print the costs of every layer; no device, nothing is run.")
@click.option("--train", type=click.IntRange(1), metavar="N", help="With --static: memory of training with N examples.")
@click.option("--optimiser", default="sgd", show_default=True, help="With --train: what learns the weights.")
@click.option("--order", type=click.IntRange(1, 2), help="With --train: the architecture is learned too, as in DARTS.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--invocations", type=click.IntRange(1), help="Invocations a workload gets at least.")
@click.option("--rate", metavar="RATE", help="Pace the calls as in use, e.g. 10/s: clocks fall between them.")
@click.option("--sustained", metavar="TIME", help="Call for that long, e.g. 30min: throttling shows over time.")
@click.option("--energy", is_flag=True, help="Measure the energy of an inference too, in invocations of its own.")
@click.option("--per-layer", is_flag=True, help="Have the runtime time every layer afterwards, in a run of its own.")
@click.option("--wait", metavar="TIME", default="0s", help="Wait so long for a device that somebody else uses.")
@click.option("--gate", "gates", multiple=True, help='With several models: exit 3 when it fails, e.g. "ratio<=1.05".')
@json_option
@click.pass_obj
def profile(
    settings: Settings,
    device: str | None,
    space: str | None,
    space_options: tuple[str, ...],
    samples: int | None,
    blocks: bool,
    architectures: tuple[str, ...],
    models: tuple[str, ...],
    shapes: tuple[str, ...],
    arguments: tuple[str, ...],
    static: str | None,
    train: int | None,
    optimiser: str,
    order: int | None,
    seed: int,
    invocations: int | None,
    rate: str | None,
    sustained: str | None,
    energy: bool,
    per_layer: bool,
    wait: str,
    gates: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure architectures, blocks or models on a device: a campaign that can be resumed.

    DEVICE is the name of a config, or table:NAME/COLUMN to replay a reference table. --static needs none: it counts
    multiply-adds, parameters and memory traffic of an ONNX file, of the nn.Module that a function returns, or of an
    architecture (nasbench201:|...).

    \b
    Examples:
      hilnas profile local_cpu --space nasbench201 --samples 60 --seed 0
      hilnas profile local_cpu --space nasbench201 --blocks
      hilnas profile local_cpu --model a.onnx --model b.onnx --gate "ratio<=1.05"
      hilnas profile local_cpu --model a.onnx --rate 10/s
      hilnas profile orin --model a.onnx --energy --per-layer
      hilnas profile local_cpu --model my_nets:small --argument width=16 --shape 1x3x96x96
      hilnas profile --static my_nets:small --shape 1x3x96x96 --train 128 --optimiser adam
    """
    from profiler._asked import Asked, asked_protocol, asked_workloads

    asked = Asked(space, space_options, samples, blocks, architectures, models, shapes, arguments, seed)
    if static is not None:
        from profiler._training_table import TrainingRequest

        if device is not None or models or samples or blocks or architectures:
            raise UsageError("--static stands alone: nothing is measured", "", "Write hilnas profile --static MODEL")
        _show_static(static, asked, None if train is None else TrainingRequest(train, optimiser, order), as_json)
        return
    if train is not None:
        raise UsageError("--train belongs to --static", "", "Write hilnas profile --static MODEL --train N")
    if device is None:
        raise UsageError("no device was named", "", "hilnas devices list shows them; --static MODEL needs none")
    from devices._config import find_device
    from hilnas.gates import parse_gate
    from hilnas.units import parse_quantity
    from profiler._beside import with_beside
    from profiler._campaign import measure, open_device
    from profiler._comparison import enforce
    from profiler._progress import progress_bar
    from profiler._shown import show_campaign
    from profiler._workspace import Workspace

    config = find_device(device, settings.configs)
    wanted = [parse_gate(text, ["ratio"]) for text in gates]
    wait_s = parse_quantity(wait, "time")
    with Workspace.open(settings.workspace) as workspace:
        workloads = asked_workloads(asked, workspace.artifacts)
        usual = open_device(config, workspace).protocol
        protocol = asked_protocol(usual, len(models), invocations, rate, sustained)
        protocol = with_beside(protocol, config.energy, energy, per_layer)
        with progress_bar(f"profile {device}") as progress:
            done = measure(
                workspace,
                config,
                workloads,
                protocol=protocol,
                seed=seed,
                progress=progress,
                space=space,
                wait_s=wait_s,
            )
        ratios = _ratios(workspace, done) if len(models) > 1 else []
        layers = workspace.store.layer_profiles(done.run_id) if per_layer else []
        show_campaign(done, seed, as_json, layers, ratios)
        _show_note(space)
    for gate in wanted:
        enforce(gate, ratios)


def _show_static(model: str, asked: Asked, training: TrainingRequest | None, as_json: bool) -> None:
    from profiler._asked import asked_model, space_options_json
    from profiler._static import COLUMNS, shown_rows, shown_totals, static_table
    from profiler._training_table import shown_memory, training_table

    source = asked_model(model, asked.shapes, asked.arguments)
    options = space_options_json(asked.space_options)
    table = static_table(source, asked.space, options)
    memory = None if training is None else training_table(source, training, asked.space, options)
    if as_json:
        trained = {} if memory is None else {"training_memory": {key: item.to_json() for key, item in memory.items()}}
        show_json(answer({"model": source.label, **table.to_json(), **trained}))
        return
    show_table(COLUMNS, shown_rows(table))
    show_table(("total", source.label), shown_totals(table))
    if memory is not None and training is not None:
        title = f"a step of training with {training.batch} examples and {training.optimiser}, MB (predicted)"
        show_table(("memory", *memory), shown_memory(memory), title)


def _ratios(workspace: Workspace, done: CampaignResult) -> list[Ratio]:
    from profiler._comparison import paired_ratio

    found = workspace.store.invocations(done.run_id)
    first, *others = [item.workload for item in done.measurements]
    base = found.get(first.key, [])
    ratios = [paired_ratio(item.name, first.name, found.get(item.key, []), base) for item in others]
    return [ratio for ratio in ratios if ratio is not None]


def _show_note(space: str | None) -> None:
    from profiler._plan import load_space

    note = load_space(space).latency_note if space else ""
    if note:
        click.echo(f"Note: {note}.", err=True)
