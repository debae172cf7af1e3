"""One block explained: the event, and for each decision in it what the core saw, wanted, was allowed, and wrote.

The state before the block comes from running the core up to it; the walk through a BARS event calls the core's own
functions in the core's order and ends in the state and the records that the core itself makes, or it is refused. Gates
are evaluated on the state as it was when the instrument's turn came, also those behind the one that refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from runtime.adapters.inputs import load_bars, load_clusters, load_forecasts
from runtime.adapters.journal_sqlite import JOURNAL_NAME, SqliteJournal
from runtime.adapters.journaled import event_of
from runtime.adapters.projections import BATCH_BLOCKS_N, batches, parse_genesis
from runtime.core import campaign, fees, ledger, orders, outlook, sizing, step, strategy
from runtime.core import codes as c
from runtime.core.digest import SECTION, Block, ForecastHash
from runtime.core.records import BAR, BY_NAME, CLUSTER, E8, FORECAST, HOUR_T, INSTRUMENTS, RECORD_TYPES
from runtime.desk import Desk
from runtime.engine import RunInputs, Sweep, new_out
from runtime.errors import InvariantError, UsageError, VerificationError
from runtime.genesis import Genesis
from runtime.ops.explain_gates import GateLine, gate_lines
from runtime.ops.explain_words import REASONS
from runtime.verify import BadBlock, ChainVerifier, JournaledForecasts, forecast_hashes, governed_by

_FROZEN: Final = ConfigDict(frozen=True, extra="forbid")


class Record(BaseModel):
    """One row that the block wrote: its columns by name, coded ones with their names, its hash and its parents' hashes."""

    model_config = _FROZEN
    table: str
    values: dict[str, str]
    row_hash: str
    parents: dict[str, str]


class Decision(BaseModel):
    """What the core did about one instrument. Numbers are scaled integers, their scale is the name's ending."""

    model_config = _FROZEN
    symbol: str
    forecast: dict[str, int]
    forecast_t: int
    new_forecast: bool
    outlook: str
    raw_outlook: str
    outlook_before: str
    persist_n: int
    position: dict[str, int]
    action: str
    reason: str
    words: str
    gates: list[GateLine]
    wanted_e8: int
    sized_e8: int
    outcome: str


class Explanation(BaseModel):
    """A block and the decisions in it."""

    model_config = _FROZEN
    run_id: str
    block: int
    event: str
    at_t: int
    event_fields: dict[str, int]
    previous_hash: str
    inputs_digest: str
    records_digest: str
    block_hash: str
    same_records: bool
    portfolio: dict[str, int]
    decisions: list[Decision]
    records: list[Record]


def explain_block(run_dir: Path, home: Path, seq_n: int, symbol: str = "") -> Explanation:
    """Explain one block.

    Args:
        run_dir: the run.
        home: home folder with the core inputs of a backtest; a paper run carries its own.
        seq_n: the block.
        symbol: also explain this instrument, when the block wrote nothing about it.

    Raises:
        UsageError: there is no such block or symbol.
        DataError, VerificationError: the journal or an input is missing or not what its hashes say.
        InvariantError: the explanation does not come to the core's own result: a defect of the explanation.
    """
    journal = SqliteJournal.open(run_dir / JOURNAL_NAME)
    try:
        genesis = parse_genesis(journal.genesis(), run_dir)
        head_n = journal.head().seq_n
        if not 1 <= seq_n <= head_n or (symbol and symbol not in genesis.symbols):
            raise UsageError(
                f"block {seq_n} {symbol}".rstrip(),
                expected=f"a block from 1 to {head_n}, and one of {', '.join(genesis.symbols)}",
                action='list signals with ballast sql RUN "SELECT block_seq_n, symbol, action FROM v_trade_signal"',
            )
        if genesis.mode_id == c.MODE_BACKTEST:
            bars, close_t = load_bars(home, genesis.bars_digest)
            forecasts, clusters = load_forecasts(home, genesis.forecasts_digest), load_clusters(home, genesis.clusters_digest)
            inputs = RunInputs(genesis, bars, close_t, forecasts, clusters)
            block, previous_hash, kinds, records = _follow(journal, genesis, forecast_hashes(forecasts), seq_n)
            moment = _state_before(inputs, kinds)
        else:
            block, previous_hash, _, records = _follow(journal, genesis, JournaledForecasts(), seq_n)
            moment = _state_folded(genesis, journal, block)
    finally:
        journal.close()
    after, payload = _apply(moment)
    touched = {int(r.values["instrument_id"].split()[0]) for r in records if "instrument_id" in r.values}
    shown = {s for s, name in enumerate(genesis.symbols) if s in touched or name == symbol}
    event = moment.event
    decides = event[0]["kind_id"] == c.EV_BARS or _moved(moment)
    decisions = _decisions(genesis, moment, shown, records, after) if decides else []
    desk = moment.states[0]["desk"]
    return Explanation(
        run_id=run_dir.resolve().name,
        block=seq_n,
        event=c.EVENT_NAMES[block.kind_id],
        at_t=block.at_t,
        event_fields={name: int(event[0][name]) for name in event.dtype.names or ()},
        previous_hash=previous_hash.hex(),
        inputs_digest=block.inputs_digest.hex(),
        records_digest=block.records_digest.hex(),
        block_hash=block.block_hash.hex(),
        same_records=payload == block.payload,
        portfolio={name: int(desk[name]) for name in ("pv_e8", "gross_e8", "peak_e8", "drawdown_ppm", "tier_id", "open_n")},
        decisions=decisions,
        records=records,
    )


