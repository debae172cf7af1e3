"""The report about a run folder: its journal, the bars of record beside it, and the bundle of its home folder."""

from __future__ import annotations

from pathlib import Path

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.projections import parse_genesis
from runtime.divergence.attribution import Divergence, attribute
from runtime.divergence.period import NEVER_T, read_period
from runtime.divergence.stored_record import BARS_NAME, StoredRecord, find_forecaster
from runtime.errors import InvariantError
from runtime.progress import Report, silent


def compare_run(
    run_dir: Path, home: Path, since_t: int = 0, until_t: int = NEVER_T, report: Report = silent, *, bars: bool = True
) -> Divergence:
    """Compare a paper run, or a period of it, with a backtest of the same period.

    Args:
        run_dir: folder of the run; its daemon may be running.
        home: home folder with the bundles.
        since_t, until_t: seconds UTC; blocks from the first to before the second are compared.
        report: told how far it is.
        bars: compare with the bars of record beside the journal; without them the journal's own bars are the record.

    Raises:
        UsageError: the run is a backtest, or has no block in the period.
        DataError: the journal or the bars of record cannot be read.
        InvariantError: the core refused an event that every run must be able to take: the report cannot be made.
    """
    journal = SqliteJournal.open(run_dir / JOURNAL_NAME)
    try:
        genesis = parse_genesis(journal.genesis(), run_dir)
        period = read_period(genesis, journal.read(), since_t, until_t, report, journal.head().seq_n)
    finally:
        journal.close()
    forecaster, missing = find_forecaster(home, period.bundle) if bars else (None, "the bars of record are left out")
    record = StoredRecord(run_dir / BARS_NAME if bars else run_dir / "no bars", genesis, forecaster)
    try:
        return attribute(run_dir.resolve().name, period, record, report, missing)
    except (ValueError, OverflowError) as e:
        raise InvariantError(
            f"a run between the backtest and the journal cannot be made: {e}",
            expected="events that the core takes in every course of things",
            action="compare a shorter period with --from and --to, and report this as a defect",
        ) from e
