"""The forty features written a second time from their definitions, slowly and with exact sums, to check the compiled ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

from runtime.inference.panel import BarPanel, Floats

NAN = math.nan


def complete(values: list[float], window: int) -> list[float] | None:
    """Return the present values when the gap rule is met."""
    present = [v for v in values if not math.isnan(v)]
    if window < 168:
        return present if len(present) == window else None
    return present if len(present) >= 0.9 * window else None


def mean(values: list[float] | None) -> float:
    """Return the mean, NaN for None."""
    return math.fsum(values) / len(values) if values else NAN


def over(a: float, b: float) -> float:
    """Return a / b, NaN unless b > 0."""
    return a / b if b > 0 else NAN


class Asset:
    """One asset's bars up to row i, newest last."""

    def __init__(self, panel: BarPanel, s: int, i: int) -> None:
        def take(values: Floats) -> list[float]:
            return [float(v) for v in values[: i + 1, s]]

        self.close, self.high, self.low = take(panel.close), take(panel.high), take(panel.low)
        self.turnover = [c * v for c, v in zip(self.close, take(panel.volume), strict=True)]
        self.ret = [NAN] + [b / a - 1 for a, b in zip(self.close, self.close[1:], strict=False)]
        self.here = not math.isnan(self.close[-1])

    def last(self, values: list[float], window: int) -> list[float] | None:
        """Return the present values of the last `window` bars, None when too few."""
        return complete(values[-window:], window)

    def momentum(self, window: int) -> float:
        """Return close over close, NaN by the gap rule."""
        if len(self.close) <= window or self.last(self.ret, window) is None:
            return NAN
        return self.close[-1] / self.close[-1 - window] - 1

    def volatility(self, window: int) -> float:
        """Return the root mean square of hourly returns."""
        present = self.last(self.ret, window)
        return math.sqrt(mean([r * r for r in present])) if present else NAN


def pair_moments(xs: list[float], ys: list[float], window: int) -> tuple[float, float, float]:
    """Return covariance and both variances over the pairs present."""
    pairs = [(x, y) for x, y in zip(xs[-window:], ys[-window:], strict=True) if not math.isnan(x + y)]
    if len(pairs) < 0.9 * window:
        return NAN, NAN, NAN
    mx, my = mean([x for x, _ in pairs]), mean([y for _, y in pairs])
    return (
        mean([(x - mx) * (y - my) for x, y in pairs]),
        mean([(x - mx) ** 2 for x, _ in pairs]),
        mean([(y - my) ** 2 for _, y in pairs]),
    )


