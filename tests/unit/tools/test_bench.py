"""The benchmark measures a market that trades, the trades it says it compares, and everything it promises."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.core.digest import Block
from runtime.engine import iterate_blocks
from runtime.policy import load_profile
from tests.support.bars import some_bars, write_series
from tools.bench import data, frameworks, growth, latency, market, measure, ours, result, rule, verification
from workbench.data.quality.gates import Series, form_findings
from workbench.data.store.lake import Lake

HOURS_N = 700
SYMBOLS_N = 4


def test_the_market_is_sound_and_seeded() -> None:
    bars = market.make_bars(50)
    used = bars[:, : market.SYMBOLS_N]
    body_high = np.maximum(used["open_e8"], used["close_e8"])
    body_low = np.minimum(used["open_e8"], used["close_e8"])
    assert (used["high_e8"] >= body_high).all()
    assert (used["low_e8"] <= body_low).all()
    assert (used["low_e8"] > 0).all()
    assert (used["open_e8"][1:] == used["close_e8"][:-1]).all(), "one price for the close and the next open"
    assert not bars[:, market.SYMBOLS_N :]["present_n"].any()
    assert bars.tobytes() == market.make_bars(50).tobytes()


def test_a_mapped_market_makes_the_same_run(tmp_path: Path) -> None:
    profile = load_profile("conservative")
    market.write_market(tmp_path, 240)
    mapped = market.read_market(tmp_path, profile)
    blocks = [block for chunk in iterate_blocks(market.standard_inputs(240, profile)) for block in chunk]
    assert [block for chunk in iterate_blocks(mapped) for block in chunk] == blocks


def test_every_stage_is_measured_on_a_ledger_that_is_not_empty() -> None:
    measured = ours.measure_core(240)
    assert set(measured.seconds) == set(ours.STAGES)
    assert measured.blocks_n > 240, "fills are blocks of their own"
    assert measured.rows_n > 2 * 240, "more than the hourly states"
    assert measured.fills_n > 0
    assert all(seconds > 0 for seconds in measured.seconds.values())


# ---- the rule --------------------------------------------------------------------------------------------------


def plain_trades(bars: np.ndarray, shift: int = 0) -> list[tuple[int, int, int, float]]:
    """Return (symbol, entry, exit, entry price) of the rule in plain Python; `shift` moves every decision by some hours."""
    found = []
    for s in range(SYMBOLS_N):
        closes = bars[:, s]["close_e8"].tolist()
        entered = 0
        for i in range(rule.SLOW_N - 1, HOURS_N - 1 - shift):
            fast, slow = closes[i - rule.FAST_N + 1 : i + 1], closes[i - rule.SLOW_N + 1 : i + 1]
            long = sum(fast) * len(slow) > sum(slow) * len(fast)
            at_t = market.FIRST_T + (i + 1 + shift) * market.HOUR_T
            if long and not entered:
                entered = at_t
                price = bars[i + 1 + shift, s]["open_e8"] / 1e8
            elif not long and entered:
                found.append((s, entered, at_t, price))
                entered = 0
    return found


@pytest.fixture(scope="module")
def traded() -> tuple[np.ndarray, np.ndarray]:
    """Return the bars and the engine's round trips of the rule."""
    inputs = rule.rule_inputs(HOURS_N, SYMBOLS_N)
    blocks: list[Block] = [block for chunk in iterate_blocks(inputs) for block in chunk]
    return np.asarray(inputs.bars), ours.trades_of(blocks)


def as_trades(plain: list[tuple[int, int, int, float]]) -> np.ndarray:
    trades = np.zeros(len(plain), ours.TRADE)
    for row, (symbol_n, entry_t, exit_t, price) in zip(trades, plain, strict=True):
        row["symbol_n"], row["entry_t"], row["exit_t"], row["entry_price"] = symbol_n, entry_t, exit_t, price
        row["exit_price"] = row["quantity"] = 1
    return trades


def test_the_engine_trades_the_rule_and_nothing_else(traded: tuple[np.ndarray, np.ndarray]) -> None:
    bars, trades = traded
    plain = plain_trades(bars)
    assert len(plain) > 2 * SYMBOLS_N
    assert sorted(trades[["symbol_n", "entry_t", "exit_t"]].tolist()) == sorted(trade[:3] for trade in plain)
    spent = trades["quantity"] * trades["entry_price"]
    assert spent * (1 + rule.FEE_PPM / 1e6) == pytest.approx(rule.CASH_N * rule.ENTRY_PPM / 1e6, rel=1e-4)


