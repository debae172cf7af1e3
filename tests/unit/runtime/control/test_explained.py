"""Gates and contributions of real decisions, computed by the real worker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runtime.adapters.bar_tail import BarTail
from runtime.adapters.live_reader import Filters
from runtime.control.decision_models import Contributions
from runtime.control.demand import Demand
from runtime.control.demand_worker import BARS_NAME, Task, contributions, gates
from runtime.control.guard import Refused
from runtime.core import codes as c
from runtime.errors import DataError, VerificationError
from runtime.inference.forecaster import last_bars
from runtime.inference.panel import BarPanel
from tests.support.bundles import make_bundle, trend_forecaster
from tests.support.control import Served
from tests.support.panels import make_panel


def task_of(api: Served, row: dict[str, int]) -> Task:
    """Return the task of explaining a signal's gates."""
    view = api.desk.view
    assert view is not None
    return Task(
        kind="gates", home=str(api.desk.home), run_dir=str(api.desk.run_dir), signal_id=row["signal_id"],
        seq_n=row["block_seq_n"], symbol=view.symbols[row["instrument_id"]], gate_id=row["gate_id"],
    )  # fmt: skip


def test_a_refusal_is_explained_gate_by_gate(api: Served) -> None:
    row = api.desk.reader.timeline(Filters(actions=(c.ENTER,), gates=(c.G_LIQUIDITY,)), None, 1).rows[0]
    found: dict[str, Any] = api.get(f"/decisions/{row['signal_id']}/gates")
    told: dict[str, Any] = api.get(f"/decisions/{row['signal_id']}")
    assert (found["same_records"], found["applies"], found["seq_n"]) == (True, True, row["block_seq_n"])
    (deciding,) = [gate for gate in found["gates"] if gate["deciding"]]
    (event,) = [event for event in told["risk_events"] if event["kind"] == "REFUSED"]
    assert {name: deciding[name] for name in ("gate", "scale", "limit", "value", "words")} == {
        name: event[name] for name in ("gate", "scale", "limit", "value", "words")
    }, "the gate that decided must show the numbers that were journaled"
    shown = [gate["gate"] for gate in found["gates"]]
    assert list(dict.fromkeys(shown)) == [
        "KILL_SWITCH", "ENTRY_HALT", "DRAWDOWN_TIER", "SEVERE_LOSS", "MAX_POSITIONS", "TOTAL_EXPOSURE", "CLUSTER_EXPOSURE",
        "QUOTE_CAP", "GLOBAL_BUDGET", "LOT_SIZE", "COST", "LIQUIDITY", "FRESHNESS", "CLOCK_SKEW", "PAIR_RULES", "ORDER_IN_FLIGHT",
        "AVAILABLE_CASH",
    ]  # fmt: skip
    assert found["wanted_e8"] == told["signal"]["wanted_e8"]


