"""Verify an audit export of a Ballast run: one file, the standard library alone, nothing of the project.

    python -I verify_export.py export.zip [--json] [--chain-only] [--run-root HEX]

It is a second, independent implementation of docs/reference/canonical-bytes.md (the archive's README.md repeats the byte
layout): it follows every hash from the genesis to the run root, and keeps its own books (cash, lots, orders, fees, marks,
caps) from the inputs in the archive, comparing every field of every record with what it computed itself. It stops at the
first defect and names it. Exit code 0: verified; 1: not verified; 2: wrong command line.

The stored rows choose only what the strategy wished (action and reason of a signal, and whether a signal that changes
nothing is written); all that follows from a wish is computed here. `ballast replay` computes the wishes as well.

This file is above 400 lines because it must be one file: an auditor reads it whole and runs it alone. It needs Python
3.11 or newer. The archive is mapped, not loaded; of what grows with the run only the list of forecast times is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import struct
import sys
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

FORMAT: Final = "ballast audit export 1"
SLOTS: Final = 32
"""Instrument slots of every input row; unused ones are zero."""
E8, PPM, PPB, E4 = 10**8, 10**6, 10**9, 10**4
HOUR_T, DAY_T, DAYS = 3_600, 86_400, 30
LOTS_MAX: Final = 64
REPORT_BLOCKS_N: Final = 4_096
CASH_MARGIN_E8: Final = 1_000
VOLUME_MAX_E4: Final = 9 * 10**15
SATURATED: Final = (2**63 - 1) // 4

PREFIX: Final = "account_id mode_id origin_hour_t hour_t at_t"
RECORDS: Final = {
    "trade_signal": (1, f"""signal_id {PREFIX} instrument_id forecast_t outlook_id raw_outlook_id persist_n action_id reason_id
        gate_id wanted_e8 sized_e8 prob_ppm edge_ppm near_ppm cost_ppm vol_ppm uncertainty_ppm rebound_ppm downside_ppm gain_ppm
        horizon_t tier_id""", (("forecast", "instrument_id"), ("policy", ""))),
    "risk_event": (2, f"""risk_event_id {PREFIX} signal_id instrument_id kind_id gate_id action_id scale_id limit_v value_v
        tier_id""", (("trade_signal", "signal_id"),)),
    "order_request": (3, f"""order_row_id {PREFIX} order_id signal_id instrument_id quote_id side_id status_id reason_id attempt_n
        qty_e8 left_e8 reserve_e8 decision_price_e8 limit_price_e8 expires_t retry_t campaign_id""",
        (("trade_signal", "signal_id"),)),
    "order_fill": (4, f"""fill_id {PREFIX} order_id order_row_id instrument_id quote_id side_id liquidity_id qty_e8 price_e8
        reference_e8 notional_e8 fee_e8 slippage_e8""", (("order_request", "order_row_id"),)),
    "position_lot": (5, f"""lot_row_id {PREFIX} lot_id fill_id instrument_id kind_id qty_e8 cost_e8 left_e8 left_cost_e8""",
        (("order_fill", "fill_id"),)),
    "executed_trade": (6, f"""trade_id {PREFIX} lot_id lot_row_id fill_id instrument_id quote_id opened_t qty_e8 cost_e8
        proceeds_e8 pnl_e8 campaign_id""", (("position_lot", "lot_row_id"), ("order_fill", "fill_id"))),
    "cash_ledger": (7, f"""entry_id {PREFIX} quote_id entry_n previous_entry_id kind_id fill_id instrument_id before_e8 delta_e8
        after_e8 notional_e8 fee_e8 slippage_e8""", (("order_fill", "fill_id"), ("cash_ledger", "previous_entry_id"))),
    "portfolio_hourly_state": (8, f"""state_id {PREFIX} ledger_entry_id pv_e8 gross_e8 peak_e8 drawdown_ppm realised_e8
        unrealised_e8 fees_e8 slippage_e8 open_n orders_n cash_usd_e8 cash_cad_e8 cash_usdc_e8""",
        (("cash_ledger", "ledger_entry_id"),)),
    "risk_hourly_state": (9, f"""state_id {PREFIX} portfolio_state_id tier_id kill_n halt_n drawdown_ppm total_cap_e8
        total_used_e8 open_n positions_max_n used_usd_e8 used_cad_e8 used_usdc_e8""",
        (("portfolio_hourly_state", "portfolio_state_id"),)),
    "cluster_exposure_hourly_state": (10, f"""state_id {PREFIX} portfolio_state_id cluster_id membership_n members_n exposure_e8
        in_flight_e8 cap_e8""", (("portfolio_hourly_state", "portfolio_state_id"),)),
}  # fmt: skip
"""Record type -> (code, fields, parents); a block lists its records in this order."""
EVENT: Final = """kind_id at_t bar_n forecast_n cluster_n instrument_id quote_id order_id status_id liquidity_id qty_e8 price_e8
    reference_e8 amount_e8 value_n"""
BAR: Final = "open_e8 high_e8 low_e8 close_e8 volume_e4 present_n"
FORECAST: Final = "prob_near_ppm prob_main_ppm prob_far_ppm ret_near_ppm ret_main_ppm ret_far_ppm uncertainty_ppm valid_n"
HEADER: Final = "seq_n at_t kind_id account_id mode_id records_n"
NAMES: Final = tuple(RECORDS)
FIELDS: Final = {name: tuple(fields.split()) for name, (_, fields, _) in RECORDS.items()}
ROW_BYTES: Final = {name: 8 * len(fields) for name, fields in FIELDS.items()}
BLOCK_BYTES: Final = 48 + 3 * 32 + 8 * len(NAMES)
EVENT_BYTES, BAR_BYTES, FORECAST_BYTES = 8 * 15, 8 * 6 * SLOTS, 8 * 8 * SLOTS
SIZES: Final = {
    "blocks.bin": BLOCK_BYTES, "events.bin": EVENT_BYTES,
    "inputs/close_t.bin": 8, "inputs/bars.bin": BAR_BYTES,
    "inputs/forecast_t.bin": 8, "inputs/forecasts.bin": FORECAST_BYTES, "inputs/feature_digests.bin": 32,
    "inputs/cluster_t.bin": 8, "inputs/clusters.bin": 8 * SLOTS,
    **{f"rows/{name}.bin": ROW_BYTES[name] for name in NAMES}, **{f"hashes/{name}.bin": 32 for name in NAMES},
}  # fmt: skip
"""Member of fixed-width rows -> bytes per row."""
TEXTS: Final = ("README.md", "manifest.json", "layout.json", "verify_export.py", "genesis.json", "head.json")
MEMBERS: Final = (*TEXTS, *SIZES)
"""Every member, in archive order."""

EV_BARS, EV_FILL, EV_DEPOSIT, EV_CONTROL, EV_RATE, EV_WITHDRAWAL, EV_CORRECTION = 1, 2, 3, 4, 5, 6, 7
EV_RECONCILIATION, EV_ORDER, EV_CLUSTERS, EV_QUOTE, EV_HEARTBEAT = 8, 9, 10, 11, 12
CASH_EVENTS: Final = {EV_DEPOSIT: 1, EV_WITHDRAWAL: 4, EV_CORRECTION: 5, EV_RECONCILIATION: 6}
"""Event kind -> kind of its ledger entry."""
NONE, ENTER, HOLD, REALISE, REENTER, DERISK, EXIT, DIP_WAIT = range(8)
(G_PASS, G_KILL, G_HALT, G_DRAWDOWN, G_SEVERE_LOSS, G_POSITIONS, G_TOTAL, G_CLUSTER, G_QUOTE, G_BUDGET, G_COST, G_LIQUIDITY,
 G_FRESHNESS, G_CLOCK, G_PAIR, G_LOT, G_MINIMUM, G_CASH, G_BUSY) = range(19)  # fmt: skip
K_REFUSED, K_CUT, K_TIER, K_KILL, K_HALT, K_RECOVERY, K_RETRY = 1, 2, 3, 4, 5, 6, 7
S_N, S_E8, S_PPM, S_T, S_MS = 0, 1, 2, 3, 5
BUY, SELL, TAKER, MAKER, R_HOLD_EXTENDED, MODE_BACKTEST = 1, -1, 1, 2, 13, 1
O_NEW, O_PARTIAL, O_FILLED, O_CANCELLED, O_EXPIRED, O_DUST = range(1, 7)
O_OPEN, O_DENIED, O_REJECTED, O_UNKNOWN, O_RETRYING, O_CANCELLING = range(7, 13)
L_BUY, L_SELL, LOT_OPEN, LOT_MERGE, LOT_REDUCE, LOT_CLOSE = 2, 3, 1, 2, 3, 4
TIER_HALT20: Final = 3

CHECKED: Final = (
    "digest of every member; form of the archive; layout",
    "genesis hash, policy digest, digests of bars, forecasts and cluster memberships",
    "row hashes with parents, records digests, inputs digests, block chain, anchor, run root",
    "every field of every record, recomputed from the inputs; ids dense from 1; one account and mode",
    "cash chains per currency, fees by the 30-day tier, FIFO lots, trades, realised profit, no short, cash never negative",
    "outlook, size, every gate and cap of each admitted and each refused buy; quantities of sales; retries; expiry",
    "portfolio value, peak, drawdown, tiers; an hourly state for every bar, none missing in the grid",
    "backtests: which order each bar fills, at which quantity and price; none left out",
)
NOT_CHECKED: Final = (
    "the strategy's choice: action and reason of a signal, and signals left out that change nothing (`ballast replay` does)",
    "how forecasts follow from features and models, and bars from the market: their digests stand in the genesis",
    "who wrote the archive: a whole other run, consistent in itself, is told by its run root only (--run-root)",
)

Row = tuple[int, ...]


class Defect(Exception):
    """The first thing that does not hold."""

    def __init__(
        self, what: str, *, block: int = 0, record: str = "", row: int = 0, field: str = "", stored: object = "",
        recomputed: object = "",
    ) -> None:  # fmt: skip
        super().__init__(what)
        self.what, self.block, self.record, self.row, self.field = what, block, record, row, field
        self.stored, self.recomputed = str(stored), str(recomputed)

    def as_json(self) -> dict[str, object]:
        """Return the defect as a JSON object."""
        return {
            "what": self.what, "block": self.block, "record": self.record, "row": self.row, "field": self.field,
            "stored": self.stored, "recomputed": self.recomputed,
        }  # fmt: skip


def sha256(*parts: bytes | memoryview) -> bytes:
    """Return the SHA-256 of the parts, one after the other."""
    h = hashlib.sha256()
    for part in parts:
        h.update(part)
    return h.digest()


def i8(*values: int) -> bytes:
    """Return signed 64-bit little-endian integers."""
    return struct.pack(f"<{len(values)}q", *values)


def canonical(value: object) -> bytes:
    """Return the RFC 8785 bytes of a JSON value without floats and with ASCII keys: all that these files hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def layout() -> dict[str, Any]:
    """Return the layout of the binary members as data."""
    types = {
        name: {"code": code, "fields": list(FIELDS[name]), "parents": [list(parent) for parent in parents]}
        for name, (code, _, parents) in RECORDS.items()
    }
    inputs = {"event": EVENT.split(), "bar": BAR.split(), "forecast": FORECAST.split(), "cluster": ["cluster_id"]}
    block = [*HEADER.split(), "inputs_digest", "records_digest", "block_hash", *(f"{name}_n" for name in NAMES)]
    return {
        "format": FORMAT, "integers": "signed, 64 bits, little-endian", "digests": "32 bytes, SHA-256", "slots": SLOTS,
        "block": block, "records": types, "inputs": inputs, "row_bytes": dict(SIZES),
    }  # fmt: skip


