"""What the figures mean, in plain words. Nothing here praises: a run that stayed flat is told as calmly as one that gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Final

import polars as pl

from reports.static.facts import SERIES, Outcome, entries, gates, halted, invested_most_ppm, invested_ppm
from reports.static.inputs import Inputs, Run
from reports.static.numbers import count, day, measure, money_text, percent_text, plural

GATE_MEANINGS: Final = {
    "KILL_SWITCH": "the kill switch was on", "ENTRY_HALT": "new entries were halted by an operator",
    "DRAWDOWN_TIER": "the drawdown tier allowed no new risk", "SEVERE_LOSS": "a severe loss blocked new entries",
    "MAX_POSITIONS": "the largest number of open positions was reached",
    "TOTAL_EXPOSURE": "the cap on the total value of positions left no room",
    "CLUSTER_EXPOSURE": "the cap on assets that move together left no room", "QUOTE_CAP": "the cap of the quote currency left no room",
    "GLOBAL_BUDGET": "the budget was used up",
    "COST": "the expected gross return did not exceed fees, spread, slippage and margin",
    "LIQUIDITY": "the asset traded too little", "FRESHNESS": "the bar or the forecast was missing or too old",
    "CLOCK_SKEW": "the clock disagreed with the venue", "PAIR_RULES": "the pair is not enabled or has no rules",
    "LOT_SIZE": "the size rounded down to nothing", "MINIMUM_COST": "the order was below the smallest size of the pair",
    "AVAILABLE_CASH": "free cash did not suffice", "ORDER_IN_FLIGHT": "an order for the asset was still open",
}  # fmt: skip
REASONS: Final = {"NONE": "outlook changed, nothing to do"}
STANDING_ASSUMPTIONS: Final = (
    "Fills are simulated from bars: the order book itself is not. A fill outside its bar's range is impossible.",
    "Every result is net of fees, spread and slippage; gross figures are not shown as results.",
    "Long only, no leverage, no shorting. Cash earns nothing. Taxes and the fees of deposits and withdrawals are not modelled.",
    "A missing bar stays missing: nothing is filled forward, features that span a gap are missing, and an asset is not traded in a gap.",
    "Every test window lies after the data its models were trained and calibrated on, with a purge and an embargo between them.",
)
FEW_ENTRIES_N: Final = 30
"""With fewer entries than this, a result is an anecdote."""
COSTS: Final = ("half_spread_ppm", "slippage_ppm", "margin_ppm", "participation_ppm")
NOT_SHOWN: Final = (
    "Intervals for the returns, a null of random scores, the number of trials, a deflated Sharpe ratio: this may be luck.",
    "A delayed run (every decision four hours later) and the other weekday phases of the trend rule.",
    "Any claim of alpha. A live start needs an exposure-adjusted alpha whose interval lies above zero, and a month on paper first.",
)
SURVIVORSHIP: Final = (
    "The universe is a fixed list of assets that are known today to have survived and grown. Assets that failed in the period are not "
    "in it, so buying and holding, equal weight and any trend rule look better here than they would have been to live through."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the study: one line, and the sentences that carry it."""

    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Skill:
    """What the forecasts of one horizon are worth against always saying the base rate."""

    horizon_h: int
    brier_skill: float | None
    auc: float | None
    better_n: int
    folds_n: int

    @property
    def some(self) -> bool:
        """Better than the base rate over all folds together and in most of them."""
        return self.brier_skill is not None and self.brier_skill > 0 and 2 * self.better_n > self.folds_n


def skills(metrics: pl.DataFrame) -> list[Skill]:
    """Return the skill of the blended forecast per horizon."""
    found = []
    blend = metrics.filter(pl.col("model") == "blend")
    for horizon_h in sorted(blend["horizon_h"].unique().to_list()):
        rows = blend.filter(pl.col("horizon_h") == horizon_h)
        folds = [v for v in rows.filter(pl.col("fold_n") >= 0)["brier_skill"].to_list() if v is not None and not isnan(v)]
        whole = rows.filter(pl.col("fold_n") < 0)
        skill = whole["brier_skill"][0] if len(whole) else None
        auc = whole["auc"][0] if len(whole) else None
        found.append(Skill(horizon_h, skill, auc, sum(v > 0 for v in folds), len(folds)))
    return found


