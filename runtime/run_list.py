"""What a list of runs shows: read from genesis, anchor and summary, without opening journals."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.adapters.anchor import ANCHOR_NAME, read_anchor
from runtime.errors import BallastError
from runtime.genesis import Genesis
from runtime.home import RUN_MARK, list_runs

SUMMARY_NAME = "run.json"


class RunRow(BaseModel):
    """One run; `problem` says what could not be read, and the other fields are then empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    source: str = ""
    simulated: bool = False
    mode_id: int = 0
    symbols: tuple[str, ...] = ()
    first_t: int = 0
    last_t: int = 0
    blocks: int = 0
    journal_head: str = ""
    fills: int | None = None
    net_return_ppm: int | None = None
    problem: str = ""


class _Summary(BaseModel):
    """The part of a run's summary that a list shows; the rest belongs to whoever wrote it."""

    model_config = ConfigDict(extra="ignore")

    fills: int | None = None
    net_return_ppm: int | None = None


def describe_runs(home: Path) -> list[RunRow]:
    """Return the runs of a home folder, newest first; a run that cannot be read is listed with its problem."""
    return [_describe(run_dir) for run_dir in list_runs(home)]


def _describe(run_dir: Path) -> RunRow:
    try:
        genesis = Genesis.model_validate_json((run_dir / RUN_MARK).read_bytes())
        anchor = read_anchor(run_dir / ANCHOR_NAME)
        summary_path = run_dir / SUMMARY_NAME
        summary = _Summary.model_validate_json(summary_path.read_bytes()) if summary_path.is_file() else _Summary()
    except (OSError, ValidationError) as e:
        return RunRow(run_id=run_dir.name, problem=f"{type(e).__name__}: {str(e).splitlines()[0]}")
    except BallastError as e:
        return RunRow(run_id=run_dir.name, problem=e.got)
    return RunRow(
        run_id=run_dir.name,
        source=genesis.source,
        simulated=genesis.simulated,
        mode_id=genesis.mode_id,
        symbols=genesis.symbols,
        first_t=genesis.first_t,
        last_t=genesis.last_t,
        blocks=anchor.head.seq_n if anchor else 0,
        journal_head=anchor.head.block_hash.hex() if anchor else "",
        fills=summary.fills,
        net_return_ppm=summary.net_return_ppm,
        problem="" if anchor else "no anchor: the journal was never sealed",
    )
