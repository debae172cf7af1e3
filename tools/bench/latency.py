"""How long one event takes from coming in to standing in the journal: step, hashes, commit, head anchor.

The events are those of a backtest, fills included, put through the entry of paper and live trading one by one, each a block
and a transaction of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.core import codes, step
from runtime.core.records import CLUSTER, EVENT, FORECAST, INSTRUMENTS
from runtime.engine import BlockChain, RunInputs, StageSeconds, Sweep, new_out, new_state
from runtime.policy import load_profile
from tools.bench.market import Rows, standard_inputs

EVENTS_N: Final = 6_000
WARM_N: Final = 500
QUANTILES: Final = (0.5, 0.9, 0.99, 0.999, 1.0)
STAGES: Final = ("step", "hashes and block", "commit", "head anchor", "whole")
KINDS: Final = (codes.EV_BARS, codes.EV_FILL, codes.EV_CLUSTERS, codes.EV_DEPOSIT)


class TimedJournal(SqliteJournal):
    """The journal of the product, with a clock on its anchor."""

    anchor_s = 0.0

    def _write_anchor(self) -> None:
        began_s = time.perf_counter()
        super()._write_anchor()
        self.anchor_s = time.perf_counter() - began_s


def events_of(inputs: RunInputs) -> Rows:
    """Return the EVENT rows that a backtest makes blocks of, the venue's fills included."""
    sweep = Sweep(inputs)
    found = []
    while not sweep.finished:
        sweep.advance()
        found.append(sweep.out.event[: sweep.out.n[0]["event"]].copy())
    return np.concatenate(found)


def feed(inputs: RunInputs, events: Rows, folder: Path) -> np.ndarray:
    """Put events through core, chain and journal one by one; return float64 [events, STAGES] in seconds."""
    genesis = inputs.genesis
    journal = TimedJournal.create(
        folder / JOURNAL_NAME, genesis.canonical(), account_id=genesis.account_id, mode_id=genesis.mode_id
    )
    if not isinstance(journal, TimedJournal):
        raise TypeError("the journal no longer makes instances of its own class")
    policies = genesis.profile.to_record(genesis.pairs)
    states, out = new_state(genesis.account_id, genesis.mode_id), new_out(64)
    tables = [np.asarray(table) for table in (inputs.bars, inputs.forecasts.rows, inputs.clusters.rows)]
    chain = BlockChain(inputs, tables[0], tables[1], tables[2], StageSeconds())
    nothing = [tables[0][0], np.zeros(INSTRUMENTS, FORECAST), np.zeros(INSTRUMENTS, CLUSTER)]
    found = np.zeros((len(events), len(STAGES)))
    try:
        for i in range(len(events)):
            began_s = time.perf_counter()
            event = events[i : i + 1]
            numbers = (event[0]["bar_n"], event[0]["forecast_n"], event[0]["cluster_n"])
            rows = [t[n] if n >= 0 else none for t, n, none in zip(tables, numbers, nothing, strict=True)]
            out.n[:] = 0
            step.step(policies, states, out, event, *rows)
            stepped_s = time.perf_counter()
            blocks = chain.extend(out)
            hashed_s = time.perf_counter()
            journal.append(blocks)
            ended_s = time.perf_counter()
            commit_s = ended_s - hashed_s - journal.anchor_s
            found[i] = (stepped_s - began_s, hashed_s - stepped_s, commit_s, journal.anchor_s, ended_s - began_s)
    finally:
        journal.close()
    return found


def measure(events_n: int = EVENTS_N) -> dict[str, list[float]]:
    """Return milliseconds at QUANTILES by stage, and of the whole by kind of event, after WARM_N events."""
    inputs = standard_inputs(events_n, load_profile("conservative"))
    events = events_of(inputs)[: WARM_N + events_n]
    with tempfile.TemporaryDirectory() as folder:
        found = feed(inputs, np.ascontiguousarray(events, EVENT), Path(folder))
    kinds, found = events["kind_id"][WARM_N:], found[WARM_N:]
    milliseconds = {stage: quantiles(found[:, n]) for n, stage in enumerate(STAGES)}
    for kind in KINDS:
        if (kinds == kind).any():
            milliseconds[f"{codes.EVENT_NAMES[kind]} ({int((kinds == kind).sum())})"] = quantiles(found[kinds == kind, -1])
    return {**milliseconds, "events": [float(len(found))]}


def quantiles(seconds: Sequence[float] | np.ndarray) -> list[float]:
    """Return milliseconds at QUANTILES."""
    return [float(value) * 1_000 for value in np.quantile(np.asarray(seconds), QUANTILES, method="higher")]
