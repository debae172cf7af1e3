"""The trend rule: 30-day momentum behind a BTC gate, looked at daily, acted on as the consensus of the last seven looks.

It is the research's "30-day momentum, weekly, 7 tranches with a BTC 30-day gate": seven tranches, each renewed on its own
weekday, hold at any time what the last seven daily looks said. It is a rule with stated constants, not a fitted model;
it passes through the same forecasts, core and journal as the ML bundle.

Only + - * / and comparisons in a fixed order on floats; quantised once, integers after that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.canonical import digest
from runtime.core.records import FORECAST, INSTRUMENTS
from runtime.inference.features import paths_of
from runtime.inference.kernels import P_CLOSE
from runtime.inference.panel import BarPanel, Bools, Floats, Ints
from runtime.inference.quantise import to_ppm

DAY_T: Final = 86_400
PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TrendSpec:
    """The constants of the rule; all of them are in the digest.

    Attributes:
        version: raised when the same constants give other integers.
        reference: asset whose own momentum must be positive for any look to say yes.
        momentum_n: bars of the momentum (720 hours = 30 days).
        looks_n: daily looks, at 00:00 UTC closes, that form the consensus.
        looks_min_n: looks that must be computable for a forecast to be valid.
        coverage_ppm: share of the momentum window's bars that must be present.
        carry_ppm: assumption: this share of the momentum is expected over the far horizon. 72 h are a tenth of
            30 days, so a trend is taken to go on at the pace at which it ran; nearer horizons get their share of that.
        step_ppm: assumption: each look above (below) an even vote adds (takes) this much probability, twice.
        horizons_h: near, main and far horizon.
        interval_t: seconds per bar.
    """

    version: int = 1
    reference: str = "BTC"
    momentum_n: int = 720
    looks_n: int = 7
    looks_min_n: int = 5
    coverage_ppm: int = 900_000
    carry_ppm: int = 100_000
    step_ppm: int = 20_000
    horizons_h: tuple[int, int, int] = (4, 24, 72)
    interval_t: int = 3_600

    @property
    def window_n(self) -> int:
        """Return how many bars, the last one included, a forecast is a function of."""
        return self.momentum_n + self.looks_n * (DAY_T // self.interval_t)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON of the constants."""
        return digest({"kind": "trend", **asdict(self), "horizons_h": list(self.horizons_h)})


DEFAULT_TREND: Final = TrendSpec()


def trend_forecasts(panel: BarPanel, rows: Ints, spec: TrendSpec = DEFAULT_TREND) -> npt.NDArray[np.void]:
    """Return the rule's forecast of every asset at the given rows.

    A look says yes when the asset's and the reference's momentum are above zero; a momentum of the reference that is not
    known (a hole in its data) counts as zero, so an unknown gate is a closed one. The expected return is the mean over the looks of
    the asset's momentum where it says yes and of the lower of the two momenta where it says no, times the carry; the
    probability rises with the votes; the uncertainty is how far the looks disagree.

    Args:
        panel: hourly bars of S assets, the reference among them.
        rows: int64 [N], row numbers of the panel; bars above a row are not read.
        spec: the constants.

    Returns:
        FORECAST [N, S] in the panel's order of assets; valid_n 0 (all zeros) for an asset without a bar at the row or with
        too few computable looks.

    Raises:
        DataError: the panel has another interval, lacks the reference, or a row is outside.
    """
    rows = np.array(rows, np.int64, ndmin=1)
    panel.require(rows, spec.interval_t, spec.reference)
    close = np.stack([paths_of(panel, s)[P_CLOSE] for s in range(len(panel.symbols))], axis=1)
    present = np.isfinite(close)
    bars_before = np.concatenate([np.zeros((1, close.shape[1]), np.int64), np.cumsum(present, axis=0, dtype=np.int64)])
    reference = panel.symbols.index(spec.reference)
    day_n = DAY_T // spec.interval_t
    midnight = rows - ((panel.open_t[rows] + spec.interval_t) % DAY_T) // spec.interval_t
    yes = np.zeros((len(rows), close.shape[1]), np.int64)
    looks = np.zeros_like(yes)
    total = np.zeros(yes.shape)
    for look in range(spec.looks_n):
        momentum, known = momentum_at(close, bars_before, midnight - look * day_n, spec)
        gate = momentum[:, reference : reference + 1]
        vote = known & (momentum > 0.0) & (gate > 0.0)
        lower = np.where(gate < momentum, gate, momentum)
        total = total + np.where(known, np.where(vote, momentum, lower), 0.0)
        looks += known
        yes += vote
    valid = present[rows] & (looks >= spec.looks_min_n)
    return _quantised(total, looks, yes, valid, spec)


def momentum_at(close: Floats, bars_before: Ints, rows: Ints, spec: TrendSpec) -> tuple[Floats, Bools]:
    """Return momentum [N, S] at some rows (0 where unknown) and where it is known."""
    inside = rows >= spec.momentum_n
    here = np.where(inside, rows, spec.momentum_n)
    now, then = close[here], close[here - spec.momentum_n]
    bars = bars_before[here + 1] - bars_before[here + 1 - spec.momentum_n]
    known = inside[:, None] & (now > 0.0) & (then > 0.0) & (bars * PPM >= spec.momentum_n * spec.coverage_ppm)
    momentum = np.zeros(now.shape)
    momentum[known] = now[known] / then[known] - 1.0
    return momentum, known


def _quantised(total: Floats, looks: Ints, yes: Ints, valid: Bools, spec: TrendSpec) -> npt.NDArray[np.void]:
    far = to_ppm(np.where(valid, total / np.where(valid, looks, 1) * (spec.carry_ppm / PPM), 0.0))
    even = np.where(valid, looks, 1)
    prob = PPM // 2 + (spec.step_ppm * spec.looks_n * (2 * yes - looks)) // even
    uncertainty = (spec.step_ppm * spec.looks_n * np.minimum(yes, looks - yes)) // even
    horizons = [int(h) for h in spec.horizons_h]
    out = np.zeros(looks.shape, FORECAST)
    out["valid_n"] = valid
    for name, hours in zip(("near", "main", "far"), horizons, strict=True):
        out[f"prob_{name}_ppm"] = np.where(valid, np.clip(prob, 0, PPM), 0)
        out[f"ret_{name}_ppm"] = np.where(valid, far * hours // horizons[-1], 0)
    out["uncertainty_ppm"] = np.where(valid, uncertainty, 0)
    return out


def widen(forecasts: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Return FORECAST [N, INSTRUMENTS] from [N, S]: instrument i is asset i, the rest has valid_n 0."""
    out = np.zeros((forecasts.shape[0], INSTRUMENTS), FORECAST)
    out[:, : forecasts.shape[1]] = forecasts
    return out
