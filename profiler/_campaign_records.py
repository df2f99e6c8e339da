"""Campaigns and their invocations in the database."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hilnas import __version__
from hilnas.errors import UnknownName
from hilnas.records import Environment, Measurement, MeasurementProtocol, Purpose, Run, Workload, canonical_json
from profiler._database import Database
from profiler._judgement import Invocation, drifted, judge, mark_drift
from profiler._layers import LayerProfile
from profiler._metrics import Recorded, metric_values

_FLOATS = np.dtype("<f8")


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One campaign as it is stored; on the command line it is called a run."""

    run_id: str
    device: str
    config: Mapping[str, Any]
    space: str | None
    protocol: MeasurementProtocol
    seed: int
    version: str
    created_at: str
    state: str
    environment: str | None
    wall_s: float


class CampaignRecords:
    """Reading and writing of campaigns; every method that changes something is one transaction."""

    database: Database

    def create_campaign(
        self,
        device: str,
        config: Mapping[str, Any],
        space: str | None,
        protocol: MeasurementProtocol,
        seed: int,
        workloads: Sequence[Workload],
    ) -> str:
        """Store a new campaign with its plan and return its run_id."""
        now = datetime.now(UTC)
        run_id = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        row = (run_id, device, canonical_json(config), space, canonical_json(protocol.to_json()), seed, __version__)
        with self.database.write() as connection:
            connection.execute(
                "INSERT INTO campaigns (run_id, device, config, space, protocol, seed, version, created_at, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'interrupted')",
                (*row, now.isoformat(timespec="milliseconds")),
            )
            for position, workload in enumerate(workloads):
                self._put_workload(workload)
                connection.execute("INSERT INTO plans VALUES (?, ?, ?)", (run_id, position, workload.key))
        return run_id

    def set_state(self, run_id: str, state: str, environment: Environment | None = None) -> None:
        """Store the state of a campaign and, when a session opens, its environment."""
        with self.database.write() as connection:
            connection.execute("UPDATE campaigns SET state = ? WHERE run_id = ?", (state, run_id))
            if environment is not None:
                facts = canonical_json(dict(environment.facts))
                connection.execute("INSERT OR IGNORE INTO environments VALUES (?, ?)", (environment.key, facts))
                connection.execute("UPDATE campaigns SET environment = ? WHERE run_id = ?", (environment.key, run_id))

    def add_run(
        self,
        run_id: str,
        run: Run,
        *,
        sequence: int,
        attempt: int,
        role: str,
        artifact: str | None,
        environment: str,
        elapsed_s: float,
        purpose: Purpose = "latency",
    ) -> None:
        """Store one invocation with its readings; `elapsed_s` is what the campaign took since the last one."""
        row = (
            run_id, sequence, run.workload.key, role, attempt, run.status, run.cause, int(run.transient),
            int(run.warmup_converged), run.stop_reason, datetime.now(UTC).isoformat(timespec="milliseconds"),
            run.busy_s, run.wall_s, artifact, environment, canonical_json(dict(run.facts)),
            canonical_json(dict(run.state)), purpose,
        )  # fmt: skip
        with self.database.write() as connection:
            if role == "sentinel":
                self._put_workload(run.workload)
            cursor = connection.execute(
                "INSERT INTO invocations (run_id, sequence, workload, role, attempt, status, cause, transient,"
                " warmup_converged, stop_reason, started_at, busy_s, wall_s, artifact, environment, facts, state,"
                " purpose) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            for reading in run.readings:
                samples = np.asarray(reading.values, _FLOATS).tobytes()
                connection.execute("INSERT INTO readings VALUES (?, ?, ?)", (cursor.lastrowid, reading.metric, samples))
            connection.execute("UPDATE campaigns SET wall_s = wall_s + ? WHERE run_id = ?", (elapsed_s, run_id))

    def add_event(self, run_id: str, sequence: int, kind: str, text: str) -> None:
        """Store what happened to the device before the invocation of that sequence number."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self.database.write() as connection:
            connection.execute(
                "INSERT INTO events (run_id, sequence, at, kind, text) VALUES (?, ?, ?, ?, ?)",
                (run_id, sequence, at, kind, text),
            )

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """Return what happened to the device of a campaign, in order: sequence, at, kind, text."""
        rows = self.database.read("SELECT sequence, at, kind, text FROM events WHERE run_id = ? ORDER BY id", (run_id,))
        return [dict(row) for row in rows]

    def timelines(self, run_id: str) -> dict[str, list[dict[str, float]]]:
        """Return how latency went over a sustained load: workload's name -> slices with t_s and median_s."""
        rows = self.database.read(
            "SELECT w.subject, w.label, i.facts FROM invocations i JOIN workloads w ON w.key = i.workload"
            " WHERE i.run_id = ? AND json_extract(i.facts, '$.timeline') IS NOT NULL ORDER BY i.sequence",
            (run_id,),
        )
        found = {}
        for row in rows:
            slices = json.loads(row["facts"])["timeline"]
            found[row["label"] or row["subject"]] = [
                {"t_s": float(item["t_s"]), "median_s": float(item["median_ns"]) / 1e9} for item in slices
            ]
        return found

    def campaigns(self) -> list[CampaignRow]:
        """Return all campaigns, newest last."""
        return [_campaign(row) for row in self.database.read("SELECT * FROM campaigns ORDER BY number")]

    def campaign(self, run_id: str) -> CampaignRow:
        """Return one campaign; raise UnknownName for one that is not there. `last` is the newest."""
        rows = self.campaigns()
        if run_id == "last" and rows:
            return rows[-1]
        for row in rows:
            if row.run_id == run_id:
                return row
        raise UnknownName("run", run_id, [row.run_id for row in rows], "List them with: hilnas runs list")

    def environment_facts(self, key: str | None) -> dict[str, Any]:
        """Return the facts of an environment, empty for a campaign that never had a session."""
        rows = self.database.read("SELECT facts FROM environments WHERE key = ?", (key,))
        return dict(json.loads(rows[0]["facts"])) if rows else {}

    def plan(self, run_id: str) -> list[Workload]:
        """Return what a campaign measures, in the order it was asked for."""
        rows = self.database.read(
            "SELECT w.* FROM plans p JOIN workloads w ON w.key = p.workload WHERE p.run_id = ? ORDER BY p.position",
            (run_id,),
        )
        return [_workload(row) for row in rows]

    def invocations(
        self, run_id: str, role: str = "workload", purpose: Purpose = "latency"
    ) -> dict[str, list[Invocation]]:
        """Return what was invoked so far for one purpose: workload key -> invocations in order."""
        found: dict[str, list[Invocation]] = defaultdict(list)
        rows = self.database.read(
            "SELECT i.workload, i.sequence, i.attempt, i.status, i.cause, i.transient, r.samples FROM invocations i"
            " LEFT JOIN readings r ON r.invocation = i.id AND r.metric = 'latency_s'"
            " WHERE i.run_id = ? AND i.role = ? AND i.purpose = ? ORDER BY i.sequence",
            (run_id, role, purpose),
        )
        for row in rows:
            median_s = float(np.median(np.frombuffer(row["samples"], _FLOATS))) if row["samples"] else None
            found[row["workload"]].append(
                Invocation(
                    row["sequence"], row["attempt"], row["status"], median_s, row["cause"], bool(row["transient"])
                )
            )
        return dict(found)

    def recorded(self, run_id: str, *, latencies: bool = True) -> dict[str, list[Recorded]]:
        """Return the invocations of every workload with all their readings, for whatever purpose, in order.

        Without `latencies` their samples, which are most of what is stored, are left where they are.
        """
        readings: dict[int, dict[str, tuple[float, ...]]] = defaultdict(dict)
        for row in self.database.read(
            "SELECT r.invocation, r.metric, r.samples FROM readings r JOIN invocations i ON i.id = r.invocation"
            " WHERE i.run_id = ? AND i.role = 'workload' AND (? OR r.metric != 'latency_s')",
            (run_id, latencies),
        ):
            readings[row["invocation"]][row["metric"]] = tuple(np.frombuffer(row["samples"], _FLOATS).tolist())
        found: dict[str, list[Recorded]] = defaultdict(list)
        for row in self.database.read(
            "SELECT * FROM invocations WHERE run_id = ? AND role = 'workload' ORDER BY sequence", (run_id,)
        ):
            found[row["workload"]].append(_recorded(row, readings[row["id"]]))
        return dict(found)

    def layer_profiles(self, run_id: str) -> list[LayerProfile]:
        """Return the newest usable profile of the layers of every workload that has one, in the order of the plan."""
        latencies_s = {item.workload.key: item.latency_s for item in self.judged(run_id)}
        rows = self.database.read(
            "SELECT workload, facts FROM invocations WHERE run_id = ? AND purpose = 'layers' AND status = 'ok'"
            " ORDER BY sequence",
            (run_id,),
        )
        facts = {row["workload"]: json.loads(row["facts"])["profile"] for row in rows}
        return [
            LayerProfile.of(workload, facts[workload.key], latencies_s.get(workload.key))
            for workload in self.plan(run_id)
            if workload.key in facts
        ]

    def next_sequence(self, run_id: str) -> int:
        """Return the sequence number of the next invocation."""
        rows = self.database.read("SELECT max(sequence) AS last FROM invocations WHERE run_id = ?", (run_id,))
        return 0 if rows[0]["last"] is None else int(rows[0]["last"]) + 1

    def busy_s(self, run_id: str) -> float:
        """Return the seconds of warm-up and timed calls of a campaign."""
        rows = self.database.read("SELECT total(busy_s) AS busy_s FROM invocations WHERE run_id = ?", (run_id,))
        return float(rows[0]["busy_s"])

    def judged(self, run_id: str) -> list[Measurement]:
        """Return the measurement of every planned workload of a campaign, derived from its invocations."""
        campaign = self.campaign(run_id)
        sentinels = [item for items in self.invocations(run_id, "sentinel").values() for item in items]
        stretches = drifted(sentinels, campaign.protocol.max_drift)
        found = self.invocations(run_id)
        recorded = self.recorded(run_id, latencies=False)
        measurements = []
        for workload in self.plan(run_id):
            verdict = judge(workload, mark_drift(found.get(workload.key, []), stretches), campaign.protocol)
            if verdict.done:
                metrics = metric_values(recorded.get(workload.key, []))
                measurements.append(replace(verdict.measurement, metrics=metrics))
        return measurements

    def measurements(self, device: str, *, space: str | None = None, kind: str = "architecture") -> list[Measurement]:
        """Return one measurement per workload of a device, the latest usable one over all its campaigns.

        Only campaigns in the environment of the device's newest campaign count: runtimes, options and machines
        are never mixed. Campaigns under a paced or sustained load are for themselves.
        """
        return [measurement for measurement, _ in self.sourced(device, space=space, kind=kind)]

    def sourced(
        self, device: str, *, space: str | None = None, kind: str = "architecture"
    ) -> list[tuple[Measurement, CampaignRow]]:
        """Return what `measurements` returns, each with the campaign it comes from."""
        latest: dict[str, tuple[Measurement, CampaignRow]] = {}
        for campaign in self._comparable(device):
            for measurement in self.judged(campaign.run_id):
                workload = measurement.workload
                if workload.kind != kind or (space is not None and _space_of(workload) != space):
                    continue
                known = latest.get(workload.key)
                if known is None or measurement.status == "ok" or known[0].status != "ok":
                    latest[workload.key] = (measurement, campaign)
        return list(latest.values())

    def invocation_medians(self, device: str, *, space: str | None = None) -> dict[str, list[float]]:
        """Return the medians of the usable invocations of every architecture: workload key -> seconds."""
        wanted = {item.workload.key for item in self.measurements(device, space=space) if item.status == "ok"}
        found: dict[str, list[float]] = {}
        for campaign in self._comparable(device):
            for key, items in self.invocations(campaign.run_id).items():
                last = max(item.attempt for item in items)
                medians = [item.median_s for item in items if item.status == "ok" and item.attempt == last]
                if key in wanted and medians:
                    found[key] = [value for value in medians if value is not None]
        return found

    def _comparable(self, device: str) -> list[CampaignRow]:
        rows = [row for row in self.campaigns() if row.device == device and row.environment is not None]
        rows = [row for row in rows if not (row.protocol.rate_hz or row.protocol.sustained_s)]
        return [row for row in rows if row.environment == rows[-1].environment]

    def _put_workload(self, workload: Workload) -> None:
        shape = json.dumps(list(workload.input_shape))
        self.database.connection.execute(
            "INSERT OR IGNORE INTO workloads VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                workload.key,
                workload.subject,
                workload.kind,
                shape,
                workload.dtype,
                workload.options,
                workload.label,
            ),
        )


def _space_of(workload: Workload) -> str:
    subject = workload.subject.removeprefix("block:") if workload.kind == "block" else workload.subject
    return subject.partition(":")[0]


def _campaign(row: sqlite3.Row) -> CampaignRow:
    return CampaignRow(
        row["run_id"],
        row["device"],
        json.loads(row["config"]),
        row["space"],
        MeasurementProtocol(**json.loads(row["protocol"])),
        row["seed"],
        row["version"],
        row["created_at"],
        row["state"],
        row["environment"],
        row["wall_s"],
    )


def _recorded(row: sqlite3.Row, readings: Mapping[str, tuple[float, ...]]) -> Recorded:
    return Recorded(
        row["sequence"],
        row["attempt"],
        row["purpose"],
        row["status"],
        row["cause"],
        bool(row["transient"]),
        json.loads(row["facts"]),
        readings,
    )


def _workload(row: sqlite3.Row) -> Workload:
    shape = tuple(json.loads(row["input_shape"]))
    return Workload(row["subject"], row["kind"], shape, row["dtype"], row["options"], row["label"])