class _Moment(NamedTuple):
    """POLICY [1] and STATE [1] before a block, its EVENT [1], and the bars, forecasts and memberships that came with it."""

    policies: Any
    states: Any
    event: Any
    rows: tuple[Any, Any, Any]


def _follow(
    journal: SqliteJournal, genesis: Genesis, lookup: ForecastHash, seq_n: int
) -> tuple[Block, bytes, list[int], list[Record]]:
    """Verify the chain up to a block; return it, the hash before it, the kinds of all blocks so far, and its records."""
    verifier = ChainVerifier(genesis.hash, journal.owner, bytes.fromhex(genesis.policy_digest), lookup)
    hashes: dict[str, list[bytes]] = {record.name: [bytes(32)] for record in RECORD_TYPES}
    kinds: list[int] = []
    previous, last = genesis.hash, None
    rows = {}
    for blocks in batches(journal.read(1, seq_n), BATCH_BLOCKS_N):
        found = verifier.follow(blocks)
        if isinstance(found, BadBlock):
            raise VerificationError(
                f"the chain breaks at block {found.seq_n}: {found.what}", expected="an unbroken chain up to the block",
                action="run ballast replay RUN for the details",
            )  # fmt: skip
        for name, row_hashes in found.row_hashes.items():
            hashes[name] += row_hashes
        kinds += [block.kind_id for block in blocks]
        for before, block in pairwise([last, *blocks]):
            previous, last = (before.block_hash if before else genesis.hash), block
        rows = {name: table[found.block_seq_n[name] == seq_n] for name, table in found.tables.items()}
    if last is None or last.seq_n != seq_n:
        raise VerificationError(
            f"the journal goes on without block {seq_n}", expected="an unbroken chain up to the block",
            action="run ballast replay RUN for the details",
        )  # fmt: skip
    records = []
    for name, table in rows.items():
        for row in table:
            parents = {}
            for parent, column in BY_NAME[name].parents:
                if parent == "policy":
                    parents[parent] = verifier.policy_digest.hex()
                elif parent == "forecast":
                    known = int(row["forecast_t"])
                    parents[parent] = lookup(int(row["instrument_id"]), known).hex() if known else ""
                elif row[column]:
                    parents[f"{parent} {int(row[column])}"] = hashes[parent][int(row[column])].hex()
            values = {field: _shown(genesis, name, field, int(row[field])) for field in row.dtype.names}
            records.append(Record(table=name, values=values, row_hash=hashes[name][int(row[0])].hex(), parents=parents))
    return last, previous, kinds, records


def _shown(genesis: Genesis, table: str, field: str, value: int) -> str:
    symbols = genesis.symbols
    label = BY_NAME[table].names.get(field, {}).get(value)
    if field == "instrument_id" and 0 <= value < len(symbols):
        label = symbols[value]
    return f"{value} {label}" if label else str(value)


def _state_before(inputs: RunInputs, kinds: list[int]) -> _Moment:
    """Return the moment before the last block of `kinds`."""
    before = kinds[:-1]
    events_n = sum(kind != c.EV_FILL for kind in before)
    fills_n = 0
    while before and before[-1 - fills_n] == c.EV_FILL:
        fills_n += 1
    sweep = Sweep(inputs)
    while sweep.done < events_n:
        sweep.advance(events_n)
    ahead = Sweep(inputs, sweep.states.copy(), events_n)
    ahead.advance(events_n + 1)
    for n in range(fills_n):  # the venue's fills between the last event and this block
        fill = ahead.out.event[n : n + 1]
        step.step(sweep.policies, sweep.states, new_out(), fill, *_rows(sweep, fill))
    event = ahead.out.event[fills_n : fills_n + 1].copy()
    return _Moment(sweep.policies, sweep.states, event, _rows(sweep, event))


