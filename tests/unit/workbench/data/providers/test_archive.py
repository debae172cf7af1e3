from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import DataError
from tests.support.bars import START_T, changed, some_bars, without, write_ohlcvt
from workbench.data.bars import Bars
from workbench.data.providers import read_series
from workbench.data.providers.archive import ArchiveProvider
from workbench.data.store.ingest import import_bars

DAY_T = 86_400


def pack(path: Path, members: Mapping[str, Bars | bytes], *, level: int = 6) -> Path:
    """Write a zip of OHLCVT files (or of any bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as z:
        for name, content in members.items():
            if isinstance(content, bytes):
                z.writestr(name, content)
            else:
                file = write_ohlcvt(path.with_suffix(".csv"), content)
                z.write(file, name)
                file.unlink()
    return path


def keys(provider: ArchiveProvider) -> list[str]:
    return [r.key for r in provider.series()]


def test_one_zip_gives_every_wanted_pair_and_interval(tmp_path: Path) -> None:
    bars = some_bars(48, trades=True)
    members: dict[str, Bars | bytes] = {f"Kraken_OHLCVT/XBTUSD_{m}.csv": bars for m in (1, 5, 15, 30, 60, 240, 720, 1440)}
    members |= {"Kraken_OHLCVT/ETHCAD_60.csv": bars, "__MACOSX/Kraken_OHLCVT/._XBTUSD_60.csv": b"x", "readme.txt": b"hello"}
    members |= {f"Kraken_OHLCVT/COIN{n}USD_60.csv": b"not even read" for n in range(500)}
    provider = ArchiveProvider(pack(tmp_path / "Kraken_OHLCVT.zip", members))
    assert keys(provider) == [
        "kraken-spot/15m/XBTUSD", "kraken-spot/1d/XBTUSD", "kraken-spot/1h/ETHCAD", "kraken-spot/1h/XBTUSD",
        "kraken-spot/1m/XBTUSD", "kraken-spot/4h/XBTUSD", "kraken-spot/5m/XBTUSD",
    ]  # fmt: skip
    assert provider.skipped_n == 502, "thirty minutes, twelve hours, and 500 coins of no interest"
    ref = next(r for r in provider.series() if r.key == "kraken-spot/1h/XBTUSD")
    assert ref.origin == "Kraken_OHLCVT.zip"
    assert read_series(provider, ref).digest == bars.digest
    assert keys(ArchiveProvider(tmp_path, interval="1h", assets=["ETH"])) == ["kraken-spot/1h/ETHCAD"]
    assert keys(ArchiveProvider(tmp_path, interval="1h", quote="USD")) == ["kraken-spot/1h/XBTUSD"]


def test_quarterly_updates_extend_the_full_history(tmp_path: Path) -> None:
    whole = some_bars(96, trades=True)
    pack(tmp_path / "Kraken_OHLCVT.zip", {"XBTUSD_60.csv": whole.take(slice(0, 49))})
    pack(tmp_path / "Kraken_OHLCVT_Q1.zip", {"XBTUSD_60.csv": whole.take(slice(48, 80))})
    write_ohlcvt(tmp_path / "Q2" / "XBTUSD_60.csv", whole.take(slice(70, 96)))
    provider = ArchiveProvider(tmp_path)
    (ref,) = provider.series()
    assert ref.origin == "Kraken_OHLCVT.zip, Kraken_OHLCVT_Q1.zip, XBTUSD_60.csv"
    assert read_series(provider, ref).digest == whole.digest


def test_the_names_of_the_files_decide_nothing(tmp_path: Path) -> None:
    whole = some_bars(96, trades=True)
    pack(tmp_path / "z.zip", {"XBTUSD_60.csv": whole.take(slice(0, 50))})
    pack(tmp_path / "a.zip", {"XBTUSD_60.csv": whole.take(slice(40, 96))})
    provider = ArchiveProvider(tmp_path)
    assert read_series(provider, *provider.series()).digest == whole.digest


def test_the_cut_last_bar_of_an_earlier_download_gives_way(tmp_path: Path) -> None:
    whole = some_bars(96, trades=True)
    pack(tmp_path / "full.zip", {"XBTUSD_60.csv": changed(whole.take(slice(0, 50)), 49, volume=0.5, close=whole.open[49])})
    pack(tmp_path / "later.zip", {"XBTUSD_60.csv": whole.take(slice(40, 96))})
    provider = ArchiveProvider(tmp_path)
    assert read_series(provider, *provider.series()).digest == whole.digest


def test_archives_that_contradict_each_other_are_reported_and_nothing_is_imported(tmp_path: Path) -> None:
    whole = some_bars(96, trades=True)
    pack(tmp_path / "in" / "full.zip", {"XBTUSD_60.csv": whole.take(slice(0, 60))})
    pack(tmp_path / "in" / "update.zip", {"XBTUSD_60.csv": changed(whole, 45, volume=99.0).take(slice(40, 96))})
    with pytest.raises(
        DataError, match=r"1 bars differ between full.zip and update.zip; first 2024-01-02T21:00Z volume: 10 and 99"
    ):
        import_bars(tmp_path / "home", ArchiveProvider(tmp_path / "in"))
    assert not (tmp_path / "home" / "lake" / "catalog.json").exists()


def test_members_of_one_zip_that_contradict_each_other_are_told_apart(tmp_path: Path) -> None:
    whole = some_bars(96, trades=True)
    files = {"old/XBTUSD_60.csv": whole.take(slice(0, 60)), "new/XBTUSD_60.csv": changed(whole, 45, volume=99.0)}
    provider = ArchiveProvider(pack(tmp_path / "a.zip", files))
    with pytest.raises(DataError, match=r"differ between a.zip:old/XBTUSD_60.csv and a.zip:new/XBTUSD_60.csv"):
        read_series(provider, *provider.series())


def test_holes_between_archives_stay_holes(tmp_path: Path) -> None:
    holed = without(some_bars(96, trades=True), *range(30, 60))
    pack(tmp_path / "a.zip", {"XBTUSD_60.csv": holed.take(slice(0, 30))})
    pack(tmp_path / "b.zip", {"XBTUSD_60.csv": holed.take(slice(30, 66))})
    provider = ArchiveProvider(tmp_path)
    assert read_series(provider, *provider.series()).digest == holed.digest


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../XBTUSD_60.csv", "a member named '../XBTUSD_60.csv'"),
        ("/etc/XBTUSD_60.csv", "a member named '/etc/XBTUSD_60.csv'"),
        ("C:\\XBTUSD_60.csv", "a member named"),
    ],
)
def test_members_that_point_elsewhere_are_refused(name: str, words: str, tmp_path: Path) -> None:
    provider = ArchiveProvider(pack(tmp_path / "x.zip", {name: b"1704067200,1,1,1,1,1,1\n"}))
    with pytest.raises(DataError) as caught:
        provider.series()
    assert words in caught.value.got
    assert [p.name for p in tmp_path.rglob("*")] == ["x.zip"], "nothing is ever unpacked"


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path: Path) -> None:
    provider = ArchiveProvider(pack(tmp_path / "bomb.zip", {"XBTUSD_60.csv": b"0" * 20_000_000}))
    with pytest.raises(DataError, match=r"XBTUSD_60.csv grows from \d+ to 20000000 bytes"):
        provider.series()


def test_a_bomb_that_lies_about_its_size_is_stopped_at_the_size_it_states(tmp_path: Path) -> None:
    path = pack(tmp_path / "bomb.zip", {"XBTUSD_60.csv": b"0" * 20_000_000})
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (100_000).to_bytes(4, "little")  # the stated size of the member
    path.write_bytes(content)
    provider = ArchiveProvider(path)
    with pytest.raises(DataError, match="bomb.zip: XBTUSD_60.csv: (damaged|.*rows|.*readable)"):
        read_series(provider, *provider.series())


@pytest.mark.parametrize("damage", ["cut", "flipped", "no zip", "member cut"])
def test_a_damaged_archive_is_named(damage: str, tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"XBTUSD_60.csv": some_bars(500)}, level=0)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[2_000] ^= 1
    elif damage == "member cut":
        path = pack(tmp_path / "a.zip", {"XBTUSD_60.csv": b"1704067200,1,1,1,1,1,1\n1704070800,1,1\n"})
        content = bytearray(path.read_bytes())
    else:
        content = bytearray(b"hello")
    path.write_bytes(content)
    provider = ArchiveProvider(path)
    with pytest.raises(DataError, match=r"a\.zip"):
        read_series(provider, *provider.series())


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        ArchiveProvider(tmp_path / "absent.zip").series()
    pack(tmp_path / "a.zip", {"DOGEUSD_60.csv": some_bars(3)})
    with pytest.raises(DataError, match=r"no wanted series in 1 files \(1 others\)"):
        ArchiveProvider(tmp_path).series()


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"XBTUSD_60.csv": some_bars(3)})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="XBTUSD_60.csv is encrypted"):
        ArchiveProvider(path).series()


def test_a_window_and_a_restart(tmp_path: Path) -> None:
    whole = some_bars(96, trades=True)
    provider = ArchiveProvider(pack(tmp_path / "a.zip", {"XBTUSD_60.csv": whole}))
    (ref,) = provider.series()
    (page,) = provider.pages(ref, START_T + 10 * 3_600, START_T + 20 * 3_600)
    assert np.array_equal(page.bars.t, whole.t[10:20])
    assert page.until_t == START_T + 20 * 3_600
