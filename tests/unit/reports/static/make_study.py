"""Make a small but complete study in memory and on disk, with consistent books, for the tests of the report.

`python -m tests.unit.reports.static.make_study DIR [assets] [days]` writes one with its report, to look at.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from reports.static.inputs import RUNS, TABLES, Inputs, Manifest, Replay, Study, read_json, read_run, read_table, read_view
from runtime.core import codes as c
from runtime.core.records import RECORD_TYPES
from runtime.inference.panel import BarPanel

ASSETS = (
    "BTC",
    "ETH",
    "BNB",
    "XRP",
    "SOL",
    "TRX",
    "ADA",
    "BCH",
    "XMR",
    "LINK",
    "XLM",
    "HBAR",
    "LTC",
    "AVAX",
    "ZEC",
    "SUI",
    "SHIB",
    "DOT",
    "UNI",
    "AAVE",
    "NEAR",
    "ETC",
    "ICP",
    "POL",
    "ALGO",
    "FIL",
    "APT",
    "TON",
)
START_T = 1_577_836_800  # 2020-01-01
HOUR_T, DAY_T = 3_600, 86_400
CASH_E8 = 100_000 * 10**8
FEE_PPM = 4_000
GATES = {"COST": c.G_COST, "TOTAL_EXPOSURE": c.G_TOTAL, "MAX_POSITIONS": c.G_POSITIONS, "FRESHNESS": c.G_FRESHNESS}


def digest(name: str) -> str:
    """Return something that looks like a digest and is different for every name."""
    return hashlib.sha256(name.encode()).hexdigest()


def make_panel(assets_n: int, days_n: int) -> BarPanel:
    """Return a seeded random walk with a hole in the second asset and a late start of the third."""
    rng = np.random.Generator(np.random.PCG64(7))
    n = days_n * 24
    common = rng.normal(0, 0.004, (n, 1))
    steps = common + rng.normal(0.00002, 0.005, (n, assets_n))
    close = 100 * np.exp(np.cumsum(steps, axis=0)) * np.logspace(2.3, -1, assets_n)
    wiggle = 1 + np.abs(rng.normal(0, 0.004, (n, assets_n)))
    columns = {
        "open": close / (1 + steps / 2),
        "high": close * wiggle,
        "low": close / wiggle,
        "close": close,
        "volume": close * 0 + 5000.0,
    }
    for values in columns.values():
        if assets_n > 1:
            values[n // 3 : n // 3 + 90, 1] = np.nan
        if assets_n > 2:
            values[: n // 5, 2] = np.nan
    return BarPanel(ASSETS[:assets_n], HOUR_T, START_T + HOUR_T * np.arange(n), **columns)


@dataclass
class Books:
    """A run's tables while they are written: integer books that add up."""

    rows: dict[str, list[dict[str, int]]] = field(default_factory=lambda: {r.name: [] for r in RECORD_TYPES})
    cash_e8: int = 0
    qty_e8: dict[int, int] = field(default_factory=dict)
    lots: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    fees_e8: int = 0
    turnover_e8: int = 0

    def add(self, table: str, at_t: int, **values: int) -> None:
        record = next(r for r in RECORD_TYPES if r.name == table)
        names = record.dtype.names or ()
        hour = at_t // HOUR_T * HOUR_T
        head = {
            names[0]: len(self.rows[table]) + 1,
            "account_id": 1,
            "mode_id": 1,
            "origin_hour_t": hour,
            "hour_t": hour,
            "at_t": at_t,
        }
        self.rows[table].append(dict.fromkeys(names, 0) | head | values)

    def entry(self, at_t: int, kind: int, delta_e8: int, **values: int) -> None:
        n = len(self.rows["cash_ledger"])
        self.add("cash_ledger", at_t, entry_n=n + 1, previous_entry_id=n, kind_id=kind, before_e8=self.cash_e8, delta_e8=delta_e8,
                 after_e8=self.cash_e8 + delta_e8, **values)  # fmt: skip
        self.cash_e8 += delta_e8

    def fill(self, at_t: int, i: int, side: int, qty_e8: int, price_e8: int) -> None:
        notional = qty_e8 * price_e8 // 10**8
        fee = notional * FEE_PPM // 10**6
        self.fees_e8 += fee
        self.turnover_e8 += notional
        self.add("order_fill", at_t, instrument_id=i, side_id=side, liquidity_id=1, qty_e8=qty_e8, price_e8=price_e8, reference_e8=price_e8,
                 notional_e8=notional, fee_e8=fee, slippage_e8=notional // 2000)  # fmt: skip
        fill_id = len(self.rows["order_fill"])
        self.entry(at_t, c.L_BUY if side == c.BUY else c.L_SELL, -notional - fee if side == c.BUY else notional - fee, fill_id=fill_id,
                   instrument_id=i, notional_e8=notional, fee_e8=fee)  # fmt: skip
        if side == c.BUY:
            self.lots[i] = (at_t, qty_e8, notional + fee)
            self.qty_e8[i] = qty_e8
        else:
            opened_t, _, cost = self.lots.pop(i)
            self.qty_e8[i] = 0
            self.add("executed_trade", at_t, lot_id=fill_id, fill_id=fill_id, instrument_id=i, opened_t=opened_t, qty_e8=qty_e8, cost_e8=cost,
                     proceeds_e8=notional - fee, pnl_e8=notional - fee - cost, campaign_id=fill_id)  # fmt: skip


def make_run(panel: BarPanel, name: str, first: int, trades: bool) -> tuple[Books, dict[str, int], npt.NDArray[np.int64], int]:
    """Return books, refusals, hourly portfolio values and the first row of a run that trades weekly, or not at all."""
    books, refusals = Books(), dict.fromkeys(GATES, 0)
    close_e8 = np.round(np.nan_to_num(panel.close, nan=0.0) * 1e8).astype(np.int64)
    values = []
    books.entry(int(panel.open_t[first]), c.L_DEPOSIT, CASH_E8)
    peak = CASH_E8
    for row in range(first, len(panel.open_t)):
        at_t = int(panel.open_t[row]) + HOUR_T
        if (row - first) % 168 == 5:
            for i in range(len(panel.symbols)):
                now, then = int(close_e8[row, i]), int(close_e8[row - 700, i])
                if not now or not then:
                    continue
                wants = now > then if trades else (row + i) % 5 == 0
                open_qty = books.qty_e8.get(i, 0)
                if wants and not open_qty and trades and sum(q > 0 for q in books.qty_e8.values()) < 3:
                    books.add("trade_signal", at_t, instrument_id=i, action_id=c.ENTER, reason_id=c.R_ENTRY_POSITIVE)
                    books.fill(at_t, i, c.BUY, 4_000 * 10**16 // now, now)
                elif not wants and open_qty:
                    books.add("trade_signal", at_t, instrument_id=i, action_id=c.EXIT, reason_id=c.R_EXIT_NEGATIVE)
                    books.fill(at_t, i, c.SELL, open_qty, now)
                elif wants and not open_qty:
                    gate = list(GATES)[0 if not trades and row % 3 else (row + i) % len(GATES)]
                    refusals[gate] += 1
                    books.add(
                        "trade_signal",
                        at_t,
                        instrument_id=i,
                        action_id=c.ENTER,
                        reason_id=c.R_ENTRY_POSITIVE,
                        gate_id=GATES[gate],
                    )
                    books.add(
                        "risk_event",
                        at_t,
                        instrument_id=i,
                        kind_id=c.RISK_REFUSED,
                        gate_id=GATES[gate],
                        action_id=c.ENTER,
                        scale_id=2,
                    )
        held = sum(q * int(close_e8[row, i]) // 10**8 for i, q in books.qty_e8.items())
        pv = books.cash_e8 + held
        peak = max(peak, pv)
        values.append(pv)
        books.add(
            "portfolio_hourly_state",
            at_t,
            pv_e8=pv,
            gross_e8=held,
            peak_e8=peak,
            cash_usd_e8=books.cash_e8,
            fees_e8=books.fees_e8,
        )
        books.add("risk_hourly_state", at_t, total_cap_e8=pv // 5, total_used_e8=held)
    return books, {k: v for k, v in refusals.items() if v}, np.array(values, dtype=np.int64), first


def drawdown_ppm(values: npt.NDArray[np.int64]) -> int:
    peaks = np.maximum.accumulate(values)
    return int(max(1 - v / p for v, p in zip(values.tolist(), peaks.tolist(), strict=True)) * 10**6)


def write_run(
    home: Path, panel: BarPanel, name: str, books: Books, refusals: dict[str, int], values: npt.NDArray[np.int64], first: int
) -> dict[str, object]:
    """Write a run's folder and return its summary."""
    run_id = f"{name}-{digest(name)[:12]}"
    folder = home / "runs" / run_id
    (folder / "projections").mkdir(parents=True, exist_ok=True)
    genesis = {"symbols": list(panel.symbols), "bundle": {"name": name, "bundle_hash": digest(name + "bundle"), "model_hashes": []},
               "bars_digest": digest("bars"), "forecasts_digest": digest(name + "forecasts"), "clusters_digest": digest("clusters"), "policy_digest": digest("policy"),
               "profile": {"name": "conservative", "fees": [{"volume_e8": 0, "maker_ppm": 2500, "taker_ppm": 4000}], "half_spread_ppm": 200, "slippage_ppm": 300, "margin_ppm": 2000,
                           "participation_ppm": 10000, "total_cap_ppm": 200000, "tiers": [{"drawdown_ppm": 0}]}}  # fmt: skip
    (folder / "genesis.json").write_text(json.dumps(genesis))
    for record in RECORD_TYPES:
        schema = dict.fromkeys(record.dtype.names or (), pl.Int64)
        pl.DataFrame(books.rows[record.name], schema=schema).write_parquet(folder / "projections" / f"{record.name}.parquet")
    final = int(values[-1])
    return {
        "run_id": run_id, "run_root": digest(name + "root"), "genesis_hash": digest(name + "genesis"), "journal_head": digest(name + "head"),
        "policy_hash": digest("policy"), "blocks": len(values), "signals": len(books.rows["trade_signal"]), "orders": len(books.rows["order_fill"]),
        "fills": len(books.rows["order_fill"]), "trades": len(books.rows["executed_trade"]), "refusals": refusals, "initial_pv_e8": CASH_E8,
        "final_pv_e8": final, "net_return_ppm": round((final - CASH_E8) * 10**6 / CASH_E8), "max_drawdown_ppm": drawdown_ppm(values),
        "realised_e8": sum(r["pnl_e8"] for r in books.rows["executed_trade"]), "fees_e8": books.fees_e8,
        "slippage_e8": sum(r["slippage_e8"] for r in books.rows["order_fill"]), "turnover_e8": books.turnover_e8,
        "open_positions": sum(q > 0 for q in books.qty_e8.values()), "first_t": int(panel.open_t[first]), "last_t": int(panel.open_t[-1]) + HOUR_T,
        "seconds": {},
    }  # fmt: skip


def make_tables(panel: BarPanel, first: int, folds_n: int, equity: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the study's tables for folds that tile the test period."""
    rng = np.random.Generator(np.random.PCG64(11))
    begin, end, start = int(panel.open_t[first]), int(panel.open_t[-1]) + HOUR_T, int(panel.open_t[0])
    length = (end - begin) // folds_n // DAY_T * DAY_T
    folds, metrics, calibration, shap, models = [], [], [], [], []
    for f in range(folds_n):
        test = begin + f * length
        check = test - 60 * DAY_T
        folds.append([f, start, check - 76 * HOUR_T, check, test - 24 * HOUR_T, test, min(test + length, end), 76 * HOUR_T, 24 * HOUR_T,
                      40_000 + 9_000 * f, 9_000, 9_000])  # fmt: skip
    for h, good in ((4, 0.004), (24, 0.0035), (72, -0.006)):
        for model, lift in (("blend", good), ("global", good * 0.7), ("per_coin", good * 0.3), ("single_feature", -0.001), ("persistence", -0.9),
                            ("base_rate", 0.0)):  # fmt: skip
            for f in range(-1, folds_n):
                skill = lift + (rng.normal(0, 0.004) if f >= 0 and model != "base_rate" else 0)
                metrics.append(
                    [
                        model,
                        h,
                        f,
                        72_000 if f < 0 else 9_000,
                        0.5 + skill * 8,
                        0.25 * (1 - skill),
                        skill,
                        0.69 - skill,
                        0.011,
                        0.52,
                    ]
                )
        for b in range(8):
            p = 0.40 + 0.03 * b
            calibration.append([h, b, p, p + 0.02 * float(rng.normal()), int(20_000 * np.exp(-(((b - 3) / 1.6) ** 2)))])
        for k in range(40):
            name = f"momentum_{12 * (k + 1)}" if k % 2 else f"volatility_ratio_{k}"
            shap += [[h, name, 0.05 * 0.86**k, float(rng.normal(0, 0.004))]]
        for f in range(folds_n):
            models += [[digest(f"m{h}{f}{s}"), s, h, f, 100, 61_234, True, 9_000] for s in ("global", *panel.symbols)]
    made = {"folds": folds, "metrics": metrics, "calibration": calibration, "shap": shap, "models": models}
    return {name: pl.DataFrame(rows, schema=TABLES[name].split(), orient="row") for name, rows in made.items()} | {
        "equity": equity
    }


def make_study(
    home: Path, *, assets_n: int = 4, days_n: int = 420, folds_n: int = 3, ml_trades: bool = False, simulated: bool = True
) -> Path:
    """Write runs and study below `home` and return the study's folder; the dataset stays in memory (see `make_inputs`)."""
    panel = make_panel(assets_n, days_n)
    first = max(800, int(len(panel.open_t) * 0.45) // 24 * 24)
    summaries, curves = {}, []
    at_t = panel.open_t[first:] + HOUR_T
    for name in RUNS:
        books, refusals, values, _ = make_run(panel, name, first, name == "trend" or ml_trades)
        summaries[name] = write_run(home, panel, name, books, refusals, values, first)
        curves.append((name, values))
    btc = np.round(CASH_E8 * (panel.close[first:, 0] / panel.close[first, 0])).astype(np.int64)
    held = np.nan_to_num(panel.close[first:, [0, -1]] / panel.close[first, [0, -1]], nan=1.0).mean(axis=1)
    naive = {
        "flat": np.full(len(at_t), CASH_E8, dtype=np.int64),
        "btc_hold": btc,
        "equal_weight": np.round(CASH_E8 * held).astype(np.int64),
    }
    curves += list(naive.items())
    equity = pl.concat([pl.DataFrame({"at_t": at_t, "series": [name] * len(at_t), "pv_e8": values}) for name, values in curves])
    study = home / "studies" / digest("study")[:12]
    (study / "tables").mkdir(parents=True, exist_ok=True)
    for name, frame in make_tables(panel, first, folds_n, equity).items():
        frame.write_parquet(study / "tables" / f"{name}.parquet")
    content = {
        "source": "simulated" if simulated else "binance-spot", "simulated": simulated, "dataset_hash": digest("dataset"),
        "feature_set_hash": digest("features"), "model_hashes": sorted(digest(f"m{h}{f}global") for h in (4, 24, 72) for f in range(folds_n)),
        "policy_hash": digest("policy"), "run_root": summaries["ml"]["run_root"], "runs": summaries,
        "spec": {"dataset": digest("dataset"), "horizons_h": [4, 24, 72], "grid_h": 4, "seed": 7, "profile": "conservative"},
        "baselines": {name: {"final_pv_e8": int(v[-1]), "net_return_ppm": round((int(v[-1]) - CASH_E8) * 10**6 / CASH_E8),
                             "max_drawdown_ppm": drawdown_ppm(v)} for name, v in naive.items()},
    }  # fmt: skip
    (study / "study.json").write_text(json.dumps(content))
    (study / "receipt.json").write_text(
        json.dumps({"source_digest": digest("nb"), "results_digest": digest("res"), "rendered_digest": digest("ren")})
    )
    return study


def make_manifest(panel: BarPanel, simulated: bool) -> Manifest:
    """Return a dataset manifest with one gap and two findings."""
    hole = np.flatnonzero(np.isnan(panel.close[:, 1])) if len(panel.symbols) > 1 else np.array([], dtype=np.int64)
    gaps = (
        [
            {
                "symbol": panel.symbols[1],
                "first_t": int(panel.open_t[hole[0]]),
                "last_t": int(panel.open_t[hole[-1]]),
                "bars_n": len(hole),
            }
        ]
        if len(hole)
        else []
    )
    findings = [{"gate": g["gate"], "severity": "blocking", "symbol": panel.symbols[0], "first_t": START_T, "last_t": START_T + 7200, "rows_n": 3,
                 "detail": g["detail"], "accepted": True} for g in ({"gate": "gap", "detail": "90 bars missing"},
                 {"gate": "wick", "detail": "low 21 % below the body <script>alert(1)</script>"})]  # fmt: skip
    files = [{"symbol": s, "sha256": digest("file" + s), "rows": int((~np.isnan(panel.close[:, i])).sum()), "first_t": int(panel.open_t[0]),
              "last_t": int(panel.open_t[-1])} for i, s in enumerate(panel.symbols)]  # fmt: skip
    return Manifest.model_validate({
        "dataset_hash": digest("dataset"), "source": "simulated" if simulated else "binance-spot", "simulated": simulated,
        "venue": "simulated" if simulated else "binance-spot", "interval": "1h", "universe_version": "v1", "as_of_t": int(panel.open_t[-1]) + HOUR_T,
        "first_t": int(panel.open_t[0]), "last_t": int(panel.open_t[-1]), "symbols": panel.symbols, "files": files, "gaps": gaps,
        "findings": findings, "verdict": "accepted", "assumptions": ["USDT history stands 1:1 for USD."],
    })  # fmt: skip


def make_inputs(home: Path, study: Path, *, replayed: bool = True) -> Inputs:
    """Return the report's inputs of a study made by `make_study`, read from its files as far as they go."""
    found = read_view(study / "study.json", Study)
    runs = {name: read_run(home, name, summary) for name, summary in found.runs.items()}
    summary = found.runs["trend"]
    panel = make_panel(len(runs["trend"].symbols), (summary.last_t - START_T) // DAY_T)
    return Inputs(study.name, found, make_manifest(panel, found.simulated), panel,
                  {name: read_table(study / "tables" / f"{name}.parquet", columns) for name, columns in TABLES.items()}, runs,
                  {name: Replay(parity=True, blocks=s.blocks) for name, s in found.runs.items()} if replayed else {},
                  read_json(study / "receipt.json"))  # fmt: skip


if __name__ == "__main__":
    from reports.static.study_report import render

    folder = Path(sys.argv[1])
    made = make_study(folder, assets_n=int(sys.argv[2]), days_n=int(sys.argv[3]), folds_n=8, simulated=len(sys.argv) < 5)
    (folder / "report.html").write_text(render(make_inputs(folder, made)))
