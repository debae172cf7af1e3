"""`ballast check`: every gate holds on a busy run, and every gate sees the violation planted for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runtime.adapters.inputs import load_clusters, load_forecasts
from runtime.adapters.projections import MANIFEST_NAME, PROJECTIONS_NAME, read_manifest
from runtime.adapters.views import connect
from runtime.canonical import canonical_json, sha256_file
from runtime.cli import main
from runtime.errors import DataError
from runtime.genesis import Genesis
from runtime.ops.check import add_context, check_run, run_gate
from runtime.ops.gates import GATES, Gate
from tests.support.checks import busy_run, plant

Out = pytest.CaptureFixture[str]
BY_NAME = {gate.name: gate for gate in GATES}

_A_BUY = "(SELECT min(fill_id) FROM order_fill WHERE side_id = 1)"
_A_SALE = "(SELECT min(fill_id) FROM order_fill WHERE side_id = -1)"
_ADMITTED = "(SELECT min(block_seq_n) FROM order_request WHERE side_id = 1 AND status_id = 1)"
_A_CUT_LOT = "(SELECT min(lot_row_id) FROM position_lot WHERE qty_e8 < 0)"
_AN_ORDER_SIGNAL = "(SELECT min(signal_id) FROM order_request)"
_A_REFUSAL = "(SELECT min(risk_event_id) FROM risk_event WHERE kind_id = 1)"

PLANTS = [
    ("row_ids_dense", "order_fill", "DELETE FROM order_fill WHERE fill_id = 3"),
    ("row_ids_dense", "cash_ledger", "INSERT INTO cash_ledger SELECT * FROM cash_ledger WHERE entry_id = 2"),
    ("one_account", "executed_trade", "UPDATE executed_trade SET account_id = 2 WHERE trade_id = 1"),
    ("one_account", "block", "UPDATE block SET mode_id = 3 WHERE seq_n = 9"),
    ("blocks_dense", "block", "DELETE FROM block WHERE seq_n = 5"),
    ("blocks_dense", "block", "UPDATE block SET records_n = records_n + 1 WHERE seq_n = 5"),
    ("blocks_dense", "risk_event", f"DELETE FROM risk_event WHERE risk_event_id = {_A_REFUSAL}"),
    ("times_forward", "block", "UPDATE block SET at_t = at_t - 9999 WHERE seq_n = 7"),
    ("times_forward", "trade_signal", "UPDATE trade_signal SET at_t = at_t + 1 WHERE signal_id = 2"),
    ("times_forward", "trade_signal", "UPDATE trade_signal SET origin_hour_t = hour_t + 3600 WHERE signal_id = 2"),
    ("every_hour_has_states", "portfolio_hourly_state", "DELETE FROM portfolio_hourly_state WHERE state_id = 50"),
    ("every_hour_has_states", "risk_hourly_state", "UPDATE risk_hourly_state SET portfolio_state_id = 1 WHERE state_id = 50"),
    ("every_hour_has_states", "block", "DELETE FROM block WHERE seq_n = (SELECT max(seq_n) FROM block)"),
    ("one_entry_per_fill", "cash_ledger", f"DELETE FROM cash_ledger WHERE fill_id = {_A_BUY}"),
    ("one_entry_per_fill", "cash_ledger", "INSERT INTO cash_ledger SELECT * FROM cash_ledger WHERE fill_id = 4"),
    ("one_entry_per_fill", "order_fill", "DELETE FROM order_fill WHERE fill_id = 4"),
    ("one_entry_per_fill", "order_fill", "UPDATE order_fill SET fee_e8 = fee_e8 + 1 WHERE fill_id = 4"),
    ("ledger_chain", "cash_ledger", "UPDATE cash_ledger SET before_e8 = before_e8 + 1 WHERE entry_id = 5"),
    ("ledger_chain", "cash_ledger", "UPDATE cash_ledger SET previous_entry_id = 1 WHERE entry_id = 5"),
    ("ledger_chain", "cash_ledger", "DELETE FROM cash_ledger WHERE entry_id = 5"),
    ("cash_delta", "cash_ledger", "UPDATE cash_ledger SET after_e8 = after_e8 - 1 WHERE entry_id = 5"),
    ("cash_delta", "cash_ledger", "UPDATE cash_ledger SET fee_e8 = fee_e8 + 1 WHERE entry_id = 5"),
    ("cash_delta", "cash_ledger", "UPDATE cash_ledger SET before_e8 = -delta_e8 - 1, after_e8 = -1 WHERE entry_id = 5"),
    ("portfolio_cash", "portfolio_hourly_state", "UPDATE portfolio_hourly_state SET cash_usd_e8 = cash_usd_e8 + 1 WHERE state_id = 60"),
    ("portfolio_cash", "portfolio_hourly_state", "UPDATE portfolio_hourly_state SET cash_cad_e8 = 1 WHERE state_id = 60"),
    ("portfolio_cash", "portfolio_hourly_state", "UPDATE portfolio_hourly_state SET ledger_entry_id = 0 WHERE state_id = 60"),
    ("portfolio_value", "portfolio_hourly_state", "UPDATE portfolio_hourly_state SET gross_e8 = gross_e8 + 1 WHERE state_id = 60"),
    ("portfolio_value", "portfolio_hourly_state", "UPDATE portfolio_hourly_state SET drawdown_ppm = drawdown_ppm + 1 WHERE state_id = 60"),
    ("portfolio_sums", "portfolio_hourly_state", "UPDATE portfolio_hourly_state SET fees_e8 = fees_e8 + 1 WHERE state_id = 600"),
    ("portfolio_sums", "executed_trade", "UPDATE executed_trade SET pnl_e8 = pnl_e8 + 1 WHERE trade_id = 2"),
    ("portfolio_sums", "position_lot", "UPDATE position_lot SET cost_e8 = cost_e8 + 1 WHERE lot_row_id = 2"),
    ("lots_conserved", "position_lot", "UPDATE position_lot SET left_e8 = left_e8 + 1 WHERE lot_row_id = 1"),
    ("lots_conserved", "position_lot", f"UPDATE position_lot SET left_cost_e8 = left_cost_e8 + 1 WHERE lot_row_id = {_A_CUT_LOT}"),
    ("lots_conserved", "position_lot", f"UPDATE position_lot SET kind_id = 1 WHERE lot_row_id = {_A_CUT_LOT}"),
    ("no_oversold_lot", "position_lot", f"UPDATE position_lot SET qty_e8 = qty_e8 - 1000000000000000 WHERE lot_row_id = {_A_CUT_LOT}"),
    ("fifo", "position_lot", """UPDATE position_lot SET lot_id = (SELECT max(lot_id) FROM position_lot o
        WHERE o.instrument_id = position_lot.instrument_id) WHERE lot_row_id =
        (SELECT min(lot_row_id) FROM position_lot WHERE qty_e8 < 0 AND lot_id < (SELECT max(lot_id) FROM position_lot o
        WHERE o.instrument_id = position_lot.instrument_id))"""),
    ("fills_make_lots", "position_lot", "UPDATE position_lot SET qty_e8 = qty_e8 + 1 WHERE lot_row_id = 1"),
    ("fills_make_lots", "position_lot", "UPDATE position_lot SET cost_e8 = cost_e8 + 1 WHERE lot_row_id = 1"),
    ("fills_make_lots", "position_lot", "DELETE FROM position_lot WHERE fill_id = 1"),
    ("trades_add_up", "executed_trade", "UPDATE executed_trade SET proceeds_e8 = proceeds_e8 + 1, pnl_e8 = pnl_e8 + 1 WHERE trade_id = 2"),
    ("trades_add_up", "executed_trade", "UPDATE executed_trade SET pnl_e8 = pnl_e8 + 1 WHERE trade_id = 2"),
    ("trades_add_up", "executed_trade", "DELETE FROM executed_trade WHERE trade_id = 2"),
    ("fills_within_orders", "order_fill", f"UPDATE order_fill SET price_e8 = price_e8 * 2, notional_e8 = qty_e8::HUGEINT * price_e8 * 2 // 100000000 WHERE fill_id = {_A_BUY}"),
    ("fills_within_orders", "order_fill", "UPDATE order_fill SET order_id = 999999 WHERE fill_id = 2"),
    ("fills_within_orders", "order_fill", f"UPDATE order_fill SET qty_e8 = qty_e8 * 100 WHERE fill_id = {_A_SALE}"),
    ("fills_within_orders", "order_request", "DELETE FROM order_request WHERE order_row_id = (SELECT min(order_row_id) FROM order_fill)"),
    ("orders_approved", "trade_signal", f"UPDATE trade_signal SET gate_id = 6 WHERE signal_id = {_AN_ORDER_SIGNAL}"),
    ("orders_approved", "trade_signal", f"UPDATE trade_signal SET action_id = 2 WHERE signal_id = {_AN_ORDER_SIGNAL}"),
    ("orders_approved", "trade_signal", f"DELETE FROM trade_signal WHERE signal_id = {_AN_ORDER_SIGNAL}"),
    ("orders_approved", "order_request", "UPDATE order_request SET side_id = -side_id WHERE order_row_id = 1"),
    ("orders_end_once", "order_request", "UPDATE order_request SET status_id = 3 WHERE order_row_id = 1"),
    ("orders_end_once", "order_request", "UPDATE order_request SET left_e8 = left_e8 * 9 WHERE order_row_id = (SELECT min(order_row_id) FROM order_request WHERE status_id = 2)"),
    ("refusals_journaled", "risk_event", f"DELETE FROM risk_event WHERE risk_event_id = {_A_REFUSAL}"),
    ("refusals_journaled", "risk_event", f"UPDATE risk_event SET gate_id = gate_id + 1 WHERE risk_event_id = {_A_REFUSAL}"),
    ("refusals_journaled", "risk_event", f"UPDATE risk_event SET signal_id = 999999 WHERE risk_event_id = {_A_REFUSAL}"),
    ("total_cap", "risk_hourly_state", f"UPDATE risk_hourly_state SET total_used_e8 = total_cap_e8 + 1 WHERE block_seq_n = {_ADMITTED}"),
    ("total_cap", "risk_hourly_state", "UPDATE risk_hourly_state SET total_cap_e8 = total_cap_e8 + 1 WHERE state_id = 9"),
    ("total_cap", "rule", "UPDATE rule SET budget_cap_ppm = 1"),
    ("total_cap", "rule", "UPDATE rule SET budget_cap_e8 = 1, budget_cap_ppm = 1000000"),
    ("cluster_cap", "cluster_exposure_hourly_state", f"UPDATE cluster_exposure_hourly_state SET in_flight_e8 = cap_e8 + 1 WHERE block_seq_n = {_ADMITTED}"),
    ("cluster_cap", "cluster_exposure_hourly_state", "DELETE FROM cluster_exposure_hourly_state"),
    ("cluster_cap", "cluster_exposure_hourly_state", "UPDATE cluster_exposure_hourly_state SET membership_n = membership_n + 1"),
    ("clusters_complete", "cluster_exposure_hourly_state", f"UPDATE cluster_exposure_hourly_state SET exposure_e8 = exposure_e8 + 1 WHERE block_seq_n = {_ADMITTED}"),
    ("clusters_complete", "cluster_exposure_hourly_state", "UPDATE cluster_exposure_hourly_state SET cap_e8 = cap_e8 + 1"),
    ("in_flight", "order_request", f"UPDATE order_request SET reserve_e8 = reserve_e8 + 1 WHERE block_seq_n = {_ADMITTED} AND side_id = 1"),
    ("in_flight", "risk_hourly_state", "UPDATE risk_hourly_state SET total_used_e8 = total_used_e8 + 1 WHERE state_id = 9"),
    ("quote_cap", "quote_cap", "UPDATE quote_cap SET cap_ppm = 1"),
    ("quote_cap", "quote_cap", "UPDATE quote_cap SET cap_e8 = 1"),
    ("quote_cap", "risk_hourly_state", f"UPDATE risk_hourly_state SET used_usd_e8 = 9000000000000000000 WHERE block_seq_n = {_ADMITTED}"),
    ("positions_limit", "risk_hourly_state", "UPDATE risk_hourly_state SET open_n = positions_max_n + 1 WHERE state_id = 90"),
    ("positions_limit", "rule", "UPDATE rule SET positions_max_n = 1", "UPDATE risk_hourly_state SET positions_max_n = 1"),
    ("prediction_existed", "model_prediction", "UPDATE model_prediction SET block_seq_n = block_seq_n + 1000000"),
    ("prediction_existed", "model_prediction", "UPDATE model_prediction SET prob_main_ppm = prob_main_ppm + 1"),
    ("prediction_existed", "model_prediction", "DELETE FROM model_prediction"),
    ("prediction_existed", "trade_signal", "UPDATE trade_signal SET forecast_t = at_t + 3600 WHERE signal_id = 5"),
    ("prediction_existed", "trade_signal", "UPDATE trade_signal SET edge_ppm = edge_ppm + 1 WHERE signal_id = 5"),
]  # fmt: skip


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a home folder with one busy run, and the run."""
    home = tmp_path_factory.mktemp("busy")
    run_dir = busy_run(home)
    check_run(run_dir, home)  # builds the projections once
    return home, run_dir


