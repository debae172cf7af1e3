"""Runs the SQL validation gates over the projections of a run; the gates themselves are in `runtime/ops/gates.py`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from runtime.adapters.inputs import load_clusters
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.journaled import Governed, governed, memberships_of
from runtime.adapters.projections import parse_genesis
from runtime.adapters.views import connect
from runtime.core.codes import MODE_BACKTEST
from runtime.core.records import INSTRUMENTS, QUOTES
from runtime.errors import DataError
from runtime.genesis import Genesis
from runtime.inference.clusters import Clusters
from runtime.ops.gates import GATES, Gate
from runtime.progress import Report, silent


class GateResult(BaseModel):
    """Outcome of one gate.

    Attributes:
        name, proves: of the gate.
        violations: rows against it; -1 when it was skipped.
        first: the first of them, column by column; integers that JSON cannot carry exactly are text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    proves: str
    violations: int
    first: dict[str, int | str | None]


class CheckResult(BaseModel):
    """Outcome of all gates. `seconds` describes this execution only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    valid: bool
    gates: list[GateResult]
    seconds: float

    @property
    def skipped(self) -> list[str]:
        """Return the names of the gates that did not run."""
        return [gate.name for gate in self.gates if gate.violations < 0]

    def as_counts(self) -> dict[str, int]:
        """Return the violations per gate, -1 where it was skipped."""
        return {gate.name: gate.violations for gate in self.gates}


def check_run(run_dir: Path, home: Path, predictions: Path | None = None, report: Report = silent) -> CheckResult:
    """Run every gate over a run's projections, which are built first when there are none for the journal's head.

    Args:
        run_dir: the run.
        home: home folder with the core inputs.
        predictions: `tables/predictions.parquet` of the study; without it the gate on training windows is skipped.
        report: told which gate is done.

    Raises:
        DataError: the predictions cannot be read, or an input is missing.
        VerificationError: the journal, an input or a sealed projection is not what its hashes say.
        EnvironmentFailure: the projections cannot be written.
    """
    started = time.perf_counter()
    connection = connect(run_dir, home, report)
    try:
        journal = SqliteJournal.open(run_dir / JOURNAL_NAME)
        try:
            genesis = parse_genesis(journal.genesis(), run_dir)
            if genesis.mode_id == MODE_BACKTEST:
                add_context(connection, genesis, load_clusters(home, genesis.clusters_digest))
            else:
                add_context(connection, genesis, memberships_of(journal.read()), governed(genesis, journal.read()))
        finally:
            journal.close()
        if predictions is not None:
            _add_predictions(connection, predictions)
        results = []
        for n, gate in enumerate(GATES, 1):
            results.append(run_gate(connection, gate, skip=gate.study and predictions is None))
            report("gates", n, len(GATES))
    finally:
        connection.close()
    return CheckResult(
        run_id=run_dir.resolve().name,
        valid=all(result.violations <= 0 for result in results),
        gates=results,
        seconds=time.perf_counter() - started,
    )


def add_context(
    connection: duckdb.DuckDBPyConnection, genesis: Genesis, clusters: Clusters, profiles: Sequence[Governed] = ()
) -> None:
    """Add what the gates compare with: the tables `run`, `rule`, `quote_cap` and `membership`.

    `rule` and `quote_cap` have a row, or one per currency, for each stretch of blocks that one profile governed; `profiles` are
    these stretches, by default the genesis' profile for all blocks.
    """
    stretches = profiles or (Governed(genesis.profile, 1, 2**62),)
    policies = [stretch.profile.to_record(genesis.pairs)[0] for stretch in stretches]
    bounds = {"first_n": [stretch.first_n for stretch in stretches], "last_n": [stretch.last_n for stretch in stretches]}
    run = {name: [getattr(genesis, name)] for name in ("account_id", "mode_id", "first_t", "last_t", "interval_t")}
    rules = bounds | {name: [int(p["rules"][name]) for p in policies] for name in policies[0]["rules"].dtype.names}
    quotes = {name: [n for n in values for _ in range(QUOTES)] for name, values in bounds.items()}
    quotes |= {"quote_id": list(range(QUOTES)) * len(policies)}
    quotes |= {name: [int(p["quotes"][q][name]) for p in policies for q in range(QUOTES)] for name in ("cap_ppm", "cap_e8")}
    # version 0: before the first membership every instrument shares cluster 0
    versions = np.concatenate([np.zeros((1, INSTRUMENTS), np.int64), clusters.rows["cluster_id"].reshape(-1, INSTRUMENTS)])
    membership = {
        "version_n": np.repeat(np.arange(len(versions)), INSTRUMENTS),
        "instrument_id": np.tile(np.arange(INSTRUMENTS), len(versions)),
        "cluster_id": versions.reshape(-1),
    }
    for name, columns in (("run", run), ("rule", rules), ("quote_cap", quotes), ("membership", membership)):
        _add_table(connection, name, pa.table({column: pa.array(values, pa.int64()) for column, values in columns.items()}))


def run_gate(connection: duckdb.DuckDBPyConnection, gate: Gate, *, skip: bool = False) -> GateResult:
    """Run one gate and return how many rows are against it, and the first."""
    if skip:
        return GateResult(name=gate.name, proves=gate.proves, violations=-1, first={})
    query = f"SELECT count(*) OVER () AS violations_n, * FROM ({gate.sql}) ORDER BY ALL LIMIT 1"  # noqa: S608  our own text
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or ()]
    row = cursor.fetchone()
    if row is None:
        return GateResult(name=gate.name, proves=gate.proves, violations=0, first={})
    first = {name: _plain(value) for name, value in zip(names[1:], row[1:], strict=True)}
    return GateResult(name=gate.name, proves=gate.proves, violations=row[0], first=first)


def _plain(value: object) -> int | str | None:
    if value is None or (isinstance(value, int) and abs(value) < 2**53):
        return value
    return str(value)


def _add_table(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    connection.register("arriving", table)
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM arriving")  # noqa: S608  our own names only
    connection.unregister("arriving")


def _add_predictions(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    import pyarrow.parquet as pq

    columns = ["at_t", "symbol", "horizon_h", "fold_n", "train_first_t", "train_last_t"]
    try:
        table = pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as e:
        raise DataError(
            f"the predictions {path} cannot be read: {str(e).splitlines()[0]:.200}",
            expected=f"a study's tables/predictions.parquet with the columns {', '.join(columns)}",
            action="pass the folder of the study that made the run",
        ) from e
    _add_table(connection, "study_prediction", table.select(columns))