def test_every_decision_of_the_run_can_be_explained(api: Served) -> None:
    rows = api.desk.reader.timeline(None, None, 1_000).rows
    buys = 0
    for row in rows[:: max(len(rows) // 25, 1)]:
        found = gates(task_of(api, row))
        assert found.same_records
        refused = [gate for gate in found.gates if gate.deciding]
        if row["action_id"] in {c.ENTER, c.REENTER}:
            buys += 1
            assert found.applies
            assert [gate.gate_id for gate in refused] == ([row["gate_id"]] if row["gate_id"] else [])
        else:
            assert not refused
    assert buys


def test_a_block_that_decided_nothing_says_so(api: Served) -> None:
    task = Task.model_validate({**task_of(api, api.desk.reader.timeline(None, None, 1).rows[0]).model_dump(), "seq_n": 1})
    with pytest.raises(DataError, match="decided nothing about"):
        gates(task)


@pytest.fixture(scope="module")
def panel() -> BarPanel:
    """Return bars that end on the rule's grid."""
    return make_panel(1_201, 4)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, panel: BarPanel) -> Task:
    """Return the task of explaining a forecast of the trend rule, from a bundle and the bars it was made from."""
    home = tmp_path_factory.mktemp("explained")
    run_dir = home / "runs" / "paper"
    run_dir.mkdir(parents=True)
    forecaster = trend_forecaster(panel.symbols)
    rows_n = next(
        n for n in range(len(panel.open_t), 0, -1) if (int(panel.open_t[n - 1]) + panel.interval_t) % (4 * 3_600) == 0
    )
    used = last_bars(
        BarPanel(panel.symbols, panel.interval_t, panel.open_t[:rows_n], *(f[:rows_n] for f in fields(panel))),
        forecaster.window_n,
    )
    tail = BarTail(run_dir / BARS_NAME, panel.symbols, panel.interval_t)
    tail.seed(used)
    tail.close()
    made = forecaster.forecast(used)
    assert made is not None
    symbol = int(made[0]["valid_n"][: len(panel.symbols)].argmax())
    bundle = make_bundle(home, panel, forecaster=forecaster)
    return Task(
        kind="contributions", home=str(home), run_dir=str(run_dir), signal_id=7, seq_n=9, symbol=panel.symbols[symbol], gate_id=0,
        forecast_t=int(used.open_t[-1]) + panel.interval_t, feature_digest=made[1].hex(), bundle_hash="a" * 64,
        bundle_id=_manifest_digest(bundle), symbols=panel.symbols, interval_t=panel.interval_t,
        prob_ppm=tuple(int(made[0][symbol][f"prob_{name}_ppm"]) for name in ("near", "main", "far")),
    )  # fmt: skip


def fields(panel: BarPanel) -> tuple[Any, ...]:
    """Return the columns of a panel."""
    return (panel.open, panel.high, panel.low, panel.close, panel.volume)


def _manifest_digest(bundle: Path) -> str:
    from runtime.ops.bundles.manifest import MANIFEST_NAME, parse_manifest

    return parse_manifest((bundle / MANIFEST_NAME).read_bytes()).digest


def test_contributions_add_up_to_the_score_and_are_of_the_journaled_features(task: Task) -> None:
    found = contributions(task)
    assert (found.verified, found.feature_digest, found.symbol) == (True, task.feature_digest, task.symbol)
    assert [row.horizon for row in found.horizons] == ["near", "main", "far"]
    for row, prob in zip(found.horizons, task.prob_ppm, strict=True):
        assert row.unit == "probability"
        assert row.score == pytest.approx(row.base + sum(part.amount for part in row.contributions))
        assert row.score * 1e6 == pytest.approx(prob, abs=2)
        sizes = [abs(part.amount) for part in row.contributions]
        assert sizes == sorted(sizes, reverse=True)


def test_the_worker_process_says_the_same(task: Task) -> None:
    found = asyncio.run(_asked(task))
    assert isinstance(found, bytes)
    assert Contributions.model_validate_json(found) == contributions(task)


def test_other_bars_are_refused(task: Task) -> None:
    with pytest.raises(VerificationError, match="features computed again"):
        contributions(task.model_copy(update={"feature_digest": "0" * 64}))
    changed = asyncio.run(_asked(task.model_copy(update={"forecast_t": task.forecast_t - 4 * 3_600})))
    assert isinstance(changed, Refused)
    assert (changed.status, changed.problem.kind) == (409, "verification")


def test_without_bars_or_bundle_there_is_nothing_to_explain(task: Task, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        contributions(task.model_copy(update={"run_dir": str(tmp_path)}))
    with pytest.raises(DataError, match="is not here"):
        contributions(task.model_copy(update={"bundle_id": "e" * 64}))


def test_a_task_is_not_guessed() -> None:
    with pytest.raises(ValidationError):
        Task.model_validate({"kind": "anything"})


async def _asked(task: Task) -> bytes | Refused:
    demand = Demand(1, 60.0)
    try:
        return await demand.answer(task)
    except Refused as e:
        return e
    finally:
        await demand.end()
