"""The explanation of an entry's gates, where a market is live: fresh quotes, and sizes below a lot."""

from __future__ import annotations

from runtime.core import codes as c
from runtime.ops.explain_gates import gate_lines
from runtime.policy import PairRules, RiskProfile
from tests.support.desk import E8, Desk

UP = (600_000, 20_000)
WIDE = RiskProfile(cluster_cap_ppm=1_000_000)


def desk_with_forecast(pair: PairRules | None = None) -> Desk:
    desk = Desk(WIDE, pair=pair)
    desk.hour(UP)
    return desk


def test_a_fresh_quote_is_one_more_liquidity_line() -> None:
    desk = desk_with_forecast()
    without, *_, gate = gate_lines(desk.policy[0], desk.states[0], 0, c.ENTER)
    assert gate == c.G_PASS
    for bid, ask, expected in ((99 * E8, 101 * E8, c.G_LIQUIDITY), (100 * E8, 100 * E8 + 1, c.G_PASS)):
        desk.event(c.EV_QUOTE, instrument_id=0, price_e8=bid, reference_e8=ask)
        lines, *_, gate = gate_lines(desk.policy[0], desk.states[0], 0, c.ENTER)
        assert gate == expected
        assert len(lines) == len(without) + 1


def test_less_than_a_lot_is_refused_by_the_lot() -> None:
    desk = desk_with_forecast(PairRules(lot_e8=10**6 * E8))
    *_, gate = gate_lines(desk.policy[0], desk.states[0], 0, c.ENTER)
    assert gate == c.G_LOT
