"""The rule in vectorbt: `python vectorbt_run.py FOLDER`; reads market.npz, writes trades.npy, prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import vectorbt as vbt

REPEATS_N = 7
FAST_N, SLOW_N = 24, 168


def main() -> None:
    """Run cold once, then warm, and take the fastest warm run."""
    folder = Path(sys.argv[1])
    with np.load(folder / "market.npz") as market:
        close, opening, long, quantity = market["close"], market["open"], market["long"], market["quantity"]
        close_t, symbols_n = market["close_t"], market["close"].shape[1]
        fee, cash = float(market["fee"]), float(market["cash"])
    # a signal at one close is executed at the next open
    before = np.vstack([np.zeros((1, symbols_n), bool), long[:-1]])
    two_before = np.vstack([np.zeros((1, symbols_n), bool), before[:-1]])
    entries, exits = before & ~two_before, ~before & two_before
    size = np.vstack([np.zeros((1, symbols_n)), quantity[:-1]])
    index = pd.to_datetime(close_t, unit="s")
    frames = [pd.DataFrame(array, index=index) for array in (close, entries, exits, size, opening)]

    def simulate(cash_sharing: bool) -> vbt.Portfolio:
        return vbt.Portfolio.from_signals(
            frames[0], frames[1], frames[2], size=frames[3], size_type="amount", price=frames[4], fees=fee, init_cash=cash,
            cash_sharing=cash_sharing, group_by=True if cash_sharing else None, freq="1h",
        )  # fmt: skip

    def seconds(cash_sharing: bool = True, books: bool = False) -> float:
        began_s = time.perf_counter()
        portfolio = simulate(cash_sharing)
        if books:
            _ = portfolio.trades.records, portfolio.value(), portfolio.cash()
        return time.perf_counter() - began_s

    def own_rule() -> vbt.Portfolio:
        above = vbt.MA.run(frames[0], FAST_N).ma_above(vbt.MA.run(frames[0], SLOW_N))
        above = pd.DataFrame(above.to_numpy(), index=index).vbt.fshift(1, fill_value=False)
        return vbt.Portfolio.from_signals(
            frames[0], above, ~above, size=frames[3], size_type="amount", price=frames[4], fees=fee, init_cash=cash,
            cash_sharing=True, group_by=True, freq="1h",
        )  # fmt: skip

    def own_seconds() -> float:
        began_s = time.perf_counter()
        own_rule()
        return time.perf_counter() - began_s

    cold_s = seconds()
    own_seconds(), seconds(books=True), seconds(cash_sharing=False)
    result = {
        "version": vbt.__version__,
        "python": sys.version.split()[0],
        "given_s": min(seconds() for _ in range(REPEATS_N)),
        "own_s": min(own_seconds() for _ in range(REPEATS_N)),
        "separate_cash_s": min(seconds(cash_sharing=False) for _ in range(REPEATS_N)),
        "with_books_s": min(seconds(books=True) for _ in range(REPEATS_N)),
        "cold_s": cold_s,
    }
    portfolio = own_rule()
    records = portfolio.exit_trades.records
    closed = records[records["status"] == 1]
    trades = np.column_stack([
        closed["col"], close_t[closed["entry_idx"]] - 3_600, close_t[closed["exit_idx"]] - 3_600, closed["size"],
        closed["entry_price"], closed["exit_price"],
    ]).astype(np.float64)  # fmt: skip
    result["fills"] = len(portfolio.orders.records)
    np.save(folder / "trades.npy", trades)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
