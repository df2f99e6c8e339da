"""The schema as append-only steps: a step that was released is never edited, a new one is added below it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

Migration = Callable[[sqlite3.Connection], None]


def m001_campaigns(connection: sqlite3.Connection) -> None:
    """Campaigns, what they plan, and every invocation with its raw readings."""
    connection.executescript(
        """
        CREATE TABLE environments (
            key TEXT PRIMARY KEY,
            facts TEXT NOT NULL CHECK (json_valid(facts))
        ) STRICT;

        CREATE TABLE workloads (
            key TEXT PRIMARY KEY,            -- content hash of all that follows but the label
            subject TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('architecture', 'block', 'model')),
            input_shape TEXT NOT NULL CHECK (json_valid(input_shape)),
            dtype TEXT NOT NULL,
            options TEXT NOT NULL CHECK (json_valid(options)),
            label TEXT NOT NULL
        ) STRICT;

        CREATE TABLE campaigns (
            number INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL UNIQUE,
            device TEXT NOT NULL,
            config TEXT NOT NULL CHECK (json_valid(config)),
            space TEXT,                      -- NULL: models, no search space
            protocol TEXT NOT NULL CHECK (json_valid(protocol)),
            seed INTEGER NOT NULL,
            version TEXT NOT NULL,
            created_at TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('running', 'interrupted', 'finished')),
            environment TEXT REFERENCES environments (key),  -- NULL: no session was opened yet
            wall_s REAL NOT NULL DEFAULT 0   -- seconds with a session, over all resumes
        ) STRICT;

        CREATE TABLE plans (
            run_id TEXT NOT NULL REFERENCES campaigns (run_id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            workload TEXT NOT NULL REFERENCES workloads (key),
            PRIMARY KEY (run_id, position),
            UNIQUE (run_id, workload)
        ) STRICT;

        CREATE TABLE invocations (
            id INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES campaigns (run_id) ON DELETE CASCADE,
            sequence INTEGER NOT NULL,       -- order of measuring within the campaign
            workload TEXT NOT NULL REFERENCES workloads (key),
            role TEXT NOT NULL CHECK (role IN ('workload', 'sentinel')),
            attempt INTEGER NOT NULL CHECK (attempt >= 1),
            status TEXT NOT NULL CHECK (status IN ('ok', 'rejected', 'failed')),
            cause TEXT,
            transient INTEGER NOT NULL CHECK (transient IN (0, 1)),
            warmup_converged INTEGER NOT NULL CHECK (warmup_converged IN (0, 1)),
            stop_reason TEXT NOT NULL,
            started_at TEXT NOT NULL,
            busy_s REAL NOT NULL,
            wall_s REAL NOT NULL,
            artifact TEXT,                   -- SHA-256 of what was run
            environment TEXT NOT NULL REFERENCES environments (key),
            facts TEXT NOT NULL CHECK (json_valid(facts)),
            state TEXT NOT NULL CHECK (json_valid(state)),
            UNIQUE (run_id, sequence),
            CHECK ((status = 'ok') = (cause IS NULL))
        ) STRICT;
        CREATE INDEX invocations_by_workload ON invocations (workload, run_id);

        CREATE TABLE readings (
            invocation INTEGER NOT NULL REFERENCES invocations (id) ON DELETE CASCADE,
            metric TEXT NOT NULL,            -- its unit is in its name
            samples BLOB NOT NULL,           -- float64, little-endian, in the order of measuring
            PRIMARY KEY (invocation, metric)
        ) STRICT, WITHOUT ROWID;
        """
    )


def m002_reference_tables(connection: sqlite3.Connection) -> None:
    """Tables of other tools, column by column."""
    connection.executescript(
        """
        CREATE TABLE reference_tables (
            name TEXT PRIMARY KEY,
            space TEXT NOT NULL,
            source TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            imported_at TEXT NOT NULL,
            n_rows INTEGER NOT NULL,
            architectures TEXT NOT NULL CHECK (json_valid(architectures)),  -- JSON list of texts
            indices TEXT CHECK (indices IS NULL OR json_valid(indices))     -- JSON list, NULL: no index column
        ) STRICT;

        CREATE TABLE reference_columns (
            table_name TEXT NOT NULL REFERENCES reference_tables (name) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            name TEXT NOT NULL,
            dimension TEXT NOT NULL,         -- time, energy, percent, none ... or text
            unit TEXT NOT NULL,              -- as it stood in the file; samples are SI
            samples BLOB,                    -- float64, little-endian, NaN: missing; NULL for text
            texts TEXT CHECK (texts IS NULL OR json_valid(texts)),
            PRIMARY KEY (table_name, name),
            CHECK ((dimension = 'text') = (samples IS NULL)),
            CHECK ((dimension = 'text') = (texts IS NOT NULL))
        ) STRICT;
        """
    )


def m003_events(connection: sqlite3.Connection) -> None:
    """What happened to a device during a campaign: lost connections, dead agents, restarts, who was waited for."""
    connection.executescript(
        """
        CREATE TABLE events (
            id INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES campaigns (run_id) ON DELETE CASCADE,
            sequence INTEGER NOT NULL,       -- of the invocation that was next
            at TEXT NOT NULL,
            kind TEXT NOT NULL,
            text TEXT NOT NULL
        ) STRICT;
        CREATE INDEX events_by_run ON events (run_id);
        """
    )


def m004_purposes(connection: sqlite3.Connection) -> None:
    """Invocations for energy and for layers; `peak_bytes` is from now on the peak over the baseline."""
    connection.executescript(
        """
        ALTER TABLE invocations ADD COLUMN
            purpose TEXT NOT NULL DEFAULT 'latency' CHECK (purpose IN ('latency', 'energy', 'layers'));
        UPDATE readings SET metric = 'process_peak_bytes' WHERE metric = 'peak_bytes';
        """
    )


def m005_tables_of_blocks(connection: sqlite3.Connection) -> None:
    """Tables whose rows are blocks; batch, spread, count and provenance of what other tools measured."""
    connection.executescript(
        """
        ALTER TABLE reference_tables ADD COLUMN
            kind TEXT NOT NULL DEFAULT 'architectures' CHECK (kind IN ('architectures', 'blocks'));
        ALTER TABLE reference_tables ADD COLUMN                                   -- JSON list, of blocks only
            attributes TEXT CHECK (attributes IS NULL OR json_valid(attributes));
        ALTER TABLE reference_tables ADD COLUMN
            provenance TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(provenance));
        ALTER TABLE reference_columns ADD COLUMN batch INTEGER CHECK (batch >= 1); -- NULL: the source does not say
        ALTER TABLE reference_columns ADD COLUMN spreads BLOB;                    -- as samples, NULL: unknown
        ALTER TABLE reference_columns ADD COLUMN spread_kind TEXT NOT NULL DEFAULT '';
        ALTER TABLE reference_columns ADD COLUMN counts BLOB;
        """
    )


MIGRATIONS: tuple[Migration, ...] = (
    m001_campaigns,
    m002_reference_tables,
    m003_events,
    m004_purposes,
    m005_tables_of_blocks,
)
