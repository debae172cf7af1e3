"""Universe versions: records, venue maps, comparison, one's own versions, membership at a time."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.canonical import canonical_json, sha256_file
from runtime.cli import main
from runtime.errors import DataError, GateError, UsageError, VerificationError
from tests.support.bars import START_T, some_bars, tree, write_series
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.universe import versions as universe_module
from workbench.data.universe.checks import problems
from workbench.data.universe.store import (
    add_universe,
    find_universe,
    newest_version,
    own_versions,
    read_candidate,
    shipped_records,
    universe_of,
    universes_dir,
)
from workbench.data.universe.versions import load_universe, parse_universe, shipped_versions
from workbench.data.view.lake_view import open_view

FOLDER = Path(universe_module.__file__).parent
V1 = (FOLDER / "universe_v1.toml").read_text()
V1_FILE_SHA256 = "bd6431d7c9e2eec3d29bae745dc2c64abaf94cf6489b30778a1a59a94582c3fb"
NOW_T = START_T + 9_999
WHY = {"author": "a.b", "reason": "a test", "now_t": NOW_T}


def candidate(folder: Path, *replacements: tuple[str, str], version: str = "v1-own", more: str = "") -> Path:
    """Write V1 with some text replaced and another name."""
    text = V1.replace('version = "v1"', f'version = "{version}"')
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / f"{version}.toml"
    path.write_text(text + more)
    return path


# ---- what ships ------------------------------------------------------------------------------------------------


def test_every_shipped_version_has_a_record_with_its_digest_and_its_file() -> None:
    """A change of a shipped version without a record, or of a record, fails here."""
    records = {r.version: r for r in shipped_records()}
    assert tuple(records) == shipped_versions()
    for name in shipped_versions():
        assert records[name].digest == load_universe(name).digest
        assert records[name].file_sha256 == sha256_file(FOLDER / f"universe_{name}.toml")
        assert problems(load_universe(name)) == []
        assert records[name].author
        assert records[name].reason
    assert [r.supersedes for r in records.values()] == ["", *list(records)[:-1]]
    assert records["v1"].file_sha256 == V1_FILE_SHA256, "V1 is fixed, byte for byte"


@pytest.mark.parametrize("venue", ["kraken-spot", "kraken-spot-b", "binance-spot", "simulated"])
def test_every_symbol_of_every_asset_and_quote_comes_back(venue: str) -> None:
    universe = load_universe()
    held = universe.venue(venue)
    seen = set()
    for asset in universe.assets:
        for quote in held.quotes.values():
            if asset in held.absent:
                continue
            symbol = universe.symbol(venue, asset, quote)
            listing = universe.resolve(venue, symbol)
            assert listing is not None
            assert (listing.asset, listing.quote, listing.former) == (asset, quote, "")
            seen.add(symbol)
    quotes_n = 3 if venue.startswith("kraken") else 1
    assert len(seen) == quotes_n * (30 - len(held.absent))


def test_kraken_has_all_thirty_in_usd_cad_and_usdc() -> None:
    held = load_universe().venue("kraken-spot")
    assert (held.quotes, held.absent) == ({"USD": "USD", "CAD": "CAD", "USDC": "USDC"}, ())


# ---- what is wrong with a candidate -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"FIL", "APT"', '"FIL", "FIL"', "asset FIL is named twice"),
        ('"FIL", "APT"', '"FIL", "apt"', "asset 'apt': use A-Z and 0-9"),
        ('"APT",\n', '"APT", "A1", "A2", "A3",\n', "33 assets, the core has 32 slots"),
        ('["USD", "CAD", "USDC"]', '["USD", "CAD", "USD"]', "quote USD is named twice"),
        ('BTC = "XBT"', 'BTC = "XBT", MNT = "MNT"', "venue kraken-spot: MNT is no asset"),
        ('BTC = "XBT"', 'BTC = "ETH"', "ETH/USD is ETHUSD, which is read as BTC/USD"),
        ('BTC = "XBT"', 'BTC = "ETH"', "ETHUSD is both BTC/USD and ETH/USD"),
        ('{ USDT = "USD" }', '{ USDT = "EUR" }', "USDT stands for EUR, which is no quote"),
        ('{ USDT = "USD" }', '{ USDT = "USD", BUSD = "USD" }', "two quotes stand for USD"),
        ('absent = ["KAS"]', 'absent = ["KASPA"]', "KASPA is no asset"),
        ('former = "MATIC"', 'former = "SOL"', "the former ticker is an asset of its own"),
        ('asset = "POL"', 'asset = "MNT"', "rename of MATIC: MNT is no asset"),
        ("2024-09-10T03:00:00Z", "2024-09-14T03:00:00Z", "the new ticker opens before the former one ends"),
        ("renames.venues.binance-spot", "renames.venues.mtgox", "no venue mtgox"),
        ("[venues.simulated]", "[venues.kraken-spot-b]", "-b means the second source"),
        ('["USD", "CAD", "USDC"]', "[]", "no quotes"),
        ('version = "v1-own"', 'version = "V1!"', "version 'V1!'"),
    ],
)
def test_a_contradiction_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(DataError) as e:
        read_candidate(candidate(tmp_path, (old, new)))
    assert words in e.value.got, e.value.got


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ('asset = "XMR"\nvenue = "mtgox"\nsource = "x"', "no such asset or venue"),
        ('asset = "KAS"\nvenue = "binance-spot"\nsource = "x"', "never to have listed it"),
        ('asset = "XMR"\nvenue = "binance-spot"\nsource = " "', "names no source"),
        (
            'asset = "XMR"\nvenue = "binance-spot"\nsource = "x"\nlisted_from = 2024-02-20T03:00:00Z\nlisted_until = 2024-02-20T03:00:00Z',
            "ends before it begins",
        ),
    ],
)
def test_a_contradictory_listing_is_named(tmp_path: Path, window: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_candidate(candidate(tmp_path, more=f"\n[[listings]]\n{window}\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not toml", "x.toml"),
        ("", "Field required"),
        (V1.replace("ratio = 1", "ratio = 1000"), "ratio"),
        (V1 + "\n[more]\n", "more"),
    ],
)
def test_what_is_no_universe_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_candidate(path)
    with pytest.raises(DataError, match="cannot read"):
        read_candidate(tmp_path / "none.toml")


# ---- differences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ('"FIL", "APT"', '"FIL"', {("asset removed", "APT")}),
        ('"APT",\n', '"APT", "DOGE",\n', {("asset added", "DOGE")}),
        ('"BTC", "ETH"', '"ETH", "BTC"', {("assets reordered", "BTC ETH")}),
        ('["USD", "CAD", "USDC"]', '["USD", "USDC", "CAD"]', {("quotes reordered", "quotes")}),
        ('["USD", "CAD", "USDC"]', '["USD", "CAD", "USDC", "EUR"]', {("quote added", "EUR")}),
        ('{ USD = "USD", CAD = "CAD", USDC', '{ USD = "USD", USDC', {("venue quote changed", "CAD at kraken-spot")}),
        ('BTC = "XBT"', "", {("venue symbol changed", "BTC at kraken-spot")}),
        ("2024-09-10T03:00:00Z", "2024-09-10T02:00:00Z", {("rename changed", "POL")}),
        ('absent = ["KAS"]', "absent = []", {("asset no longer said never listed", "KAS at binance-spot")}),
        ('title = "Kraken spot"', 'title = "Kraken"', {("venue title changed", "kraken-spot")}),
        ("[venues.simulated]", "[venues.made-up]", {("venue removed", "simulated"), ("venue added", "made-up")}),
        ("a USDT de-peg", "A de-peg", {("assumption removed", "binance-spot"), ("assumption added", "binance-spot")}),
    ],
)
def test_each_change_is_named_and_nothing_else(old: str, new: str, kinds: set[tuple[str, str]]) -> None:
    assert old in V1
    one, two = load_universe(), parse_universe(V1.replace(old, new).replace('"v1"', '"w"'), "w")
    found = one.diff(two)
    assert {(c.kind, c.subject) for c in found} == kinds
    assert all(c.means for c in found)
    back = {c.kind for c in two.diff(one)}
    assert len(back) == len({k for k, _ in kinds})


def test_listings_and_renames_that_come_and_go(tmp_path: Path) -> None:
    more = '\n[[listings]]\nasset = "XMR"\nvenue = "binance-spot"\nlisted_until = 2024-02-20T03:00:00Z\nsource = "notice"\n'
    listed = read_candidate(candidate(tmp_path, more=more))[0]
    assert [(c.kind, c.new) for c in load_universe().diff(listed)] == [
        ("listing added", "XMR at binance-spot: the beginning to 2024-02-20T03:00Z (notice)")
    ]
    assert [c.kind for c in listed.diff(load_universe())] == ["listing removed"]
    raw = tomllib.loads(V1)
    raw["renames"] = []
    without = type(listed).model_validate(raw)
    assert [c.kind for c in load_universe().diff(without)] == ["rename removed"]
    assert [c.kind for c in without.diff(load_universe())] == ["rename added"]
    assert listed.digest != load_universe().digest


def test_equal_versions_have_no_difference() -> None:
    assert load_universe().diff(parse_universe(V1, "again")) == []


# ---- one's own versions ----------------------------------------------------------------------------------------


def test_an_own_version_is_added_with_its_record_and_never_replaced(home: Path, tmp_path: Path) -> None:
    path = candidate(tmp_path, ('"FIL", "APT"', '"FIL", "DOGE"'))
    made, record = add_universe(home, path, **WHY)  # type: ignore[arg-type]  # one dictionary of several types
    assert (record.supersedes, record.author, record.reason, record.shipped) == ("v1", "a.b", "a test", False)
    assert record.digest == made.digest == find_universe(home, "v1-own")[0].digest
    before = tree(home)
    with pytest.raises(UsageError, match="exists"):
        add_universe(home, path, **WHY)  # type: ignore[arg-type]  # see above
    with pytest.raises(UsageError, match="exists"):
        add_universe(home, candidate(tmp_path, version="v1"), **WHY)  # type: ignore[arg-type]  # see above
    with pytest.raises(GateError, match="says what v1 says"):
        add_universe(home, candidate(tmp_path, version="v1-same"), **WHY)  # type: ignore[arg-type]  # see above
    other = candidate(tmp_path, ('"FIL", "APT"', '"FIL", "PEPE"'), version="v1-other")
    with pytest.raises(UsageError, match="--supersedes v9"):
        add_universe(home, other, author="a", reason="b", now_t=NOW_T, supersedes="v9")
    for author, reason in (("", "x"), ("x", ""), ("x", "a\nb")):
        with pytest.raises(UsageError, match="expected: 1 to 1000"):
            add_universe(home, other, author=author, reason=reason, now_t=NOW_T)
    assert tree(home) == before
    add_universe(home, other, author="c", reason="d", now_t=NOW_T + 1)
    assert find_universe(home, "v1-other")[1].supersedes == "v1-own", "the newest version is what it takes the place of"
    assert (own_versions(home), newest_version(home)) == (("v1-other", "v1-own"), "v1-other")


def _edit(field: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        raw = json.loads(path.read_bytes())
        raw[field] = value
        path.write_bytes(canonical_json(raw))

    return change


@pytest.mark.parametrize(
    "change",
    [
        _edit("author", "someone else"),
        _edit("digest", "0" * 64),
        _edit("record_sha256", "0" * 64),
        _edit("toml", V1.replace('version = "v1"', 'version = "v1-own"')),
        _edit("supersedes_digest", "0" * 64),
        lambda p: p.rename(p.with_name("v2.json")) and None,
    ],
)
def test_an_altered_own_version_is_refused(home: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    add_universe(home, candidate(tmp_path, ('"FIL", "APT"', '"FIL", "DOGE"')), **WHY)  # type: ignore[arg-type]  # see above
    change(universes_dir(home) / "v1-own.json")
    with pytest.raises(VerificationError, match="altered"):
        find_universe(home, own_versions(home)[0])


def test_a_version_whose_predecessor_was_exchanged_is_refused(home: Path, tmp_path: Path) -> None:
    """The predecessor is valid by itself: made anew under the same name. What came after it names the digest it had."""
    add_universe(home, candidate(tmp_path, ('"FIL", "APT"', '"FIL", "DOGE"')), **WHY)  # type: ignore[arg-type]  # see above
    after = candidate(tmp_path, ('"FIL", "APT"', '"FIL", "PEPE"'), version="v1-after")
    add_universe(home, after, **WHY)  # type: ignore[arg-type]  # see above
    (universes_dir(home) / "v1-own.json").unlink()
    (universes_dir(home) / "v1-after.json").rename(tmp_path / "v1-after.json")
    add_universe(home, candidate(tmp_path, ('"FIL", "APT"', '"FIL", "SHIB2"')), **WHY)  # type: ignore[arg-type]  # see above
    (tmp_path / "v1-after.json").rename(universes_dir(home) / "v1-after.json")
    assert find_universe(home, "v1-own")[0].assets[-1] == "SHIB2"
    with pytest.raises(VerificationError, match="universe v1-own has the digest") as e:
        find_universe(home, "v1-after")
    assert "which v1-after took the place of" in e.value.expected


def test_other_files_in_the_folder(home: Path) -> None:
    universes_dir(home).mkdir(parents=True)
    (universes_dir(home) / "v1.json").write_text("{}")
    with pytest.raises(VerificationError, match="takes the name of a version that ships"):
        find_universe(home, "v1")
    (universes_dir(home) / "v1.json").rename(universes_dir(home) / "v3.json")
    with pytest.raises(DataError, match="v3.json"):
        find_universe(home, "v3")
    with pytest.raises(UsageError, match="no universe version 'v4'"):
        find_universe(home, "v4")


def test_the_commands(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str, code: int = 0) -> dict[str, object]:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]  # an object, as the console promises

    path = candidate(tmp_path, ('"FIL", "APT"', '"FIL", "DOGE"'))
    assert run("universe", "show")["symbols"]["kraken-spot"]["BTC/CAD"] == "XBTCAD"  # type: ignore[call-overload, index]
    assert run("universe", "validate", str(path))["pairs_n"] == 90 + 29 + 30
    changes = run("universe", "diff", "v1", str(path))["changes"]
    assert [c["kind"] for c in changes] == ["asset added", "asset removed"]  # type: ignore[attr-defined]
    added = run("universe", "add", str(path), "--author", "a.b", "--reason", "a test")
    assert added["changes"] == changes
    assert [v["version"] for v in run("universe", "list")["versions"]] == ["v1", "v1-own"]  # type: ignore[attr-defined]
    assert run("universe", "diff", "v1", "v1-own")["changes"] == changes
    assert run("universe", "show", "v1-own")["record"]["supersedes"] == "v1"  # type: ignore[index]
    second = candidate(tmp_path, ('"FIL", "APT"', '"FIL", "PEPE"'), version="v1-second")
    for words, told in (
        (["validate", str(second)], "valid: v1-second, 30 assets, 149 pairs"),
        (["show", str(second)], "universe v1-second"),
        (["add", str(second), "--author", "a.b", "--reason", "a test"], "added v1-second with 2 changes from v1-own"),
    ):
        assert main(["universe", *words]) == 0
        assert told in capsys.readouterr().out
    path.write_text(path.read_text().replace('"FIL", "DOGE"', '"FIL", "FIL"'))
    assert "named twice" in str(run("universe", "validate", str(path), code=3)["error"])
    write_series(tmp_path / "in", "kraken-spot/1h/XBTUSD", some_bars())
    import_bars(home, FileProvider(tmp_path / "in"))
    members = run("universe", "members", "2024-01-01", "--venue", "kraken-spot")["members"]
    assert [m["asset"] for m in members if m["member"]] == ["BTC"]  # type: ignore[attr-defined]
    for words in (
        ["list"],
        ["show", "v1-own"],
        ["diff", "v1", "v1-own"],
        ["diff", "v1", "v1"],
        ["members", "2024-01-01", "--venue", "simulated"],
    ):
        assert main(["universe", *words]) == 0
        assert capsys.readouterr().out


def test_a_dataset_of_an_own_version_names_it(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of an asset V1 does not have: skipped under V1, imported and built under the version that has it."""
    made, _ = add_universe(home, candidate(tmp_path, ('"FIL", "APT"', '"FIL", "DOGE"')), **WHY)  # type: ignore[arg-type]  # see above
    for symbol in ("BTCUSDT", "DOGEUSDT"):
        write_series(tmp_path / "in", f"binance-spot/1h/{symbol}", some_bars())

    def run(*arguments: str, code: int = 0) -> dict[str, object]:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]  # an object, as the console promises

    assert run("data", "import", str(tmp_path / "in"))["series_n"] == 1
    plain = run("dataset", "build")
    assert run("data", "import", str(tmp_path / "in"), "--universe", "v1-own")["series_n"] == 2
    own = run("dataset", "build", "--universe", "v1-own")
    assert (own["symbols"], own["universe_version"], own["universe_digest"]) == (["BTC", "DOGE"], "v1-own", made.digest)
    with open_view(home, dataset=str(own["dataset_hash"])) as view:
        assert (view.universe.version, {n.symbol for n in view.names}) == ("v1-own", {"BTC", "DOGE"})
    with pytest.raises(VerificationError, match="has the digest"):
        universe_of(home, "v1-own", "0" * 64)
    again = run("dataset", "build")
    assert (again["symbols"], again["dataset_hash"]) == (["BTC"], plain["dataset_hash"]), "V1 does not know the other"
    assert "error" in run("dataset", "build", "--universe", "v9", code=2)
    assert "error" in run("universe", "members", "", "--venue", "kraken-spot", code=2)