def test_the_comparison_sees_a_difference(traded: tuple[np.ndarray, np.ndarray]) -> None:
    bars, trades = traded
    same = frameworks.compare(trades, as_trades(plain_trades(bars)), SYMBOLS_N)
    assert same.same_n == same.ours_n == same.theirs_n
    assert same.symbols_n == SYMBOLS_N
    assert same.price > 0.1, "the exit prices of the plain list are made up"
    late = frameworks.compare(trades, as_trades(plain_trades(bars, shift=1)), SYMBOLS_N)
    assert late.same_n == 0
    fewer = frameworks.compare(trades, trades[1:], SYMBOLS_N)
    assert (fewer.same_n, fewer.symbols_n) == (len(trades) - 1, SYMBOLS_N - 1)
    dearer = trades.copy()
    dearer["exit_price"][0] *= 1.01
    dearer["quantity"][1] *= 0.98
    other = frameworks.compare(trades, dearer, SYMBOLS_N)
    assert (other.price, other.quantity) == pytest.approx((0.01, 0.02))


def test_the_integer_rule_is_the_rule() -> None:
    closes = market.make_bars(400, 3)[:, :3]["close_e8"]
    wanted = rule.wants_long(closes)
    assert not wanted[: rule.SLOW_N - 1].any()
    for i in range(rule.SLOW_N - 1, 400):
        fast = closes[i - rule.FAST_N + 1 : i + 1].astype(float).mean(axis=0)
        slow = closes[i - rule.SLOW_N + 1 : i + 1].astype(float).mean(axis=0)
        assert (wanted[i] == (fast > slow)).all()


# ---- frameworks ------------------------------------------------------------------------------------------------


def test_every_framework_has_a_script_and_exact_pins() -> None:
    for framework in frameworks.FRAMEWORKS:
        assert (frameworks.SCRIPTS / f"{framework.stem}_run.py").is_file()
        pins = (frameworks.SCRIPTS / f"{framework.stem}.txt").read_text("utf-8").splitlines()
        assert all(pin.count("==") == 1 and "/" not in pin for pin in pins)
        assert any(pin.lower().replace("_", "").startswith(framework.name.lower()) for pin in pins)


def test_without_a_python_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nowhere = tuple(framework._replace(pythons=((2, 0),)) for framework in frameworks.FRAMEWORKS)
    monkeypatch.setattr(frameworks, "FRAMEWORKS", nowhere)
    monkeypatch.setattr(frameworks, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(measure, "figures", lambda *words: here(Path(words[2])))
    found = result.Result()
    measure._rule(found, 300)
    (table,) = (t for t in found.tables if t.title == "The same rule in other frameworks")
    assert [row[0] for row in table.rows] == ["this project"]
    assert table.note.count("was not measured: there is no Python 2.0 here") == len(nowhere)
    assert not any("the rule" in target.name for target in found.targets)


def here(folder: Path) -> dict[str, float]:
    np.save(folder / "ours.npy", np.zeros(0, ours.TRADE))
    return {**dict.fromkeys(ours.STAGES, 1.0), "total": 4.0, "rule": 1.0, "fills": 0, "blocks": 0, "rows": 0}


# ---- latency, verification, memory -----------------------------------------------------------------------------


def test_single_events_make_the_blocks_of_the_backtest(tmp_path: Path) -> None:
    inputs = market.standard_inputs(200, load_profile("conservative"))
    events = latency.events_of(inputs)
    seconds = latency.feed(inputs, events, tmp_path)
    blocks = [block for chunk in iterate_blocks(inputs) for block in chunk]
    journal = ours.SqliteJournal.open(tmp_path / ours.JOURNAL_NAME)
    assert list(journal.read()) == blocks
    journal.close()
    assert seconds.shape == (len(blocks), len(latency.STAGES))
    assert (seconds > 0).all(), "the anchor is written after every block"
    parts, whole = seconds[:, :-1].sum(axis=1), seconds[:, -1]
    assert parts == pytest.approx(whole)


def test_a_measured_run_verifies_and_a_changed_export_does_not(tmp_path: Path) -> None:
    measured = verification.measure(rule.rule_inputs(250, 3), repeats_n=1)
    assert measured.records_n > 2 * 250
    assert min(measured[1:]) > 0
    (tmp_path / "run.zip").write_bytes(b"no archive")
    with pytest.raises(RuntimeError, match="does not verify"):
        verification.alone(tmp_path / "run.zip")


@pytest.mark.skipif(not growth.STATUS.exists(), reason="the system has no /proc")
def test_memory_is_what_the_process_holds() -> None:
    before = growth.memory_mib("RssAnon")
    held = bytearray(b"x" * (64 << 20))
    assert growth.memory_mib("RssAnon") - before > 60
    assert len(held) == 64 << 20


# ---- market data -----------------------------------------------------------------------------------------------


def test_imports_are_measured_on_everything_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "REPEATS_N", 1)
    for symbol in ("XBTUSD", "ETHUSD"):
        write_series(tmp_path, f"kraken-spot/1h/{symbol}", some_bars(72, trades=symbol == "XBTUSD"))
    found = data.imports(str(tmp_path))
    assert found["parquet_bars"] == found["csv_bars"] == 144
    assert min(found.values()) > 0