@pytest.fixture
def tables(busy: tuple[Path, Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    home, run_dir = busy
    connection = connect(run_dir, home)
    genesis = Genesis.model_validate_json((run_dir / "genesis.json").read_bytes())
    add_context(connection, genesis, load_clusters(home, genesis.clusters_digest))
    yield connection
    connection.close()


def test_every_gate_holds_on_a_busy_run(busy: tuple[Path, Path]) -> None:
    home, run_dir = busy
    seen: list[tuple[int, int]] = []
    result = check_run(run_dir, home, report=lambda _stage, done, total: seen.append((done, total)))
    assert result.valid
    assert [gate.name for gate in result.gates if gate.violations > 0] == []
    assert result.skipped == ["prediction_out_of_sample"]
    assert result.as_counts() == dict.fromkeys(BY_NAME, 0) | {"prediction_out_of_sample": -1}
    assert seen[-1] == (len(GATES), len(GATES))


def test_the_busy_run_is_busy(tables: duckdb.DuckDBPyConnection) -> None:
    """What the gates look at is there: otherwise they would hold on nothing."""
    for query in (
        "SELECT count(*) FROM order_fill WHERE side_id = 1",
        "SELECT count(*) FROM order_fill WHERE side_id = -1",
        "SELECT count(*) FROM position_lot WHERE kind_id = 3",
        "SELECT count(*) FROM order_request WHERE status_id = 2",
        "SELECT count(*) FROM risk_event WHERE kind_id = 1",
        "SELECT count(*) FROM risk_event WHERE kind_id = 2",
        "SELECT count(*) FROM block WHERE kind_id = 10",
        "SELECT count(*) - 1 FROM (SELECT DISTINCT cluster_id FROM cluster_exposure_hourly_state)",
    ):
        (found,) = tables.execute(query).fetchone() or (0,)
        assert found > 0, query


@pytest.mark.parametrize("planted", PLANTS, ids=[f"{n}-{name}" for n, (name, *_) in enumerate(PLANTS)])
def test_a_planted_violation_is_named(planted: tuple[str, ...], tables: duckdb.DuckDBPyConnection) -> None:
    name, table, *statements = planted
    assert run_gate(tables, BY_NAME[name]).violations == 0
    for touched in {table, *(statement.split()[1] for statement in statements if statement.startswith("UPDATE"))}:
        plant(tables, touched)
    plant(tables, table, *statements)
    found = run_gate(tables, BY_NAME[name])
    assert found.violations > 0
    assert found.first


def test_every_gate_can_fail() -> None:
    assert {name for name, *_ in PLANTS} | {"prediction_out_of_sample"} == set(BY_NAME)
    assert len(BY_NAME) == len(GATES)


def test_no_gate_computes_in_floats(tables: duckdb.DuckDBPyConnection) -> None:
    for gate in GATES:
        if not gate.study:
            described = tables.execute(f"DESCRIBE {gate.sql}").fetchall()
            assert {kind for _, kind, *_ in described} <= {"BIGINT", "HUGEINT", "INTEGER", "VARCHAR"}, gate.name
        assert "DOUBLE" not in gate.sql
        assert "/" not in gate.sql.replace("//", ""), gate.name


def test_portfolio_gates_step_back_once_rates_move(tables: duckdb.DuckDBPyConnection) -> None:
    plant(tables, "portfolio_hourly_state", "UPDATE portfolio_hourly_state SET gross_e8 = gross_e8 + 1 WHERE state_id = 60")
    plant(tables, "block", "UPDATE block SET kind_id = 5 WHERE seq_n = 1")
    assert run_gate(tables, BY_NAME["portfolio_value"]).violations == 0


# ---- the study's predictions --------------------------------------------------------------------------------------


def write_predictions(path: Path, run_dir: Path, *, train_last_t: int, first_n: int = 0, horizon_h: int = 24) -> Path:
    """Write predictions at the times of a run's own from number `first_n` on, all trained until `train_last_t` before the first."""
    forecasts = load_forecasts(
        run_dir.parents[1], Genesis.model_validate_json((run_dir / "genesis.json").read_bytes()).forecasts_digest
    )
    at_t = forecasts.at_t[first_n:].tolist()
    n = len(at_t)
    columns = {"at_t": at_t, "symbol": ["BTC"] * n, "horizon_h": [horizon_h] * n, "fold_n": [1] * n}
    windows = {"train_first_t": [0] * n, "train_last_t": [at_t[0] + train_last_t if n else 0] * n}
    schema = pa.schema([(name, pa.string() if name == "symbol" else pa.int64()) for name in columns | windows])
    pq.write_table(pa.table(columns | windows, schema=schema), path)
    return path


@pytest.mark.parametrize(("train_last_t", "holds"), [(-24 * 3_600 - 1, True), (-24 * 3_600, False), (3_600, False)])
def test_predictions_inside_their_training_window(
    busy: tuple[Path, Path], tmp_path: Path, train_last_t: int, holds: bool
) -> None:
    """A label of 24 h is known a day after its decision: a prediction must come later than the last of them."""
    home, run_dir = busy
    result = check_run(run_dir, home, write_predictions(tmp_path / "some.parquet", run_dir, train_last_t=train_last_t))
    gate = result.gates[-1]
    assert gate.name == "prediction_out_of_sample"
    assert (result.valid, gate.violations == 0) == (holds, holds)
    assert gate.first.get("symbol") == (None if holds else "BTC")


def test_predictions_of_another_study_prove_nothing(busy: tuple[Path, Path], tmp_path: Path) -> None:
    home, run_dir = busy
    for first_n in (5, 10**6):
        path = write_predictions(tmp_path / f"{first_n}.parquet", run_dir, train_last_t=-(10**6), first_n=first_n)
        gate = check_run(run_dir, home, path).gates[-1]
        assert gate.violations > 0
        assert gate.first["fold_n"] == -1


def test_predictions_that_cannot_be_read(busy: tuple[Path, Path], tmp_path: Path) -> None:
    home, run_dir = busy
    for content in (b"PAR", None):
        path = tmp_path / "predictions.parquet"
        path.unlink(missing_ok=True)
        if content:
            path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            check_run(run_dir, home, path)


# ---- the command --------------------------------------------------------------------------------------------------


def test_the_command_on_a_whole_and_on_a_forged_run(busy: tuple[Path, Path], tmp_path: Path, capsys: Out) -> None:
    home = tmp_path / "home"
    shutil.copytree(busy[0], home)
    run_dir = home / "runs" / busy[1].name
    assert main(["check", "latest", "--home", str(home)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("RUN VALID: TRUE\n")
    assert "ledger_chain             holds" in out
    assert "prediction_out_of_sample skipped" in out

    path = run_dir / PROJECTIONS_NAME / "cash_ledger.parquet"
    table = pq.read_table(path)
    column = table.schema.names.index("after_e8")
    values = table["after_e8"].to_pylist()
    values[3] += 2**60
    pq.write_table(table.set_column(column, "after_e8", pa.array(values, pa.int64())), path)
    assert main(["check", "latest", "--home", str(home)]) == 5  # the sealed file was changed
    assert "not the file that was sealed" in capsys.readouterr().err
    manifest = read_manifest(run_dir)
    assert manifest is not None
    entry = manifest.tables["cash_ledger"].model_copy(update={"sha256": sha256_file(path)})
    sealed = manifest.model_copy(update={"tables": manifest.tables | {"cash_ledger": entry}})
    (run_dir / PROJECTIONS_NAME / MANIFEST_NAME).write_bytes(canonical_json(sealed.model_dump(mode="json")))

    assert main(["check", "latest", "--home", str(home)]) == 5
    out = capsys.readouterr().out
    assert out.startswith("RUN VALID: FALSE\n")
    assert "first: entry_id=4," in out
    assert main(["check", "latest", "--home", str(home), "--json"]) == 5
    result = json.loads(capsys.readouterr().out)
    broken = {gate["name"]: gate for gate in result["gates"] if gate["violations"] > 0}
    assert {"cash_delta", "ledger_chain", "portfolio_cash"} <= set(broken)
    assert broken["cash_delta"]["first"]["after_e8"] == str(values[3])


def test_a_gate_has_one_sentence() -> None:
    for gate in GATES:
        assert isinstance(gate, Gate)
        assert gate.proves.endswith(".")
        assert "\n" not in gate.proves