def own(a: Asset, reference: Asset) -> dict[str, float]:
    """Return the figures of one asset by name (helpers included)."""
    f = {f"m{w}": a.momentum(w) for w in (12, 24, 72, 168, 720)} | {f"v{w}": a.volatility(w) for w in (24, 168, 720)}
    out = {
        "mom_12": over(f["m12"], f["v168"] * 12**0.5), "mom_24": over(f["m24"], f["v168"] * 24**0.5),
        "mom_720": over(f["m720"], f["v720"] * 720**0.5),
        "vol_24": f["v24"], "vol_168": f["v168"], "vol_720": f["v720"],
        "vol_ratio_24_168": over(f["v24"], f["v168"]), "vol_ratio_168_720": over(f["v168"], f["v720"]),
    }  # fmt: skip
    steps = [NAN] + [abs(b - c) for c, b in zip(a.close, a.close[1:], strict=False)]
    path = a.last(steps, 72)
    out["efficiency_72"] = over(a.close[-1] - a.close[-73], math.fsum(path)) if path else NAN
    cov, vx, vy = pair_moments(a.ret, [NAN, *a.ret[:-1]], 168)
    out["autocorr_168"] = over(cov, math.sqrt(vx * vy)) if vx > 0 and vy > 0 else NAN
    week = a.last(a.ret, 168)
    out["max_ret_168"] = over(max(week), f["v168"]) if week else NAN
    out["min_ret_168"] = over(min(week), f["v168"]) if week else NAN
    for w in (168, 720):
        lows, highs = a.last(a.low, w), a.last(a.high, w)
        out[f"dist_low_{w}"] = a.close[-1] / min(lows) - 1 if lows else NAN
        out[f"dist_high_{w}"] = a.close[-1] / max(highs) - 1 if highs else NAN
    t24, t168, t720 = (mean(a.last(a.turnover, w)) for w in (24, 168, 720))
    out["volume_ratio_24_168"], out["volume_ratio_168_720"] = over(t24, t168), over(t168, t720)
    illiquidity = [abs(r) / t if t > 0 else NAN for r, t in zip(a.ret, a.turnover, strict=True)]
    out["amihud_168"] = 1e6 * mean(a.last(illiquidity, 168))
    cov, vx, vy = pair_moments(a.ret, reference.ret, 720)
    beta = over(cov, vy)
    out["beta_720"], out["corr_720"] = beta, over(cov, math.sqrt(vx * vy)) if vx > 0 and vy > 0 else NAN
    out["resid_mom_24"] = over(f["m24"] - beta * reference.momentum(24), f["v168"] * 24**0.5)
    out["resid_mom_168"] = over(f["m168"] - beta * reference.momentum(168), f["v720"] * 168**0.5)
    average = mean(a.last(a.close, 720))
    above = NAN if math.isnan(average) else float(a.close[-1] > average)
    return out | {"m24": f["m24"], "m72": f["m72"], "m168": f["m168"], "m720": f["m720"], "above": above}


def rank(values: list[float], s: int) -> float:
    """Return the mid-rank of value s among the present ones, 0 .. 1."""
    present = sorted(v for v in values if not math.isnan(v))
    if math.isnan(values[s]) or len(present) < 3:
        return NAN
    places = [i for i, v in enumerate(present) if v == values[s]]
    return mean([float(p) for p in places]) / (len(present) - 1)


def naive_row(panel: BarPanel, i: int) -> list[dict[str, float]]:
    """Return every asset's features at row i by name; empty for an asset without a bar."""
    assets = [Asset(panel, s, i) for s in range(len(panel.symbols))]
    reference = assets[panel.symbols.index("BTC")]
    figures = [own(a, reference) if a.here else {} for a in assets]

    def column(name: str) -> list[float]:
        return [f.get(name, NAN) for f in figures]

    def present(name: str, function: Callable[[list[float]], float]) -> float:
        values = [v for v in column(name) if not math.isnan(v)]
        return function(values) if len(values) >= 3 else NAN

    def share(values: list[float]) -> float:
        return sum(v > 0 for v in values) / len(values)

    def deviation(values: list[float]) -> float:
        return math.sqrt(mean([(v - mean(values)) ** 2 for v in values]))

    btc = own(reference, reference) if reference.here else {}
    close_t = int(panel.open_t[i]) + panel.interval_t
    market = {
        "btc_mom_24": btc.get("mom_24", NAN), "btc_mom_720": btc.get("mom_720", NAN), "btc_vol_168": btc.get("vol_168", NAN),
        "btc_dist_high_720": btc.get("dist_high_720", NAN),
        "breadth_24": present("m24", share), "breadth_168": present("m168", share), "above_mean_720": present("above", share),
        "dispersion_24": present("m24", deviation), "market_mom_24": present("m24", mean),
        "weekday": float(datetime.fromtimestamp(close_t, UTC).weekday()),
    }  # fmt: skip
    ranked = {
        "rank_mom_24": "m24", "rank_mom_72": "m72", "rank_mom_720": "m720", "rank_vol_168": "vol_168",
        "rank_resid_168": "resid_mom_168", "rank_amihud_168": "amihud_168", "rank_dist_high_168": "dist_high_168",
    }  # fmt: skip
    return [
        f | market | {name: rank(column(source), s) for name, source in ranked.items()} if f else {}
        for s, f in enumerate(figures)
    ]