def test_the_csv_of_a_folder_is_the_same_bars(tmp_path: Path) -> None:
    write_series(tmp_path / "a", "kraken-spot/1h/XBTUSD", some_bars(72, trades=True))
    data.write_csv(tmp_path / "a", tmp_path / "b")
    for name in ("a", "b"):
        data.import_bars(tmp_path / f"home-{name}", data.FileProvider(tmp_path / name))
    assert Lake(tmp_path / "home-a").digest() == Lake(tmp_path / "home-b").digest()


def test_the_view_and_the_plain_query_make_the_same_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "REPEATS_N", 1)
    found = data.hourly("3", "3000")
    assert (found["rows"], found["hours"]) == (9_000, 150)
    plain = data.by_query
    monkeypatch.setattr(data, "by_query", lambda home: plain(home).with_columns(high=pl.col("high") + 0.01))
    with pytest.raises(RuntimeError, match="other hourly bars"):
        data.hourly("3", "3000")


def test_minutes_are_well_formed_and_seeded() -> None:
    bars = data.minute_bars(3, 5_000)
    assert form_findings(bars, Series("BTC", "seeded", 60)) == []
    assert bars.digest == data.minute_bars(3, 5_000).digest != data.minute_bars(4, 5_000).digest


def test_data_targets_are_told_beside_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "imports": {f"{k}_{v}": 1.0 for k in ("parquet", "csv") for v in ("s", "plain_s")}
        | {"parquet_bars": 3e6, "csv_bars": 4e5},
        "hourly": {"rows": 15e6, "hours": 1e5, "mib": 200.0, "import_s": 5.0, "view_s": 1.0, "verified_s": 2.0, "plain_s": 0.5},
    }
    monkeypatch.setattr(measure, "figures", lambda kind, *words: answers[kind])
    found = result.Result()
    measure.imports(found)
    measure.hourly(found)
    assert [(t.name, t.kept) for t in found.targets] == [
        ("import of Parquet", True), ("import of CSV", False), ("hourly bars of a year of one-minute bars, 30 symbols", True),
    ]  # fmt: skip
    assert [row[-1] for row in found.tables[1].rows] == [2.0, 4.0, 1.0]


# ---- the page --------------------------------------------------------------------------------------------------


def test_the_page_is_made_from_the_stored_result() -> None:
    stored = result.Result.parse(result.STORED.read_text("utf-8"))
    assert result.PAGE.read_text("utf-8") == result.as_markdown(stored), "run `make bench-all`; never edit the page by hand"
    changed = dataclasses.replace(stored, targets=[dataclasses.replace(stored.targets[0], measured=1e9), *stored.targets[1:]])
    assert result.as_markdown(changed) != result.as_markdown(stored)


def test_a_target_is_kept_on_its_side() -> None:
    assert result.Target("a", 3.0, "ms", 3.0).kept
    assert not result.Target("a", 3.1, "ms", 3.0).kept
    assert result.Target("a", 50.0, "x", 50.0, at_least=True).kept
    assert not result.Target("a", 49.9, "x", 50.0, at_least=True).kept


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"), (0.00012, "1.2e-04"), (0.1234, "0.123"), (1.0, "1.00"), (12.34, "12.3"), (123.4, "123"), (5_000.4, "5,000"),
        (12_209, "12,209"), (7, "7"), ("as it is", "as it is"),
    ],
)  # fmt: skip
def test_figures_are_shown_with_three_digits(value: str | float, shown: str) -> None:
    assert result.number(value) == shown


# ---- paper trading ---------------------------------------------------------------------------------------------


def test_paper_trading_is_held_to_its_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"hours": 96.0, "trading_s": 48.0, "start_s": 3.0, "stop_s": 6.0, "p50_ms": 5.0, "p99_ms": 20.0, "blocks": 900.0,
             "mb_a_day": 0.1, "answers": 70.0}  # fmt: skip
    monkeypatch.setattr(measure, "figures", lambda *_: found)
    shown = result.Result()
    measure.paper_short(shown)
    assert [(target.measured, target.kept) for target in shown.targets] == [(360.0, True), (20.0, True), (6.0, False)]
    (table,) = shown.tables
    assert table.rows[0] == ["hours a second", 2.0, pytest.approx(600 / 360)]
