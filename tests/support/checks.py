"""A stored run over a random market with tight caps, and ways to plant a violation in its tables."""

from __future__ import annotations

from pathlib import Path

import duckdb

from runtime.adapters.inputs import store_bars, store_clusters, store_forecasts
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.canonical import canonical_json
from runtime.core.digest import run_root
from runtime.difference import Tally
from runtime.engine import RunInputs, iterate_blocks
from runtime.files import write_bytes
from runtime.home import RUN_MARK, RUN_SUMMARY, runs_path
from runtime.jit import deciding_source_digest
from runtime.policy import DrawdownTier, FeeTier, RiskProfile
from runtime.verify import gather
from tests.support.markets import random_inputs

BUSY = RiskProfile(
    entry_persist_n=1,
    order_ttl_t=4 * 3_600,
    liquidity_ppm=1_000_000,
    margin_ppm=0,
    take_profit_ppm=2_000,
    positions_max=4,
    base_ppm=60_000,
    severe_loss_ppm=60_000,
    severe_release_ppm=30_000,
    tiers=(
        DrawdownTier(drawdown_ppm=0, size_ppm=1_000_000, allow_entry=True),
        DrawdownTier(drawdown_ppm=300_000, size_ppm=1_000_000, allow_entry=True),
        DrawdownTier(drawdown_ppm=400_000, size_ppm=1_000_000, allow_entry=True),
        DrawdownTier(drawdown_ppm=500_000, size_ppm=1_000_000, allow_entry=True),
    ),
    fees=(FeeTier(volume_e8=0, maker_ppm=100, taker_ppm=300), FeeTier(volume_e8=10**12, maker_ppm=0, taker_ppm=100)),
)
"""Trades often, runs into its caps, and goes on trading in any drawdown."""


def store_run(home: Path, inputs: RunInputs) -> Path:
    """Store the inputs of a run under their real digests, journal its blocks and return its folder."""
    digests = {
        "bars_digest": store_bars(home, inputs.bars, inputs.close_t),
        "forecasts_digest": store_forecasts(home, inputs.forecasts),
        "clusters_digest": store_clusters(home, inputs.clusters),
        "core_digest": deciding_source_digest(),
    }
    genesis = inputs.genesis.model_copy(update=digests)
    folder = runs_path(home) / f"test-{genesis.hash.hex()[:12]}"
    journal = SqliteJournal.create(folder / JOURNAL_NAME, genesis.canonical(), account_id=1, mode_id=1)
    for blocks in iterate_blocks(RunInputs(genesis, inputs.bars, inputs.close_t, inputs.forecasts, inputs.clusters)):
        journal.append(blocks)
    head = journal.head()
    tally = Tally(sum(int(deposit.amount_e8) for deposit in genesis.deposits))
    tally.take(gather(list(journal.read())).tables)
    journal.close()
    facts = tally.facts(run_root(genesis.hash, head.block_hash, head.seq_n), head).model_dump()
    summary = {name: str(value) if name.endswith("_e8") else value for name, value in facts.items()}
    write_bytes(folder / RUN_SUMMARY, canonical_json(summary))
    write_bytes(folder / RUN_MARK, genesis.canonical())
    return folder


def busy_run(home: Path, seed: int = 1, hours: int = 700, symbols: int = 12) -> Path:
    """Store a run with partial fills, merged and split lots, refusals, cuts and changing clusters."""
    return store_run(home, random_inputs(seed, hours, symbols, BUSY, wildness=1.5))


def plant(connection: duckdb.DuckDBPyConnection, table: str, *statements: str) -> None:
    """Make a table of the connection changeable and change it."""
    (kind,) = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_name = ?", [table]
    ).fetchone() or ("",)
    if kind == "VIEW":
        connection.execute(f"CREATE TABLE planted AS SELECT * FROM {table}")
        connection.execute(f"DROP VIEW {table}")
        connection.execute(f"ALTER TABLE planted RENAME TO {table}")
    for statement in statements:
        connection.execute(statement)
