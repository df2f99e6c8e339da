"""From what an agent answers to a run: readings in SI, facts, and whether they can be trusted."""

from __future__ import annotations

from typing import Any

from devices._config import DeviceConfig
from devices._doubt import Worked, doubt
from devices._untrusted import Answer, Energy
from hilnas.records import Purpose, Reading, Run, Workload

#: Sensors of energy in the order in which they are asked. An external meter is there because somebody wants it; a
#: processor's own counter says nothing about a GPU.
_SENSORS_OF_CPU = ("command", "ina3221", "pi_pmic", "rapl")
_SENSORS_OF_GPU = ("command", "ina3221", "nvml")
#: Facts that are ours and validated: no model may say them in our stead.
_OURS = ("timeline", "memory", "energy", "profile", "pace_ns", "slowed_blocks")


def energy_sensors(config: DeviceConfig, backend: str) -> list[str]:
    """Return the names of the agent's sensors that may tell the energy of this device, the first choice first."""
    if config.energy.sensor != "auto":
        return [config.energy.sensor]
    options = config.options
    on_gpu = bool(options.device) or options.provider in ("cuda", "tensorrt") or backend == "trtexec"
    return list(_SENSORS_OF_GPU if on_gpu else _SENSORS_OF_CPU)


def run_of(workload: Workload, answer: Answer, purpose: Purpose, threads: int, usable_cpus: float) -> Run:
    """Return the run of an answer that is `ok`; one without what the invocation was for is a failed run."""
    missing = _missing(answer, purpose)
    if missing:
        return Run(workload, "failed", cause=f"agent: an answer without {missing}", transient=True)
    worked = Worked(answer.busy_s, answer.cpu_s, answer.elapsed_s, threads, usable_cpus, answer.half_width)
    found = _energy_doubt(answer.energy) or _pace_doubt(answer) or doubt(answer.before, answer.after, worked)
    return Run(
        workload,
        "rejected" if found else "ok",
        _READINGS[purpose](answer),
        found,
        transient=bool(found),
        warmup_converged=answer.warmup_converged,
        stop_reason=answer.stop,
        busy_s=answer.busy_s,
        wall_s=answer.elapsed_s,
        facts={**{key: item for key, item in answer.model.items() if key not in _OURS}, **_FACTS[purpose](answer)},
        state={"before": answer.before, "after": answer.after},
    )


def _missing(answer: Answer, purpose: Purpose) -> str:
    if purpose == "energy":
        return "" if answer.energy is not None else "energy"
    if purpose == "layers":
        return "" if answer.layers and answer.plain_s and answer.profiled_s else "layers"
    return "" if answer.samples_ns else "samples"


def _energy_doubt(energy: Energy | None) -> str | None:
    return f"energy: {energy.sensor}: {energy.error}" if energy is not None and energy.error else None


def _pace_doubt(answer: Answer) -> str | None:
    if answer.stop != "slowed":
        return None
    blocks = f"{answer.slowed_blocks} blocks of calls ran while the processor was not at its full pace"
    return f"slowed: {blocks} (they count where the device's config says pace_wait_s = 0)"


def _latency_readings(answer: Answer) -> tuple[Reading, ...]:
    memory = answer.memory
    found = [
        Reading("latency_s", tuple(ns / 1e9 for ns in answer.samples_ns)),
        Reading("load_s", (answer.load_s,)),
        Reading("first_run_s", (answer.first_run_s,)),
        Reading("process_peak_bytes", (float(memory.absolute_bytes),)),
    ]
    if memory.peak_bytes is not None:
        found.append(Reading("peak_bytes", (float(memory.peak_bytes),)))
    return (*found, *(Reading(name, tuple(values)) for name, values in answer.readings.items() if values))


def _energy_readings(answer: Answer) -> tuple[Reading, ...]:
    """Gross and net energy per call, and mean powers; nothing where the sensor failed."""
    energy = answer.energy
    if energy is None or energy.error:
        return ()
    idle_w = energy.idle_j / energy.idle_s
    net_j = energy.active_j - idle_w * energy.active_s
    return (
        Reading("energy_j", (energy.active_j / energy.calls,)),
        Reading("net_energy_j", (net_j / energy.calls,)),
        Reading("power_w", (energy.active_j / energy.active_s,)),
        Reading("idle_power_w", (idle_w,)),
    )


def _latency_facts(answer: Answer) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "calls_per_sample": answer.calls_per_sample,
        "warmup_s": answer.warmup_s,
        "warmup_calls": answer.warmup_calls,
        "cpu_s": answer.cpu_s,
        "memory": answer.memory.model_dump(exclude={"peak_bytes"}),
    }
    extra = {
        "paced_s": answer.paced_s,
        "late_calls": answer.late_calls,
        "timeline": answer.timeline,
        "pace_ns": answer.pace_ns,
        "slowed_blocks": answer.slowed_blocks,
    }
    return {**facts, **{key: value for key, value in extra.items() if value}}


def _energy_facts(answer: Answer) -> dict[str, Any]:
    """Return what the numbers mean; uncertainties are standard ones, per call."""
    energy = answer.energy
    if energy is None or energy.error:
        return {"cpu_s": answer.cpu_s}
    idle_share = energy.active_s / energy.idle_s
    net_uncertainty_j = float((energy.active_uncertainty_j**2 + (idle_share * energy.idle_uncertainty_j) ** 2) ** 0.5)
    return {
        "cpu_s": answer.cpu_s,
        "energy": {
            **energy.model_dump(exclude={"error", "idle_uncertainty_j", "active_uncertainty_j"}),
            "energy_uncertainty_j": energy.active_uncertainty_j / energy.calls,
            "net_energy_uncertainty_j": net_uncertainty_j / energy.calls,
        },
    }


def _layer_facts(answer: Answer) -> dict[str, Any]:
    layers = {
        "layers": [layer.model_dump() for layer in answer.layers],
        "calls": answer.calls,
        "plain_s": answer.plain_s,
        "profiled_s": answer.profiled_s,
    }
    return {"cpu_s": answer.cpu_s, "profile": layers}


def _layer_readings(answer: Answer) -> tuple[Reading, ...]:
    return ()


_READINGS = {"latency": _latency_readings, "energy": _energy_readings, "layers": _layer_readings}
_FACTS = {"latency": _latency_facts, "energy": _energy_facts, "layers": _layer_facts}
