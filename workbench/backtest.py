"""A deterministic backtest: bars and forecasts through the decision core into a journaled, replayable run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from runtime.adapters import snapshots
from runtime.adapters.inputs import store_bars, store_clusters, store_forecasts
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.projections import PROJECTIONS_NAME, project
from runtime.canonical import canonical_json
from runtime.core import codes, digest
from runtime.engine import BlockChain, RunInputs, StageSeconds, Sweep, blocks_of
from runtime.errors import DataError, InvariantError
from runtime.files import partial_folder, publish_folder, write_bytes
from runtime.genesis import Bundle, Deposit, Genesis
from runtime.home import RUN_MARK, runs_path
from runtime.inference.bundle import Forecasts
from runtime.inference.clusters import DEFAULT_CLUSTERS, Clusters, memberships
from runtime.inference.panel import BarPanel
from runtime.inference.quantise import bars_to_core
from runtime.jit import deciding_source_digest
from runtime.machine import PLATFORM_NAME, this_platform
from runtime.policy import PairRules, RiskProfile
from runtime.progress import Report, silent

PPM: Final = 1_000_000
WARM_UP_BARS: Final = 168
"""Bars before the first forecast that the core sees, so that its volatility mean is settled when it first sizes."""
SUMMARY_NAME: Final = "run.json"
SNAPSHOTS_MAX: Final = 8
"""A run stores at most this many snapshots, evenly spread: their size does not grow with its length."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bars of a run come from: what its genesis says of the dataset."""

    dataset_hash: str
    source: str
    simulated: bool
    universe_version: str


