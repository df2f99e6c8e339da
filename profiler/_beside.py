"""What is measured beside latency, in invocations of its own: energy, and the times of layers."""

from __future__ import annotations

from dataclasses import replace

from devices._config import EnergyOptions
from hilnas.errors import UsageError
from hilnas.records import MeasurementProtocol, Purpose

#: In this order: a profile of layers disturbs the clocks less than it would disturb the energy.
BESIDE: tuple[Purpose, ...] = ("energy", "layers")


def with_beside(
    protocol: MeasurementProtocol, options: EnergyOptions, energy: bool = False, per_layer: bool = False
) -> MeasurementProtocol:
    """Return a protocol that gives each workload an invocation for energy, and one for its layers, where asked for.

    Raise UsageError together with a sustained load, which is one long invocation of its own.
    """
    if protocol.sustained_s and (energy or per_layer):
        raise UsageError("--sustained stands alone", "", "Ask for --energy and --per-layer in a run of their own.")
    if energy:
        windows = options.model_dump(exclude={"sensor"})
        protocol = replace(protocol, energy_invocations=1, **windows)
    return replace(protocol, layer_invocations=1) if per_layer else protocol


def wanted(protocol: MeasurementProtocol, purpose: Purpose) -> int:
    """Return how many usable invocations a workload gets for a purpose beside latency."""
    return protocol.energy_invocations if purpose == "energy" else protocol.layer_invocations
