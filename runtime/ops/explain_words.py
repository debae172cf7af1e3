"""Each reason of the strategy in words, as explanations show it."""

from __future__ import annotations

from typing import Final

from runtime.core import codes as c

REASONS: Final = {
    c.R_NONE: "nothing to do",
    c.R_ENTRY_POSITIVE: "the outlook is positive and persistent",
    c.R_ENTRY_STRONG: "the outlook is strongly positive and persistent",
    c.R_HOLD_THESIS: "the outlook still carries the position",
    c.R_HOLD_EDGE: "the outlook is weaker, and nothing asks for a sale",
    c.R_HOLD_NO_FORECAST: "there is no recent forecast to act on",
    c.R_HOLD_EXTENDED: "the planned horizon is over, the edge is not: extended",
    c.R_DERISK_UNCERTAIN: "neutral and uncertain: a part is sold",
    c.R_DERISK_NEGATIVE: "persistently negative: a part is sold",
    c.R_EXIT_NEGATIVE: "persistently negative, a rebound is unlikely: all is sold",
    c.R_EXIT_STRONG_NEGATIVE: "strongly negative, a rebound is unlikely: all is sold",
    c.R_DIP_WAIT: "the outlook is positive, but a near-term drop is predicted: wait for it",
    c.R_DIP_ENTRY: "the drop that was waited for is over",
    c.R_WAIT_PERSISTENCE: "positive, but not confirmed by enough forecasts in a row",
    c.R_TACTICAL_TAKE: "the local edge is gone while the thesis holds: a part of the profit is taken",
    c.R_REENTRY_EDGE: "the local edge is back: what was realised is bought back",
    c.R_RECOVERY_HOLD: "a severe loss; the odds of a rebound, or patience, hold the position",
    c.R_RECOVERY_DERISK: "a severe loss, patience is over: a part is sold",
    c.R_RECOVERY_EXIT: "a severe loss, patience is over and a rebound is unlikely: all is sold",
}