class RunSummary(BaseModel):
    """What a run did. Money is a scaled integer; `seconds` describes this execution and is in no digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    run_root: str
    genesis_hash: str
    journal_head: str
    policy_hash: str
    blocks: int
    signals: int
    orders: int
    fills: int
    trades: int
    refusals: dict[str, int]
    initial_pv_e8: int
    final_pv_e8: int
    net_return_ppm: int
    max_drawdown_ppm: int
    realised_e8: int
    fees_e8: int
    slippage_e8: int
    turnover_e8: int
    open_positions: int
    first_t: int
    last_t: int
    seconds: dict[str, float]


def run_backtest(
    home: Path,
    panel: BarPanel,
    forecasts: Forecasts,
    origin: Origin,
    bundle: Bundle,
    profile: RiskProfile,
    *,
    initial_cash_e8: int,
    last_t: int | None = None,
    report: Report = silent,
) -> RunSummary:
    """Run forecasts over a panel and write the run folder `runs/<bundle name>-<genesis hash>`.

    Bars from `WARM_UP_BARS` before the first forecast until `last_t` are used. Running the same again replaces the
    folder by an equal one. Nothing is left half-written: the folder gets its name when it is complete.

    Args:
        panel: hourly bars; its symbols are the forecasts' symbols, in the same order.
        initial_cash_e8: deposit in USD, 1e-8.
        last_t: closing time of the last bar used; the panel's end by default.

    Raises:
        DataError: there is no forecast, or symbols differ.
        InvariantError: the core stopped on a broken invariant.
        EnvironmentFailure: the folder cannot be written.
    """
    started = time.perf_counter()
    inputs = _prepare(home, panel, forecasts, origin, bundle, profile, initial_cash_e8, last_t)
    genesis = inputs.genesis
    run_id = f"{bundle.name}-{genesis.hash.hex()[:12]}"
    final = runs_path(home) / run_id
    stages = StageSeconds()
    with partial_folder(final) as partial:
        journal_s, snapshots_s = _journal_blocks(partial, inputs, stages, report)
        projecting = time.perf_counter()
        project(partial, home)
        seconds = {
            "core": stages.core,
            "row_hashes": stages.row_hashes,
            "block_chain": stages.block_chain,
            "journal": journal_s,
            "snapshots": snapshots_s,
            "projections": time.perf_counter() - projecting,
            "total": time.perf_counter() - started,
        }
        summary = _summarise(partial, run_id, inputs, seconds)
        write_bytes(partial / SUMMARY_NAME, canonical_json(_without_large_integers(summary)))
        write_bytes(partial / PLATFORM_NAME, canonical_json(this_platform().model_dump(mode="json")))
        write_bytes(partial / RUN_MARK, genesis.canonical())
        publish_folder(partial, final)
    return summary


def core_inputs(
    panel: BarPanel, first_forecast_t: int, last_t: int | None
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64], Clusters]:
    """Return what the core sees of a panel from `WARM_UP_BARS` before the first forecast until `last_t`.

    Returns:
        BAR [T, INSTRUMENTS], closing times int64 [T] in seconds UTC, and the cluster memberships.

    Raises:
        DataError: a price or volume that no scaled integer holds.
    """
    bars, close_t = bars_to_core(panel, panel.symbols)
    first = max(int(np.searchsorted(close_t, first_forecast_t)) - WARM_UP_BARS, 0)
    end = len(close_t) if last_t is None else int(np.searchsorted(close_t, last_t, side="right"))
    clusters = memberships(panel, np.array([first, end - 1]), DEFAULT_CLUSTERS)
    return bars[first:end], close_t[first:end], clusters


def load_summary(run_dir: Path) -> RunSummary:
    """Return the summary stored with a run."""
    return RunSummary.model_validate_json((run_dir / SUMMARY_NAME).read_bytes())


def _prepare(
    home: Path,
    panel: BarPanel,
    forecasts: Forecasts,
    origin: Origin,
    bundle: Bundle,
    profile: RiskProfile,
    initial_cash_e8: int,
    last_t: int | None,
) -> RunInputs:
    if len(forecasts.at_t) == 0 or forecasts.symbols != panel.symbols:
        raise DataError(
            f"{len(forecasts.at_t)} forecasts for {', '.join(forecasts.symbols) or 'nothing'}",
            expected=f"at least one forecast, for {', '.join(panel.symbols)}",
            action="make forecasts on this dataset with a longer test period",
        )
    bars, close_t, clusters = core_inputs(panel, int(forecasts.at_t[0]), last_t)
    used = forecasts.at_t <= close_t[-1]
    if not used.all():
        kept = [digest for digest, use in zip(forecasts.feature_digests, used, strict=True) if use]
        forecasts = Forecasts(forecasts.symbols, forecasts.at_t[used], forecasts.rows[used], kept)
    genesis = Genesis(
        account_id=1,
        mode_id=codes.MODE_BACKTEST,
        source=origin.source,
        simulated=origin.simulated,
        symbols=panel.symbols,
        interval_t=panel.interval_t,
        first_t=int(close_t[0]),
        last_t=int(close_t[-1]),
        universe_version=origin.universe_version,
        dataset_hash=origin.dataset_hash,
        bars_digest=store_bars(home, bars, close_t),
        forecasts_digest=store_forecasts(home, forecasts),
        clusters_digest=store_clusters(home, clusters),
        bundle=bundle,
        profile=profile,
        policy_digest=profile.digest,
        pairs=tuple(PairRules() for _ in panel.symbols),
        deposits=(Deposit(quote_id=codes.USD, amount_e8=str(initial_cash_e8)),),
        core_digest=deciding_source_digest(),
    )
    return RunInputs(genesis, bars, close_t, forecasts, clusters)


def _journal_blocks(folder: Path, inputs: RunInputs, stages: StageSeconds, report: Report) -> tuple[float, float]:
    """Journal every block, with a few snapshots of the state on the way; return the seconds of both."""
    genesis = inputs.genesis
    journal_s = snapshots_s = 0.0
    sweep = Sweep(inputs)
    chain = BlockChain(inputs, sweep.bars, sweep.forecasts, sweep.clusters, stages)
    step_n = -(-len(sweep.events) // SNAPSHOTS_MAX)
    next_n = step_n
    journal = SqliteJournal.create(
        folder / JOURNAL_NAME, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id
    )
    try:
        for blocks in blocks_of(sweep, chain, report):
            started = time.perf_counter()
            journal.append(blocks)
            written = time.perf_counter()
            journal_s += written - started
            if sweep.done >= next_n and not sweep.finished:
                snapshots.store(folder, snapshots.take(sweep, chain))
                next_n = sweep.done + step_n
                snapshots_s += time.perf_counter() - written
    finally:
        journal.close()
    return journal_s, snapshots_s


def _summarise(folder: Path, run_id: str, inputs: RunInputs, seconds: dict[str, float]) -> RunSummary:
    """Return the summary, read from the projections: what a person sees is what the journal says."""
    genesis = inputs.genesis

    def table(name: str, *columns: str) -> pa.Table:
        return pq.read_table(folder / PROJECTIONS_NAME / f"{name}.parquet", columns=list(columns))

    journal = SqliteJournal.open(folder / JOURNAL_NAME)
    try:
        head = journal.head()
    finally:
        journal.close()
    states = table("portfolio_hourly_state", "pv_e8", "drawdown_ppm", "realised_e8", "fees_e8", "slippage_e8", "open_n")
    if states.num_rows == 0:
        raise InvariantError("a run without an hourly state", expected="one per bar", action="keep the run as evidence")
    last = {name: states[name][-1].as_py() for name in states.column_names}
    fills = table("order_fill", "notional_e8")
    orders = table("order_request", "status_id")
    initial = sum(int(deposit.amount_e8) for deposit in genesis.deposits)
    return RunSummary(
        run_id=run_id,
        run_root=digest.run_root(genesis.hash, head.block_hash, head.seq_n),
        genesis_hash=genesis.hash.hex(),
        journal_head=head.block_hash.hex(),
        policy_hash=genesis.policy_digest,
        blocks=head.seq_n,
        signals=table("trade_signal", "signal_id").num_rows,
        orders=pc.sum(pc.equal(orders["status_id"], codes.O_NEW)).as_py() or 0,
        fills=fills.num_rows,
        trades=table("executed_trade", "trade_id").num_rows,
        refusals=_refusals(table("risk_event", "kind_id", "gate_id")),
        initial_pv_e8=initial,
        final_pv_e8=last["pv_e8"],
        net_return_ppm=(last["pv_e8"] - initial) * PPM // initial,
        max_drawdown_ppm=pc.max(states["drawdown_ppm"]).as_py(),
        realised_e8=last["realised_e8"],
        fees_e8=last["fees_e8"],
        slippage_e8=last["slippage_e8"],
        turnover_e8=pc.sum(fills["notional_e8"]).as_py() or 0,
        open_positions=last["open_n"],
        first_t=genesis.first_t,
        last_t=genesis.last_t,
        seconds=seconds,
    )


def _refusals(events: pa.Table) -> dict[str, int]:
    """Return refusals by gate name, in the gates' order of precedence."""
    refused = events.filter(pc.equal(events["kind_id"], codes.RISK_REFUSED))
    counted = {row["values"]: row["counts"] for row in pc.value_counts(refused["gate_id"]).to_pylist()}
    return {name: counted[gate] for gate, name in codes.GATE_NAMES.items() if gate in counted}


def _without_large_integers(summary: RunSummary) -> dict[str, object]:
    """Return the summary as JSON values, integers that JSON cannot carry exactly as text (pydantic reads both)."""
    values: dict[str, object] = {}
    for name, value in summary.model_dump().items():
        values[name] = str(value) if isinstance(value, int) and name.endswith("_e8") else value
    return values