def _state_folded(genesis: Genesis, journal: SqliteJournal, block: Block) -> _Moment:
    """Return the moment before a block of a chain that carries its inputs."""
    desk = Desk.fold(genesis, journal.read(1, block.seq_n - 1) if block.seq_n > 1 else ())
    event = event_of(block)
    policies = governed_by(event).to_record(genesis.pairs) if event.kind_id == c.EV_POLICY else desk.policy
    brought = (
        np.zeros(INSTRUMENTS, kind) if rows is None else rows
        for rows, kind in ((event.bars, BAR), (event.forecasts, FORECAST), (event.clusters, CLUSTER))
    )
    bars, forecasts, clusters = (np.ascontiguousarray(rows) for rows in brought)
    return _Moment(policies, desk.state, event.record, (bars, forecasts, clusters))


def _rows(sweep: Sweep, event: Any) -> tuple[Any, Any, Any]:
    """Return the bars, forecasts and clusters that come with an event."""
    rows = zip((sweep.bars, sweep.forecasts, sweep.clusters), ("bar_n", "forecast_n", "cluster_n"), strict=True)
    bars, forecasts, clusters = (table[max(int(event[0][name]), 0)] for table, name in rows)
    return bars, forecasts, clusters


def _apply(moment: _Moment) -> tuple[bytes, bytes]:
    """Return the state and the payload that the core makes of the event; the moment stays as it is."""
    states, out = moment.states.copy(), new_out()
    step.step(moment.policies, states, out, moment.event, *moment.rows)
    counted = [(record, int(out.n[0][record.name])) for record in RECORD_TYPES]
    sections = [SECTION.pack(r.code, n) + getattr(out, r.name)[:n].tobytes() for r, n in counted if n]
    return states.tobytes(), b"".join(sections)


def _decisions(genesis: Genesis, moment: _Moment, shown: set[int], records: list[Record], after: bytes) -> list[Decision]:
    """Walk through an event that decides as the core does, and look at each instrument of `shown` when its turn comes."""
    found: list[Decision] = []
    signals = {int(r.values["instrument_id"].split()[0]): r.values for r in records if r.table == "trade_signal"}

    def look(states: Any, s: int, arrived: bool, before_id: int) -> None:
        if s in shown:
            found.append(_decision(genesis, moment.policies[0], states.copy()[0], s, arrived, before_id, signals.get(s)))

    states = moment.states.copy()
    walk = _walk_quote if _moved(moment) else _walk
    walk(moment.policies[0], states, moment.event, moment.rows, look)
    if hashlib.sha256(states.tobytes()).digest() != hashlib.sha256(after).digest():
        raise InvariantError(
            "the explanation's walk through the event ends in another state than the core's",
            expected="the steps of step.on_bars", action="report this as a defect; replay is not affected",
        )  # fmt: skip
    return found


def _moved(moment: _Moment) -> bool:
    """Return whether the event is a quote after a large move of an instrument that is held."""
    event = moment.event[0]
    if event["kind_id"] != c.EV_QUOTE or event["value_n"] == 0:
        return False
    return bool(moment.states[0]["positions"][event["instrument_id"]]["qty_e8"] > 0)


def _walk_quote(
    policy: Any, states: Any, event: Any, _rows: tuple[Any, Any, Any], look: Callable[[Any, int, bool, int], None]
) -> None:
    """Walk through such a quote as `step.on_quote` does."""
    state, out, s = states[0], new_out(), int(event[0]["instrument_id"])
    position, bid, ask = state["positions"][s], event[0]["price_e8"], event[0]["reference_e8"]
    state["desk"]["now_t"] = event[0]["at_t"]
    fees.roll(state)
    position["bid_e8"], position["ask_e8"], position["quote_t"] = bid, ask, event[0]["at_t"]
    position["mark_e8"] = bid + (ask - bid) // 2
    ledger.revalue(policy, state, s)
    step._remark(policy, state, out)  # noqa: SLF001  the core's own step; `_decisions` checks where the walk ends
    look(states, s, False, int(position["outlook_id"]))
    campaign.decide(policy, state, out, s, False, int(position["outlook_id"]))


