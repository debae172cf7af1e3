"""The rule in NautilusTrader: `python nautilus_run.py FOLDER given|own`; reads market.npz, writes trades.npy, prints a JSON object.

`own`: the strategy has its two indicators per symbol, as its documentation shows. `given`: it looks the answers up in a list.
"""

from __future__ import annotations

import json
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import nautilus_trader
import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, CurrencyType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

DECIMALS = 8
VENUE = Venue("BENCH")


FAST_N, SLOW_N = 24, 168


class Given(Strategy):
    """Hold while the rule is long; the rule's answers are looked up."""

    def __init__(self, types: list[BarType], close_t: list[int], long: list[list[bool]], quantity: list[list[float]]) -> None:
        """Take the rule's answers."""
        super().__init__()
        self.types, self.long, self.quantity = types, long, quantity
        self.number = {bar_type: n for n, bar_type in enumerate(types)}
        self.by_instrument = {bar_type.instrument_id: n for n, bar_type in enumerate(types)}
        self.bar_of = {t * 1_000_000_000: i for i, t in enumerate(close_t)}
        self.held: list[Any] = [None] * len(types)
        self.fills: list[tuple[int, int, bool, float, float]] = []

    def on_start(self) -> None:
        """Ask for every symbol's bars."""
        for bar_type in self.types:
            self.subscribe_bars(bar_type)

    def on_bar(self, bar: Bar) -> None:
        """Order on a change of the rule; the venue stands at this close, which is the next open."""
        n, i = self.number[bar.bar_type], self.bar_of[bar.ts_event]
        wanted = self.long[i][n]
        if wanted == self.long[i - 1][n]:
            return
        instrument_id = bar.bar_type.instrument_id
        if wanted:
            size = Quantity(self.quantity[i][n], DECIMALS)
            self.submit_order(self.order_factory.market(instrument_id, OrderSide.BUY, size))
        elif self.held[n] is not None:
            self.submit_order(self.order_factory.market(instrument_id, OrderSide.SELL, self.held[n]))

    def on_order_filled(self, event: Any) -> None:
        """Keep executions: symbol, time, side, quantity, price."""
        n = self.by_instrument[event.instrument_id]
        bought = event.order_side == OrderSide.BUY
        self.held[n] = event.last_qty if bought else None
        self.fills.append((n, event.ts_event // 1_000_000_000, bought, float(event.last_qty), float(event.last_px)))

    def on_order_rejected(self, event: Any) -> None:
        """Stop: the comparison would not hold."""
        raise RuntimeError(str(event))

    def on_order_denied(self, event: Any) -> None:
        """Stop: the comparison would not hold."""
        raise RuntimeError(str(event))


class Own(Given):
    """Hold while the short mean is above the long one."""

    def on_start(self) -> None:
        """Ask for every symbol's bars, and feed its two means with them."""
        self.means = [(SimpleMovingAverage(FAST_N), SimpleMovingAverage(SLOW_N)) for _ in self.types]
        for bar_type, means in zip(self.types, self.means, strict=True):
            for mean in means:
                self.register_indicator_for_bars(bar_type, mean)
        super().on_start()

    def on_bar(self, bar: Bar) -> None:
        """Order where the position is not what the rule wants."""
        n = self.number[bar.bar_type]
        fast, slow = self.means[n]
        if not slow.initialized:
            return
        instrument_id = bar.bar_type.instrument_id
        if fast.value > slow.value:
            if self.held[n] is None:
                size = Quantity(self.quantity[self.bar_of[bar.ts_event]][n], DECIMALS)
                self.submit_order(self.order_factory.market(instrument_id, OrderSide.BUY, size))
        elif self.held[n] is not None:
            self.submit_order(self.order_factory.market(instrument_id, OrderSide.SELL, self.held[n]))


def instrument(n: int, fee: Decimal) -> CurrencyPair:
    """Return symbol n as a spot pair."""
    base = Currency(f"S{n:02d}", DECIMALS, 0, f"S{n:02d}", CurrencyType.CRYPTO)
    step = f"0.{'0' * (DECIMALS - 1)}1"
    symbol = Symbol(f"S{n:02d}USDT")
    return CurrencyPair(
        instrument_id=InstrumentId(symbol, VENUE), raw_symbol=symbol, base_currency=base, quote_currency=USDT,
        price_precision=DECIMALS, size_precision=DECIMALS, price_increment=Price.from_str(step), size_increment=Quantity.from_str(step),
        ts_event=0, ts_init=0, margin_init=Decimal(0), margin_maint=Decimal(0), maker_fee=fee, taker_fee=fee,
    )  # fmt: skip


def bars_of(bar_type: BarType, market: dict[str, Any], n: int) -> list[Bar]:
    """Return one symbol's bars."""
    nanoseconds = (market["close_t"] * 1_000_000_000).tolist()
    columns = [market[name][:, n].tolist() for name in ("open", "high", "low", "close")]
    volume = Quantity(float(market["volume"][0, n]), DECIMALS)
    return [
        Bar(bar_type, Price(o, DECIMALS), Price(h, DECIMALS), Price(lo, DECIMALS), Price(c, DECIMALS), volume, t, t)
        for t, o, h, lo, c in zip(nanoseconds, *columns, strict=True)
    ]


def main() -> None:
    """Run once."""
    folder = Path(sys.argv[1])
    with np.load(folder / "market.npz") as loaded:
        market = {name: loaded[name] for name in loaded.files}
    began_s = time.perf_counter()
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True), run_analysis=False
        )
    )
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.CASH, [Money(float(market["cash"]), USDT)], base_currency=None)
    types = []
    fee = Decimal(str(float(market["fee"])))
    for n in range(market["close"].shape[1]):
        pair = instrument(n, fee)
        engine.add_instrument(pair)
        bar_type = BarType.from_str(f"{pair.id}-1-HOUR-LAST-EXTERNAL")
        types.append(bar_type)
        engine.add_data(bars_of(bar_type, market, n), sort=False)
    engine.sort_data()
    close_t = market["close_t"].tolist()
    strategy = {"given": Given, "own": Own}[sys.argv[2]](types, close_t, market["long"].tolist(), market["quantity"].tolist())
    engine.add_strategy(strategy)
    loaded_s = time.perf_counter()
    engine.run()
    ended_s = time.perf_counter()
    opened: dict[int, tuple[int, float, float]] = {}
    trades = []
    for n, t, bought, size, price in strategy.fills:
        if bought:
            opened[n] = (t, size, price)
        else:
            first, held, paid = opened.pop(n)
            trades.append((n, first, t, held, paid, price))
    np.save(folder / "trades.npy", np.array(trades, np.float64).reshape(-1, 6))
    result = {
        "version": nautilus_trader.__version__, "python": sys.version.split()[0], f"{sys.argv[2]}_s": ended_s - loaded_s,
        "with_loading_s": ended_s - began_s, "fills": len(strategy.fills),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
