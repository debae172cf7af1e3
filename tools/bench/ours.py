"""Runs of this project's engine, each stage timed apart: core, row hashes, block chain, journal."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core import codes
from runtime.core.digest import HEADER, Block, decode_payload
from runtime.core.records import E8, EXECUTED_TRADE, ORDER_FILL
from runtime.engine import RunInputs, StageSeconds, iterate_blocks
from runtime.policy import load_profile
from tools.bench.market import Rows, standard_inputs

STAGES: Final = ("core", "row_hashes", "block_chain", "journal")
TRADE: Final = np.dtype([
    ("symbol_n", np.int64), ("entry_t", np.int64), ("exit_t", np.int64),
    ("quantity", np.float64), ("entry_price", np.float64), ("exit_price", np.float64),
])  # fmt: skip
"""One round trip, as every framework writes it; prices are before the fee."""


class Run(NamedTuple):
    """One measured run: seconds by stage, and what it wrote."""

    seconds: dict[str, float]
    blocks_n: int
    rows_n: int
    fills_n: int

    @property
    def total_s(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())


def run_into(inputs: RunInputs, folder: Path, keep: list[Block] | None = None, each: Callable[[], None] = lambda: None) -> Run:
    """Run a backtest into a SQLite journal in `folder`; `keep` gets its blocks, `each` is called after every chunk."""
    stages = StageSeconds()
    journal_s, blocks_n, rows_n, fills_n = 0.0, 0, 0, 0
    genesis = inputs.genesis
    journal = SqliteJournal.create(
        folder / JOURNAL_NAME, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id
    )
    try:
        for blocks in iterate_blocks(inputs, seconds=stages):
            began_s = time.perf_counter()
            journal.append(blocks)
            journal_s += time.perf_counter() - began_s
            blocks_n += len(blocks)
            rows_n += sum(HEADER.unpack(block.header)[5] for block in blocks)
            fills_n += sum(block.kind_id == codes.EV_FILL for block in blocks)
            if keep is not None:
                keep += blocks
            each()
    finally:
        began_s = time.perf_counter()
        journal.close()
        journal_s += time.perf_counter() - began_s
    seconds = dict(zip(STAGES, (stages.core, stages.row_hashes, stages.block_chain, journal_s), strict=True))
    return Run(seconds, blocks_n, rows_n, fills_n)


def fastest(inputs: RunInputs, repeats_n: int) -> Run:
    """Return the fastest of some runs, each into a journal of its own: the others waited for the machine."""
    runs = []
    for _ in range(repeats_n):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(run_into(inputs, Path(folder)))
    return min(runs, key=lambda run: run.total_s)


def measure_core(bars_n: int) -> Run:
    """Run one backtest of the standard market under the conservative profile."""
    return fastest(standard_inputs(bars_n, load_profile("conservative")), 1)


def trades_of(blocks: list[Block]) -> Rows:
    """Return TRADE [N], the round trips that a run of the rule journaled; its positions are single lots."""
    found = []
    price_e8 = {}
    for block in blocks:
        if block.kind_id == codes.EV_FILL:
            tables = decode_payload(block.payload)
            (fill,) = tables[ORDER_FILL.name]
            price_e8[int(fill["instrument_id"]), block.at_t] = int(fill["price_e8"])
            if EXECUTED_TRADE.name in tables:
                found.append(tables[EXECUTED_TRADE.name])
    rows = np.concatenate(found) if found else np.zeros(0, EXECUTED_TRADE.dtype)
    trades = np.zeros(len(rows), TRADE)
    trades["symbol_n"], trades["entry_t"], trades["exit_t"] = rows["instrument_id"], rows["opened_t"], rows["at_t"]
    trades["quantity"] = rows["qty_e8"] / E8
    for name, times in (("entry_price", trades["entry_t"]), ("exit_price", trades["exit_t"])):
        trades[name] = [price_e8[key] / E8 for key in zip(trades["symbol_n"].tolist(), times.tolist(), strict=True)]
    return trades