# ---- the archive ------------------------------------------------------------------------------------------------


class Archive:
    """A stored (uncompressed) ZIP, mapped into memory; `members` are views of it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        if path.stat().st_size == 0:
            self._file.close()
            raise Defect("an empty file", record="archive")
        self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        self.members: dict[str, memoryview] = {}
        try:
            self._find()
        except (zipfile.BadZipFile, struct.error, NotImplementedError, ValueError, OverflowError) as e:
            self.close()
            raise Defect(f"not a whole archive: {e}", record="archive") from e

    def _find(self) -> None:
        with zipfile.ZipFile(self._file) as z:
            infos = z.infolist()
            comment = z.comment
        names = tuple(info.filename for info in infos)
        if names != MEMBERS or comment:
            raise Defect("the archive has other members", record="archive", stored=names, recomputed=MEMBERS)
        at = 0
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits or info.header_offset != at or info.comment:
                raise Defect("a member is not stored where and as it should be", record=info.filename, stored=info.header_offset,
                             recomputed=at)  # fmt: skip
            signature, name_n, extra_n = struct.unpack_from("<4s22xHH", self._view, at)
            first = at + 30 + name_n + extra_n
            at = first + info.file_size
            if (
                signature != b"PK\3\4"
                or bytes(self._view[first - name_n - extra_n : first - extra_n]) != info.filename.encode()
            ):
                raise Defect("a member's own header differs from the directory", record=info.filename)
            if info.compress_size != info.file_size or at > len(self._view):
                raise Defect("a member is cut off", record=info.filename)
            self.members[info.filename] = self._view[first:at]

    def json(self, name: str) -> Any:
        """Return the value of a JSON member, which must be in canonical form."""
        content = bytes(self.members[name])
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as e:
            raise Defect(f"{name} is not JSON: {e}", record=name) from e
        if canonical(value) != content:
            raise Defect(f"{name} is not in canonical form", record=name)
        return value

    def check_manifest(self) -> tuple[dict[str, Any], list[Defect]]:
        """Return the manifest, and a defect for each member that is not what it says."""
        manifest = self.json("manifest.json")
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest.get("members"), list):
            raise Defect("the manifest has another format", record="manifest.json", recomputed=FORMAT)
        expected = [
            {"bytes_n": len(view), "name": name, "sha256": hashlib.sha256(view).hexdigest()}
            for name, view in self.members.items()
            if name != "manifest.json"
        ]
        if [type(m) is dict and m.get("name") for m in manifest["members"]] != [m["name"] for m in expected]:
            raise Defect("the manifest lists other members", record="manifest.json")
        changed = [
            Defect("a member is not what the manifest says", record=str(ours["name"]), field=key, stored=theirs.get(key),
                   recomputed=ours[key])
            for theirs, ours in zip(manifest["members"], expected, strict=True)
            for key in ("bytes_n", "sha256")
            if theirs.get(key) != ours[key]
        ]  # fmt: skip
        for name, size in SIZES.items():
            if len(self.members[name]) % size:
                raise Defect(
                    "a member ends inside a row", record=name, stored=len(self.members[name]), recomputed=f"n x {size}"
                )
        return manifest, changed

    def close(self) -> None:
        """Release the mapping."""
        for view in self.members.values():
            view.release()
        self._view.release()
        self._map.close()
        self._file.close()


# ---- the profile ------------------------------------------------------------------------------------------------


class Profile:
    """The numbers of the genesis that the books need."""

    def __init__(self, genesis: dict[str, Any]) -> None:
        p: dict[str, Any] = genesis["profile"]
        self.owner = (int(genesis["account_id"]), int(genesis["mode_id"]))
        self.backtest = self.owner[1] == MODE_BACKTEST
        self.interval_t = int(genesis["interval_t"])
        self.deposits = [(int(d["quote_id"]), int(d["amount_e8"])) for d in genesis["deposits"]]
        pairs = genesis["pairs"]
        self.symbols_n = len(pairs)
        filler = {"quote_id": 0, "lot_e8": 1, "tick_e8": 1, "qty_min_e8": 1, "cost_min_e8": 0}
        pairs = pairs + [filler] * (SLOTS - len(pairs))
        self.quote = [int(x["quote_id"]) for x in pairs]
        self.lot = [int(x["lot_e8"]) for x in pairs]
        self.tick = [int(x["tick_e8"]) for x in pairs]
        self.qty_min = [int(x["qty_min_e8"]) for x in pairs]
        self.cost_min = [int(x["cost_min_e8"]) for x in pairs]
        self.fees = [(int(x["volume_e8"]), int(x["maker_ppm"]), int(x["taker_ppm"])) for x in p["fees"]]
        self.tiers = [
            (int(x["drawdown_ppm"]), int(x["size_ppm"]), bool(x["allow_entry"]), bool(x["allow_reentry"])) for x in p["tiers"]
        ]
        self.quote_caps = [(int(x["cap_ppm"]), int(x["cap_e8"])) for x in p["quote_caps"]]
        self.maker_entry = bool(p["maker_entry"])
        self.n: dict[str, int] = {name: value for name, value in p.items() if type(value) is int}
        """Every plain number of the profile by its name."""

    def worst_cost(self, qty: int, limit: int) -> int:
        """Return the most cash that buying at a limit can take: notional and the first tier's taker fee, both rounded up."""
        notional = -(-qty * limit // E8)
        return notional - (-notional * self.fees[0][2] // PPM)

    def cap(self, value: int, ppm: int, absolute: int) -> int:
        """Return the tighter of a share of portfolio value and an absolute amount (0: none)."""
        limit = value * ppm // PPM
        return min(limit, absolute) if absolute > 0 else limit


class Order:
    """An open order; `acked` once the venue said that it has it."""

    __slots__ = (
        "acked", "action", "attempt", "campaign", "expires_t", "left", "limit", "order_id", "placed_t", "price", "qty", "reason",
        "reserve", "retry_t", "row_id", "side", "signal", "status",
    )  # fmt: skip
    acked: bool
    action: int
    attempt: int
    campaign: int
    expires_t: int
    left: int
    limit: int
    order_id: int
    placed_t: int
    price: int
    qty: int
    reason: int
    reserve: int
    retry_t: int
    row_id: int
    side: int
    signal: int
    status: int


class Position:
    """What the books know of one instrument."""

    __slots__ = (
        "ask", "bid", "campaign", "cluster", "cost", "forecast", "forecast_t", "horizon", "lots", "mark", "mark_t", "order",
        "outlook", "pending", "persist", "qty", "quote_t", "raw", "recovering", "taken", "turnover", "value", "vol",
    )  # fmt: skip

    def __init__(self) -> None:
        self.qty = self.cost = self.value = self.mark = self.mark_t = self.vol = self.turnover = 0
        self.outlook = self.raw = self.pending = self.persist = 0
        self.forecast: Row = (0,) * 8
        self.forecast_t = self.campaign = self.horizon = self.taken = self.cluster = 0
        self.bid = self.ask = self.quote_t = 0
        self.recovering = False
        self.lots: deque[list[int]] = deque()
        """[lot id, quantity, cost, opened], oldest first."""
        self.order: Order | None = None

    def edge(self) -> int:
        """Expected gross return of the better of the two longer horizons."""
        return max(self.forecast[4], self.forecast[5])

    def gain(self) -> int:
        """Unrealised gain against the cost of the lots, ppm."""
        return (self.qty * self.mark // E8 - self.cost) * PPM // self.cost if self.cost > 0 else 0


# ---- the books --------------------------------------------------------------------------------------------------


class Books:
    """Cash, lots, orders, marks and risk state of the account, kept from events and wishes; makes the rows it expects."""

    def __init__(self, profile: Profile) -> None:
        self.p = profile
        self.n = profile.n
        self.positions = [Position() for _ in range(SLOTS)]
        self.cash, self.rate, self.exposure = [0, 0, 0], [E8, E8, E8], [0, 0, 0]
        self.entry_n, self.last_entry = [0, 0, 0], [0, 0, 0]
        self.now_t = self.pv = self.peak = self.drawdown = self.tier = self.kill = self.halt = self.gross = 0
        self.realised = self.fees = self.slippage = self.skew_ms = self.membership = 0
        self.order_n = self.lot_n = self.campaign_n = 0
        self.traded: dict[int, int] = {}
        self.row_n = dict.fromkeys(NAMES, 0)
        self.rows: dict[str, list[Row]] = {name: [] for name in NAMES}
        self.wishes: deque[Row] = deque()

    # -- rows

    def _emit(self, table: str, origin_hour_t: int, *values: int) -> int:
        self.row_n[table] = row_id = self.row_n[table] + 1
        now_t = self.now_t
        prefix = (row_id, *self.p.owner, origin_hour_t, now_t - now_t % HOUR_T, now_t)
        self.rows[table].append(prefix + values)
        return row_id

    def _hour(self) -> int:
        return self.now_t - self.now_t % HOUR_T

    def _risk(self, s: int, signal: int, kind: int, gate: int, action: int, compared: tuple[int, int, int]) -> None:
        self._emit("risk_event", self._hour(), signal, s, kind, gate, action, *compared, self.tier)

    def _order_row(self, s: int, o: Order, status: int) -> None:
        o.status = status
        o.row_id = self._emit(
            "order_request", o.placed_t - o.placed_t % HOUR_T, o.order_id, o.signal, s, self.p.quote[s], o.side, status, o.reason,
            o.attempt, o.qty, o.left, o.reserve, o.price, o.limit, o.expires_t, o.retry_t, o.campaign,
        )  # fmt: skip

    # -- values

    def base(self, quote: int, amount: int) -> int:
        """Return an amount in the base currency at the journaled rate."""
        return amount * self.rate[quote] // E8

    def _revalue(self, s: int) -> None:
        x, quote = self.positions[s], self.p.quote[s]
        value = self.base(quote, x.qty * x.mark // E8) if x.qty else 0
        self.gross += value - x.value
        self.exposure[quote] += value - x.value
        x.value = value

    def _value(self) -> int:
        return self.gross + sum(self.base(quote, self.cash[quote]) for quote in range(3))

    def _mark(self) -> None:
        self.pv = self._value()
        self.peak = max(self.peak, self.pv)
        self.drawdown = (self.peak - self.pv) * PPM // self.peak if self.peak > 0 else 0
        before = self.tier
        if before != TIER_HALT20:
            self.tier = max((k for k in range(1, 4) if self.drawdown >= self.p.tiers[k][0]), default=0)
        self._tier_changed(before)

    def _tier_changed(self, before: int) -> None:
        if self.tier != before:
            self._risk(-1, 0, K_TIER, G_DRAWDOWN, NONE, (S_PPM, self.p.tiers[self.tier][0], self.drawdown))

    def fee_ppm(self, liquidity: int) -> int:
        """Return the maker or taker rate of the tier that the volume of the last thirty days reaches."""
        today = self.now_t // DAY_T
        for day in [day for day in self.traded if day <= today - DAYS]:
            del self.traded[day]
        volume = sum(self.traded.values())
        found = self.p.fees[0]
        for fee in self.p.fees[1:]:
            if volume >= fee[0]:
                found = fee
        return found[1] if liquidity == MAKER else found[2]

    def reserved(self, quote: int) -> int:
        """Return what open buys of a quote currency may still take, in that currency."""
        q = self.p.quote
        return sum(x.order.reserve for s, x in enumerate(self.positions) if x.order is not None and q[s] == quote)

    def in_flight(self, quote: int = -1, cluster: int = -1) -> int:
        """Return open buys at their worst price in the base currency, of a quote currency, a cluster, or all."""
        q = self.p.quote
        return sum(
            self.base(q[s], x.order.reserve)
            for s, x in enumerate(self.positions)
            if x.order is not None and quote in (-1, q[s]) and cluster in (-1, x.cluster)
        )

    # -- admission

    def permission(self, s: int, reentry: bool) -> tuple[int, int, int, int]:
        """Return (gate, scale, limit, value) of the gates that need no size."""
        _, _, entry, again = self.p.tiers[self.tier]
        x = self.positions[s]
        if self.kill:
            return G_KILL, S_N, 0, self.kill
        if self.halt:
            return G_HALT, S_N, 0, self.halt
        if not entry or (reentry and not again):
            return G_DRAWDOWN, S_PPM, self.p.tiers[self.tier][0], self.drawdown
        recovering = sum(1 for y in self.positions if y.recovering)
        if recovering >= self.n["severe_max"]:
            return G_SEVERE_LOSS, S_N, self.n["severe_max"], recovering
        taken = sum(1 for y in self.positions if y is not x and (y.qty or y.order is not None))
        if x.qty == 0 and taken >= self.n["positions_max"]:
            return G_POSITIONS, S_N, self.n["positions_max"], taken
        return G_PASS, S_N, 0, 0

    def within_caps(self, s: int, wanted: int) -> tuple[int, int, int, int]:
        """Return (size, last cap that cut it, that cap, what was used of it)."""
        n, x, quote = self.n, self.positions[s], self.p.quote[s]
        used = self.gross + self.in_flight()
        in_cluster = sum(y.value for y in self.positions if y.cluster == x.cluster) + self.in_flight(cluster=x.cluster)
        caps = (
            (G_TOTAL, n["total_cap_ppm"], n["total_cap_e8"], used),
            (G_CLUSTER, n["cluster_cap_ppm"], n["cluster_cap_e8"], in_cluster),
            (G_QUOTE, *self.p.quote_caps[quote], self.exposure[quote] + self.in_flight(quote)),
            (G_BUDGET, n["budget_cap_ppm"], n["budget_cap_e8"], used),
        )
        size, gate, limit, value = wanted, G_PASS, 0, 0
        for name, ppm, absolute, taken in caps:
            cap = self.p.cap(self.pv, ppm, absolute)
            if max(cap - taken, 0) < size:
                size, gate, limit, value = max(cap - taken, 0), name, cap, taken
        return size, gate, limit, value

    def round_trip(self) -> int:
        """Return what buying and selling costs now, ppm."""
        side, taker = self.n["half_spread_ppm"] + self.n["slippage_ppm"], self.fee_ppm(TAKER)
        return self.fee_ppm(MAKER) + taker + side if self.p.maker_entry else 2 * (taker + side)

    def pays(self, edge: int) -> tuple[int, int, int, int]:
        """Apply the cost gate."""
        needed = self.round_trip() + self.n["margin_ppm"]
        return (G_PASS if edge > needed else G_COST), S_PPM, needed, edge

    def liquid(self, s: int, size: int) -> tuple[int, int, int, int]:
        """Apply the liquidity and spread gate."""
        x = self.positions[s]
        most = self.base(self.p.quote[s], x.turnover * self.n["liquidity_ppm"] // PPM)
        if size > most:
            return G_LIQUIDITY, S_E8, most, size
        if x.quote_t > 0 and self.now_t - x.quote_t <= self.n["quote_age_max_t"]:
            spread = (x.ask - x.bid) * PPM // x.bid
            if spread > self.n["spread_max_ppm"]:
                return G_LIQUIDITY, S_PPM, self.n["spread_max_ppm"], spread
        return G_PASS, S_N, 0, 0

    def fresh(self, s: int) -> tuple[int, int, int, int]:
        """Apply the gates on data, clock, pair and order in flight."""
        n, x = self.n, self.positions[s]
        if self.now_t - x.mark_t > n["bar_age_max_t"]:
            return G_FRESHNESS, S_T, n["bar_age_max_t"], self.now_t - x.mark_t
        if self.now_t - x.forecast_t > n["forecast_age_max_t"]:
            return G_FRESHNESS, S_T, n["forecast_age_max_t"], self.now_t - x.forecast_t
        if self.skew_ms > n["skew_max_ms"]:
            return G_CLOCK, S_MS, n["skew_max_ms"], self.skew_ms
        if s >= self.p.symbols_n:
            return G_PAIR, S_N, 1, 0
        if x.order is not None:
            return G_BUSY, S_N, 0, x.order.order_id
        return G_PASS, S_N, 0, 0

    def affordable(self, s: int, size: int) -> tuple[int, int, tuple[int, int, int, int]]:
        """Return (quantity, limit price, (gate, scale, limit, value)); quantity 0 is a refusal."""
        p, x, quote = self.p, self.positions[s], self.p.quote[s]
        limit = x.mark * (PPM + (0 if p.maker_entry else self.n["limit_ppm"])) // PPM
        limit -= limit % p.tick[s]
        if limit <= 0:
            return 0, 0, (G_PAIR, S_E8, p.tick[s], x.mark)
        free = max(self.cash[quote] - self.reserved(quote) - CASH_MARGIN_E8, 0)
        money = size * E8 // self.rate[quote]
        spend, clipped = min(money, free), free < money
        net = spend * PPM // (PPM + p.fees[0][2])
        qty = min(net * E8 // limit, SATURATED)
        qty -= qty % p.lot[s]
        if qty <= 0:
            return 0, 0, (G_CASH, S_E8, money, free) if clipped else (G_LOT, S_E8, p.lot[s], net)
        gate = G_CASH if clipped else G_MINIMUM
        if qty < p.qty_min[s]:
            return 0, 0, (gate, S_E8, p.qty_min[s], qty)
        if qty * x.mark // E8 < p.cost_min[s]:
            return 0, 0, (gate, S_E8, p.cost_min[s], qty * x.mark // E8)
        return qty, limit, ((G_CASH if clipped else G_PASS), S_E8, money, free)

    def wanted(self, s: int) -> int:
        """Return the wished entry: base share x clipped volatility ratio x the tier's share."""
        n = self.n
        scale = min(max(n["vol_target_ppb"] * PPM // max(self.positions[s].vol, 1), n["size_low_ppm"]), n["size_high_ppm"])
        size = self.pv * n["base_ppm"] // PPM * scale // PPM
        return size * self.p.tiers[self.tier][1] // PPM

    # -- wishes

    def _signal(self, s: int, wish: Row, gate: int, wanted: int, sized: int, cost: int) -> int:
        x = self.positions[s]
        f = x.forecast
        return self._emit(
            "trade_signal", self._hour(), s, x.forecast_t, x.outlook, x.raw, x.persist, wish[11], wish[12], gate, wanted, sized,
            f[1], x.edge(), f[3], cost, x.vol // 1000, f[6], f[2], PPM - min(f[1], f[2]), x.gain(), x.horizon, self.tier,
        )  # fmt: skip

    def _refuse(self, s: int, wish: Row, sizes: tuple[int, int, int], compared: tuple[int, int, int, int]) -> None:
        signal = self._signal(s, wish, compared[0], *sizes)
        self._risk(s, signal, K_REFUSED, compared[0], wish[11], compared[1:])

    def _buy(self, s: int, wish: Row) -> None:
        x, action = self.positions[s], wish[11]
        cost = self.round_trip() + self.n["margin_ppm"]
        found = self.permission(s, action == REENTER)
        if found[0] != G_PASS:
            self._refuse(s, wish, (0, 0, cost), found)
            return
        wanted = self.wanted(s)
        if action == REENTER:
            wanted = min(wanted, x.taken)
        size, cut, cap, used = self.within_caps(s, wanted)
        sizes = (wanted, size, cost)
        if size == 0 or size < wanted * self.n["entry_min_ppm"] // PPM:
            self._refuse(s, wish, sizes, (cut if cut != G_PASS else G_LOT, S_E8, cap, used))
            return
        for found in (self.pays(x.edge()), self.liquid(s, size), self.fresh(s)):
            if found[0] != G_PASS:
                self._refuse(s, wish, sizes, found)
                return
        qty, limit, found = self.affordable(s, size)
        if qty == 0:
            self._refuse(s, wish, sizes, (cut, S_E8, cap, used) if cut != G_PASS and found[0] != G_CASH else found)
            return
        if x.qty == 0:
            self.campaign_n += 1
            x.campaign, x.horizon = self.campaign_n, self.now_t + self.n["horizon_t"]
        signal = self._signal(s, wish, G_PASS, *sizes)
        if cut != G_PASS:
            self._risk(s, signal, K_CUT, cut, action, (S_E8, cap, used))
        if found[0] != G_PASS:
            self._risk(s, signal, K_CUT, found[0], action, found[1:])
        self._place(s, BUY, (qty, limit, self.p.worst_cost(qty, limit)), signal, wish)

    def _sell(self, s: int, wish: Row) -> None:
        x, action = self.positions[s], wish[11]
        held, qty = x.value, x.qty
        if action != EXIT:
            qty = qty * self.n["derisk_ppm" if action == DERISK else "take_ppm"] // PPM
            qty -= qty % self.p.lot[s]
        if qty == 0:
            self._wrong_wish(wish, "a sale of nothing")
        sized = held * qty // x.qty
        o = x.order
        if o is not None and o.side == BUY and o.status not in (O_UNKNOWN, O_CANCELLING):
            self._end(s, o, O_CANCELLED)
        if x.order is not None:
            self._refuse(s, wish, (held, 0, 0), (G_BUSY, S_N, 0, x.order.order_id))
            return
        signal = self._signal(s, wish, G_PASS, held, sized, 0)
        self._place(s, SELL, (qty, 0, 0), signal, wish)

    def _place(self, s: int, side: int, size: tuple[int, int, int], signal: int, wish: Row) -> None:
        x, o = self.positions[s], Order()
        self.order_n += 1
        o.order_id, o.side, o.attempt, o.signal, o.action, o.reason = self.order_n, side, 1, signal, wish[11], wish[12]
        o.acked = False
        o.qty, o.limit, o.reserve = size
        o.left, o.price, o.campaign, o.retry_t = o.qty, x.mark, x.campaign, 0
        o.placed_t, o.expires_t = self.now_t, self.now_t + self.n["order_ttl_t"]
        x.order = o
        self._order_row(s, o, O_NEW)

    def _wrong_wish(self, wish: Row, what: str) -> None:
        raise Defect(f"a signal whose action cannot be taken: {what}", record="trade_signal", row=wish[0], field="action_id",
                     stored=wish[11], recomputed="another action")  # fmt: skip

    def _decide(self, s: int, arrived: bool) -> None:
        """Observe recovery, then carry the wish of the instrument's signal, if it has one, through its gates."""
        x = self.positions[s]
        if x.qty:
            gain, before = x.gain(), x.recovering
            if not before and gain <= -self.n["severe_loss_ppm"]:
                x.recovering = True
            elif before and gain >= -self.n["severe_release_ppm"]:
                x.recovering = False
            if x.recovering != before:
                self._risk(s, 0, K_RECOVERY, G_PASS, int(x.recovering), (S_PPM, -self.n["severe_loss_ppm"], gain))
        if not self.wishes or self.wishes[0][6] != s:
            return
        wish = self.wishes.popleft()
        self._check_wish(wish, x, arrived=arrived)
        action = wish[11]
        if action in (ENTER, REENTER):
            self._buy(s, wish)
        elif action in (EXIT, REALISE, DERISK):
            self._sell(s, wish)
        else:
            if wish[12] == R_HOLD_EXTENDED:
                x.horizon = self.now_t + self.n["horizon_t"]
            self._signal(s, wish, G_PASS, 0, 0, 0)

    def _check_wish(self, wish: Row, x: Position, *, arrived: bool) -> None:
        """Refuse an action that the instrument's situation rules out, whatever the strategy thought."""
        action = wish[11]
        if not NONE <= action <= DIP_WAIT:
            self._wrong_wish(wish, "no such action")
        if action == ENTER and (x.qty or x.order is not None or not arrived):
            self._wrong_wish(wish, "an entry without a new forecast, or with a position or an order")
        if action in (REENTER, REALISE, DERISK) and not (x.qty and arrived):
            self._wrong_wish(wish, "a partial action without a position or a new forecast")
        if action in (EXIT, HOLD) and not x.qty:
            self._wrong_wish(wish, "no position")
        if action in (NONE, DIP_WAIT) and x.qty:
            self._wrong_wish(wish, "a position")

    # -- orders

    def _finish(self, s: int, o: Order, status: int) -> None:
        o.reserve = o.retry_t = 0
        self._order_row(s, o, status)
        self.positions[s].order = None

    def _end(self, s: int, o: Order, status: int) -> None:
        """End an order, or ask the venue that acknowledged it to."""
        if o.acked:
            self._order_row(s, o, O_CANCELLING)
        else:
            self._finish(s, o, status)

    def _expire(self) -> None:
        for s, x in enumerate(self.positions):
            o = x.order
            if o is not None and o.status not in (O_UNKNOWN, O_CANCELLING) and self.now_t >= o.expires_t:
                self._end(s, o, O_EXPIRED)

    def _wait(self, s: int, o: Order) -> None:
        """Wait for the next attempt, or give up after the last; what the venue once had is not tried again."""
        if o.acked or o.attempt > self.n["retries_max_n"]:
            self._finish(s, o, O_CANCELLED)
            return
        o.reserve = 0
        o.retry_t = self.now_t + (self.n["retry_t"] << (o.attempt - 1))
        self._order_row(s, o, O_RETRYING)

    def _readmit(self, s: int, o: Order) -> tuple[int, tuple[int, int, int, int]]:
        """Return (reserve, (gate, scale, limit, value)) of a waiting order's next attempt."""
        x, quote = self.positions[s], self.p.quote[s]
        if o.side == SELL:
            return 0, ((G_PASS if o.left <= x.qty else G_LOT), S_E8, x.qty, o.left)
        reserve = self.p.worst_cost(o.left, o.limit)
        found = self.permission(s, o.action == REENTER)
        if found[0] != G_PASS:
            return reserve, found
        _, cut, cap, used = self.within_caps(s, self.base(quote, reserve))
        if cut != G_PASS:
            return reserve, (cut, S_E8, cap, used)
        found = self.pays(x.edge() if x.outlook >= 1 else 0)
        if found[0] != G_PASS:
            return reserve, found
        found = self.liquid(s, self.base(quote, reserve))
        if found[0] != G_PASS:
            return reserve, found
        found = self.fresh(s)
        if found[0] not in (G_PASS, G_BUSY):
            return reserve, found
        free = self.cash[quote] - self.reserved(quote) - CASH_MARGIN_E8
        return reserve, ((G_PASS if reserve <= free else G_CASH), S_E8, free, reserve)

    def _retry(self) -> None:
        for s, x in enumerate(self.positions):
            o = x.order
            if o is None or o.status != O_RETRYING or self.now_t < o.retry_t:
                continue
            reserve, found = self._readmit(s, o)
            if found[0] == G_PASS:
                o.attempt += 1
                o.reserve, o.retry_t, o.placed_t = reserve, 0, self.now_t
                self._order_row(s, o, O_NEW)
                self._risk(s, o.signal, K_RETRY, G_PASS, o.action, (S_N, 0, o.attempt))
            else:
                self._risk(s, o.signal, K_REFUSED, found[0], o.action, found[1:])
                self._finish(s, o, O_CANCELLED)

    def _answer(self, ev: Row) -> None:
        s, status, again = ev[5], ev[8], ev[14] != 0
        o = self._open_order(ev)
        if status in (O_OPEN, O_UNKNOWN) and o.status != O_RETRYING:
            if status == O_OPEN:
                o.acked = True
                if o.status in (O_PARTIAL, O_CANCELLING):
                    status = o.status
            self._order_row(s, o, status)
            if status != O_UNKNOWN:
                self._obey_kill(s, o)
        elif status == O_REJECTED and o.status not in (O_RETRYING, O_OPEN, O_PARTIAL):
            self._order_row(s, o, status)
            if again:
                self._wait(s, o)
            else:
                self._finish(s, o, O_CANCELLED)
        elif status == O_CANCELLED and o.status == O_UNKNOWN and again:
            self._wait(s, o)
        elif status in (O_CANCELLED, O_EXPIRED) or (status == O_DENIED and o.status == O_NEW):
            self._finish(s, o, status)
        else:
            raise Defect(
                "an answer that does not follow from the order's state", record="event", field="status_id", stored=status
            )

    def _open_order(self, ev: Row) -> Order:
        s = ev[5]
        o = self.positions[s].order if 0 <= s < SLOTS else None
        if o is None or o.order_id != ev[7]:
            raise Defect("an event about an order that is not open", record="event", field="order_id", stored=ev[7],
                         recomputed=o.order_id if o else "none")  # fmt: skip
        return o

    # -- fills

    def match(self, s: int, bar: Row) -> tuple[int, int, int]:
        """Return (quantity, price, liquidity) that a bar gives the instrument's order in a backtest; quantity 0: none."""
        x, n = self.positions[s], self.n
        o = x.order
        if o is None or o.status in (O_RETRYING, O_UNKNOWN) or not bar[5]:
            return 0, 0, 0
        opened, high, low = bar[0], bar[1], bar[2]
        most = min(bar[4], VOLUME_MAX_E4) * n["participation_ppm"] // 100
        qty = o.left if o.left <= most else most - most % self.p.lot[s]
        if most <= 0 or qty <= 0:
            return 0, 0, 0
        if o.side == BUY and self.p.maker_entry:
            return (qty, o.limit, MAKER) if low < o.limit <= high else (0, 0, 0)
        impact = x.vol // 1000 * n["impact_ppm"] // PPM
        slip = n["half_spread_ppm"] + n["slippage_ppm"] - (-impact * qty // most)
        tick = self.p.tick[s]
        if o.side == BUY:
            price = -(-opened * (PPM + slip) // PPM)
            price = min(price + -price % tick, high)
            if price > o.limit:
                return 0, 0, 0
        else:
            price = opened * (PPM - slip) // PPM
            price = max(price - price % tick, low)
        return (qty, price, TAKER) if price > 0 else (0, 0, 0)

    def _fill(self, ev: Row) -> None:
        o = self._open_order(ev)
        s, liquidity, qty, price, reference = ev[5], ev[9], ev[10], ev[11], ev[12]
        x, quote = self.positions[s], self.p.quote[s]
        for bad, field, stored, most in (
            (o.status == O_RETRYING, "order_id", ev[7], "an order at the venue"),
            (not 0 < qty <= o.left, "qty_e8", qty, f"1 .. {o.left} (what is left)"),
            (price <= 0 or (o.side == BUY and price > o.limit), "price_e8", price, f"1 .. {o.limit} (the limit)"),
            (o.side == SELL and qty > x.qty, "qty_e8", qty, f"at most the {x.qty} held"),
        ):
            if bad:
                raise Defect("a fill that does not fit its order", record="event", field=field, stored=stored, recomputed=most)
        o.acked = o.acked or o.status == O_UNKNOWN or ev[14] != 0
        notional = qty * price // E8
        fee = -(-notional * self.fee_ppm(liquidity) // PPM)
        slippage = (notional - qty * reference // E8) * o.side
        origin = o.placed_t - o.placed_t % HOUR_T
        fill = self._emit(
            "order_fill",
            origin,
            o.order_id,
            o.row_id,
            s,
            quote,
            o.side,
            liquidity,
            qty,
            price,
            reference,
            notional,
            fee,
            slippage,
        )
        self.fees += self.base(quote, fee)
        self.slippage += self.base(quote, slippage)
        today = self.now_t // DAY_T
        self.traded[today] = self.traded.get(today, 0) + self.base(quote, notional)
        if o.action == REALISE:  # what a realisation sold is the most that is bought back
            x.taken = (x.taken if o.left < o.qty else 0) + self.base(quote, notional)
        delta = -notional - fee if o.side == BUY else notional - fee
        self._post((quote, L_BUY if o.side == BUY else L_SELL, fill, s, origin), delta, (notional, fee, slippage))
        if o.side == BUY:
            self._open_lot(s, origin, fill, qty, notional + fee)
        else:
            self.realised += self.base(quote, self._close_lots(s, origin, (fill, quote, o.campaign), qty, notional - fee))
            if x.qty == 0:
                x.taken = x.horizon = x.campaign = 0
                x.recovering = False
        self._revalue(s)
        self._after_fill(s, o, qty)

    def _after_fill(self, s: int, o: Order, qty: int) -> None:
        o.left -= qty
        if o.left == 0:
            self._finish(s, o, O_FILLED)
            return
        if o.side == BUY:
            o.reserve = min(self.p.worst_cost(o.left, o.limit), o.reserve)
            if o.left < self.p.qty_min[s] or o.left * self.positions[s].mark // E8 < self.p.cost_min[s]:
                self._end(s, o, O_DUST)
                return
        self._order_row(s, o, O_CANCELLING if o.status == O_CANCELLING else O_PARTIAL)
        self._obey_kill(s, o)

    def _obey_kill(self, s: int, o: Order) -> None:
        """Cancel a buy whose unknown outcome turned out to be resting while the kill switch is on."""
        if self.kill and o.side == BUY and o.status not in (O_UNKNOWN, O_CANCELLING):
            self._end(s, o, O_CANCELLED)

    def _post(self, entry: Row, delta: int, money: tuple[int, int, int]) -> None:
        """Write a cash entry; `entry` is (quote, kind, fill, instrument, origin hour)."""
        quote, kind, fill, s, origin = entry
        before = self.cash[quote]
        if before + delta < 0:
            raise Defect("cash would become negative", record="cash_ledger", row=self.row_n["cash_ledger"] + 1, field="after_e8",
                         stored=before + delta, recomputed=">= 0")  # fmt: skip
        self.entry_n[quote] += 1
        self.cash[quote] = before + delta
        self.last_entry[quote] = self._emit(
            "cash_ledger", origin, quote, self.entry_n[quote], self.last_entry[quote], kind, fill, s, before, delta,
            before + delta, *money,
        )  # fmt: skip

    def _lot_row(self, s: int, origin: int, fill: int, lot: list[int], change: tuple[int, int, int]) -> int:
        return self._emit("position_lot", origin, lot[0], fill, s, *change, lot[1], lot[2])

    def _open_lot(self, s: int, origin: int, fill: int, qty: int, cost: int) -> None:
        x = self.positions[s]
        if len(x.lots) == LOTS_MAX:
            lot, kind = x.lots[-1], LOT_MERGE
            lot[1] += qty
            lot[2] += cost
        else:
            self.lot_n += 1
            lot, kind = [self.lot_n, qty, cost, self.now_t], LOT_OPEN
            x.lots.append(lot)
        self._lot_row(s, origin, fill, lot, (kind, qty, cost))
        x.qty += qty
        x.cost += cost

    def _close_lots(self, s: int, origin: int, links: tuple[int, int, int], qty: int, proceeds: int) -> int:
        """Take a sale from the oldest lots and return the realised profit; `links` is (fill, quote, campaign)."""
        x, left, money, realised = self.positions[s], qty, proceeds, 0
        while left:
            lot = x.lots[0]
            take = min(left, lot[1])
            cost = lot[2] if take == lot[1] else lot[2] * take // lot[1]
            share = money if take == left else money * take // left
            lot[1] -= take
            lot[2] -= cost
            lot_row = self._lot_row(s, origin, links[0], lot, (LOT_REDUCE if lot[1] else LOT_CLOSE, -take, -cost))
            self._emit(
                "executed_trade",
                origin,
                lot[0],
                lot_row,
                links[0],
                s,
                links[1],
                lot[3],
                take,
                cost,
                share,
                share - cost,
                links[2],
            )
            realised += share - cost
            left -= take
            money -= share
            x.qty -= take
            x.cost -= cost
            if not lot[1]:
                x.lots.popleft()
        return realised

    # -- events

    def apply(self, ev: Row, bars: Row, forecasts: Row, clusters: Row) -> None:
        """Apply one event; the rows it makes are in `rows`."""
        kind, at_t, quote = ev[0], ev[1], ev[6]
        if at_t < self.now_t:
            raise Defect("time runs backwards", record="event", field="at_t", stored=at_t, recomputed=f">= {self.now_t}")
        self.now_t = at_t
        if kind == EV_BARS:
            self._bars(bars, forecasts)
        elif kind == EV_FILL:
            self._fill(ev)
        elif kind == EV_ORDER:
            self._answer(ev)
        elif kind in CASH_EVENTS:
            self._cash_event(kind, quote, ev[13])
        elif kind == EV_CONTROL:
            self._control(ev[5], ev[14])
        elif kind == EV_HEARTBEAT:
            self.skew_ms = abs(ev[14])
            self.pv = self._value()
            self._expire()
            self._retry()
        else:
            self._market(ev, clusters)

    def _market(self, ev: Row, clusters: Row) -> None:
        """Take in a quote, a rate or a membership."""
        kind, s, quote, price = ev[0], ev[5], ev[6], ev[11]
        if kind == EV_QUOTE and 0 <= s < SLOTS and 0 < price <= ev[12]:
            x = self.positions[s]
            x.bid, x.ask, x.quote_t = price, ev[12], self.now_t
        elif kind == EV_RATE and 0 < quote < 3 and price > 0:
            self.rate[quote] = price
            for k in range(SLOTS):
                self._revalue(k)
            self._mark()
        elif kind == EV_CLUSTERS and clusters and all(0 <= cluster < SLOTS for cluster in clusters):
            for x, cluster in zip(self.positions, clusters, strict=True):
                x.cluster = cluster
            self.membership = ev[14]
        else:
            raise Defect("an event of unknown kind or with impossible values", record="event", field="kind_id", stored=kind)

    def _cash_event(self, kind: int, quote: int, amount: int) -> None:
        moves = kind in (EV_DEPOSIT, EV_WITHDRAWAL)
        if not 0 <= quote < 3 or amount == 0 or (moves and amount < 0):
            raise Defect("a cash event with an impossible amount or currency", record="event", field="amount_e8", stored=amount)
        delta = -amount if kind == EV_WITHDRAWAL else amount
        reserved = self.reserved(quote)
        free = self.cash[quote] - (reserved + CASH_MARGIN_E8 if reserved else 0)
        if kind == EV_WITHDRAWAL and amount > free:
            raise Defect("a withdrawal beyond the free cash", record="event", field="amount_e8", stored=amount, recomputed=free)
        if moves:
            self._mark()
        before = self.pv
        self._post((quote, CASH_EVENTS[kind], 0, -1, self._hour()), delta, (0, 0, 0))
        if moves:  # the drawdown stays the share that trading lost
            after = self._value()
            if before <= 0:
                self.peak = after
            else:
                self.peak = min(self.peak * after // before, SATURATED)
        self._mark()

    def _control(self, switch: int, value: int) -> None:
        if switch == 1:
            self._risk(-1, 0, K_KILL, G_KILL, NONE, (S_N, self.kill, value))
            self.kill = value
            for s, x in enumerate(self.positions):
                o = x.order
                if value and o is not None and o.side == BUY and o.status not in (O_UNKNOWN, O_CANCELLING):
                    self._end(s, o, O_CANCELLED)
        elif switch == 2:
            self._risk(-1, 0, K_HALT, G_HALT, NONE, (S_N, self.halt, value))
            self.halt = value
        elif switch == 3:
            if self.tier == TIER_HALT20:
                self.tier, self.peak, self.drawdown = 0, self.pv, 0
                self._tier_changed(TIER_HALT20)
        else:
            raise Defect("an unknown control switch", record="event", field="instrument_id", stored=switch)

    def _bars(self, bars: Row, forecasts: Row) -> None:
        """Mark, expire, retry, take in forecasts, carry wishes, write the hourly states."""
        now_t, decay = self.now_t, self.n["vol_decay_ppm"]
        for s, x in enumerate(self.positions):
            if not bars[6 * s + 5]:
                continue
            _, high, low, close, volume, _ = bars[6 * s : 6 * s + 6]
            mark = x.mark
            if mark > 0:
                high = high if high > mark else mark  # noqa: FURB136  a call of max() costs a tenth of the whole run
                low = low if low < mark else mark  # noqa: FURB136  see above
                share = (high - low) * PPB // mark
                x.vol = x.vol + (share - x.vol) * decay // PPM if x.vol else share
            turnover = close * volume // E4
            turnover = turnover if turnover < SATURATED else SATURATED  # noqa: FURB136  see above
            x.turnover = x.turnover + (turnover - x.turnover) * decay // PPM if x.mark_t else turnover
            x.mark, x.mark_t = close, now_t
            if x.qty:
                self._revalue(s)
        self._mark()
        self._expire()
        self._retry()
        for s, x in enumerate(self.positions):
            arrived = bool(forecasts) and forecasts[8 * s + 7] != 0
            if arrived:
                x.forecast, x.forecast_t = forecasts[8 * s : 8 * s + 8], now_t
                self._observe(x)
            if arrived or x.qty:
                self._decide(s, arrived)
        if self.wishes:
            self._wrong_wish(self.wishes[0], "an instrument that had nothing to decide, or out of order")
        self._hourly()

    def _classify(self, f: Row) -> int:
        n, prob, worst = self.n, f[1], min(f[4], f[5])
        if worst >= 0:
            best = max(f[4], f[5])
            if prob >= n["strong_prob_ppm"] and best >= n["strong_ret_ppm"]:
                return 2
            return 1 if prob >= n["positive_prob_ppm"] and best >= n["positive_ret_ppm"] else 0
        if prob <= n["strong_negative_prob_ppm"] and worst <= n["strong_negative_ret_ppm"]:
            return -2
        return -1 if prob <= n["negative_prob_ppm"] and worst <= n["negative_ret_ppm"] else 0

    def _observe(self, x: Position) -> None:
        """Move the outlook after enough forecasts in a row on the same side of it, to the least extreme class seen."""
        x.raw = raw = self._classify(x.forecast)
        if raw == x.outlook:
            x.pending, x.persist = raw, 0
            return
        up = raw > x.outlook
        same_side = x.pending > x.outlook if up else x.pending < x.outlook
        x.pending = (min if up else max)(x.pending, raw) if same_side else raw
        x.persist = x.persist + 1 if same_side else 1
        if x.persist >= self.n["entry_persist_n" if up else "exit_persist_n"]:
            x.outlook, x.persist = x.pending, 0

    def _hourly(self) -> None:
        n, hour, q = self.n, self._hour(), self.p.quote
        held = [(s, x) for s, x in enumerate(self.positions) if x.qty]
        orders_n = sum(1 for x in self.positions if x.order is not None)
        cost = sum(self.base(q[s], x.cost) for s, x in held)
        state = self._emit(
            "portfolio_hourly_state", hour, self.row_n["cash_ledger"], self.pv, self.gross, self.peak, self.drawdown, self.realised,
            self.gross - cost, self.fees, self.slippage, len(held), orders_n, *self.cash,
        )  # fmt: skip
        self._emit(
            "risk_hourly_state", hour, state, self.tier, self.kill, self.halt, self.drawdown,
            self.p.cap(self.pv, n["total_cap_ppm"], n["total_cap_e8"]), self.gross + self.in_flight(), len(held),
            n["positions_max"], *self.exposure,
        )  # fmt: skip
        if not held and not orders_n:
            return
        cap = self.p.cap(self.pv, n["cluster_cap_ppm"], n["cluster_cap_e8"])
        enabled = self.positions[: self.p.symbols_n]
        for cluster in sorted({x.cluster for x in enabled if x.qty or x.order is not None}):
            members = sum(1 for x in enabled if x.cluster == cluster)
            value = sum(x.value for x in self.positions if x.cluster == cluster)
            self._emit("cluster_exposure_hourly_state", hour, state, cluster, self.membership, members, value,
                       self.in_flight(cluster=cluster), cap)  # fmt: skip


# ---- the chain --------------------------------------------------------------------------------------------------

Progress = Callable[[int, int], None]


class Verifier:
    """Follows the blocks of an archive: form, inputs, books, hashes."""

    def __init__(self, archive: Archive, *, chain_only: bool) -> None:
        self.m = archive.members
        self.genesis: dict[str, Any] = archive.json("genesis.json")
        self.genesis_hash = sha256(b"ballast.genesis.1\0", self.m["genesis.json"])
        if archive.json("layout.json") != layout():
            raise Defect("the layout differs from the one this verifier knows", record="layout.json")
        try:
            self.p = Profile(self.genesis)
            self.policy = bytes.fromhex(self.genesis["policy_digest"])
            found = sha256(canonical(self.genesis["profile"]))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as e:
            raise Defect(f"the genesis lacks something: {e!r}", record="genesis.json") from e
        if found != self.policy:
            raise Defect("the profile has another digest", record="genesis.json", field="policy_digest", stored=self.policy.hex(),
                         recomputed=found.hex())  # fmt: skip
        self.books = None if chain_only else Books(self.p)
        self.head = self.genesis_hash
        self.blocks_n = len(self.m["blocks.bin"]) // BLOCK_BYTES
        self.done_n = dict.fromkeys(NAMES, 0)
        """Rows verified so far; a parent must be among them, or before its child in the same block."""
        self.seen = {"bars": 0, "forecasts": 0, "clusters": 0, "deposits": 0}
        self.filled_s = -1
        self.seq_n = 0
        self.rows = {name: struct.iter_unpack(f"<{len(FIELDS[name])}q", self.m[f"rows/{name}.bin"]) for name in NAMES}
        self.forecast_at = {t: k for k, (t,) in enumerate(struct.iter_unpack("<q", self.m["inputs/forecast_t.bin"]))}

    def run(self, progress: Progress) -> None:
        """Verify everything; raise the first `Defect`."""
        blocks, events = self.m["blocks.bin"], self.m["events.bin"]
        if len(events) != self.blocks_n * EVENT_BYTES:
            raise Defect(
                "not one event per block", record="events.bin", stored=len(events) // EVENT_BYTES, recomputed=self.blocks_n
            )
        block = struct.Struct(f"<6q32s32s32s{len(NAMES)}q")
        stream: Iterator[tuple[Any, ...]] = block.iter_unpack(blocks)
        try:
            for fields, event in zip(stream, struct.iter_unpack("<15q", events), strict=True):
                self.seq_n += 1
                self._block(fields, event)
                if not self.seq_n % REPORT_BLOCKS_N:
                    progress(self.seq_n, self.blocks_n)
        except Defect as e:
            e.block = e.block or self.seq_n
            raise
        progress(self.blocks_n, self.blocks_n)
        self._end()

    def _block(self, fields: tuple[Any, ...], event: Row) -> None:
        header, (inputs_digest, records_digest, block_hash), counts = fields[:6], fields[6:9], fields[9:]
        expected = (self.seq_n, event[1], event[0], *self.p.owner, sum(counts))
        if header != expected or min(counts) < 0:
            for name, stored, ours in zip(HEADER.split(), header, expected, strict=True):
                if stored != ours:
                    raise Defect("a header that does not fit its event, account or rows", record="header", field=name, stored=stored,
                                 recomputed=ours)  # fmt: skip
            raise Defect("a negative number of rows", record="header", stored=counts)
        bars, forecasts, clusters = self._inputs(event, inputs_digest)
        tables = {name: self._take(name, count) for name, count in zip(NAMES, counts, strict=True) if count}
        if self.books is not None:
            self._keep_books(self.books, event, (bars, forecasts, clusters), tables)
        self._hashes(tables, records_digest)
        head = sha256(b"ballast.block.1\0", self.head, i8(*header), inputs_digest, records_digest)
        if head != block_hash:
            raise Defect("a block hash that does not follow from the block and its predecessor", record="block",
                         field="block_hash", stored=block_hash.hex(), recomputed=head.hex())  # fmt: skip
        self.head = head

    def _take(self, name: str, count: int) -> list[Row]:
        """Return the next rows of a table."""
        left = len(self.m[f"rows/{name}.bin"]) // ROW_BYTES[name] - self.done_n[name]
        if count > left:
            raise Defect("a block with more rows than its table has left", record=name, stored=count, recomputed=left)
        stream = self.rows[name]
        return [next(stream) for _ in range(count)]

    def _inputs(self, event: Row, digest: bytes) -> tuple[Row, Row, Row]:
        """Return the bars, forecasts and clusters that came with an event; the inputs digest covers them."""
        at = (self.seq_n - 1) * EVENT_BYTES
        parts: list[bytes | memoryview] = [self.m["events.bin"][at : at + EVENT_BYTES]]
        found: list[Row] = []
        for name, n, size, form in (
            ("bars", event[2], BAR_BYTES, "<192q"),
            ("forecasts", event[3], FORECAST_BYTES, "<256q"),
            ("clusters", event[4], 8 * SLOTS, "<32q"),
        ):
            if n < 0:
                found.append(())
                continue
            data = self.m[f"inputs/{name}.bin"]
            if n >= len(data) // size:
                raise Defect("an event names an input row that is not there", record="event", field=name, stored=n,
                             recomputed=f"< {len(data) // size}")  # fmt: skip
            parts.append(data[n * size : (n + 1) * size])
            if name == "forecasts":
                parts.append(self.m["inputs/feature_digests.bin"][32 * n : 32 * n + 32])
            found.append(struct.unpack_from(form, data, n * size) if self.books is not None else ())
        ours = sha256(*parts)
        if ours != digest:
            raise Defect("the event and its inputs do not match the inputs digest", record="event", field="inputs_digest",
                         stored=digest.hex(), recomputed=ours.hex())  # fmt: skip
        return found[0], found[1], found[2]

    # -- hashes

    def _hashes(self, tables: dict[str, list[Row]], records_digest: bytes) -> None:
        digest = hashlib.sha256()
        for name, rows in tables.items():
            first, count, size = self.done_n[name], len(rows), ROW_BYTES[name]
            stored = self.m[f"hashes/{name}.bin"]
            data = bytes(self.m[f"rows/{name}.bin"][first * size : (first + count) * size])
            code = i8(RECORDS[name][0])
            parents = self._parents(name, rows)
            found = b"".join(
                [hashlib.sha256(code + data[k * size : (k + 1) * size] + parents[k]).digest() for k in range(count)]
            )
            if found != stored[32 * first : 32 * (first + count)]:
                self._name_row(name, first, found)
            digest.update(found)
            self.done_n[name] = first + count
        if digest.digest() != records_digest:
            raise Defect("the rows of the block do not match its records digest", record="block", field="records_digest",
                         stored=records_digest.hex(), recomputed=digest.hexdigest())  # fmt: skip

    def _name_row(self, name: str, first: int, found: bytes) -> None:
        """Name the first row whose hash is not the stored one: there is one."""
        stored = bytes(self.m[f"hashes/{name}.bin"][32 * first : 32 * first + len(found)])
        at = next(at for at in range(0, len(found), 32) if stored[at : at + 32] != found[at : at + 32])
        raise Defect("a row that does not match its row hash", record=name, row=first + at // 32 + 1, field="row hash",
                     stored=stored[at : at + 32].hex(), recomputed=found[at : at + 32].hex())  # fmt: skip

    def _parents(self, name: str, rows: list[Row]) -> list[bytes]:
        """Return the parents' hashes of each row, in their order."""
        result = [b""] * len(rows)
        for table, column in RECORDS[name][2]:
            if table == "policy":
                result = [found + self.policy for found in result]
                continue
            if table == "forecast":
                result = [found + self._forecast_hash(row) for found, row in zip(result, rows, strict=True)]
                continue
            at = FIELDS[name].index(column)
            hashes, most = self.m[f"hashes/{table}.bin"], self.done_n[table]
            for k, row in enumerate(rows):
                n = row[at]
                if not 0 <= n <= (most + k if table == name else most):
                    raise Defect("a row that names a parent which does not precede it", record=name, row=row[0], field=column,
                                 stored=n, recomputed=f"0 .. {most}")  # fmt: skip
                result[k] += bytes(hashes[32 * n - 32 : 32 * n]) if n else bytes(32)
        return result

    def _forecast_hash(self, signal: Row) -> bytes:
        s, at_t = signal[6], signal[7]
        if at_t == 0:
            return bytes(32)
        n = self.forecast_at.get(at_t)
        if n is None or not 0 <= s < SLOTS:
            raise Defect("a signal of a forecast that is not there", record="trade_signal", row=signal[0], field="forecast_t",
                         stored=at_t)  # fmt: skip
        row = self.m["inputs/forecasts.bin"][n * FORECAST_BYTES + 64 * s : n * FORECAST_BYTES + 64 * s + 64]
        return sha256(b"ballast.forecast.1\0", row, self.m["inputs/feature_digests.bin"][32 * n : 32 * n + 32])

    # -- books

    def _keep_books(self, books: Books, event: Row, inputs: tuple[Row, Row, Row], tables: dict[str, list[Row]]) -> None:
        """Compare the stored rows of an event, which came with (bars, forecasts, clusters), with those of the books."""
        self._in_order(event)
        if self.p.backtest:
            self._backtest_event(books, event, inputs[0])
        books.wishes = deque(tables.get("trade_signal", ()))
        for made in books.rows.values():
            made.clear()
        books.apply(event, *inputs)
        for name, ours in books.rows.items():
            stored = tables.get(name, [])
            if stored != ours:
                self._name_field(name, stored, ours)

    def _name_field(self, name: str, stored: list[Row], ours: list[Row]) -> None:
        for theirs, made in zip(stored, ours, strict=False):
            for field, a, b in zip(FIELDS[name], theirs, made, strict=True):
                if a != b:
                    raise Defect("a field that does not follow from the inputs and what came before", record=name, row=made[0],
                                 field=field, stored=a, recomputed=b)  # fmt: skip
        raise Defect("rows too many or too few", record=name, row=self.done_n[name] + min(len(stored), len(ours)) + 1,
                     field="number of rows in the block", stored=len(stored), recomputed=len(ours))  # fmt: skip

    def _in_order(self, event: Row) -> None:
        """Check that inputs are taken one after the other, at their times, by the right kind of event."""
        kind, at_t = event[0], event[1]
        for name, member, n, owner in (
            ("bars", "close_t", event[2], EV_BARS),
            ("forecasts", "forecast_t", event[3], EV_BARS),
            ("clusters", "cluster_t", event[4], EV_CLUSTERS),
        ):
            if n < 0 and not (kind == owner and name != "forecasts"):
                continue
            if kind != owner or n != self.seen[name]:
                raise Defect(f"{name} out of order, or with an event of another kind", record="event", field=name, stored=n,
                             recomputed=self.seen[name])  # fmt: skip
            (known_t,) = struct.unpack_from("<q", self.m[f"inputs/{member}.bin"], 8 * n)
            if known_t != at_t:
                raise Defect(f"{name} at another time", record="event", field="at_t", stored=at_t, recomputed=known_t)
            self.seen[name] += 1
        if kind == EV_BARS and event[14] != at_t - self.p.interval_t:
            raise Defect(
                "a bar's opening time", record="event", field="value_n", stored=event[14], recomputed=at_t - self.p.interval_t
            )

    def _backtest_event(self, books: Books, event: Row, bars: Row) -> None:
        """Check what only a backtest knows: which events there are, the deposits, and every fill of every bar."""
        kind = event[0]
        if kind == EV_DEPOSIT:
            at = self.seen["deposits"]
            known = self.p.deposits[at] if at < len(self.p.deposits) else ()
            if (event[6], event[13]) != known or self.seen["bars"]:
                raise Defect("a deposit that the genesis does not know", record="event", field="amount_e8", stored=event[13],
                             recomputed=known)  # fmt: skip
            self.seen["deposits"] = at + 1
        elif kind == EV_FILL:
            self._backtest_fill(books, event)
        elif kind == EV_BARS:
            due = self._due(books, bars, SLOTS)
            if due is not None:
                self._missing_fill(due)
            self.filled_s = -1
        elif kind != EV_CLUSTERS:
            raise Defect("an event that a backtest does not have", record="event", field="kind_id", stored=kind)

    def _backtest_fill(self, books: Books, event: Row) -> None:
        n, data, s = self.seen["bars"], self.m["inputs/bars.bin"], event[5]
        if (n + 1) * BAR_BYTES > len(data) or not self.filled_s < s < SLOTS:
            raise Defect("a fill out of order, or without a bar", record="event", field="instrument_id", stored=s)
        bars = struct.unpack_from("<192q", data, n * BAR_BYTES)
        due = self._due(books, bars, s)
        if due is not None:
            self._missing_fill(due)
        (close_t,) = struct.unpack_from("<q", self.m["inputs/close_t.bin"], 8 * n)
        qty, price, liquidity = books.match(s, bars[6 * s : 6 * s + 6])
        at_t = close_t - self.p.interval_t + self.p.n["latency_t"]
        order = books.positions[s].order
        order_id = order.order_id if order is not None else 0
        expected = (EV_FILL, at_t, -1, -1, -1, s, self.p.quote[s], order_id, 0, liquidity, qty, price, bars[6 * s], 0, 0)
        for field, theirs, ours in zip(EVENT.split(), event, expected, strict=True):
            if theirs != ours:
                raise Defect("a fill that its bar does not give", record="event", field=field, stored=theirs, recomputed=ours)
        self.filled_s = s

    def _due(self, books: Books, bars: Row, before_s: int) -> int | None:
        """Return the first instrument after the last filled one whose order the bar fills."""
        for s in range(self.filled_s + 1, before_s):
            if books.positions[s].order is not None and books.match(s, bars[6 * s : 6 * s + 6])[0]:
                return s
        return None

    def _missing_fill(self, s: int) -> None:
        raise Defect("a fill is missing: the bar fills this instrument's order", record="order_fill", field="instrument_id",
                     row=self.done_n["order_fill"] + 1, stored="no fill", recomputed=s)  # fmt: skip

    # -- the end

    def _end(self) -> None:
        for name in NAMES:
            rows_n = len(self.m[f"rows/{name}.bin"]) // ROW_BYTES[name]
            hashes_n = len(self.m[f"hashes/{name}.bin"]) // 32
            if rows_n != self.done_n[name] or hashes_n != rows_n:
                raise Defect("rows or row hashes that no block names", record=name, row=self.done_n[name] + 1,
                             stored=max(rows_n, hashes_n), recomputed=self.done_n[name])  # fmt: skip
        self._input_members()
        self._input_digests()
        if self.books is not None:
            for name, member in (("bars", "close_t"), ("forecasts", "forecast_t"), ("clusters", "cluster_t")):
                if self.seen[name] != len(self.m[f"inputs/{member}.bin"]) // 8:
                    raise Defect(f"{name} that no block took in", record=f"inputs/{name}.bin", row=self.seen[name] + 1)
            if self.p.backtest and self.seen["deposits"] != len(self.p.deposits):
                raise Defect("a deposit of the genesis is missing", record="cash_ledger", stored=self.seen["deposits"],
                             recomputed=len(self.p.deposits))  # fmt: skip

    def _input_members(self) -> None:
        """Check that inputs agree in length and that the grid of hours has no hole."""
        for left, right in (
            ("close_t", "bars"),
            ("forecast_t", "forecasts"),
            ("forecast_t", "feature_digests"),
            ("cluster_t", "clusters"),
        ):
            a = len(self.m[f"inputs/{left}.bin"]) // 8
            b = len(self.m[f"inputs/{right}.bin"]) // SIZES[f"inputs/{right}.bin"]
            if a != b:
                raise Defect("inputs of different length", record=f"inputs/{right}.bin", stored=b, recomputed=a)
        previous, step = None, self.p.interval_t
        for n, (t,) in enumerate(struct.iter_unpack("<q", self.m["inputs/close_t.bin"])):
            if previous is not None and t != previous + step:
                raise Defect("an hour without a state: the grid of bars has a hole", record="inputs/close_t.bin", row=n + 1,
                             stored=t, recomputed=previous + step)  # fmt: skip
            previous = t

    def _input_digests(self) -> None:
        """Compare the inputs with their digests in the genesis."""
        m = self.m
        close_n, forecast_n, cluster_n = (len(m[f"inputs/{name}.bin"]) // 8 for name in ("close_t", "forecast_t", "cluster_t"))
        names = canonical(self.genesis["symbols"])
        expected = {
            "bars_digest": sha256(b"ballast.bars.1\0", i8(close_n), m["inputs/close_t.bin"], m["inputs/bars.bin"]),
            "forecasts_digest": sha256(
                b"ballast.forecasts.1\0", i8(len(names), forecast_n, SLOTS), names, m["inputs/forecast_t.bin"],
                m["inputs/forecasts.bin"], m["inputs/feature_digests.bin"],
            ),
            "clusters_digest": sha256(
                b"ballast.clusters.1\0", i8(cluster_n, SLOTS), m["inputs/cluster_t.bin"], m["inputs/clusters.bin"]
            ),
        }  # fmt: skip
        for field, ours in expected.items():
            stored = self.genesis.get(field)
            if stored != ours.hex():
                raise Defect(
                    "inputs with another digest", record="genesis.json", field=field, stored=stored, recomputed=ours.hex()
                )

    def root(self) -> str:
        """Return the run root."""
        return sha256(b"ballast.run.1\0", self.genesis_hash, self.head, i8(self.blocks_n)).hex()

    def check_ends(self, anchor: Any, manifest: dict[str, Any]) -> None:
        """Compare head, anchor and manifest with what was computed."""
        hashes = {"genesis_hash": self.genesis_hash.hex(), "block_hash": self._hash_at(anchor)}
        for field, ours in hashes.items():
            if anchor.get(field) != ours:
                raise Defect("the anchor names another chain", block=self.blocks_n, record="head.json", field=field,
                             stored=anchor.get(field), recomputed=ours)  # fmt: skip
        ours_all = {
            "genesis_hash": self.genesis_hash.hex(), "policy_digest": self.policy.hex(), "journal_head": self.head.hex(),
            "run_root": self.root(), "blocks_n": self.blocks_n, "account_id": self.p.owner[0], "mode_id": self.p.owner[1],
            "records_n": {name: self.done_n[name] for name in NAMES},
        }  # fmt: skip
        for field, value in ours_all.items():
            if manifest.get(field) != value:
                raise Defect("the manifest names another run", record="manifest.json", field=field, stored=manifest.get(field),
                             recomputed=value)  # fmt: skip

    def _hash_at(self, anchor: Any) -> str:
        """Return the hash of the block that the anchor names; the anchor may lag, never lead."""
        seq_n = anchor.get("seq_n") if isinstance(anchor, dict) else None
        if type(seq_n) is not int or not 0 <= seq_n <= self.blocks_n:
            raise Defect("blocks were cut off: the anchor is ahead of the chain, or is none", block=self.blocks_n,
                         record="head.json", field="seq_n", stored=seq_n, recomputed=self.blocks_n)  # fmt: skip
        if seq_n == 0:
            return self.genesis_hash.hex()
        at = seq_n * BLOCK_BYTES - 8 * len(NAMES)
        return bytes(self.m["blocks.bin"][at - 32 : at]).hex()


# ---- the command ------------------------------------------------------------------------------------------------


def quiet(_done: int, _total: int) -> None:
    """Report nothing."""


def verify(path: Path, *, chain_only: bool = False, run_root: str = "", progress: Progress = quiet) -> dict[str, object]:
    """Verify an archive and return the result as a JSON object; `defect` is null when everything holds.

    Args:
        path: the archive.
        chain_only: hashes only, without the books.
        run_root: the root the auditor knows from elsewhere; empty: not compared.
        progress: told how many blocks are done.

    Raises:
        OSError: the file cannot be read.
    """
    started = time.perf_counter()
    changed: list[Defect] = []
    defect: Defect | None = None
    checked: Verifier | None = None
    archive: Archive | None = None
    try:
        archive = Archive(path)
        manifest, changed = archive.check_manifest()
        if any(d.record in TEXTS for d in changed):
            raise next(d for d in changed if d.record in TEXTS)
        checked = Verifier(archive, chain_only=chain_only)
        checked.run(progress)
        checked.check_ends(archive.json("head.json"), manifest)
        if changed:
            raise changed[0]
        if run_root and checked.root() != run_root.lower():
            raise Defect(
                "a whole run, but another one than expected", record="run root", stored=run_root, recomputed=checked.root()
            )
    except Defect as e:
        defect = e.with_traceback(None)  # a traceback would keep views of the archive alive
    seconds = time.perf_counter() - started
    result = _result(checked, defect, changed, seconds, chain_only=chain_only)
    checked = None
    if archive is not None:
        archive.close()
    return result


def _result(
    checked: Verifier | None, defect: Defect | None, changed: list[Defect], seconds: float, *, chain_only: bool
) -> dict[str, object]:
    records_n = sum(checked.done_n.values()) if checked else 0
    whole = checked is not None and defect is None
    return {
        "verified": defect is None,
        "scope": "chain" if chain_only else "chain and books",
        "run_root": checked.root() if checked and whole else "",
        "genesis_hash": checked.genesis_hash.hex() if checked else "",
        "blocks": checked.seq_n if checked else 0,
        "records": records_n,
        "records_by_type": dict(checked.done_n) if checked else {},
        "defect": defect.as_json() if defect else None,
        "changed_members": sorted({d.record for d in changed}),
        "checked": list(CHECKED),
        "not_checked": list(NOT_CHECKED),
        "verifier_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "seconds": round(seconds, 3),
        "records_per_s": round(records_n / seconds) if seconds else 0,
    }


def _print(result: dict[str, Any]) -> None:
    print("EXPORT VERIFIED: TRUE" if result["verified"] else "EXPORT VERIFIED: FALSE")
    for name in ("scope", "run_root", "genesis_hash", "blocks", "records", "verifier_sha256", "seconds", "records_per_s"):
        print(f"  {name:<16}{result[name]}")
    for name, value in (result["defect"] or {}).items():
        if value not in ("", 0):
            print(f"  {name:<16}{value}")
    if result["changed_members"]:
        print(f"  {'changed members':<16}{', '.join(result['changed_members'])}")
    for line in result["not_checked"]:
        print(f"  not checked     {line}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Verify an audit export of a Ballast run.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--chain-only", action="store_true", help="hashes only, without the books")
    parser.add_argument("--run-root", default="", help="the run root you know from elsewhere")
    given = parser.parse_args(arguments)
    try:
        result = verify(given.file, chain_only=given.chain_only, run_root=given.run_root)
    except OSError as e:
        print(f"cannot read {given.file}: {e.strerror or e}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)
    return 0 if result["verified"] else 1


if __name__ == "__main__":
    sys.exit(main())
