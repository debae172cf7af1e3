"""The whole page: complete, exact, self-contained, the same every time, and plain when there is little to say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest

from reports.static.inputs import Inputs, Replay
from reports.static.study_report import render
from tests.unit.reports.static.html_reader import Reader

PARTS = (
    "verdict", "portfolio", "closer", "tiers", "years", "refusals", "refusals-trend", "symbols", "forecasts", "calibration", "shap", "folds", "trades",
    "data", "lineage", "assumptions", "verify",
)  # fmt: skip


def number(text: str) -> Decimal:
    """Return the number in a cell as a person reads it."""
    found = re.search(r"[+\u2212]?[\d,]+(\.\d+)?", text)
    assert found, text
    return Decimal(found.group().replace(",", "").replace("\u2212", "-"))


def e8(value: int) -> Decimal:
    return Decimal(value).scaleb(-8)


def with_table(inputs: Inputs, name: str, frame: pl.DataFrame) -> Inputs:
    return replace(inputs, tables={**inputs.tables, name: frame})


@pytest.mark.parametrize("page", ["flat_page", "trading_page"])
def test_every_part_is_there_and_named(page: str, request: pytest.FixtureRequest) -> None:
    read = Reader(request.getfixturevalue(page))
    assert [part for part in PARTS if part not in read.ids] == []
    assert len(read.ids) == len(set(read.ids)), "an id repeats"
    assert [name for name in read.refers if name not in read.ids] == []
    drawings = [attrs for tag, attrs in read.tags if tag == "svg" and attrs.get("class") == "plot"]
    assert len(drawings) > 15
    assert all(attrs.get("role") == "img" and attrs.get("aria-labelledby") for attrs in drawings)


@pytest.mark.parametrize("page", ["flat_page", "trading_page"])
def test_nothing_is_loaded(page: str, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(page)
    read = Reader(source)
    assert read.loads == []
    assert "@import" not in source
    assert [target for target in re.findall(r"url\(([^)]+)\)", source) if not target.startswith("#")] == []
    policy = next(str(attrs["content"]) for tag, attrs in read.tags if tag == "meta" and attrs.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.replace("style-src 'unsafe-inline'", "")
    assert len(source.encode()) < 5_000_000


def test_the_same_inputs_give_the_same_bytes(flat_inputs: Inputs, flat_page: str) -> None:
    assert render(flat_inputs) == flat_page


def test_outcomes_are_those_of_the_study(trading_inputs: Inputs, trading_page: str) -> None:
    rows = {row[0]: row for row in Reader(trading_page).table("Outcome of every series")}
    for name, label in (("ml", "ML bundle"), ("trend", "Trend rule")):
        s = trading_inputs.runs[name].summary
        row = rows[label]
        assert number(row[1]) == e8(s.final_pv_e8)
        assert number(row[2]) == Decimal(s.net_return_ppm).scaleb(-4)
        assert number(row[3]) == Decimal(s.max_drawdown_ppm).scaleb(-4)
        assert number(row[6]) == s.fills
        assert [number(cell) for cell in row[7:]] == [e8(s.turnover_e8), e8(s.fees_e8), e8(s.slippage_e8)]
    for name, label in (("flat", "Flat"), ("btc_hold", "BTC hold"), ("equal_weight", "Equal weight")):
        assert number(rows[label][1]) == e8(trading_inputs.study.baselines[name].final_pv_e8)


def test_assets_add_up_to_the_run(trading_inputs: Inputs, trading_page: str) -> None:
    for name, label in (("ml", "ML bundle"), ("trend", "Trend rule")):
        rows = Reader(trading_page).table(f"{label} per asset")
        s = trading_inputs.runs[name].summary
        assert [row[0] for row in rows[1:-1]] == list(trading_inputs.runs[name].symbols)
        assert number(rows[-1][6]) == e8(s.fees_e8) == sum(number(row[6]) for row in rows[1:-1])
        assert number(rows[-1][2]) == s.fills
        assert number(rows[-1][10]) == sum(s.refusals.values())


def test_refusals_folds_bins_and_trades_are_all_listed(trading_inputs: Inputs, trading_page: str) -> None:
    read = Reader(trading_page)
    refused = {row[0].split()[0]: number(row[1]) for row in read.table("Refusals by reason, Trend rule")[1:]}
    assert refused == trading_inputs.runs["trend"].summary.refusals
    folds = read.table("Windows of every fold")[1:]
    assert [number(row[2]) for row in folds] == trading_inputs.tables["folds"]["rows_train"].to_list()
    assert {row[3] for row in folds} == {"76 h"}
    for h in (4, 24, 72):
        bins = trading_inputs.tables["calibration"].filter((pl.col("horizon_h") == h) & (pl.col("n") > 0))
        assert [number(row[4]) for row in read.table(f"Reliability at {h} h")[1:]] == bins["n"].to_list()
    listed = [
        row
        for table in read.tables
        if table["caption"] and table["caption"][0][0].startswith("Closed lots")
        for row in table["rows"][1:]
    ]
    assert len(listed) == sum(run.summary.trades for run in trading_inputs.runs.values())
    pnl = sum(sum(run.tables["executed_trade"]["pnl_e8"].to_list()) for run in trading_inputs.runs.values())
    assert sum(number(row[6]) for row in listed) == e8(pnl)


def test_every_hash_of_the_lineage_stands_in_full(flat_inputs: Inputs, flat_page: str) -> None:
    study = flat_inputs.study
    wanted = [study.dataset_hash, study.feature_set_hash, study.policy_hash, study.run_root, *study.model_hashes]
    wanted += [file.sha256 for file in flat_inputs.manifest.files] + [str(value) for value in flat_inputs.receipt.values()]
    for run in flat_inputs.runs.values():
        wanted += [run.summary.journal_head, run.summary.run_root, run.genesis_sha256]
    words = Reader(flat_page).words
    assert [value for value in wanted if value not in words] == []


def test_simulated_is_said_everywhere(flat_page: str, trading_page: str) -> None:
    read = Reader(flat_page)
    assert all("SIMULATED" in str(table["caption"]) for table in read.tables), "a table without the word"
    drawings = re.findall(r'<svg viewBox[^>]*class="plot">.*?</svg>', flat_page, flags=re.DOTALL)
    assert all("SIMULATED" in drawing for drawing in drawings), "a chart without the word"
    hashes = re.findall(r'<dl class="hashes">.*?</dl>', flat_page, flags=re.DOTALL)[0]
    assert hashes.count("SIMULATED") == hashes.count("<dt>") > 8
    assert "SIMULATED" not in Reader(trading_page).words
    assert "REAL DATA" in Reader(trading_page).words


def test_a_flat_run_reads_well(flat_page: str) -> None:
    words = Reader(flat_page).words
    assert "The ML bundle stayed flat: it found nothing worth its costs." in words
    assert "Flat is a fine answer" in words
    assert "no fill in any of 4 assets" in words


def test_replay_is_told_as_it_is(flat_inputs: Inputs, flat_page: str, trading_page: str) -> None:
    assert "REPLAY PARITY: ✓ TRUE" in Reader(flat_page).words
    assert "REPLAY PARITY: \u2013 NOT REPLAYED" in Reader(trading_page).words
    failure: dict[str, str | int] = {
        "kind": "state divergence",
        "detail": "differs",
        "block": 77,
        "field": "fee_e8",
        "stored": "1",
        "recomputed": "2",
    }
    broken = Replay.model_validate({"parity": False, "blocks": 77, "failure": failure})
    words = Reader(render(replace(flat_inputs, replay={**flat_inputs.replay, "trend": broken}))).words
    assert "REPLAY PARITY: ✕ FALSE" in words
    assert all(str(value) in words for value in failure.values())
    one = {"ml": flat_inputs.replay["ml"]}
    assert "REPLAY PARITY: \u2013 NOT REPLAYED" in Reader(render(replace(flat_inputs, replay=one))).words


def test_strings_from_files_are_text(flat_page: str) -> None:
    assert "<script>alert(1)" not in flat_page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in flat_page


def test_figures_are_found_twice(flat_inputs: Inputs, flat_page: str) -> None:
    rows = Reader(flat_page).table("What the summaries state")
    assert len(rows) > 12
    assert {row[3] for row in rows[1:]} == {"✓ yes"}
    run = flat_inputs.runs["trend"]
    wrong = replace(run, summary=run.summary.model_copy(update={"fees_e8": run.summary.fees_e8 + 1}))
    rows = Reader(render(replace(flat_inputs, runs={**flat_inputs.runs, "trend": wrong}))).table("What the summaries state")
    assert [row[0] for row in rows[1:] if row[3] == "✕ no"] == ["Trend rule: fees, 1e-8 USD"]


def empty(inputs: Inputs) -> Mapping[str, pl.DataFrame]:
    return {name: frame.clear() for name, frame in inputs.tables.items()}


def test_a_study_with_nothing_in_it_still_reads(flat_inputs: Inputs) -> None:
    manifest = flat_inputs.manifest.model_copy(update={"findings": (), "gaps": ()})
    runs = {}
    for name, run in flat_inputs.runs.items():
        none = {
            "fills": 0,
            "trades": 0,
            "orders": 0,
            "signals": 0,
            "refusals": {},
            "fees_e8": 0,
            "slippage_e8": 0,
            "turnover_e8": 0,
        }
        runs[name] = replace(
            run, summary=run.summary.model_copy(update=none), tables={key: t.clear() for key, t in run.tables.items()}
        )
    read = Reader(render(replace(flat_inputs, manifest=manifest, runs=runs, tables=empty(flat_inputs))))
    for sentence in (
        "No forecast was good enough to ask for an entry", "The quality gates found nothing to report.", "No bar is missing", "The study has no fold.",
        "The study holds no curve.", "The study holds no metrics", "The study holds no SHAP summary.", "No gate refused anything",
        "No forecast to hold against what happened.", "The study holds no model.", "The trend rule made no trade either.",
    ):  # fmt: skip
        assert sentence in read.words, sentence


def test_one_fold_and_undefined_scores(flat_inputs: Inputs) -> None:
    one = flat_inputs.tables["folds"].head(1)
    metrics = flat_inputs.tables["metrics"].filter(pl.col("fold_n") < 1).with_columns(pl.lit(float("nan")).alias("auc"))
    words = Reader(render(with_table(with_table(flat_inputs, "folds", one), "metrics", metrics))).words
    assert "in 1 fold:" in words
    assert "AUC \u2013" in words


def test_an_asset_without_prices_says_so(flat_inputs: Inputs) -> None:
    panel = flat_inputs.panel
    close = panel.close.copy()
    close[:, 3] = float("nan")
    words = Reader(render(replace(flat_inputs, panel=replace(panel, close=close)))).words
    assert f"{panel.symbols[3]} has no bars in the test period." in words


def test_a_halt_is_told_in_the_verdict(trading_inputs: Inputs, trading_page: str) -> None:
    assert "HALT20, which" not in trading_page
    run = trading_inputs.runs["ml"]
    hours = run.tables["risk_hourly_state"]
    last = (
        pl.when(pl.col("state_id") > len(hours) * 3 // 4)
        .then(pl.lit(3, pl.Int64))
        .otherwise(pl.lit(0, pl.Int64))
        .alias("tier_id")
    )
    halted = replace(run, tables={**run.tables, "risk_hourly_state": hours.with_columns(last)})
    words = Reader(render(replace(trading_inputs, runs={**trading_inputs.runs, "ml": halted}))).words
    assert "Its drawdown halted it." in words
    assert "this held for 25.00 % of the period" in words
