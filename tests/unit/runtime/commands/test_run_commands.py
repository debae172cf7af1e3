"""`ballast replay`, `ballast sql` and `ballast runs`: output, exit codes, one clear message per mistake."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest

from runtime.adapters.anchor import ANCHOR_NAME
from runtime.cli import main
from runtime.commands.sql import _json_value, _text
from runtime.difference import Failure, FailureClass
from runtime.lineage import LineageBreak
from runtime.run_list import describe_runs
from tests.support.forge import forge

Out = pytest.CaptureFixture[str]


# ---- replay -------------------------------------------------------------------------------------------------------


def test_replay_of_an_untouched_run(own_home: Path, own_run: Path, capsys: Out) -> None:
    assert main(["replay", "ml"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("REPLAY PARITY: TRUE\n")
    assert own_run.name in shown.out
    assert "recompute" in shown.err
    assert main(["replay", own_run.name[:5], "--home", str(own_home), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["parity"], result["failure"], result["run_id"]) == (True, None, own_run.name)


def test_replay_of_a_tampered_run(own_home: Path, own_run: Path, capsys: Out) -> None:
    forge(own_run / "journal.sqlite", "UPDATE block SET inputs_digest = zeroblob(32) WHERE seq_n = 7")
    assert main(["replay", str(own_run)]) == 5
    shown = capsys.readouterr().out
    assert shown.startswith("REPLAY PARITY: FALSE\n")
    for line in ("failure         chain break", "block           7", "record          inputs_digest", "stored          0000"):
        assert line in shown
    assert main(["replay", "latest", "--json"]) == 5
    failure = json.loads(capsys.readouterr().out)["failure"]
    assert (failure["kind"], failure["block"], failure["record"]) == ("chain break", 7, "inputs_digest")


def test_replay_with_other_code_says_so(own_home: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.replay.deciding_source_digest", lambda: "0" * 64)
    assert main(["replay", "ml"]) == 0
    assert "the core's source is not the one that made the run" in capsys.readouterr().out


def test_a_lineage_that_holds_is_told(own_home: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "bars, features and forecasts follow from the lake and the models"
    monkeypatch.setattr("runtime.replay.installed_tracer", lambda: lambda _home, _inputs, _report: None)
    for level, told in (("lineage", True), ("decisions", False)):
        assert main(["replay", "ml", "--level", level]) == 0
        assert (sentence in capsys.readouterr().out) is told
    broken = LineageBreak(Failure(kind=FailureClass.INPUT_MISSING, detail="no bar file"), computed=False)
    monkeypatch.setattr("runtime.replay.installed_tracer", lambda: lambda _home, _inputs, _report: broken)
    assert main(["replay", "ml", "--level", "lineage"]) == 5
    shown = capsys.readouterr().out
    assert "no bar file" in shown
    assert sentence not in shown


def test_replay_of_what_is_no_run(own_home: Path, own_run: Path, capsys: Out) -> None:
    assert main(["replay", "nothing", "--json"]) == 2
    shown = capsys.readouterr()
    assert "no run is named 'nothing'" in shown.err
    assert json.loads(shown.out)["error"]["kind"] == "usage"


@pytest.mark.parametrize(("emptied", "what"), [(True, "is empty"), (False, "is missing")])
def test_a_journal_that_is_gone_is_no_parity_and_a_damaged_run(
    own_home: Path, own_run: Path, capsys: Out, emptied: bool, what: str
) -> None:
    (own_run / "journal.sqlite").unlink()
    if emptied:
        (own_run / "journal.sqlite").touch()
    assert main(["replay", "ml"]) == 5
    shown = capsys.readouterr().out
    assert shown.startswith("REPLAY PARITY: FALSE\n")
    assert "failure         truncated journal" in shown
    assert f"journal.sqlite {what}" in shown
    assert main(["runs", "--json"]) == 5
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["damaged"], row["problem"]) == (True, f"journal.sqlite {what}")
    assert main(["runs"]) == 5
    assert "DAMAGED" in capsys.readouterr().out


def test_a_run_without_its_genesis_file_is_found_and_has_no_parity(own_home: Path, own_run: Path, capsys: Out) -> None:
    (own_run / "genesis.json").unlink()
    for name in ("ml", "latest", own_run.name, str(own_run)):
        assert main(["replay", name, "--json"]) == 5
        failure = json.loads(capsys.readouterr().out)["failure"]
        assert (failure["kind"], failure["detail"]) == ("chain break", "genesis.json is missing")
    assert main(["runs", "--json"]) == 5
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["problem"], row["blocks"]) == ("genesis.json is missing", 600)


@pytest.mark.parametrize("level", ["chain", "decisions"])
@pytest.mark.parametrize(
    "field",
    ["run_root", "journal_head", "blocks", "initial_pv_e8", "final_pv_e8", "net_return_ppm", "max_drawdown_ppm", "fees_e8",
     "open_positions", "turnover_e8", "signals", "orders", "fills", "trades"],
)  # fmt: skip
def test_a_summary_that_says_something_else_is_no_parity(
    own_home: Path, own_run: Path, capsys: Out, field: str, level: str
) -> None:
    summary = json.loads((own_run / "run.json").read_text())
    true = summary[field]
    hashed = field in {"run_root", "journal_head"}
    summary[field] = "0" * 64 if hashed else str(int(true) + 1) if field.endswith("_e8") else true + 1
    (own_run / "run.json").write_text(json.dumps(summary))
    assert main(["replay", "ml", "--json", "--level", level]) == 5
    failure = json.loads(capsys.readouterr().out)["failure"]
    assert (failure["kind"], failure["record"], failure["field"]) == ("summary changed", "run.json", field)
    assert (failure["stored"], failure["recomputed"]) == (str(summary[field]), str(true))


def test_a_damaged_or_missing_summary_is_one_clear_sentence(own_home: Path, own_run: Path, capsys: Out) -> None:
    (own_run / "run.json").write_text("{ not json")
    sentence = "run.json is damaged: it is not the summary of a run"
    assert main(["runs", "--json"]) == 5
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["damaged"], row["problem"], row["blocks"], row["fills"]) == (True, sentence, 600, None)
    assert main(["replay", "ml", "--json"]) == 5
    failure = json.loads(capsys.readouterr().out)["failure"]
    assert (failure["kind"], failure["detail"]) == ("summary changed", sentence)
    (own_run / "run.json").unlink()
    assert main(["replay", "ml", "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["failure"]["detail"] == "run.json is missing"


# ---- sql ----------------------------------------------------------------------------------------------------------

LEDGER = "SELECT entry_id, kind, symbol, before, delta, after FROM v_cash_ledger ORDER BY entry_id LIMIT 3"


def test_sql_as_json_csv_and_table_say_the_same(own_home: Path, own_run: Path, capsys: Out) -> None:
    assert main(["sql", "ml", LEDGER, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["run"] == own_run.name
    assert shown["columns"] == ["entry_id", "kind", "symbol", "before", "delta", "after"]
    assert shown["rows"][0] == [1, "DEPOSIT", None, "0.00000000", "100000.00000000", "100000.00000000"]
    assert all(Decimal(before) + Decimal(delta) == Decimal(after) for *_, before, delta, after in shown["rows"])
    assert main(["sql", "ml", LEDGER, "--csv"]) == 0
    header, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == shown["columns"]
    assert rows == [["" if v is None else str(v) for v in row] for row in shown["rows"]]
    assert main(["sql", "ml", LEDGER]) == 0
    table = capsys.readouterr().out
    assert all(str(v) in table for row in shown["rows"] for v in row if v is not None)
    assert "NULL" in table


def test_sql_without_a_query_lists_the_tables(own_home: Path, capsys: Out) -> None:
    assert main(["sql", "ml", "--limit", "0"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("v_cash_ledger", "model_prediction", "DECIMAL(38,8)"))


def test_a_long_table_says_how_much_it_shows(own_home: Path, capsys: Out) -> None:
    assert main(["sql", "ml", "SELECT seq_n FROM block", "--limit", "5"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("\n") < 12
    assert "5 of 600 rows" in shown.err


def test_a_wide_row_on_a_terminal_is_shown_upright(own_home: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["sql", "ml", "SELECT * FROM v_cash_ledger LIMIT 2"]) == 0
    out = capsys.readouterr().out
    assert "row 2" in out
    assert "  previous_entry_id  1\n" in out


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM block", "nothing"),
        ("SELECT * FROM nowhere", "nowhere does not exist"),
        ("SELECT 1; SELECT 2", "not one SELECT"),
        ("", "not one SELECT"),
        ("DROP VIEW block", "not one SELECT"),
        ("COPY (SELECT 1) TO 'x.csv'", "not one SELECT"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'", "not one SELECT"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled"),
        ("SELECT error('stop here')", "stop here"),
    ],
)
def test_a_wrong_query_is_one_message_and_exit_2(
    own_home: Path, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch, query: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sql", "ml", query]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("usage:") == 1
    assert shown.out == ""
    assert not (tmp_path / "x.csv").exists()


def test_sql_takes_one_output_form(own_home: Path, capsys: Out) -> None:
    assert main(["sql", "ml", "SELECT 1", "--json", "--csv"]) == 2
    assert main(["sql", "nothing", "SELECT 1"]) == 2


def test_sql_on_a_tampered_projection(own_home: Path, own_run: Path, capsys: Out) -> None:
    (own_run / "projections" / "block.parquet").write_bytes(b"")
    assert main(["sql", "ml", "SELECT 1"]) == 5
    assert "not the file that was sealed" in capsys.readouterr().err


def test_values_of_every_kind_can_be_shown() -> None:
    import datetime as dt

    values = (None, True, 2**70, 1.5, float("nan"), float("-inf"), b"\xab", Decimal("0E-8"), [1, b"\1"], {"a": Decimal("1.10")})
    found = [None, True, 2**70, 1.5, "nan", "-inf", "ab", "0.00000000", [1, "01"], {"a": "1.10"}]
    assert [_json_value(v) for v in values] == found
    json.dumps([_json_value(v) for v in values], allow_nan=False)
    day = dt.datetime(2020, 1, 1, 12)  # noqa: DTZ001  DuckDB's TIMESTAMP has no zone; ours are UTC
    assert (_text(day), _text(day.replace(tzinfo=dt.UTC)), _text(day.date())) == (
        "2020-01-01T12:00:00Z", "2020-01-01T12:00:00+00:00", "2020-01-01",
    )  # fmt: skip


# ---- runs ---------------------------------------------------------------------------------------------------------


def test_runs_lists_what_is_there(own_home: Path, own_run: Path, capsys: Out) -> None:
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert own_run.name in out
    assert "SIMULATED" in out
    assert main(["runs", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    summary = json.loads((own_run / "run.json").read_text())
    assert (row["blocks"], row["journal_head"], row["fills"]) == (summary["blocks"], summary["journal_head"], summary["fills"])
    assert (row["simulated"], row["problem"]) == (True, "")


def test_a_run_that_cannot_be_read_is_listed_with_its_problem(own_home: Path, own_run: Path, capsys: Out) -> None:
    anchor = (own_run / ANCHOR_NAME).read_bytes()
    (own_run / ANCHOR_NAME).unlink()
    assert "no anchor" in describe_runs(own_home)[0].problem
    (own_run / ANCHOR_NAME).write_bytes(b"{")
    assert "not a head anchor" in describe_runs(own_home)[0].problem
    (own_run / ANCHOR_NAME).write_bytes(anchor)
    (own_run / "genesis.json").write_text("{}")
    assert "not a genesis that this version reads" in describe_runs(own_home)[0].problem
    assert main(["runs"]) == 5
    assert own_run.name in capsys.readouterr().out


def test_no_runs(home: Path, capsys: Out) -> None:
    assert main(["runs"]) == 0
    assert "no runs in" in capsys.readouterr().err
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []


def test_a_journal_that_does_not_end_at_its_anchor_is_marked(own_home: Path, own_run: Path, capsys: Out) -> None:
    forge(own_run / "journal.sqlite", "DELETE FROM block WHERE seq_n > 400")
    assert main(["runs", "--json"]) == 5
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert row["damaged"]
    assert "ends at block 400, its anchor at block 600" in row["problem"]
    genesis = json.loads((own_run / "genesis.json").read_text())
    (own_run / "genesis.json").write_text(json.dumps(genesis))
    forge(own_run / "journal.sqlite")
    assert describe_runs(own_home)[0].damaged


@pytest.mark.parametrize("command", [["runs"], ["replay", "latest"], ["sql", "latest"]])
def test_a_mistyped_home_is_told(tmp_path: Path, capsys: Out, command: list[str]) -> None:
    assert main([*command, "--home", str(tmp_path / "nope"), "--json"]) == 2
    shown = capsys.readouterr()
    assert "nope does not exist" in shown.err
    error = json.loads(shown.out)["error"]
    assert (error["kind"], bool(error["expected"]), bool(error["action"])) == ("usage", True, True)


def test_a_summary_that_is_a_folder_is_told(own_home: Path, own_run: Path) -> None:
    (own_run / "run.json").unlink()
    (own_run / "run.json").mkdir()
    row = describe_runs(own_home)[0]
    assert row.damaged
    assert row.problem.startswith("run.json cannot be read: ")
