"""Where two blocks, or a summary and its run, differ, and what kind of failure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.core.codes import O_NEW
from runtime.core.digest import HEADER, Block, decode_payload
from runtime.core.records import PPM, RECORD_TYPES, RecordType
from runtime.ports import Head
from runtime.verify import Rows

_HEADER_FIELDS: Final = ("seq_n", "at_t", "kind_id", "account_id", "mode_id", "records_n")


class FailureClass(StrEnum):
    """Why a replay has no parity."""

    CHAIN_BREAK = "chain break"
    TRUNCATED = "truncated journal"
    INPUT_MISSING = "input missing"
    INPUT_CHANGED = "input changed"
    POLICY_CHANGED = "policy changed"
    MODEL_CHANGED = "model changed"
    ARITHMETIC = "arithmetic"
    CODE_DRIFT = "code drift"
    PLATFORM_DRIFT = "platform drift"
    STATE_DIVERGENCE = "state divergence"
    SUMMARY_CHANGED = "summary changed"


class Failure(BaseModel):
    """The first difference. Fields that do not apply are empty or 0.

    Attributes:
        kind: class of failure.
        detail: one sentence.
        block: sequence number of the block.
        record: record type, or the part of the block (`header`, `inputs_digest`, ...).
        row: the row's own id.
        field: column.
        stored: what the journal, or the input that the genesis names, holds.
        recomputed: what the core computes, or the lineage gives.
        symbol, at_t: asset and time (seconds UTC) of what differs in the lineage.
        path: file below the home folder that is missing or changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FailureClass
    detail: str
    block: int = 0
    record: str = ""
    row: int = 0
    field: str = ""
    stored: str = ""
    recomputed: str = ""
    symbol: str = ""
    at_t: int = 0
    path: str = ""


