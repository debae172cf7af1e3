"""Gap certificates: computed evidence, refusals, the mark in findings, the dataset's hash, tampering."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime.cli import main
from runtime.errors import DataError, GateError, UsageError, VerificationError
from tests.support.bars import HOUR_T, START_T, some_bars, tree, without, write_series
from workbench.data.bars import Bars
from workbench.data.checks.certify import certify_gap, standing
from workbench.data.checks.check import check_lake
from workbench.data.datasets.build import build_dataset
from workbench.data.datasets.manifests import DatasetManifest
from workbench.data.providers.files import FileProvider
from workbench.data.quality.certificates import Certificate, certificates_dir, certify_findings, load_certificates
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake

KEY = "kraken-spot/1h/XBTUSD"
HOLE = (START_T + 9 * HOUR_T, START_T + 10 * HOUR_T)
NOW_T = START_T + 1_000 * HOUR_T


def bring(home: Path, folder: Path, **series: Bars) -> None:
    for key, bars in series.items():
        write_series(folder, key.replace("__", "/").replace("_", "-"), bars)
    import_bars(home, FileProvider(folder))


@pytest.fixture
def lake_home(home: Path, tmp_path: Path) -> Path:
    """A lake with one hole of two hours and another of one."""
    bring(home, tmp_path / "in", kraken_spot__1h__XBTUSD=without(some_bars(), 9, 10, 30))
    return home


def certify(home: Path, first_t: int = HOLE[0], last_t: int | None = HOLE[1], *evidence: str, despite: str = "") -> Certificate:
    return certify_gap(
        home, KEY, first_t, last_t, author="a.b", reason="an outage", now_t=NOW_T, evidence=evidence, despite=despite
    )


def build(home: Path, *accepted: str) -> DatasetManifest:
    return build_dataset(home, "kraken-spot", accept_names=accepted)


def trades_file(folder: Path, hours: list[float], last_h: float, since_h: float | None = None) -> Path:
    rows = [["100.1", "0.5", START_T + h * HOUR_T, "b", "m", "", i] for i, h in enumerate(hours)]
    last = str(int((START_T + last_h * HOUR_T) * 1_000_000_000))
    page: dict[str, object] = {"error": [], "result": {"XXBTZUSD": rows, "last": last}}
    if since_h is not None:
        page = {"request": {"since": str(int((START_T + since_h * HOUR_T) * 1_000_000_000))}, "answer": page}
    path = folder / "trades.json"
    path.write_text(json.dumps(page))
    return path


def test_two_sources_that_lack_the_bars_are_evidence(lake_home: Path, tmp_path: Path) -> None:
    bring(lake_home, tmp_path / "b", kraken_spot_b__1h__XBTUSD=without(some_bars(), 9, 10))
    made = certify(lake_home)
    assert (made.first_t, made.last_t, made.bars_n) == (*HOLE, 2)
    assert [(e.kind, len(e.sha256)) for e in made.evidence] == [("both sources lack it", 64)]
    assert [(w.relation, w.series, w.covers, w.bars_n) for w in made.witnesses] == [
        ("second source", "kraken-spot-b/1h/XBTUSD", True, 0)
    ]
    stored = (certificates_dir(lake_home) / f"{made.digest}.json").read_bytes()
    assert stored == made.content()
    assert load_certificates(lake_home) == (made,)


@pytest.mark.parametrize(
    ("key", "bars", "relation"),
    [
        ("kraken_spot_b__1h__XBTUSD", some_bars(), "second source"),
        ("kraken_spot__4h__XBTUSD", some_bars(12, step_t=4 * HOUR_T), None),
        ("kraken_spot__15m__XBTUSD", some_bars(192, step_t=900), "other interval"),
        ("binance_spot__1h__BTCUSDT", some_bars(), None),
    ],
)
def test_a_hole_that_another_source_disproves_is_refused(
    lake_home: Path, tmp_path: Path, key: str, bars: Bars, relation: str | None
) -> None:
    """A second source or another interval with bars inside disproves; a longer bar that only overlaps, or another venue, does not."""
    bring(lake_home, tmp_path / "other", **{key: bars})
    outage = "outage: status page of 2024-01-01"
    if relation is None:
        assert certify(lake_home, *HOLE, outage).despite == ""
        return
    before = tree(lake_home)
    with pytest.raises(GateError, match=f"{relation}\\) has [28] bars there"):
        certify(lake_home, *HOLE, outage)
    assert tree(lake_home) == before
    made = certify(lake_home, *HOLE, outage, despite="their clock was wrong")
    assert made.despite == "their clock was wrong"
    assert any(w.disproves for w in made.witnesses)


def test_a_longer_bar_within_a_hole_disproves_it(home: Path, tmp_path: Path) -> None:
    bring(
        home,
        tmp_path,
        kraken_spot__1h__XBTUSD=without(some_bars(), *range(6, 14)),
        kraken_spot__4h__XBTUSD=some_bars(12, step_t=4 * HOUR_T),
    )
    with pytest.raises(GateError, match="other interval"):
        certify(home, START_T + 6 * HOUR_T, START_T + 13 * HOUR_T, "outage: said so")


def test_nothing_is_certified_without_evidence(lake_home: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="no evidence"):
        certify(lake_home)
    bring(lake_home, tmp_path / "b", kraken_spot_b__1h__XBTUSD=some_bars(9))
    with pytest.raises(GateError, match="no evidence"):
        certify(lake_home)  # the second source ends before the gap: it does not cover it
    assert not certificates_dir(lake_home).exists()


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (9, 9, "there: 2024-01-01T09:00Z..2024-01-01T10:00Z"),
        (10, None, "there: 2024-01-01T09:00Z..2024-01-01T10:00Z"),
        (8, 11, "there: 2024-01-01T09:00Z..2024-01-01T10:00Z"),
        (20, 21, "of 2"),
        (47, 60, "of 2"),
    ],
)
def test_only_a_whole_gap_is_certified(lake_home: Path, first: int, last: int | None, words: str) -> None:
    with pytest.raises(UsageError, match="no gap") as e:
        certify(lake_home, START_T + first * HOUR_T, None if last is None else START_T + last * HOUR_T, "outage: x")
    assert words in e.value.expected


def test_an_unknown_series_has_no_gap(lake_home: Path) -> None:
    with pytest.raises(UsageError, match="the lake has no series 'kraken-spot/1h/ETHUSD'"):
        certify_gap(lake_home, "kraken-spot/1h/ETHUSD", *HOLE, author="a", reason="b", now_t=NOW_T, evidence=["outage: x"])


def test_other_assets_know_nothing_of_a_gap(lake_home: Path, tmp_path: Path) -> None:
    bring(
        lake_home,
        tmp_path / "o",
        kraken_spot__1h__ETHUSD=some_bars(),
        kraken_spot__1h__XBTCAD=some_bars(),
        binance_spot__1h__ETHUSDT=some_bars(),
        binance_spot__4h__BTCUSDT=some_bars(12, step_t=4 * HOUR_T),
        simulated__1h__BTCUSD=some_bars(),
    )
    assert certify(lake_home, *HOLE, "outage: status page").witnesses == ()


def test_the_source_asked_again(lake_home: Path, tmp_path: Path) -> None:
    again = write_series(tmp_path / "again", KEY, without(some_bars(72), 9, 10))
    made = certify(lake_home, *HOLE, f"source:{again}")
    assert [(e.kind, e.text) for e in made.evidence] == [("source has none", "XBTUSD.parquet: 70 bars, none in the gap")]
    assert str(tmp_path) not in made.content().decode()
    other = START_T + 30 * HOUR_T
    with pytest.raises(GateError, match="has 1 bars in the gap"):
        certify(lake_home, other, other, f"source:{again}")
    short = write_series(tmp_path / "short", KEY, some_bars(20))
    with pytest.raises(DataError, match="does not reach over the gap"):
        certify(lake_home, other, other, f"source:{short}")
    wrong = write_series(tmp_path / "wrong", "kraken-spot/1h/ETHUSD", some_bars())
    with pytest.raises(DataError, match="holds ETHUSD"):
        certify(lake_home, other, other, f"source:{wrong}")
    with pytest.raises(DataError, match="is no file"):
        certify(lake_home, other, other, f"source:{tmp_path}/none")


@pytest.mark.parametrize(
    ("hours", "last_h", "since_h", "words"),
    [
        ([8.5, 11.0], 11.0, None, ""),
        ([], 11.0, 9.0, ""),
        ([11.5], 11.5, 8.0, ""),
        ([8.5, 9.5, 12.0], 12.0, None, "has 1 trades in the gap"),
        ([8.5, 10.999], 12.0, None, "has 1 trades in the gap"),
        ([11.5], 11.5, None, "does not reach over"),
        ([8.5], 10.5, None, "does not reach over"),
        ([], 9.0, 9.0, "does not reach over"),
    ],
)
def test_an_answer_of_trades(
    lake_home: Path, tmp_path: Path, hours: list[float], last_h: float, since_h: float | None, words: str
) -> None:
    path = trades_file(tmp_path, hours, last_h, since_h)
    if not words:
        assert [e.kind for e in certify(lake_home, *HOLE, f"trades:{path}").evidence] == ["no trades"]
        return
    with pytest.raises((GateError, DataError), match=words):
        certify(lake_home, *HOLE, f"trades:{path}")
    assert not certificates_dir(lake_home).exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"error": ["EQuery:Unknown"], "result": {}}', '{"error": [], "result": {"X": [[1]], "last": "1"}}',
     '{"error": [], "result": []}', '{"request": {}, "answer": {}}', '{"error": [], "result": {"X": [], "last": "soon"}}'],
)  # fmt: skip
def test_what_is_no_answer_of_trades_is_refused(lake_home: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "trades.json"
    path.write_text(text)
    with pytest.raises(DataError, match="is no answer of Trades"):
        certify(lake_home, *HOLE, f"trades:{path}")


@pytest.mark.parametrize("text", ["", "outage:", "outage: ", "nobody:traded", "source:", "outage: a\nb"])
def test_other_evidence_is_refused(lake_home: Path, text: str) -> None:
    with pytest.raises(UsageError, match="--evidence"):
        certify(lake_home, *HOLE, text)


@pytest.mark.parametrize(("author", "reason"), [("", "x"), ("x", " "), ("x", "a\tb"), ("x" * 1_001, "x")])
def test_who_and_why_must_be_said(lake_home: Path, author: str, reason: str) -> None:
    with pytest.raises(UsageError, match="expected: 1 to 1000"):
        certify_gap(lake_home, KEY, *HOLE, author=author, reason=reason, now_t=NOW_T, evidence=["outage: x"])


def test_a_certified_gap_stays_a_finding_and_its_certificate_is_in_the_hash(lake_home: Path) -> None:
    """The bars do not change, the gap is still a gap; only who vouches for it is."""
    by_name = build(lake_home, "gap")
    made = certify(lake_home, *HOLE, "outage: status page")
    findings = check_lake(lake_home).findings
    assert [(f.name, f.accepted, f.certificate) for f in findings] == [
        ("gap:XBTUSD:2024-01-01T09:00Z", True, made.digest),
        ("gap:XBTUSD:2024-01-02T06:00Z", False, ""),
    ]
    with pytest.raises(GateError, match="1 findings block"):
        build(lake_home)
    certified = build(lake_home, "gap:BTC:2024-01-02T06:00Z")
    assert [f.certificate for f in certified.findings] == [made.digest, ""]
    assert certified.dataset_hash != by_name.dataset_hash
    assert (certified.gaps, certified.bars_n, certified.files) == (by_name.gaps, by_name.bars_n, by_name.files)
    assert certified.verdict == "accepted"


def test_the_smallest_of_several_digests_counts_whatever_the_order(lake_home: Path) -> None:
    one = certify(lake_home, *HOLE, "outage: status page")
    two = one.model_copy(update={"reason": "another"})
    findings = check_lake(lake_home).findings
    for order in ((one, two), (two, one)):
        assert certify_findings(findings, order)[0].certificate == min(one.digest, two.digest)


def test_a_gap_is_certified_once(lake_home: Path) -> None:
    made = certify(lake_home, *HOLE, "outage: status page")
    with pytest.raises(GateError, match="certified already") as e:
        certify(lake_home, *HOLE, "outage: another page")
    assert made.digest[:12] in e.value.action


@pytest.mark.parametrize("how", ["edited", "renamed", "spaced", "cut", "empty"])
def test_an_altered_certificate_is_refused_everywhere(lake_home: Path, how: str) -> None:
    made = certify(lake_home, *HOLE, "outage: status page")
    path = certificates_dir(lake_home) / f"{made.digest}.json"
    content = path.read_bytes()
    if how == "renamed":
        path.rename(path.with_name("0" * 64 + ".json"))
    else:
        path.write_bytes(
            {"edited": content.replace(b"a.b", b"c.d"), "spaced": content + b"\n", "cut": content[:-9], "empty": b""}[how]
        )
    for use in (lambda: check_lake(lake_home), lambda: build(lake_home, "gap"), lambda: certify(lake_home, *HOLE)):
        with pytest.raises(VerificationError, match="certificate"):
            use()


def test_what_a_certificate_is_worth_today(lake_home: Path, tmp_path: Path) -> None:
    made = certify(lake_home, *HOLE, "outage: status page")
    despite = certify(lake_home, START_T + 30 * HOUR_T, None, "outage: status page")
    lake = Lake(lake_home)
    assert [standing(lake, lake.catalog(), c)[0] for c in (made, despite)] == ["covers its gap"] * 2
    bring(lake_home, tmp_path / "b", kraken_spot_b__1h__XBTUSD=without(some_bars(), 30))
    assert standing(lake, lake.catalog(), made) == ("disproved", "kraken-spot-b/1h/XBTUSD has 2 bars there")
    assert standing(lake, lake.catalog(), despite)[0] == "covers its gap"
    gate = [f.gate for f in check_lake(lake_home).findings if not f.accepted]
    assert gate == ["gap", "second_source"], "the -b series has that gap; the bars only it has block by themselves"
    bring(lake_home, tmp_path / "all", kraken_spot__1h__XBTUSD=some_bars())
    assert standing(lake, lake.catalog(), made)[0] == "moot: the bars have arrived"
    assert standing(Lake(tmp_path / "none"), Lake(tmp_path / "none").catalog(), made)[0] == "the lake lacks the series"


def test_the_commands(lake_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str, code: int = 0) -> dict[str, object]:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]  # an object, as the console promises

    words = ["--reason", "an outage", "--author", "a.b", "--evidence", "outage: status page"]
    made = run("data", "certify", KEY, "2024-01-01T09:00Z..2024-01-01T10:00Z", *words)
    assert made["bars_n"] == 2
    assert run("data", "certify", KEY, "2024-01-01T09:00Z", *words, code=4)["error"]
    assert run("data", "certify", KEY, "..", *words, code=2)["error"]
    listed = run("data", "certificates")["certificates"]
    assert [(c["certificate"], c["standing"]) for c in listed] == [(made["certificate"], "covers its gap")]  # type: ignore[attr-defined]
    assert main(["data", "certificates"]) == 0
    assert "covers its gap" in capsys.readouterr().out
    assert main(["data", "certify", KEY, "2024-01-02T06:00Z", *words]) == 0
    assert "certified kraken-spot/1h/XBTUSD 2024-01-02T06:00Z (1 bars)" in capsys.readouterr().out
    assert run("data", "check")["verdict"] == "accepted"
    bring(lake_home, tmp_path / "b", kraken_spot_b__1h__XBTUSD=some_bars())
    assert len(run("data", "certificates", code=5)["certificates"]) == 2  # type: ignore[arg-type]


def test_zero_volume_bars_of_another_interval_disprove_nothing(lake_home: Path, tmp_path: Path) -> None:
    quarters = some_bars(192, step_t=900)
    silent = (quarters.t >= HOLE[0]) & (quarters.t < HOLE[1] + HOUR_T)
    volume = np.where(silent, 0.0, quarters.volume)
    quiet = Bars(quarters.t, quarters.open, quarters.high, quarters.low, quarters.close, volume)
    bring(lake_home, tmp_path / "q", kraken_spot__15m__XBTUSD=quiet)
    assert certify(lake_home, *HOLE, "outage: status page").witnesses[0].bars_n == 0
