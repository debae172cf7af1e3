"""What the control API answers about decisions: the timeline, one decision, its gates, its contributions, candles with marks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from runtime.control.models import Answer, BundleRef, Integer


class Signal(Answer):
    """One decision about one instrument, in a line."""

    signal_id: int = Field(description="number of the signal, dense from 1")
    seq_n: int = Field(description="its block")
    at_t: int = Field(description="time of the event")
    origin_hour_t: int = Field(description="hour in which it was decided")
    hour_t: int = Field(description="hour in which it took effect")
    instrument_id: int = Field(description="number of the instrument")
    symbol: str = Field(description="asset")
    quote: str = Field(description="quote currency")
    action_id: int = Field(description="what the strategy wanted")
    action: str = Field(description="its name")
    reason_id: int = Field(description="why")
    reason: str = Field(description="its name")
    words: str = Field(description="the reason in words")
    gate_id: int = Field(description="what refused it; 0: nothing")
    gate: str = Field(description="its name")
    refused: bool = Field(description="whether a gate refused it")
    outlook_id: int = Field(description="persistent outlook class, -2 to 2")
    outlook: str = Field(description="its name")
    raw_outlook_id: int = Field(description="class of the forecast alone")
    raw_outlook: str = Field(description="its name")
    persist_n: int = Field(description="forecasts in a row that ask for a change")
    tier_id: int = Field(description="drawdown tier")
    tier: str = Field(description="its name")
    prob_ppm: int = Field(description="probability up, main horizon")
    edge_ppm: int = Field(description="expected gross return, better of the two longer horizons")
    near_ppm: int = Field(description="expected gross return, near horizon")
    cost_ppm: int = Field(description="round trip: fees, spreads, slippage")
    vol_ppm: int = Field(description="observed hourly range")
    uncertainty_ppm: int = Field(description="uncertainty of the main probability")
    rebound_ppm: int = Field(description="probability that the far horizon ends higher")
    downside_ppm: int = Field(description="higher probability of a fall over the two longer horizons")
    gain_ppm: int = Field(description="unrealised gain of the position")
    wanted_e8: Integer = Field(description="size that the strategy wanted, base currency")
    sized_e8: Integer = Field(description="size after caps, base currency")
    forecast_t: int = Field(description="time of the forecast it acted on; 0: none")
    horizon_t: int = Field(description="planned end of the campaign; 0: none")


class Timeline(Answer):
    """Decisions, newest first."""

    seq_n: int = Field(description="last block that the tables hold")
    signals: tuple[Signal, ...] = Field(description="newest first; the order never changes")
    cursor: str | None = Field(description="ask with it for what comes after; null at the end")


class Compared(Answer):
    """Two numbers that a gate compared, in words as well."""

    gate_id: int = Field(description="number of the gate")
    gate: str = Field(description="its name")
    scale: str = Field(description="scale of both numbers: n, e8, ppm, t (seconds), e4 or ms")
    limit: Integer = Field(description="the limit")
    value: Integer = Field(description="what was compared with it")
    words: str = Field(description="the comparison as a sentence")


class RiskEvent(Compared):
    """What a gate did to this decision."""

    risk_event_id: int = Field(description="number of the event")
    seq_n: int = Field(description="its block")
    kind_id: int = Field(description="what happened")
    kind: str = Field(description="REFUSED, CUT, RETRY, ...")


class OrderState(Answer):
    """One state of an order; the last one is where it stands."""

    order_row_id: int = Field(description="number of the row")
    seq_n: int = Field(description="its block")
    at_t: int = Field(description="when")
    order_id: int = Field(description="number of the order")
    side: str = Field(description="BUY or SELL")
    status_id: int = Field(description="state")
    status: str = Field(description="its name")
    attempt_n: int = Field(description="which attempt")
    qty_e8: Integer = Field(description="ordered, in the asset")
    left_e8: Integer = Field(description="not yet filled, in the asset")
    reserve_e8: Integer = Field(description="cash it may cost at worst, in the quote currency")
    decision_price_e8: Integer = Field(description="price that it was decided at")
    limit_price_e8: Integer = Field(description="worst price; 0: at the market")
    expires_t: int = Field(description="when it ends by itself")


class Fill(Answer):
    """One fill; money in the quote currency."""

    fill_id: int = Field(description="number of the fill")
    seq_n: int = Field(description="its block")
    at_t: int = Field(description="when")
    order_id: int = Field(description="its order")
    side: str = Field(description="BUY or SELL")
    liquidity: str = Field(description="TAKER or MAKER")
    qty_e8: Integer = Field(description="filled, in the asset")
    price_e8: Integer = Field(description="price")
    reference_e8: Integer = Field(description="price before slippage")
    notional_e8: Integer = Field(description="quantity at the price")
    fee_e8: Integer = Field(description="fee")
    slippage_e8: Integer = Field(description="what it cost beyond the reference")


class Lot(Answer):
    """One state of a FIFO lot; money in the quote currency."""

    lot_row_id: int = Field(description="number of the row")
    seq_n: int = Field(description="its block")
    lot_id: int = Field(description="number of the lot")
    kind: str = Field(description="OPEN, MERGE, REDUCE or CLOSE")
    qty_e8: Integer = Field(description="change, in the asset")
    cost_e8: Integer = Field(description="change of its cost")
    left_e8: Integer = Field(description="left, in the asset")
    left_cost_e8: Integer = Field(description="cost of what is left")


class Trade(Answer):
    """A lot, or a part of it, bought and sold; money in the quote currency."""

    trade_id: int = Field(description="number of the trade")
    seq_n: int = Field(description="its block")
    at_t: int = Field(description="when it was sold")
    opened_t: int = Field(description="when it was bought")
    qty_e8: Integer = Field(description="quantity, in the asset")
    cost_e8: Integer = Field(description="what it cost, fees included")
    proceeds_e8: Integer = Field(description="what it brought, fees taken off")
    pnl_e8: Integer = Field(description="profit")


class ForecastOut(Answer):
    """The forecast that a decision acted on."""

    at_t: int = Field(description="its time")
    seq_n: int = Field(description="block that took it in")
    feature_digest: str = Field(description="SHA-256 of the features it was made from, hex")
    prob_near_ppm: int = Field(description="probability up, near horizon")
    prob_main_ppm: int = Field(description="same, main horizon")
    prob_far_ppm: int = Field(description="same, far horizon")
    ret_near_ppm: int = Field(description="expected gross return, near horizon")
    ret_main_ppm: int = Field(description="same, main horizon")
    ret_far_ppm: int = Field(description="same, far horizon")
    uncertainty_ppm: int = Field(description="uncertainty of the main probability")


class Lineage(Answer):
    """What a decision can be traced to."""

    run_id: str = Field(description="folder under runs/")
    seq_n: int = Field(description="block")
    block_hash: str = Field(description="SHA-256, hex")
    genesis_hash: str = Field(description="SHA-256 of what the chain starts from, hex")
    policy_digest: str = Field(description="profile in force, SHA-256, hex")
    profile_version_n: int = Field(description="version of the profile in force; 0: the one of the genesis")
    bundle: BundleRef = Field(description="what made the forecasts")
    feature_digest: str = Field(description="features of the forecast, SHA-256, hex; empty: no forecast")
    dataset_hash: str = Field(description="dataset that the genesis names, SHA-256, hex")
    core_digest: str = Field(description="source of the decision core that the genesis names, SHA-256, hex")
    replay: str = Field(description="command that recomputes and explains the block")


class DecisionOut(Answer):
    """One decision with what it came from and all that came of it."""

    signal: Signal = Field(description="the decision")
    verdict: str = Field(description="what became of it, in a sentence")
    forecast: ForecastOut | None = Field(description="what it acted on")
    risk_events: tuple[RiskEvent, ...] = Field(description="what gates did to it, with the numbers they compared")
    orders: tuple[OrderState, ...] = Field(description="every state of its orders, oldest first")
    fills: tuple[Fill, ...] = Field(description="oldest first")
    lots: tuple[Lot, ...] = Field(description="states of the lots that its fills opened or reduced")
    trades: tuple[Trade, ...] = Field(description="sales by its fills, and later sales of the lots that they opened")
    lineage: Lineage = Field(description="hashes, and the command that replays it")


class GateOut(Compared):
    """One gate as it stood when the decision was made; gates behind the deciding one say what they would have said."""

    verdict: Literal["pass", "cut", "refuse"] = Field(description="what it says")
    deciding: bool = Field(description="whether it is the one that refused")
    detail: str = Field(description="what it did to the size, if anything")


class Gates(Answer):
    """Every gate of one decision, recomputed from the journal by the core itself."""

    signal_id: int = Field(description="the decision")
    seq_n: int = Field(description="its block")
    same_records: bool = Field(description="whether recomputing the block gave the same bytes")
    applies: bool = Field(description="false: no gate stands before this action (sales and holds)")
    outlook_before: str = Field(description="persistent outlook before the forecast")
    wanted_e8: Integer = Field(description="size that the strategy wanted, base currency")
    sized_e8: Integer = Field(description="size after caps, base currency")
    outcome: str = Field(description="what became of it, in words")
    gates: tuple[GateOut, ...] = Field(description="in their precedence")


class Contribution(Answer):
    """What one feature added to the score."""

    feature: str = Field(description="name of the feature")
    value: float | None = Field(description="its value; null: missing")
    amount: float = Field(description="exact TreeSHAP value, in the unit of the horizon")


class Horizon(Answer):
    """One horizon's score and what it is made of."""

    horizon: str = Field(description="near, main or far")
    horizon_h: int = Field(description="hours")
    unit: str = Field(description="logit for models, probability for the votes of the trend rule")
    base: float = Field(description="what is expected before anything is known: where the contributions start")
    score: float = Field(description="base plus all contributions, before calibration")
    prob_ppm: int = Field(description="probability after calibration, as in the forecast")
    contributions: tuple[Contribution, ...] = Field(description="largest first")


