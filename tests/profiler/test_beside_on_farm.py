"""A campaign on a stand-in Jetson that measures latency, memory, energy and layers."""

from dataclasses import replace

import pytest

from benchmarks._boards import config_of, networks
from farm import Farm, why_unavailable
from hilnas.records import MeasurementProtocol
from profiler._beside import with_beside
from profiler._campaign import measure
from profiler._export import measurement_rows
from profiler._workspace import Workspace

QUICK = replace(
    MeasurementProtocol(),
    min_invocations=2,
    max_invocations=3,
    max_attempts=2,
    min_warmup_s=0.02,
    min_measure_s=0.05,
    max_measure_s=0.1,
    sentinel_every=0,
)


def test_a_jetson_tells_everything_in_one_campaign(tmp_path):
    missing = why_unavailable()
    if missing is not None:
        pytest.skip(f"no stand-in boards: {missing}")
    with Farm() as farm, Workspace.open(tmp_path / "w") as workspace:
        board = farm.add("beside-orin", face="orin_nano")
        config = config_of(board, "jetson", energy={"idle_s": 0.3, "active_s": 0.5, "sensor_updates": 4})
        protocol = with_beside(QUICK, config.energy, energy=True, per_layer=True)
        done = measure(workspace, config, networks(2), protocol=protocol)
        recorded = workspace.store.recorded(done.run_id)
        rows = measurement_rows(done.measurements)
    for item, row in zip(done.measurements, rows, strict=True):
        entries = recorded[item.workload.key]
        energies = [entry for entry in entries if entry.purpose == "energy"]
        for entry in energies:  # a busy machine makes them doubtful, but they were measured
            assert entry.facts["energy"]["scope"] == "module", entry.cause
            assert entry.readings["power_w"][0] == pytest.approx(5.064 * 0.94)
        if energies[-1].status == "ok":
            assert row["energy_j"] == energies[-1].readings["energy_j"][0] and "carrier" in row["energy_scope"]
        else:
            assert row["energy_j"] is None and energies[-1].cause in row["not_available"]
        assert row["peak_bytes"] > 1e5
        layers = next(entry for entry in entries if entry.purpose == "layers")
        assert "Conv" in {layer["operator"] for layer in layers.facts["profile"]["layers"]}