def _walk(
    policy: Any, states: Any, event: Any, rows: tuple[Any, Any, Any], look: Callable[[Any, int, bool, int], None]
) -> None:
    state, out = states[0], new_out()
    bars, forecasts, _ = rows
    rules, desk = policy["rules"], state["desk"]
    desk["now_t"] = now_t = event[0]["at_t"]
    close_t = min(event[0]["value_n"] + HOUR_T, now_t)
    stale = now_t - close_t > rules["bar_age_max_t"]
    fees.roll(state)
    for s in range(INSTRUMENTS):
        if bars[s]["present_n"] != 0:
            outlook.observe_bar(rules, state["positions"][s], bars[s], close_t)
            if state["positions"][s]["qty_e8"] > 0:
                ledger.revalue(policy, state, s)
    step._remark(policy, state, out)  # noqa: SLF001  the core's own step; `_decisions` checks where the walk ends
    orders.expire(policy, state, out)
    campaign.retry_waiting(policy, state, out)
    for s in range(0 if stale else INSTRUMENTS):
        position = state["positions"][s]
        before_id = int(position["outlook_id"])
        arrived = bool(event[0]["forecast_n"] >= 0 and forecasts[s]["valid_n"] != 0)
        if arrived:
            state["forecasts"][s] = forecasts[s]
            position["forecast_t"] = desk["now_t"]
            outlook.observe_forecast(rules, position, forecasts[s])
        look(states, s, arrived, before_id)
        if arrived or position["qty_e8"] > 0:
            campaign.decide(policy, state, out, s, arrived, before_id)
    step._hourly(policy, state, out)  # noqa: SLF001  see above


def _decision(
    genesis: Genesis, policy: Any, state: Any, s: int, arrived: bool, before_id: int, signal: dict[str, str] | None
) -> Decision:
    position, forecast = state["positions"][s], state["forecasts"][s]
    seen = {
        name: int(position[name]) for name in ("qty_e8", "cost_e8", "value_e8", "mark_e8", "mark_t", "vol_ppb", "cluster_id")
    }
    seen["gain_ppm"] = int(outlook.gain_ppm(position, E8))
    action, reason = c.NONE, c.R_NONE
    if position["qty_e8"] > 0:
        strategy.observe_recovery(policy, state, s, arrived)
        action, reason = strategy.intent_open(policy, state, s, arrived)
    elif arrived:
        action, reason = strategy.intent_flat(policy["rules"], position, forecast)
    lines: list[GateLine] = []
    wanted, sized, gate = 0, 0, c.G_PASS
    if action in {c.ENTER, c.REENTER}:
        lines, wanted, sized, gate = gate_lines(policy, state, s, action)
    elif action in {c.EXIT, c.DERISK, c.REALISE}:
        wanted = int(position["value_e8"])
        sized = wanted if action == c.EXIT else int(
            sizing.share_to_sell(position, policy["instruments"][s]["lot_e8"], campaign._share_ppm(policy["rules"], action))  # noqa: SLF001  the core's own share
        )  # fmt: skip
    told = (signal or {}).get("gate_id", "").split()
    if lines and told and int(told[0]) != gate:
        raise InvariantError(
            f"the explanation finds the gate {c.GATE_NAMES[gate]}, the journal says {told[-1]}",
            expected="the core's own verdict", action="report this as a defect; replay is not affected",
        )  # fmt: skip
    outcome = "no signal was written: neither the class nor the action changed"
    if signal is not None:
        outcome = "passed every gate" if told[0] == str(c.G_PASS) else f"refused by {told[-1]}"
        if action in {c.NONE, c.HOLD, c.DIP_WAIT}:
            outcome = "recorded; no order is asked for"
    return Decision(
        symbol=genesis.symbols[s],
        forecast={name: int(forecast[name]) for name in forecast.dtype.names},
        forecast_t=int(position["forecast_t"]),
        new_forecast=arrived,
        outlook=c.OUTLOOK_NAMES[int(position["outlook_id"])],
        raw_outlook=c.OUTLOOK_NAMES[int(position["raw_outlook_id"])],
        outlook_before=c.OUTLOOK_NAMES[before_id],
        persist_n=int(position["persist_n"]),
        position=seen,
        action=c.ACTION_NAMES[int(action)],
        reason=c.REASON_NAMES[int(reason)],
        words=REASONS[int(reason)],
        gates=lines,
        wanted_e8=int((signal or {}).get("wanted_e8", wanted)),
        sized_e8=int((signal or {}).get("sized_e8", sized)),
        outcome=outcome,
    )
