"""From rows of the live tables to answers: timeline, one decision, equity, candles with marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from runtime.adapters.live_reader import Decision, Filters, LiveReader, Row
from runtime.control import decision_models as d
from runtime.control import models as m
from runtime.control.reads import bundle_ref
from runtime.control.words import code_name, compared
from runtime.core import codes as c
from runtime.core.records import BY_NAME
from runtime.errors import DataError, UsageError
from runtime.event import BundleNote
from runtime.genesis import Bundle
from runtime.ops.explain_words import REASONS
from runtime.trading.view import RuntimeView

Shown = TypeVar("Shown", bound=m.Answer)
PASSING: Final = c.G_PASS
REFUSING: Final = tuple(gate for gate in c.GATE_NAMES if gate != c.G_PASS)
CHOICES: Final[dict[str, dict[int, str]]] = {
    "action": c.ACTION_NAMES, "gate": c.GATE_NAMES, "outlook": c.OUTLOOK_NAMES, "reason": c.REASON_NAMES,
}  # fmt: skip
BOUGHT: Final = frozenset({c.ENTER, c.REENTER})
SOLD: Final = frozenset({c.REALISE, c.DERISK, c.EXIT})


def chosen(what: str, names: Sequence[str]) -> tuple[int, ...]:
    """Return the codes of some names.

    Raises:
        UsageError: no such name.
    """
    codes = {name: code for code, name in CHOICES[what].items()}
    return tuple(_known(what, name, codes) for name in names)


def instruments(symbols: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    """Return the instruments of some symbols.

    Raises:
        UsageError: no such symbol.
    """
    ids = {symbol: s for s, symbol in enumerate(symbols)}
    return tuple(_known("asset", name, ids) for name in names)


def _known(what: str, name: str, known: Mapping[str, int]) -> int:
    if name not in known:
        raise UsageError(f"{what} {name[:40]!r}", expected=f"one of {', '.join(known)}", action=f"choose another {what}")
    return known[name]


def signal(row: Row, view: RuntimeView) -> d.Signal:
    """Return one decision in a line."""
    s = row["instrument_id"]
    quote_id = view.genesis.pairs[s].quote_id
    names = BY_NAME["trade_signal"].names
    said = {
        column.removesuffix("_id"): code_name(names[column], row[column])
        for column in ("action_id", "reason_id", "gate_id", "outlook_id", "raw_outlook_id", "tier_id")
    }
    numbers = {
        name: row[name]
        for name in (
            "signal_id", "at_t", "origin_hour_t", "hour_t", "instrument_id", "action_id", "reason_id", "gate_id", "outlook_id",
            "raw_outlook_id", "persist_n", "tier_id", "prob_ppm", "edge_ppm", "near_ppm", "cost_ppm", "vol_ppm", "uncertainty_ppm",
            "rebound_ppm", "downside_ppm", "gain_ppm", "forecast_t", "horizon_t",
        )
    }  # fmt: skip
    return d.Signal.model_validate({
        **numbers, **said, "seq_n": row["block_seq_n"], "symbol": view.symbols[s], "quote": code_name(c.QUOTE_NAMES, quote_id),
        "words": REASONS.get(row["reason_id"], ""), "refused": row["gate_id"] != c.G_PASS,
        "wanted_e8": str(row["wanted_e8"]), "sized_e8": str(row["sized_e8"]),
    })  # fmt: skip


def timeline(reader: LiveReader, view: RuntimeView, filters: Filters, cursor: int | None, limit: int) -> d.Timeline:
    """Return decisions, newest first."""
    head_n = reader.watermark().seq_n
    page = reader.timeline(filters, cursor, limit)
    rows = tuple(signal(row, view) for row in page.rows)
    return d.Timeline(seq_n=head_n, signals=rows, cursor=str(page.cursor) if page.cursor is not None else None)


def equity(reader: LiveReader, since_t: int, until_t: int | None, points: int) -> m.Equity:
    """Return the portfolio over time."""
    head_n = reader.watermark().seq_n
    found = [_texts(point._asdict()) for point in reader.equity(since_t, until_t, points)]
    return m.Equity(seq_n=head_n, points=tuple(m.EquityOut.model_validate(point) for point in found))


def candles(reader: LiveReader, view: RuntimeView, symbol: str, since_t: int, limit: int) -> d.Candles:
    """Return the candles of one asset with its fills and refusals."""
    (s,) = instruments(view.symbols, [symbol])
    head_n = reader.watermark().seq_n
    bars, marks = reader.candles(s, since_t, limit)
    first_t = bars[0].open_t if bars else since_t
    refused = reader.timeline(Filters(instruments=(s,), gates=REFUSING, since_t=first_t), None, limit * 4).rows if bars else []
    return d.Candles(
        seq_n=head_n, symbol=symbol, quote=code_name(c.QUOTE_NAMES, view.genesis.pairs[s].quote_id),
        interval_t=view.genesis.interval_t,
        candles=tuple(d.CandleOut.model_validate(_texts(bar._asdict())) for bar in bars),
        marks=tuple(
            d.MarkOut(
                at_t=mark.at_t, signal_id=mark.signal_id, fill_id=mark.fill_id, action=code_name(c.ACTION_NAMES, mark.action_id),
                reason=code_name(c.REASON_NAMES, mark.reason_id), side=code_name(c.SIDE_NAMES, mark.side_id),
                qty_e8=str(mark.qty_e8), price_e8=str(mark.price_e8),
            )
            for mark in marks
        ),
        refusals=tuple(
            d.RefusalMark(
                at_t=row["at_t"], signal_id=row["signal_id"], action=code_name(c.ACTION_NAMES, row["action_id"]),
                gate=code_name(c.GATE_NAMES, row["gate_id"]),
            )
            for row in reversed(refused)
        ),
    )  # fmt: skip


def found(reader: LiveReader, signal_id: int) -> Decision:
    """Return the rows of one decision.

    Raises:
        DataError: there is no such decision, or the tables have not taken it in yet.
    """
    rows = reader.decision(signal_id)
    if rows is None:
        raise DataError(
            f"no decision {signal_id}", expected="the number of a signal of this account", action="see GET /decisions/timeline"
        )
    return rows


def decision(found: Decision, view: RuntimeView) -> d.DecisionOut:
    """Return one decision with what it came from and all that came of it."""
    shown, forecast = signal(found.signal, view), found.forecast
    return d.DecisionOut(
        signal=shown, verdict=_verdict(found, shown), forecast=_forecast(found),
        risk_events=tuple(_risk_event(row) for row in found.risk_events),
        orders=tuple(_rows(found.orders, d.OrderState, "order_request")),
        fills=tuple(_rows(found.fills, d.Fill, "order_fill")),
        lots=tuple(_rows(found.lots, d.Lot, "position_lot")),
        trades=tuple(_rows(found.trades, d.Trade, "executed_trade")),
        lineage=d.Lineage(
            run_id=view.run_id, seq_n=found.block.seq_n, block_hash=found.block.block_hash.hex(),
            genesis_hash=view.genesis.hash.hex(), policy_digest=found.governing.policy_digest,
            profile_version_n=found.governing.profile_version_n, bundle=governing_bundle(found),
            feature_digest=forecast.feature_digest.hex() if forecast is not None else "",
            dataset_hash=view.genesis.dataset_hash, core_digest=view.genesis.core_digest,
            replay=f"ballast replay {view.run_id} --explain {found.block.seq_n} --symbol {shown.symbol}",
        ),
    )  # fmt: skip


def governing_bundle(found: Decision) -> m.BundleRef:
    """Return the bundle that governed a decision: of a note, or the one of the genesis.

    Raises:
        DataError: the tables hold neither.
    """
    for model in (BundleNote, Bundle):
        try:
            return bundle_ref(model.model_validate_json(found.governing.bundle))
        except ValueError:
            continue
    raise DataError(
        f"bundle {found.governing.bundle[:100]!r} of block {found.governing.seq_n}",
        expected="the note of a bundle, or the bundle of a genesis", action="delete live.sqlite: it is rebuilt from the journal",
    )  # fmt: skip


def _verdict(found: Decision, shown: d.Signal) -> str:
    if shown.refused:
        told = next((row for row in found.risk_events if row["kind_id"] == c.RISK_REFUSED), None)
        numbers = f": {_words(told)}" if told is not None else ""
        return f"{shown.action} refused by {shown.gate}{numbers}"
    if shown.action_id not in BOUGHT | SOLD:
        return f"{shown.action}: {shown.words}; no order is asked for"
    if not found.orders:
        return f"{shown.action} passed; no order was needed"
    last = code_name(c.ORDER_STATUS_NAMES, found.orders[-1]["status_id"])
    fills_n = len(found.fills)
    return f"{shown.action} passed every gate; its order is {last}, with {fills_n} fill{'s' if fills_n != 1 else ''}"


def _words(row: Row) -> str:
    return compared(row["gate_id"], code_name(c.SCALE_NAMES, row["scale_id"]), row["limit_v"], row["value_v"])


def _risk_event(row: Row) -> d.RiskEvent:
    return d.RiskEvent(
        risk_event_id=row["risk_event_id"], seq_n=row["block_seq_n"], kind_id=row["kind_id"],
        kind=code_name(c.RISK_KIND_NAMES, row["kind_id"]), gate_id=row["gate_id"],
        gate=code_name(c.GATE_NAMES, row["gate_id"]), scale=code_name(c.SCALE_NAMES, row["scale_id"]),
        limit=str(row["limit_v"]), value=str(row["value_v"]), words=_words(row),
    )  # fmt: skip


def _forecast(found: Decision) -> d.ForecastOut | None:
    row = found.forecast
    if row is None:
        return None
    numbers = {name: value for name, value in row.values.items() if name.endswith("_ppm")}
    return d.ForecastOut.model_validate({
        **numbers, "at_t": row.at_t, "seq_n": row.block_seq_n, "feature_digest": row.feature_digest.hex()
    })  # fmt: skip


def _rows(rows: Sequence[Row], model: type[Shown], table: str) -> list[Shown]:
    """Return rows of a table as answers: columns by name, coded ones by their names as well."""
    names = BY_NAME[table].names
    found = []
    for row in rows:
        values: dict[str, int | str] = _texts(row)
        values["seq_n"] = row["block_seq_n"]
        for column, known in names.items():
            values[column.removesuffix("_id")] = code_name(known, row[column])
        found.append(model.model_validate({name: values[name] for name in model.model_fields}))
    return found


def _texts(row: Mapping[str, int]) -> dict[str, int | str]:
    """Return a row with what may exceed 2**53 as text."""
    return {name: str(value) if name.endswith(("_e8", "_e4")) else value for name, value in row.items()}