class SummaryFacts(BaseModel):
    """What a run's summary says that a replay has verified; values are `None` for a run without an hourly state."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_root: str
    journal_head: str
    blocks: int
    initial_pv_e8: int
    final_pv_e8: int | None
    net_return_ppm: int | None
    max_drawdown_ppm: int | None
    fees_e8: int | None
    open_positions: int | None
    turnover_e8: int
    signals: int
    orders: int
    fills: int
    trades: int


@dataclass(slots=True)
class Tally:
    """Adds up over verified rows what a summary says of them.

    Attributes:
        initial_pv_e8: the deposits of the genesis.
        drawdown_ppm: the deepest so far; `last` holds the last hourly state's value, fees and open positions.
    """

    initial_pv_e8: int = 0
    turnover_e8: int = 0
    signals: int = 0
    orders: int = 0
    fills: int = 0
    trades: int = 0
    drawdown_ppm: int | None = None
    last: tuple[int, int, int] | None = None

    def take(self, tables: Mapping[str, Rows]) -> None:
        """Add the rows of the next blocks."""
        hours, orders, fills = tables["portfolio_hourly_state"], tables["order_request"], tables["order_fill"]
        self.signals += len(tables["trade_signal"])
        self.orders += int((orders["status_id"] == O_NEW).sum())
        self.fills += len(fills)
        self.trades += len(tables["executed_trade"])
        self.turnover_e8 += sum(fills["notional_e8"].tolist())
        if len(hours):
            self.drawdown_ppm = max(self.drawdown_ppm or 0, int(hours["drawdown_ppm"].max()))
            pv_e8, fees_e8, open_n = (int(hours[name][-1]) for name in ("pv_e8", "fees_e8", "open_n"))
            self.last = (pv_e8, fees_e8, open_n)

    def facts(self, root: str, head: Head) -> SummaryFacts:
        """Return what the summary of these rows must say."""
        pv_e8, fees_e8, open_n = self.last or (None, None, None)
        gain = None if pv_e8 is None or self.initial_pv_e8 == 0 else (pv_e8 - self.initial_pv_e8) * PPM // self.initial_pv_e8
        return SummaryFacts(
            run_root=root, journal_head=head.block_hash.hex(), blocks=head.seq_n, initial_pv_e8=self.initial_pv_e8,
            final_pv_e8=pv_e8, net_return_ppm=gain, max_drawdown_ppm=self.drawdown_ppm, fees_e8=fees_e8, open_positions=open_n,
            turnover_e8=self.turnover_e8, signals=self.signals, orders=self.orders, fills=self.fills, trades=self.trades,
        )  # fmt: skip


def summary_difference(name: str, content: bytes, verified: SummaryFacts) -> Failure | None:
    """Return the first field in which a summary file differs from what was verified, `None` when it does not."""
    try:
        stored = SummaryFacts.model_validate_json(content)
    except ValidationError:
        return Failure(
            kind=FailureClass.SUMMARY_CHANGED, record=name, detail=f"{name} is damaged: it is not the summary of a run"
        )
    for field in SummaryFacts.model_fields:
        said, found = getattr(stored, field), getattr(verified, field)
        if said != found:
            return Failure(
                kind=FailureClass.SUMMARY_CHANGED, record=name, field=field, stored=str(said), recomputed=str(found),
                detail=f"{name} says another {field} than the verified journal",
            )  # fmt: skip
    return None


def first_difference(stored: Block, recomputed: Block) -> Failure:
    """Return the first difference of two blocks, from the records outwards to the block hash."""
    place = _payload_difference(stored.payload, recomputed.payload)
    if place is None:
        place = _envelope_difference(stored, recomputed)
    kind = FailureClass.INPUT_CHANGED if place.record == "inputs_digest" else FailureClass.STATE_DIVERGENCE
    where = f"{place.record}{f' row {place.row}' if place.row else ''}{f' field {place.field}' if place.field else ''}"
    seq_n = recomputed.seq_n
    return place.model_copy(update={"kind": kind, "block": seq_n, "detail": f"block {seq_n} differs in {where}"})


def _place(record: str, row: int, field: str, stored: str, recomputed: str) -> Failure:
    return Failure(
        kind=FailureClass.STATE_DIVERGENCE, detail="", record=record, row=row, field=field, stored=stored, recomputed=recomputed
    )


def _payload_difference(stored: bytes, recomputed: bytes) -> Failure | None:
    if stored == recomputed:
        return None
    ours = decode_payload(recomputed)
    try:
        theirs = decode_payload(stored)
    except (ValueError, TypeError) as e:
        return _place("payload", 0, "", f"malformed: {e}", f"{len(recomputed)} bytes")
    for record in RECORD_TYPES:
        found = _table_difference(record, theirs.get(record.name), ours.get(record.name))
        if found is not None:
            return found
    return _place("payload", 0, "", "sections in another order", "")


def _table_difference(record: RecordType, stored: Rows | None, recomputed: Rows | None) -> Failure | None:
    stored_n = 0 if stored is None else len(stored)
    recomputed_n = 0 if recomputed is None else len(recomputed)
    names: tuple[str, ...] = record.dtype.names or ()
    if stored is not None and recomputed is not None:
        for theirs, ours in zip(stored, recomputed, strict=False):
            for name in names:
                if theirs[name] != ours[name]:
                    shown = (_shown(record, name, int(theirs[name])), _shown(record, name, int(ours[name])))
                    return _place(record.name, int(ours[names[0]]), name, *shown)
    if stored_n != recomputed_n:
        return _place(record.name, 0, "", f"{stored_n} rows", f"{recomputed_n} rows")
    return None


def _shown(record: RecordType, name: str, value: int) -> str:
    label = record.names.get(name, {}).get(value)
    return f"{value} {label}" if label else str(value)


def _envelope_difference(stored: Block, recomputed: Block) -> Failure:
    if isinstance(stored.header, bytes) and len(stored.header) == HEADER.size:
        values = zip(_HEADER_FIELDS, HEADER.unpack(stored.header), HEADER.unpack(recomputed.header), strict=True)
        for name, theirs, ours in values:
            if theirs != ours:
                return _place("header", 0, name, str(theirs), str(ours))
    order = ("header", "inputs_digest", "records_digest", "block_hash", "seq_n", "at_t", "kind_id", "inputs")
    name = next(name for name in order if getattr(stored, name) != getattr(recomputed, name))
    return _place(name, 0, "", _text(getattr(stored, name)), _text(getattr(recomputed, name)))


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
