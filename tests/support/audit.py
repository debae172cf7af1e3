"""An independent account of a run in plain Python integers: it reads the blocks and recomputes what they claim.

Nothing here imports the core's arithmetic or state; only the record names and codes are shared.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from runtime.core import codes as c
from runtime.core.digest import Block, decode_payload
from runtime.engine import RunInputs

E8 = 10**8
PPM = 10**6


@dataclass
class Audit:
    """Replays records in block order; every disagreement is an AssertionError."""

    inputs: RunInputs
    cash: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    lots: dict[int, list[list[int]]] = field(default_factory=lambda: defaultdict(list))
    orders: dict[int, dict[str, int]] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    entry_n: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    last_entry: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    next_id: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    refusals: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    traded: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    cluster_of: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    peak: int = 0
    hour: int = 0
    membership: int = 0

    def check(self, blocks: list[Block]) -> None:
        """Check a whole run."""
        for block in blocks:
            tables = {
                name: [dict(zip(rows.dtype.names, row.tolist(), strict=True)) for row in rows]
                for name, rows in decode_payload(block.payload).items()
            }
            if block.kind_id == c.EV_BARS:
                for s, bar in enumerate(self.inputs.bars[self.hour]):
                    if bar["present_n"]:
                        self.marks[s] = int(bar["close_e8"])
            if block.kind_id == c.EV_CLUSTERS:
                rows = self.inputs.clusters.rows[self.membership]["cluster_id"].tolist()
                self.cluster_of.update(enumerate(rows))
                self.membership += 1
            self._common(block, tables)
            for fill in tables.get("order_fill", []):
                self._fill(fill, tables)
            for entry in tables.get("cash_ledger", []):
                self._entry(entry)
            self._refusals(tables.get("risk_event", []))
            for row in tables.get("order_request", []):
                self._order(row)
            for state in tables.get("portfolio_hourly_state", []):
                self._state(state)
            if block.kind_id == c.EV_BARS:
                self.hour += 1

    def _refusals(self, events: list[dict[str, int]]) -> None:
        for event in events:
            if event["kind_id"] == c.RISK_REFUSED:
                self.refusals[event["gate_id"]] += 1

    def _common(self, block: Block, tables: dict[str, list[dict[str, int]]]) -> None:
        own_id = {"position_lot": "lot_row_id", "order_request": "order_row_id"}
        for name, rows in tables.items():
            for row in rows:
                first = own_id.get(name) or next(iter(row))
                self.next_id[name] += 1
                self.counts[name] += 1
                assert row[first] == self.next_id[name], f"{name}: ids are dense from 1"
                assert (row["account_id"], row["mode_id"]) == (1, 1)
                assert row["at_t"] == block.at_t
                assert row["hour_t"] == block.at_t - block.at_t % 3600
                assert row["origin_hour_t"] <= row["hour_t"]

    def _fill(self, fill: dict[str, int], tables: dict[str, list[dict[str, int]]]) -> None:
        order = self.orders[fill["order_id"]]
        s, qty, price = fill["instrument_id"], fill["qty_e8"], fill["price_e8"]
        bar = self.inputs.bars[self.hour, s]
        assert bar["present_n"] == 1, "no fill in a gap"
        assert bar["low_e8"] <= price <= bar["high_e8"], "a fill lies within its bar"
        assert fill["reference_e8"] == bar["open_e8"]
        assert fill["at_t"] > order["at_t"], "a fill is later than its decision"
        assert 0 < qty <= order["left_e8"]
        volume_e8 = int(bar["volume_e4"]) * 10_000
        assert qty * PPM <= volume_e8 * self.inputs.genesis.profile.participation_ppm, "participation limit"
        assert fill["notional_e8"] == qty * price // E8
        assert fill["fee_e8"] == -(-fill["notional_e8"] * self._rate(fill) // PPM), "fee of the 30-day tier"
        self.traded[fill["at_t"] // 86_400] += fill["notional_e8"]
        if fill["side_id"] == c.BUY:
            assert price <= order["limit_price_e8"]
            self.lots[s].append([qty, fill["notional_e8"] + fill["fee_e8"]])
            assert [r["kind_id"] for r in tables["position_lot"]] in ([c.LOT_OPEN], [c.LOT_MERGE])
            if tables["position_lot"][0]["kind_id"] == c.LOT_MERGE:
                qty2, cost2 = self.lots[s].pop()
                self.lots[s][-1][0] += qty2
                self.lots[s][-1][1] += cost2
        else:
            self._sale(s, fill, tables["executed_trade"])
        order["left_e8"] -= qty

    def _rate(self, fill: dict[str, int]) -> int:
        today = fill["at_t"] // 86_400
        volume = sum(v for day, v in self.traded.items() if today - 30 < day <= today)
        tier = [f for f in self.inputs.genesis.profile.fees if volume >= f.volume_e8][-1]
        return tier.maker_ppm if fill["liquidity_id"] == c.MAKER else tier.taker_ppm

    def _sale(self, s: int, fill: dict[str, int], trades: list[dict[str, int]]) -> None:
        left = fill["qty_e8"]
        assert left <= sum(lot[0] for lot in self.lots[s]), "never short"
        assert sum(t["qty_e8"] for t in trades) == left
        assert sum(t["proceeds_e8"] for t in trades) == fill["notional_e8"] - fill["fee_e8"], "slices add up to the whole"
        for t in trades:
            lot = self.lots[s][0]
            assert t["qty_e8"] == min(left, lot[0]), "oldest lot first"
            cost = lot[1] if t["qty_e8"] == lot[0] else lot[1] * t["qty_e8"] // lot[0]
            assert t["cost_e8"] == cost
            assert t["pnl_e8"] == t["proceeds_e8"] - cost
            lot[0] -= t["qty_e8"]
            lot[1] -= cost
            left -= t["qty_e8"]
            if lot[0] == 0:
                self.lots[s].pop(0)

    def _entry(self, entry: dict[str, int]) -> None:
        quote = entry["quote_id"]
        assert entry["before_e8"] == self.cash[quote], "before is the previous after"
        assert entry["after_e8"] == entry["before_e8"] + entry["delta_e8"]
        assert entry["after_e8"] >= 0, "cash is never negative"
        self.entry_n[quote] += 1
        assert entry["entry_n"] == self.entry_n[quote], "a sequence without holes"
        assert entry["previous_entry_id"] == self.last_entry[quote]
        self.last_entry[quote] = entry["entry_id"]
        before = self.value()
        self.cash[quote] = entry["after_e8"]
        if entry["kind_id"] in {c.L_DEPOSIT, c.L_WITHDRAWAL}:
            # the drawdown is what trading lost: money that comes or goes leaves it as it was
            self.peak = max(self.peak, before) * self.value() // before if before > 0 else self.value()
        elif entry["kind_id"] == c.L_BUY:
            assert entry["delta_e8"] == -entry["notional_e8"] - entry["fee_e8"]
        else:
            assert entry["delta_e8"] == entry["notional_e8"] - entry["fee_e8"]

    def held(self, s: int) -> int:
        """Quantity held of an instrument."""
        return sum(lot[0] for lot in self.lots[s])

    def quote_of(self, s: int) -> int:
        """Quote currency of an instrument."""
        return self.inputs.genesis.pairs[s].quote_id

    def exposure(self, cluster: int | None = None, quote: int | None = None) -> int:
        """Marked value of positions plus open buys at their worst price: of all, of one cluster, of one currency.

        A backtest has no rate events, so a unit of every quote currency is one of the base currency.
        """
        inside = {
            s for s in range(len(self.inputs.genesis.pairs))
            if (cluster is None or self.cluster_of[s] == cluster) and (quote is None or self.quote_of(s) == quote)
        }  # fmt: skip
        marked = sum(self.held(s) * self.marks[s] // E8 for s in self.lots if self.lots[s] and s in inside)
        buys = [o for o in self.orders.values() if o["open"] and o["side_id"] == c.BUY and o["instrument_id"] in inside]
        return marked + sum(o["reserve_e8"] for o in buys)

    def value(self) -> int:
        """Portfolio value in the base currency."""
        return sum(self.cash.values()) + sum(self.held(s) * self.marks[s] // E8 for s in self.lots if self.lots[s])

    def _order(self, row: dict[str, int]) -> None:
        if row["status_id"] == c.O_NEW:
            self.orders[row["order_id"]] = row | {"open": 1}
            if row["side_id"] == c.SELL:
                assert row["qty_e8"] <= self.held(row["instrument_id"]), "a sale never exceeds the lots held"
            else:
                self._admission(row)
            return
        known = self.orders[row["order_id"]]
        assert row["left_e8"] == known["left_e8"]
        known["reserve_e8"] = row["reserve_e8"]
        known["open"] = int(row["status_id"] == c.O_PARTIAL)

    def _admission(self, row: dict[str, int]) -> None:
        profile = self.inputs.genesis.profile
        value = self.value()
        quote = row["quote_id"]
        cluster = self.cluster_of[row["instrument_id"]]
        quote_cap = profile.quote_caps[quote]
        self.counts["admissions"] += 1
        for name, share_ppm, absolute, used in (
            ("total", profile.total_cap_ppm, profile.total_cap_e8, self.exposure()),
            ("cluster", profile.cluster_cap_ppm, profile.cluster_cap_e8, self.exposure(cluster=cluster)),
            ("quote", quote_cap.cap_ppm, quote_cap.cap_e8, self.exposure(quote=quote)),
            ("budget", profile.budget_cap_ppm, profile.budget_cap_e8, self.exposure()),
        ):
            cap = value * share_ppm // PPM
            cap = min(cap, absolute) if absolute else cap
            assert used <= cap, f"{name} cap at admission, open orders at their worst price"
        open_orders = [o for o in self.orders.values() if o["open"]]
        taken = {s for s in self.lots if self.lots[s]} | {o["instrument_id"] for o in open_orders}
        assert len(taken) <= profile.positions_max, "position limit counts orders in flight"
        assert len({o["instrument_id"] for o in open_orders}) == len(open_orders), "one open order per instrument"
        reserved = sum(o["reserve_e8"] for o in open_orders if o["quote_id"] == quote)
        assert reserved <= self.cash[quote], "free cash covers every open buy at its worst price"

    def _state(self, state: dict[str, int]) -> None:
        value = self.value()
        assert state["pv_e8"] == value
        names = ("cash_usd_e8", "cash_cad_e8", "cash_usdc_e8")
        assert [state[name] for name in names] == [self.cash[quote] for quote in range(3)]
        self.peak = max(self.peak, value)
        assert state["peak_e8"] == self.peak
        assert state["drawdown_ppm"] == ((self.peak - value) * PPM // self.peak if self.peak else 0)
        assert state["open_n"] == sum(1 for s in self.lots if self.lots[s])
        cost = sum(lot[1] for s in self.lots for lot in self.lots[s])
        assert state["unrealised_e8"] == state["gross_e8"] - cost
