"""The rule in backtrader: `python backtrader_run.py FOLDER given|own`; reads market.npz, writes trades.npy, prints one JSON object.

`own`: the strategy computes the two means itself, as its documentation shows. `given`: it looks the answers up in a list.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np


class Feed(bt.feed.DataBase):
    """One symbol's bars out of an array, preloaded before the run is timed."""

    params = (("bars", None),)

    def start(self) -> None:
        """Stand before the first bar."""
        super().start()
        self.at = 0

    def _load(self) -> bool:
        if self.at >= len(self.p.bars):
            return False
        when, opening, high, low, close, volume = self.p.bars[self.at]
        lines = self.lines
        lines.datetime[0], lines.open[0], lines.high[0], lines.low[0] = when, opening, high, low
        lines.close[0], lines.volume[0], lines.openinterest[0] = close, volume, 0.0
        self.at += 1
        return True


FAST_N, SLOW_N = 24, 168


class Given(bt.Strategy):
    """Hold while the rule is long; the rule's answers are looked up."""

    params = (("long", None), ("quantity", None))

    def __init__(self) -> None:
        """Prepare the books of what was executed."""
        self.held = [0.0] * len(self.datas)
        self.fills: list[tuple[int, int, float, float]] = []
        self.number = {id(data): n for n, data in enumerate(self.datas)}
        self.seconds = [0.0, 0.0]

    def start(self) -> None:
        """Begin the clock: the feeds are loaded."""
        self.seconds[0] = time.perf_counter()

    def stop(self) -> None:
        """End the clock."""
        self.seconds[1] = time.perf_counter()

    def notify_order(self, order: Any) -> None:
        """Keep executions: symbol, bar whose open filled it, signed quantity, price."""
        if order.status == order.Completed:
            n = self.number[id(order.data)]
            self.held[n] += order.executed.size
            self.fills.append((n, len(self) - 1, order.executed.size, order.executed.price))
        elif order.status in {order.Margin, order.Rejected}:
            raise RuntimeError(f"symbol {self.number[id(order.data)]}: {order.getstatusname()}")

    def next(self) -> None:
        """Order on a change of the rule; the broker fills at the next bar's open."""
        i = len(self) - 1
        long, before = self.p.long[i], self.p.long[i - 1]
        for n, wanted in enumerate(long):
            if wanted != before[n]:
                if wanted:
                    self.buy(data=self.datas[n], size=self.p.quantity[i][n])
                elif self.held[n] > 0:
                    self.sell(data=self.datas[n], size=self.held[n])


class Own(Given):
    """Hold while the short mean is above the long one."""

    def __init__(self) -> None:
        """Prepare the means."""
        super().__init__()
        self.above = [bt.ind.SMA(d.close, period=FAST_N) > bt.ind.SMA(d.close, period=SLOW_N) for d in self.datas]

    def next(self) -> None:
        """Order where the position is not what the rule wants."""
        quantity = self.p.quantity[len(self) - 1]
        for n, data in enumerate(self.datas):
            held = self.getposition(data).size
            if self.above[n][0]:
                if not held:
                    self.buy(data=data, size=quantity[n])
            elif held:
                self.sell(data=data, size=held)


def main() -> None:
    """Run once."""
    folder = Path(sys.argv[1])
    with np.load(folder / "market.npz") as loaded:
        market = {name: loaded[name] for name in loaded.files}
    close_t = market["close_t"]
    number = [bt.date2num(datetime.fromtimestamp(int(t), UTC).replace(tzinfo=None)) for t in close_t]
    cerebro = bt.Cerebro(stdstats=False, preload=True, runonce=True)
    cerebro.broker.setcash(float(market["cash"]))
    cerebro.broker.setcommission(commission=float(market["fee"]))
    for n in range(market["close"].shape[1]):
        columns = [market[name][:, n].tolist() for name in ("open", "high", "low", "close", "volume")]
        cerebro.adddata(Feed(bars=list(zip(number, *columns, strict=True))))
    cerebro.addstrategy(
        {"given": Given, "own": Own}[sys.argv[2]], long=market["long"].tolist(), quantity=market["quantity"].tolist()
    )
    began_s = time.perf_counter()
    (strategy,) = cerebro.run()
    whole_s = time.perf_counter() - began_s
    opened: dict[int, tuple[int, float, float]] = {}
    trades = []
    for n, i, size, price in strategy.fills:
        if size > 0:
            opened[n] = (i, size, price)
        else:
            first, held, paid = opened.pop(n)
            trades.append((n, close_t[first] - 3_600, close_t[i] - 3_600, held, paid, price))
    np.save(folder / "trades.npy", np.array(trades, np.float64).reshape(-1, 6))
    result = {
        "version": bt.__version__, "python": sys.version.split()[0], f"{sys.argv[2]}_s": strategy.seconds[1] - strategy.seconds[0],
        "with_loading_s": whole_s, "fills": len(strategy.fills),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
