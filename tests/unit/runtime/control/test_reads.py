"""What is read is what the core holds: exposure and caps as its gates compare them, decisions as the journal has them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from runtime.adapters.live_reader import Filters
from runtime.control import reads
from runtime.core import codes as c
from runtime.core import outlook, risk
from runtime.core.ledger import to_base
from runtime.trading.view import Latency
from tests.support.control import Served


def test_status_names_the_chain_and_all_that_governs_it(api: Served) -> None:
    view, found = api.desk.view, api.get("/runtime/status")
    assert view is not None
    assert found["head"] == {"seq_n": view.head.seq_n, "block_hash": view.head.block_hash.hex()}
    assert found["profile"]["policy_digest"] == view.profile.digest  # type: ignore[index]
    assert (found["mode"], found["state"], found["run_id"]) == ("paper", "running", view.run_id)
    assert found["feed"]["stale"] == ["S01"]  # type: ignore[index]
    assert found["simulated"] is True


def test_latencies_are_told_to_a_tenth_of_a_millisecond(api: Served) -> None:
    view = api.desk.view
    assert view is not None
    told = reads.status(replace(view, latency=Latency(1.234567, 1_720.987654321, 3))).latency
    assert (told.p50_ms, told.p99_ms, told.blocks_n) == (1.2, 1_721.0, 3)


@pytest.mark.parametrize("reserve_e8", [0, 3 * 10**9])
def test_exposure_and_caps_are_those_that_the_gates_compare(api: Served, reserve_e8: int) -> None:
    view = api.desk.view
    assert view is not None
    states = view.state_row.copy()
    if reserve_e8:  # a buy in flight counts at its worst price
        states[0]["orders"][1]["order_id"], states[0]["orders"][1]["reserve_e8"] = 77, reserve_e8
    view = replace(view, state_row=states)
    state, policy = view.state_row[0], view.policy_row[0]
    found: dict[str, Any] = api.get("/portfolio/summary")
    if reserve_e8:
        found = reads.summary(view).model_dump(mode="json")
        assert int(found["total"]["in_flight_e8"]) == reserve_e8
        assert found["assets"][[row["name"] for row in found["assets"]].index("S01")]["in_flight_e8"] == str(reserve_e8)
        assert found["cash"][0]["free_e8"] == str(int(state["cash"][0]["cash_e8"]) - reserve_e8)
        assert found["orders_n"] == 1
    for s in range(len(view.symbols)):
        quote, cluster = int(policy["instruments"][s]["quote_id"]), int(state["positions"][s]["cluster_id"])
        shown = {
            c.G_TOTAL: found["total"], c.G_BUDGET: found["budget"],
            c.G_QUOTE: next(row for row in found["quotes"] if row["quote_id"] == quote),
            c.G_CLUSTER: next(row for row in found["clusters"] if row["cluster_id"] == cluster),
        }  # fmt: skip
        # a wish beyond all caps comes back as the smallest room, with the cap and the use of the gate that decided
        room, gate, cap, used = risk.within_caps(policy, state, s, 10**17)
        assert min(int(row["room_e8"]) for row in shown.values()) == room
        assert (shown[int(gate)]["cap_e8"], shown[int(gate)]["used_e8"]) == (str(int(cap)), str(int(used)))
        assert view.symbols[s] in shown[c.G_CLUSTER]["symbols"]
    assert found["pv_e8"] == str(int(state["desk"]["pv_e8"]))
    assert found["taken_n"] == int(risk.positions_taken(state))
    assert sum(int(row["marked_e8"]) for row in found["assets"]) == int(state["desk"]["gross_e8"])
    cash = sum(int(row["value_e8"]) for row in found["cash"])
    assert cash + int(found["gross_e8"]) == int(found["pv_e8"])
    assert [row["active"] for row in found["tiers"]] == [i == found["tier_id"] for i in range(4)]


def test_unrealised_profit_is_what_the_core_writes_each_hour(api: Served) -> None:
    view, found = api.desk.view, api.get("/portfolio/summary")
    assert view is not None
    hourly = api.desk.reader.hourly()
    assert hourly is not None
    assert hourly["at_t"] == found["now_t"]
    assert str(hourly["unrealised_e8"]) == found["unrealised_e8"]


def test_assets_show_each_instrument_as_the_state_has_it(api: Served) -> None:
    view = api.desk.view
    assert view is not None
    rows: list[dict[str, Any]] = api.get("/portfolio/assets")["assets"]  # type: ignore[assignment]
    state, policy = view.state_row[0], view.policy_row[0]
    assert [row["symbol"] for row in rows] == list(view.symbols)
    held = [row for row in rows if row["qty_e8"] != "0"]
    assert held, "the market of this test must leave a position open"
    for row in rows:
        s = row["instrument_id"]
        position = state["positions"][s]
        assert row["qty_e8"] == str(int(position["qty_e8"]))
        cost = int(to_base(state, int(policy["instruments"][s]["quote_id"]), int(position["cost_e8"])))
        assert row["unrealised_e8"] == str(int(position["value_e8"]) - cost)
        assert row["gain_ppm"] == int(outlook.gain_ppm(position, 10**8))
        assert row["outlook"] == c.OUTLOOK_NAMES[row["outlook_id"]]
        assert (row["opened_t"] > 0) == (row["qty_e8"] != "0")
        assert (row["order"] is None) == (int(state["orders"][s]["order_id"]) == 0)


def test_predictions_are_the_last_that_the_chain_took_in(api: Served) -> None:
    found = api.get("/predictions/latest")
    rows: list[dict[str, Any]] = found["predictions"]  # type: ignore[assignment]
    stored = {row.instrument_id: row for row in api.desk.reader.forecasts()}
    assert stored
    assert found["forecast_t"] == next(iter(stored.values())).at_t
    assert found["feature_digest"] == next(iter(stored.values())).feature_digest.hex()
    for row in rows:
        known = stored.get(row["instrument_id"])
        assert row["valid"] == (known is not None)
        if known is not None:
            assert {name: row[name] for name in known.values if name != "valid_n"} == {
                name: value for name, value in known.values.items() if name != "valid_n"
            }
            assert row["edge_ppm"] == max(row["ret_main_ppm"], row["ret_far_ppm"])


def test_the_timeline_pages_through_every_decision_once_and_in_order(api: Served) -> None:
    seen: list[int] = []
    cursor = ""
    while True:
        page: dict[str, Any] = api.get(f"/decisions/timeline?limit=7{cursor}")
        seen += [row["signal_id"] for row in page["signals"]]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    assert seen == list(range(len(seen), 0, -1))
    assert len(seen) == int(api.desk.view.state_row[0]["desk"]["signal_n"])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("asset=S01&asset=S02", lambda row: row["symbol"] in {"S01", "S02"}),
        ("action=ENTER", lambda row: row["action"] == "ENTER"),
        ("refused=true", lambda row: row["refused"] and row["gate_id"] != 0),
        ("refused=false&action=ENTER", lambda row: not row["refused"] and row["action"] == "ENTER"),
        ("outlook=STRONG_POSITIVE&outlook=POSITIVE", lambda row: row["outlook_id"] > 0),
        ("reason=HOLD_THESIS", lambda row: row["reason"] == "HOLD_THESIS"),
        ("gate=LIQUIDITY", lambda row: row["gate"] == "LIQUIDITY"),
        ("since_t=1578000000&until_t=1578100000", lambda row: 1578000000 <= row["at_t"] <= 1578100000),
    ],
)
def test_a_filtered_timeline_has_all_that_match_and_nothing_else(api: Served, query: str, holds: Any) -> None:
    every: list[dict[str, Any]] = api.get("/decisions/timeline?limit=1000")["signals"]  # type: ignore[assignment]
    found: list[dict[str, Any]] = api.get(f"/decisions/timeline?limit=1000&{query}")["signals"]  # type: ignore[assignment]
    assert found == [row for row in every if holds(row)]
    assert 0 < len(found) < len(every)


def test_a_gate_that_no_refusal_has_finds_nothing(api: Served) -> None:
    assert api.get("/decisions/timeline?refused=true&gate=PASS")["signals"] == []


def test_a_decision_carries_all_that_came_of_it(api: Served) -> None:
    entered = api.desk.reader.timeline(Filters(actions=(c.ENTER,), gates=(c.G_PASS,)), None, 1000).rows[-1]
    found: dict[str, Any] = api.get(f"/decisions/{entered['signal_id']}")
    assert found["signal"]["action"] == "ENTER"
    last, fills_n = found["orders"][-1]["status"], len(found["fills"])
    assert found["verdict"] == f"ENTER passed every gate; its order is {last}, with {fills_n} fill{'s' if fills_n > 1 else ''}"
    assert found["orders"][0]["status"] == "NEW"
    assert found["fills"]
    assert found["lots"][0]["kind"] == "OPEN"
    assert found["forecast"]["prob_main_ppm"] == found["signal"]["prob_ppm"]
    filled = sum(int(fill["qty_e8"]) for fill in found["fills"])
    assert filled <= int(found["orders"][0]["qty_e8"])
    lineage, view = found["lineage"], api.desk.view
    assert view is not None
    assert lineage["policy_digest"] == view.genesis.policy_digest
    assert lineage["genesis_hash"] == view.genesis.hash.hex()
    assert (
        lineage["replay"]
        == f"ballast replay {view.run_id} --explain {entered['block_seq_n']} --symbol {found['signal']['symbol']}"
    )
    for trade in found["trades"]:
        assert int(trade["pnl_e8"]) == int(trade["proceeds_e8"]) - int(trade["cost_e8"])


def test_a_refused_decision_says_by_what_and_with_which_numbers(api: Served) -> None:
    refused = api.desk.reader.timeline(Filters(actions=(c.ENTER,), gates=(c.G_LIQUIDITY,)), None, 1).rows[0]
    found: dict[str, Any] = api.get(f"/decisions/{refused['signal_id']}")
    (event,) = [row for row in found["risk_events"] if row["kind"] == "REFUSED"]
    assert event["gate"] == "LIQUIDITY"
    assert int(event["value"]) > int(event["limit"])
    assert found["verdict"] == f"ENTER refused by LIQUIDITY: {event['words']}"
    assert found["orders"] == []


def test_candles_carry_fills_and_refusals(api: Served) -> None:
    view = api.desk.view
    assert view is not None
    marks = refusals = 0
    for symbol in view.symbols:
        found: dict[str, Any] = api.get(f"/assets/{symbol}/candles?limit=2000")
        times = [row["open_t"] for row in found["candles"]]
        assert times == sorted(set(times))
        assert all(int(r["low_e8"]) <= int(r["open_e8"]) <= int(r["high_e8"]) for r in found["candles"])
        marks += len(found["marks"])
        refusals += len(found["refusals"])
        assert [row["at_t"] for row in found["refusals"]] == sorted(row["at_t"] for row in found["refusals"])
    assert marks == int(view.state_row[0]["desk"]["fill_n"])
    assert refusals == len(api.desk.reader.timeline(Filters(gates=tuple(range(1, 19))), None, 10_000).rows)


def test_equity_ends_with_the_present(api: Served) -> None:
    points: list[dict[str, Any]] = api.get("/portfolio/equity?points=5000")["points"]  # type: ignore[assignment]
    assert points[-1]["pv_e8"] == api.get("/portfolio/summary")["pv_e8"]
    closed = [int(point["close_t"]) for point in points]
    assert all(earlier < later for earlier, later in pairwise(closed))
    assert all(point["at_t"] >= point["close_t"] for point in points)
    assert len(api.get("/portfolio/equity?points=8")["points"]) <= 8  # type: ignore[arg-type]


def test_the_profile_comes_with_the_schema_of_its_editor(api: Served) -> None:
    found: dict[str, Any] = api.get("/risk/profile")
    assert found["profile"]["total_cap_ppm"] == found["schema"]["properties"]["total_cap_ppm"]["default"]
    assert found["schema"]["properties"]["base_ppm"]["x-risk"] == "higher loosens"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/decisions/999999", 404, "no decision 999999"),
        ("/decisions/0", 422, "signal_id"),
        ("/decisions/timeline?asset=NOPE", 422, "asset 'NOPE'"),
        ("/decisions/timeline?gate=NOPE", 422, "gate 'NOPE'"),
        ("/decisions/timeline?limit=1001", 422, "limit"),
        ("/decisions/timeline?since_t=99999999999999999999", 422, "since_t"),
        ("/assets/NOPE/candles", 422, "asset 'NOPE'"),
        ("/nowhere", 404, "GET /nowhere"),
        ("/docs", 404, "GET /docs"),
        ("/redoc", 404, "GET /redoc"),
    ],
)
def test_what_is_not_there_is_named(api: Served, path: str, status: int, said: str) -> None:
    answer = api.ask("GET", path)
    assert answer.status == status
    assert said in str(answer.json()["got"])


def test_metrics_are_numbers_of_the_desk(api: Served) -> None:
    api.get("/portfolio/summary")
    text = api.ask("GET", "/metrics").body.decode()
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    view = api.desk.view
    assert view is not None
    assert int(float(numbers["ballast_blocks_total"])) == view.head.seq_n
    assert int(float(numbers["ballast_equity_e8"])) == int(view.state_row[0]["desk"]["pv_e8"])
    assert float(numbers['ballast_state{state="running"}']) == 1.0
    assert float(numbers['ballast_block_latency_ms{quantile="0.99"}']) == 2.0
    assert any(
        line.startswith('ballast_api_requests_total{method="GET",route="/portfolio/summary",status="200"}') for line in numbers
    )
