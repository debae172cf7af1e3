"""From the view of a running desk to answers: status, portfolio against its caps, instruments, forecasts.

Exposure and caps come from the core's own functions (`runtime.core.risk`): what is shown is what the gates compare.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

import numpy as np

from runtime.control import models as m
from runtime.control.words import KILL_NAMES, code_name
from runtime.core import codes as c
from runtime.core import orders, outlook, risk
from runtime.core.fixed import mul_floor
from runtime.core.ledger import to_base
from runtime.core.records import E8, FORECAST, PPM, STATE
from runtime.event import BundleNote
from runtime.genesis import Bundle
from runtime.policy import RiskProfile
from runtime.trading.view import RuntimeView

VERSION: Final = version("ballast")
FULL_PPM: Final = 10**9
"""Shown for what is used of a cap of 0."""


def bundle_ref(bundle: BundleNote | Bundle) -> m.BundleRef:
    """Return what makes the forecasts; a genesis names a bundle without its manifest."""
    manifest, signer = (bundle.manifest_digest, bundle.signer) if isinstance(bundle, BundleNote) else ("", "")
    return m.BundleRef(
        name=bundle.name, bundle_hash=bundle.bundle_hash, feature_set_hash=bundle.feature_set_hash,
        manifest_digest=manifest, signer=signer,
    )  # fmt: skip


def bundle_of(view: RuntimeView) -> m.BundleRef:
    """Return what makes the forecasts now."""
    return bundle_ref(view.bundle if view.bundle is not None else view.genesis.bundle)


def profile_ref(view: RuntimeView) -> m.ProfileRef:
    """Return the profile in force."""
    profile = view.profile
    return m.ProfileRef(
        name=profile.name, version=profile.version, version_n=view.profile_version_n, policy_digest=profile.digest
    )


def switches(view: RuntimeView) -> m.Switches:
    """Return what stops new risk."""
    desk = view.state_row[0]["desk"]
    kill = int(desk["kill_n"])
    return m.Switches(kill_on=kill != 0, kill_id=kill, kill=code_name(KILL_NAMES, kill), halt_on=bool(desk["halt_n"] != 0))


def status(view: RuntimeView) -> m.Status:
    """Return process and desk at a glance."""
    feed, tier = view.feed, int(view.state_row[0]["desk"]["tier_id"])
    symbols = view.symbols
    return m.Status(
        state=view.state, reasons=view.reasons, mode_id=view.mode_id, mode=code_name(c.MODE_NAMES, view.mode_id),
        simulated=view.simulated, clock=view.clock, account_id=view.genesis.account_id, run_id=view.run_id, version=VERSION,
        started_t=view.started_t, now_t=view.now_t, head=m.Head(seq_n=view.head.seq_n, block_hash=view.head.block_hash.hex()),
        symbols=symbols, interval_t=view.genesis.interval_t, profile=profile_ref(view), bundle=bundle_of(view),
        switches=switches(view), tier_id=tier, tier=code_name(c.TIER_NAMES, tier),
        feed=m.Feed(
            connected=feed.connected, last_message_ms=feed.last_message_ms, last_bar_t=feed.last_bar_t, gaps_n=feed.gaps_n,
            checksum_n=feed.checksum_n, late_n=feed.late_n, duplicate_n=feed.duplicate_n, reconnects_n=feed.reconnects_n,
            stale=tuple(symbols[s] for s in feed.stale_instruments if s < len(symbols)), skew_ms=feed.skew_ms,
            venue_mode=feed.venue_mode,
        ),
        latency=m.LatencyOut(
            p50_ms=round(view.latency.p50_ms, 1), p99_ms=round(view.latency.p99_ms, 1), blocks_n=view.latency.blocks_n
        ),
        paper_days=m.PaperDaysOut(
            completed_n=view.paper_days.completed_n, required_n=view.paper_days.required_n, reason=view.paper_days.reason
        ),
    )  # fmt: skip


def _share(part: int, whole: int, without: int) -> int:
    return int(mul_floor(part, PPM, whole)) if whole > 0 else without


def _use(name: str, marked: int, flying: int, cap: int, pv: int) -> dict[str, str | int]:
    used = marked + flying
    return {
        "name": name, "marked_e8": str(marked), "in_flight_e8": str(flying), "used_e8": str(used), "cap_e8": str(cap),
        "room_e8": str(max(cap - used, 0)), "used_ppm": _share(used, pv, 0), "cap_ppm": _share(cap, pv, 0),
        "filled_ppm": min(_share(used, cap, FULL_PPM if used else 0), FULL_PPM),
    }  # fmt: skip


def summary(view: RuntimeView) -> m.Summary:
    """Return the portfolio against everything that limits it."""
    state, policy = view.state_row[0], view.policy_row[0]
    desk, rules = state["desk"], policy["rules"]
    pv, gross = int(desk["pv_e8"]), int(desk["gross_e8"])
    flying = int(risk.in_flight(policy, state, -1))
    total_cap = int(risk.cap_e8(pv, int(rules["total_cap_ppm"]), int(rules["total_cap_e8"])))
    budget_cap = int(risk.cap_e8(pv, int(rules["budget_cap_ppm"]), int(rules["budget_cap_e8"])))
    shown = range(len(view.symbols))
    cost = sum(int(to_base(state, _quote(policy, s), int(state["positions"][s]["cost_e8"]))) for s in shown)
    tier = int(desk["tier_id"])
    return m.Summary(
        seq_n=view.head.seq_n, now_t=view.now_t, state=view.state, mode=code_name(c.MODE_NAMES, view.mode_id),
        simulated=view.simulated, pv_e8=str(pv), peak_e8=str(int(desk["peak_e8"])), drawdown_ppm=int(desk["drawdown_ppm"]),
        gross_e8=str(gross), realised_e8=str(int(desk["realised_e8"])), unrealised_e8=str(gross - cost),
        fees_e8=str(int(desk["fees_e8"])), slippage_e8=str(int(desk["slippage_e8"])),
        volume_30d_e8=str(int(desk["volume_30d_e8"])), open_n=int(desk["open_n"]), taken_n=int(risk.positions_taken(state)),
        positions_max_n=int(rules["positions_max_n"]), orders_n=sum(int(state["orders"][s]["order_id"]) != 0 for s in shown),
        recovering_n=int(desk["recovering_n"]), switches=switches(view), tier_id=tier, tier=code_name(c.TIER_NAMES, tier),
        tiers=tuple(_tiers(policy, tier)),
        total=m.CapUse.model_validate(_use("total", gross, flying, total_cap, pv)),
        budget=m.CapUse.model_validate(_use("budget", gross, flying, budget_cap, pv)),
        quotes=tuple(_quotes(view, pv)), clusters=tuple(_clusters(view, pv)), assets=tuple(_exposed(view, pv, total_cap)),
        cash=tuple(_cash(state, policy)),
    )  # fmt: skip


def _quote(policy: Any, s: int) -> int:
    return int(policy["instruments"][s]["quote_id"])


def _tiers(policy: Any, active: int) -> list[m.TierOut]:
    return [
        m.TierOut(
            tier_id=tier_id, tier=name, drawdown_ppm=int(row["drawdown_ppm"]), size_ppm=int(row["size_ppm"]),
            allow_entry=bool(row["allow_entry_n"] != 0), allow_reentry=bool(row["allow_reentry_n"] != 0), active=tier_id == active,
        )
        for (tier_id, name), row in zip(c.TIER_NAMES.items(), policy["tiers"], strict=True)
    ]  # fmt: skip


def _quotes(view: RuntimeView, pv: int) -> list[m.QuoteExposure]:
    state, policy = view.state_row[0], view.policy_row[0]
    found = []
    for quote_id, name in c.QUOTE_NAMES.items():
        own = policy["quotes"][quote_id]
        cap = int(risk.cap_e8(pv, int(own["cap_ppm"]), int(own["cap_e8"])))
        flying = int(risk.in_flight(policy, state, quote_id))
        use = _use(name, int(state["cash"][quote_id]["exposure_e8"]), flying, cap, pv)
        found.append(m.QuoteExposure.model_validate({**use, "quote_id": quote_id}))
    return found


def _clusters(view: RuntimeView, pv: int) -> list[m.ClusterExposure]:
    state, policy = view.state_row[0], view.policy_row[0]
    rules = policy["rules"]
    cap = int(risk.cap_e8(pv, int(rules["cluster_cap_ppm"]), int(rules["cluster_cap_e8"])))
    members: dict[int, list[str]] = {}
    for s, symbol in enumerate(view.symbols):
        members.setdefault(int(state["positions"][s]["cluster_id"]), []).append(symbol)
    found = []
    for cluster_id, symbols in sorted(members.items()):
        marked, flying = risk.cluster_used(policy, state, cluster_id)
        use = _use(f"cluster {cluster_id}", int(marked), int(flying), cap, pv)
        found.append(m.ClusterExposure.model_validate({**use, "cluster_id": cluster_id, "symbols": tuple(symbols)}))
    return found


def _exposed(view: RuntimeView, pv: int, total_cap: int) -> list[m.AssetExposure]:
    state, policy = view.state_row[0], view.policy_row[0]
    found = []
    for s, symbol in enumerate(view.symbols):
        marked = int(state["positions"][s]["value_e8"])
        flying = int(to_base(state, _quote(policy, s), int(state["orders"][s]["reserve_e8"])))
        if marked or flying:
            found.append((marked + flying, s, _use(symbol, marked, flying, total_cap, pv)))
    found.sort(key=lambda entry: (-entry[0], entry[1]))
    return [m.AssetExposure.model_validate({**use, "instrument_id": s}) for _, s, use in found]


def _cash(state: Any, policy: Any) -> list[m.Cash]:
    found = []
    for quote_id, name in c.QUOTE_NAMES.items():
        row = state["cash"][quote_id]
        cash, reserved = int(row["cash_e8"]), int(orders.reserved(state, policy, quote_id))
        found.append(
            m.Cash(
                quote_id=quote_id, quote=name, cash_e8=str(cash), reserved_e8=str(reserved), free_e8=str(cash - reserved),
                rate_e8=str(int(row["rate_e8"])), value_e8=str(int(to_base(state, quote_id, cash))),
            )
        )  # fmt: skip
    return found


def assets(view: RuntimeView) -> m.Assets:
    """Return every instrument of the account."""
    rows = tuple(_asset(view, s, symbol) for s, symbol in enumerate(view.symbols))
    return m.Assets(seq_n=view.head.seq_n, now_t=view.now_t, assets=rows)


def _asset(view: RuntimeView, s: int, symbol: str) -> m.Asset:
    state, policy = view.state_row[0], view.policy_row[0]
    position, quote_id = state["positions"][s], _quote(policy, s)
    qty, cost, value = int(position["qty_e8"]), int(position["cost_e8"]), int(position["value_e8"])
    opened_t = int(state["lots"][s][int(position["lot_head_n"])]["opened_t"]) if qty > 0 else 0
    mark = int(position["mark_e8"])
    gain = int(mul_floor(int(mul_floor(qty, mark, E8)) - cost, PPM, cost)) if cost > 0 else 0  # as outlook.gain_ppm
    return m.Asset(
        instrument_id=s, symbol=symbol, quote_id=quote_id, quote=code_name(c.QUOTE_NAMES, quote_id),
        enabled=bool(policy["instruments"][s]["enabled_n"] != 0), cluster_id=int(position["cluster_id"]), qty_e8=str(qty),
        cost_e8=str(cost), value_e8=str(value), unrealised_e8=str(value - int(to_base(state, quote_id, cost))), gain_ppm=gain,
        realised_e8=str(int(position["realised_e8"])), opened_t=opened_t, mark_e8=str(mark), mark_t=int(position["mark_t"]),
        bid_e8=str(int(position["bid_e8"])), ask_e8=str(int(position["ask_e8"])), quote_t=int(position["quote_t"]),
        vol_ppb=int(position["vol_ppb"]), outlook_id=int(position["outlook_id"]),
        outlook=code_name(c.OUTLOOK_NAMES, int(position["outlook_id"])), raw_outlook_id=int(position["raw_outlook_id"]),
        raw_outlook=code_name(c.OUTLOOK_NAMES, int(position["raw_outlook_id"])), persist_n=int(position["persist_n"]),
        action_id=int(position["action_id"]), action=code_name(c.ACTION_NAMES, int(position["action_id"])),
        gate_id=int(position["gate_id"]), gate=code_name(c.GATE_NAMES, int(position["gate_id"])),
        recovering=bool(position["recovery_n"] != 0), forecast_t=int(position["forecast_t"]), order=_order(state["orders"][s]),
    )  # fmt: skip


def _order(row: Any) -> m.OpenOrder | None:
    if int(row["order_id"]) == 0:
        return None
    side, state = int(row["side_id"]), int(row["status_id"])
    return m.OpenOrder(
        order_id=int(row["order_id"]), signal_id=int(row["signal_id"]), side_id=side, side=code_name(c.SIDE_NAMES, side),
        status_id=state, status=code_name(c.ORDER_STATUS_NAMES, state), attempt_n=int(row["attempt_n"]),
        qty_e8=str(int(row["qty_e8"])), left_e8=str(int(row["left_e8"])), limit_price_e8=str(int(row["limit_price_e8"])),
        expires_t=int(row["expires_t"]),
    )  # fmt: skip


def predictions(view: RuntimeView) -> m.Predictions:
    """Return the last forecasts, with the classes that they make."""
    rows = []
    if view.forecasts is not None:
        rows = [_prediction(view, s, symbol, view.forecasts[s]) for s, symbol in enumerate(view.symbols)]
    digest = view.feature_digest.hex() if view.forecasts is not None else ""
    return m.Predictions(
        seq_n=view.head.seq_n, forecast_t=view.forecast_t, feature_digest=digest, bundle=bundle_of(view),
        predictions=tuple(rows),
    )  # fmt: skip


def _prediction(view: RuntimeView, s: int, symbol: str, row: Any) -> m.Prediction:
    raw, held = int(outlook.classify(view.policy_row[0]["rules"], row)), int(view.state_row[0]["positions"][s]["outlook_id"])
    numbers = {name: int(row[name]) for name in row.dtype.names if name != "valid_n"}
    return m.Prediction.model_validate({
        **numbers, "instrument_id": s, "symbol": symbol, "valid": bool(row["valid_n"] != 0),
        "edge_ppm": int(outlook.edge_ppm(row)), "raw_outlook_id": raw, "raw_outlook": code_name(c.OUTLOOK_NAMES, raw),
        "outlook_id": held, "outlook": code_name(c.OUTLOOK_NAMES, held),
    })  # fmt: skip


def warm_up() -> None:
    """Call each compiled function once as `summary` and `predictions` do, so that no request waits for the compiler."""
    policy = RiskProfile().to_record([])[0]
    state = np.zeros(1, STATE)[0]
    forecast = np.zeros(1, FORECAST)[0]
    for quote_id in c.QUOTE_NAMES:
        state["cash"][quote_id]["rate_e8"] = E8
    risk.cap_e8(1, 1, 0)
    risk.in_flight(policy, state, -1)
    risk.cluster_used(policy, state, 0)
    risk.positions_taken(state)
    orders.reserved(state, policy, 0)
    to_base(state, 0, 1)
    mul_floor(1, 1, 1)
    outlook.classify(policy["rules"], forecast)
    outlook.edge_ppm(forecast)