class Contributions(Answer):
    """Exact contributions of one decision's forecast, computed on demand outside the trading loop."""

    signal_id: int = Field(description="the decision")
    symbol: str = Field(description="asset")
    forecast_t: int = Field(description="time of the forecast")
    feature_digest: str = Field(description="digest of the features as the journal has it, hex")
    verified: bool = Field(description="whether the features computed again have this digest; always true, else it is refused")
    bundle_hash: str = Field(description="bundle that made it, hex")
    horizons: tuple[Horizon, ...] = Field(description="near, main, far")


class CandleOut(Answer):
    """A closed bar as the core saw it; prices in the quote currency."""

    open_t: int = Field(description="opening time")
    open_e8: Integer = Field(description="first price")
    high_e8: Integer = Field(description="highest price")
    low_e8: Integer = Field(description="lowest price")
    close_e8: Integer = Field(description="last price")
    volume_e4: Integer = Field(description="traded volume, 1e-4 of the asset")


class MarkOut(Answer):
    """A fill on a chart, with the action behind it."""

    at_t: int = Field(description="when")
    signal_id: int = Field(description="the decision")
    fill_id: int = Field(description="the fill")
    action: str = Field(description="ENTER, REENTER, REALISE, DERISK or EXIT")
    reason: str = Field(description="why")
    side: str = Field(description="BUY or SELL")
    qty_e8: Integer = Field(description="quantity, in the asset")
    price_e8: Integer = Field(description="price, in the quote currency")


class RefusalMark(Answer):
    """A refused decision on a chart."""

    at_t: int = Field(description="when")
    signal_id: int = Field(description="the decision")
    action: str = Field(description="what was wanted")
    gate: str = Field(description="what refused it")


class Candles(Answer):
    """Candles of one asset with its fills and refusals."""

    seq_n: int = Field(description="last block that the tables hold")
    symbol: str = Field(description="asset")
    quote: str = Field(description="quote currency")
    interval_t: int = Field(description="seconds of a bar")
    candles: tuple[CandleOut, ...] = Field(description="oldest first")
    marks: tuple[MarkOut, ...] = Field(description="oldest first")
    refusals: tuple[RefusalMark, ...] = Field(description="oldest first")
