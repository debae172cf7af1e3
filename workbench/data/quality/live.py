"""Checks of live series against clocks: stale tails, bars of the future, a clock that is off, a synchronisation that lags.

Pure functions: the clock and the venue's clock are arguments. `ballast data check --live` and `ballast data status` use them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from workbench.data.quality.findings import Finding, finding
from workbench.data.quality.gates import Series
from workbench.data.universe.versions import iso

GRACE_BARS: Final = 1
"""Bars a series may lag: after a bar closes, the venue and the synchronisation have one more bar's time to deliver it."""
SKEW_S_MAX: Final = 2.0
"""Seconds this machine's clock may differ from the venue's; the runtime's risk gate has the same default (`skew_max_ms`)."""


class Clock(NamedTuple):
    """What the clocks said.

    Attributes:
        now_t: this machine's clock, seconds UTC.
        skew_s: venue's clock minus this machine's, seconds; None = the venue was not asked.
        uncertainty_s: how far off `skew_s` may be, seconds.
    """

    now_t: int
    skew_s: float | None = None
    uncertainty_s: float = 0.0


def ask_clocks(now_s: Callable[[], float], server_time_t: Callable[[], float] | None, resolution_s: float = 1.0) -> Clock:
    """Return this machine's time and how far the venue's is from it.

    The answer was made at some moment between the question and its arrival, so the skew is measured from the middle and is
    uncertain by half the time the call took, plus the resolution of the venue's answer (Kraken tells whole seconds).

    Args:
        now_s: this machine's clock, seconds UTC.
        server_time_t: asks the venue, seconds UTC; None = do not ask. What it raises passes through.
        resolution_s: the step of the venue's answer, seconds.
    """
    began_s = now_s()
    if server_time_t is None:
        return Clock(int(began_s))
    told_s = float(server_time_t()) + resolution_s / 2
    ended_s = now_s()
    skew_s = told_s - (began_s + ended_s) / 2
    return Clock(int(ended_s), skew_s, (abs(ended_s - began_s) + resolution_s) / 2)


def clock_findings(venue: str, clock: Clock, skew_s_max: float = SKEW_S_MAX) -> list[Finding]:
    """Return a finding when this machine's clock is certainly further from the venue's than allowed."""
    if clock.skew_s is None or abs(clock.skew_s) - clock.uncertainty_s <= skew_s_max:
        return []
    behind = "behind" if clock.skew_s > 0 else "ahead of"
    detail = (
        f"this machine's clock is {abs(clock.skew_s):.1f} s (give or take {clock.uncertainty_s:.1f}) {behind} that of {venue}; "
        f"{skew_s_max:g} s are allowed"
    )
    return [finding("clock_skew", venue, venue, clock.now_t, clock.now_t, 0, detail)]


def live_findings(
    series: Series,
    last_t: int,
    clock: Clock,
    *,
    watermark_t: int | None = None,
    grace_bars: int = GRACE_BARS,
    unclosed_t: Sequence[int] = (),
) -> list[Finding]:
    """Return what the clock says about the tail of one series.

    Args:
        series: names and interval.
        last_t: opening time of its newest bar, seconds UTC.
        clock: what the clocks said.
        watermark_t: every bar that opened before it was asked for (`Page.until_t`), seconds UTC; None = not synchronised.
        grace_bars: bars it may lag.
        unclosed_t: opening times of bars on record as possibly still forming.
    """
    step, name = series.interval_t, (series.symbol, series.name)
    closed_t = clock.now_t // step * step - step  # opening time of the newest bar that has closed
    found = []
    if last_t > closed_t and last_t not in unclosed_t:
        first_t = closed_t + step
        detail = f"newest bar {iso(last_t)} had not closed at {iso(clock.now_t)} by this machine's clock"
        found.append(finding("future", *name, min(first_t, last_t), last_t, (last_t - closed_t) // step, detail, (last_t,)))
    missing = (closed_t - last_t) // step
    if missing > grace_bars:
        detail = f"newest bar {iso(last_t)}, {missing} bars before the newest that has closed ({iso(closed_t)}); {grace_bars} allowed"
        found.append(finding("stale_live", *name, last_t, closed_t, missing, detail))
    if watermark_t is not None and (closed_t + step - watermark_t) // step > grace_bars:
        behind = (closed_t + step - watermark_t) // step
        detail = f"bars were last asked for up to {iso(watermark_t)}, {behind} bars before {iso(closed_t + step)}"
        found.append(finding("watermark_lag", *name, watermark_t, closed_t, behind, detail))
    return found