def skill_sentence(skill: Skill) -> str:
    """Return one sentence about one horizon."""
    if skill.brier_skill is None or isnan(skill.brier_skill):
        return f"{skill.horizon_h} h: not enough forecasts to measure."
    of_folds = f"better than the base rate in {skill.better_n} of {plural(skill.folds_n, 'fold')}"
    amount = f"Brier skill {measure(100 * skill.brier_skill, 2, sign=True)} %, AUC {measure(skill.auc, 3)}, {of_folds}"
    return f"{skill.horizon_h} h: {'some skill' if skill.some else 'no usable skill'} ({amount})."


def verdict(inputs: Inputs, results: Sequence[Outcome]) -> Verdict:
    """Return the plain verdict about the ML bundle, then about the trend rule beside it."""
    by_name = {result.name: result for result in results}
    ml = by_name.get("ml")
    sentences = []
    if ml is None:
        headline = "This study has no ML run."
    elif not ml.fills_n:
        headline = "The ML bundle stayed flat: it found nothing worth its costs."
        sentences.append(why_flat(inputs.runs["ml"]))
    else:
        headline = f"The ML bundle {moved(ml.net_return_ppm)} after costs{against(ml, results)}."
        if "ml" in inputs.runs and halted(inputs.runs["ml"]):
            headline += " Its drawdown halted it."
        sentences.append(
            f"It made {plural(ml.fills_n or 0, 'fill')}{few(inputs.runs['ml'])}, paid {money_text(ml.fees_e8 or 0)} USD in fees, and its deepest drawdown was "
            f"{percent_text(ml.max_drawdown_ppm, sign=False)}."
        )
    if ml is not None and "ml" in inputs.runs:
        sentences += halt_sentences(inputs.runs["ml"])
    found = skills(inputs.tables["metrics"])
    good = [f"{skill.horizon_h} h" for skill in found if skill.some]
    if found:
        sentences.append(
            f"Its forecasts beat the base rate at {listed(good)}; whether that pays for trading is what the backtest answers."
            if good else "Its forecasts do not beat the base rate at any horizon, so there is nothing for it to trade on."
        )  # fmt: skip
    if "trend" in by_name:
        sentences.append(trend_sentence(by_name["trend"], results))
        sentences += halt_sentences(inputs.runs["trend"])
    return Verdict(headline, tuple(sentences))


def few(run: Run) -> str:
    """Return how many of the fills were entries and when, with a warning where they are too few to judge by."""
    n, first_t, last_t = entries(run)
    when = f"on {day(first_t)}" if day(first_t) == day(last_t) else f"between {day(first_t)} and {day(last_t)}"
    return f" ({plural(n, 'entry', 'entries')}, {when}{': too few to judge by' if n < FEW_ENTRIES_N else ''})"


def halt_sentences(run: Run) -> list[str]:
    """Return one sentence when the deepest drawdown tier stopped a run's new risk."""
    found = halted(run)
    if found is None:
        return []
    since_t, share_ppm = found
    refused_n = run.summary.refusals.get("DRAWDOWN_TIER", 0)
    sentence = (
        f"{SERIES[run.name]}: on {day(since_t)} its drawdown reached the tier HALT20, which admits no new risk until an operator releases "
        f"it. A backtest has no operator, so this held for {percent_text(share_ppm, sign=False)} of the period and refused "
        f"{plural(refused_n, 'entry', 'entries')}; what came after says nothing about the forecasts."
    )
    return [sentence]


