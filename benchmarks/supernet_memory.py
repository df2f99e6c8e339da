"""Training memory of supernets: a model fitted to published measurements, and predictions against real training steps.

`python -m benchmarks.supernet_memory --fit FILE --evaluate FILE` fits the analytic model of quantised CNNs to measured
sub-spaces and judges it on others (without --evaluate: each sub-space predicted by a model that has not seen it).
Without --fit, the published measurements in HILNAS_REFERENCE_DATA are fitted (where they are), and the steps of random
networks and supernets are predicted on tensors without values and then run for real, each in a fresh process.
`--device cuda` does the latter alone, for sub-spaces from 1 to 100 GB; it needs torch and numpy only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks._supernets import FAMILIES, SUPERNETS, build, build_sub_space, draw_sub_space
from hilnas import __version__
from hilnas.errors import HilnasError
from profiler._memory_probe import measure_training_memory
from profiler._training_memory import Calibration, TrainingMemory, calibrate, predict_training_memory
from profiler._training_plan import ArchitectureStep, TrainingPlan

if TYPE_CHECKING:
    from torch import nn

SEED = 0
NETWORKS, QUICK_NETWORKS = 24, 4
OPTIMISERS = ("sgd", "momentum", "adam", "adamw", "rmsprop")
MB = 10**6
#: Predicted peaks are drawn from these ranges, evenly in their logarithm.
CPU_BYTES, CUDA_BYTES = (700 * MB, 2_500 * MB), (1_000 * MB, 100_000 * MB)
#: Of the GPU's memory, what a step may be predicted to take.
FILL = 0.85
CPU_TARGETS, CUDA_TARGETS = {"median": 0.05, "worst": 0.15}, {"median": 0.03}
_CALIBRATION_SEEDS = (9001, 9002)
_DATA = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Network:
    """A network of the table: what builds it, and how it is trained."""

    name: str
    target: str
    arguments: Mapping[str, Any]
    plan: TrainingPlan

    def predict(self, calibration: Calibration | None = None) -> TrainingMemory:
        """Return the memory of its training step."""
        functions: dict[str, Callable[..., nn.Module]] = {"build": build, "build_sub_space": build_sub_space}
        plan = self.plan
        return predict_training_memory(
            partial(functions[self.target], **self.arguments),
            plan.input_shape,
            plan.batch,
            plan.optimiser,
            architecture_step=plan.architecture_step,
            device=plan.device,
            calibration=calibration,
        )

    def with_batch(self, batch: int) -> Network:
        """Return the network trained with another batch size."""
        step = self.plan.architecture_step
        plan = TrainingPlan(self.plan.input_shape, batch, self.plan.optimiser, step, self.plan.device)
        return Network(self.name, self.target, self.arguments, plan)


def random_network(seed: int, family: str) -> Network:
    """Return a random network of a family, for the CPU."""
    rng = random.Random(seed)
    step = ArchitectureStep(rng.choice((1, 2))) if family in SUPERNETS else None
    side = rng.choice((32, 48, 64)) if family != "quantised" else 32
    plan = TrainingPlan((3, side, side), 1, rng.choice(OPTIMISERS), step)
    order = f", order {step.order}" if step else ""
    return Network(f"{family} {seed}{order}", "build", {"family": family, "seed": seed}, plan)


def random_sub_space(seed: int, size_bytes: int, device: str) -> Network:
    """Return the supernet of a random sub-space with candidates for about so many bytes, for a GPU."""
    most = min(6, max(1, round(math.sqrt(size_bytes / 2.5e9))))
    space = draw_sub_space(seed, most)
    rng = random.Random(seed)
    step = ArchitectureStep(rng.choice((1, 2)))
    plan = TrainingPlan((3, 32, 32), 1, rng.choice(OPTIMISERS), step, device)
    name = f"{space.candidates} candidates {seed}, order {step.order}"
    return Network(name, "build_sub_space", {"layers": space.layers}, plan)


def sized(network: Network, size_bytes: int) -> Network:
    """Return the network with the batch size whose predicted peak is nearest to so many bytes."""
    low, high = (network.with_batch(batch).predict().peak_bytes for batch in (4, 8))
    slope = max(1.0, (high - low) / 4)
    return network.with_batch(max(2, round((size_bytes - low) / slope) + 4))


def networks_of(device: str, n: int, seed: int, limit_bytes: int) -> list[Network]:
    """Return n random networks of random size, their batches chosen."""
    rng = random.Random(seed)
    on_gpu = device.startswith("cuda")
    low, high = CUDA_BYTES if on_gpu else CPU_BYTES
    sizes = [round(math.exp(rng.uniform(math.log(low), math.log(min(high, limit_bytes))))) for _ in range(n)]
    families = list(FAMILIES)
    return [
        sized(
            random_sub_space(seed + i, size, device)
            if on_gpu
            else random_network(seed + i, families[i % len(families)]),
            size,
        )
        for i, size in enumerate(sizes)
    ]


def calibration_of(device: str, threads: int) -> Calibration:
    """Return the calibration of this machine, from two small networks that are in no table."""
    pairs = []
    for seed in _CALIBRATION_SEEDS:
        small = sized(random_network(seed, "plain"), 150 * MB)
        plan = TrainingPlan(small.plan.input_shape, small.plan.batch, "sgd", None, device)
        network = Network(small.name, small.target, small.arguments, plan)
        pairs.append((network.predict().peak_bytes, _measure(network, threads).peak_bytes))
    import torch

    return calibrate(pairs, device, f"torch {torch.__version__}")


def _measure(network: Network, threads: int) -> Any:
    target = f"benchmarks._supernets:{network.target}"
    return measure_training_memory(target, network.arguments, network.plan, threads=threads)


def compare(networks: Sequence[Network], calibration: Calibration, threads: int) -> list[dict[str, Any]]:
    """Return one row a network: predicted and measured peaks, and the seconds of the prediction."""
    rows = []
    for network in networks:
        start = time.perf_counter()
        predicted = network.predict(calibration)
        predict_s = time.perf_counter() - start
        row: dict[str, Any] = {"network": network.name, "batch": network.plan.batch, "predict_s": predict_s}
        row |= {"optimiser": network.plan.optimiser, "predicted": predicted.to_json()}
        try:
            measured = _measure(network, threads)
            row |= {"measured_bytes": measured.peak_bytes, "measured_reserved_bytes": measured.reserved_bytes}
            row["error"] = predicted.peak_bytes / measured.peak_bytes - 1
        except HilnasError as error:
            row |= {"measured_bytes": None, "error": None, "cause": str(error)}
        rows.append(row)
        _say(row)
    return rows


def judge(rows: Sequence[Mapping[str, Any]], targets: Mapping[str, float]) -> dict[str, Any]:
    """Return the median and the worst relative error, and whether they meet the targets."""
    errors = [abs(row["error"]) for row in rows if row["error"] is not None]
    if not errors:
        return {"n": 0, "median": None, "worst": None, "met": False}
    found = {"median": median(errors), "worst": max(errors)}
    met = len(errors) == len(rows) and all(found[name] <= target for name, target in targets.items())
    return {
        "n": len(errors),
        **found,
        "bias": median(row["error"] for row in rows if row["error"] is not None),
        "met": met,
    }


def measure_table(device: str, n: int, seed: int, threads: int) -> dict[str, Any]:
    """Return the table of predicted against measured peaks on a device."""
    limit_bytes = round(FILL * _memory_bytes(device))
    calibration = calibration_of(device, threads)
    rows = compare(networks_of(device, n, seed, limit_bytes), calibration, threads)
    targets = CUDA_TARGETS if device.startswith("cuda") else CPU_TARGETS
    return {
        "device": device,
        "threads": threads,
        "calibration": asdict(calibration),
        "targets": targets,
        "summary": judge(rows, targets),
        "networks": rows,
    }


def _memory_bytes(device: str) -> int:
    if not device.startswith("cuda"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory)


def _say(row: Mapping[str, Any]) -> None:
    measured = f"{row['measured_bytes'] / MB:9.0f} MB" if row["measured_bytes"] else "      n/a   "
    error = f"{row['error']:+7.1%}" if row["error"] is not None else f"  {row['cause'].splitlines()[-1]}"
    text = f"  {row['network']:28s} batch {row['batch']:5d} {row['optimiser']:9s}"
    predicted = row["predicted"]["peak_bytes"] / MB
    print(f"{text}{predicted:9.0f} MB {measured} {error}  {row['predict_s']:5.1f} s", file=sys.stderr)


def published(folder: Path) -> Path | None:
    """Return the file with the published measurements, None where it is not there."""
    path = folder / "radars_supernet_memory.json"
    return path if path.is_file() else None


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, metavar="FILE", help="measured sub-spaces to fit the model to")
    parser.add_argument("--evaluate", type=Path, metavar="FILE", help="measured sub-spaces to judge it on")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="threads of the measured steps on a CPU")
    parser.add_argument("--networks", type=int, help="how many networks are measured")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the answer there as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer networks")
    chosen = parser.parse_args(given)
    if chosen.evaluate and not chosen.fit:
        parser.error("--evaluate needs --fit")
    return chosen


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Return what was asked for."""
    found: dict[str, Any] = {"schema_version": 1, "seed": given.seed}
    found["versions"] = {"hilnas": __version__, "python": platform.python_version()}
    fit = given.fit
    if fit is None and given.device == "cpu":
        fit = published(Path(os.environ.get("HILNAS_REFERENCE_DATA", _DATA)))
    if fit is not None:
        from predictors._supernet_memory import report

        found |= report(fit, given.evaluate)
    if given.fit is None:
        n = given.networks or (QUICK_NETWORKS if given.quick else NETWORKS)
        found["steps"] = measure_table(given.device, n, given.seed, given.threads)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; return 0, or the exit code of what is wrong with a file."""
    given = _arguments(arguments)
    try:
        found = run(given)
    except HilnasError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    text = json.dumps(found, indent=1)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    print(text if given.json else _lines(found))
    return 0


def _lines(found: Mapping[str, Any]) -> str:
    lines = []
    if "mae_mb" in found:
        split = "held-out file" if found["evaluated"] == "file" else "each sub-space left out in turn"
        lines.append(f"Model of quantised CNNs, {found['n']} sub-spaces ({split}):")
        lines.append(
            f"  mean error {found['mae_mb']:.0f} MB, R2 {found['r2']:.4f}, worst {found['worst_relative']:.1%}; "
            f"three coefficients: {found['baseline']['mae_mb']:.0f} MB, R2 {found['baseline']['r2']:.4f}"
        )
        for batch, item in found["full_space"].items():
            lines.append(f"  all 144 candidates a layer, batch {batch}: {item['predicted_gb']:.1f} GB")
        lines.append(f"  published: {', '.join(f'{name} {gb} GB' for name, gb in found['published_gb'].items())}")
    if "steps" in found:
        summary = found["steps"]["summary"]
        lines.append(
            f"Training steps predicted against measured on {found['steps']['device']}, {summary['n']} networks:"
        )
        if summary["n"]:
            lines.append(
                f"  median error {summary['median']:.1%}, worst {summary['worst']:.1%}, bias {summary['bias']:+.1%}"
            )
        lines.append(f"  targets {found['steps']['targets']}: {'met' if summary['met'] else 'MISSED'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