def why_flat(run: Run) -> str:
    """Return why a run without fills made none."""
    rows = [row for row in gates(run) if row[1]]
    if not rows:
        return "No forecast was good enough to ask for an entry, so no gate had anything to refuse. Flat is a fine answer."
    gate, n, _ = rows[0]
    meaning = GATE_MEANINGS.get(gate, "see the table of refusals")
    whole = sum(row[1] for row in rows)
    return (
        f"{plural(whole, 'wanted entry was', 'wanted entries were')} refused, {'all' if n == whole else count(n)} of them by {gate}: "
        f"{meaning}. Flat is a fine answer; gates are not loosened to look busy."
    )


def trend_sentence(trend: Outcome, results: Sequence[Outcome]) -> str:
    """Return one sentence about the rule that runs through the same core."""
    if not trend.fills_n:
        return "The trend rule made no trade either."
    return (
        f"The trend rule, run through the same core, {moved(trend.net_return_ppm)}{against(trend, results)}, with a deepest drawdown of "
        f"{percent_text(trend.max_drawdown_ppm, sign=False)}."
    )


def moved(net_return_ppm: int) -> str:
    """Return `gained 1.20 %`, `lost 0.40 %` or `ended where it began`."""
    if net_return_ppm == 0:
        return "ended where it began"
    return ("gained " if net_return_ppm > 0 else "lost ") + percent_text(abs(net_return_ppm), sign=False)


def against(mine: Outcome, results: Sequence[Outcome]) -> str:
    """Return how a result stands beside the baselines, flat among them."""
    naive = [r for r in results if r.name not in ("ml", "trend")]
    above = [SERIES[r.name] for r in naive if r.net_return_ppm >= mine.net_return_ppm]
    if not naive:
        return ""
    below = [SERIES[r.name] for r in naive if r.net_return_ppm < mine.net_return_ppm]
    if not above:
        return ", more than every baseline"
    return f", ahead of {listed(below)}, but not of {listed(above)}" if below else ", no better than any baseline"


def listed(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}" if names else "none"


def costs(inputs: Inputs) -> tuple[str, ...]:
    """Return what the risk profile charges each fill, in words; nothing when no run names its profile."""
    for run in inputs.runs.values():
        profile = run.genesis.get("profile")
        if not isinstance(profile, dict):
            continue
        rates = [value for name in COSTS if isinstance(value := profile.get(name), int)]
        fees = profile.get("fees")
        first = fees[0].get("taker_ppm") if isinstance(fees, list) and fees and isinstance(fees[0], dict) else None
        if len(rates) == len(COSTS) and isinstance(first, int):
            rates.insert(0, first)
            fee, spread, slippage, margin, share = (percent_text(rate, sign=False) for rate in rates)
            return (
                f"Each side of a trade pays {fee} fee (less with the volume of thirty days), {spread} half spread and {slippage} slippage, and more for a large share of a bar.",
                f"An entry must expect its round trip and {margin} on top. At most {share} of a bar's volume fills.",
            )
    return ()


def exposure_note(inputs: Inputs) -> str:
    """Return how much of the portfolio the runs could and did invest."""
    said = []
    for name, run in inputs.runs.items():
        mean, hours = invested_ppm(run), run.tables["risk_hourly_state"]
        if mean is not None:
            said.append(
                f"{SERIES[name]} was invested {percent_text(mean, sign=False)} on average and {percent_text(invested_most_ppm(run), sign=False)} at most"
            )
        if name == "ml" and len(hours) and run.summary.initial_pv_e8:
            cap_ppm = int(hours.sort("state_id")["total_cap_e8"][0]) * 1_000_000 // run.summary.initial_pv_e8
            said.insert(0, f"each run may put at most {percent_text(cap_ppm, sign=False)} of the portfolio into positions")
    rest = "the baselines obey the same cap and pay the same costs"
    text = (
        "; ".join([*said, rest])
        + ". Caps gate new risk and never force a sale, so a winner may outgrow them. In a gap a holding keeps its last price."
    )
    return text[0].upper() + text[1:]
