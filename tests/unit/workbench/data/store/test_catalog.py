"""The catalog notices an edit, whichever value it changes, and comes back by importing the same bars."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.canonical import canonical_json, digest
from runtime.cli import main
from runtime.errors import EXIT_VERIFY, DataError, VerificationError
from tests.support.bars import changed, some_bars, tree, without, write_series
from workbench.data.datasets.build import build_dataset
from workbench.data.providers.files import FileProvider
from workbench.data.store.ingest import import_bars
from workbench.data.store.lake import Lake

Json = dict[str, Any]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write_series(tmp_path / "in", f"binance-spot/1h/{symbol}", without(some_bars(24 * 400), 7, 8))
    return tmp_path / "in"


@pytest.fixture
def lake(home: Path, source: Path, tmp_path: Path) -> Lake:
    import_bars(home, FileProvider(source))
    late = tmp_path / "late"
    write_series(late, "binance-spot/1h/BTCUSDT", changed(some_bars(24 * 400), 9, close=100.05))
    import_bars(home, FileProvider(late), correction="a reason")
    return Lake(home)


def values(found: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of every leaf of a JSON value."""
    if isinstance(found, dict):
        return [p for key, value in found.items() for p in values(value, (*path, key))]
    if isinstance(found, list):
        return [p for i, value in enumerate(found) for p in values(value, (*path, i))]
    return [path]


def with_change(found: Json, path: tuple[str | int, ...]) -> Json:
    edited = copy.deepcopy(found)
    inner: Any = edited
    for step in path[:-1]:
        inner = inner[step]
    value = inner[path[-1]]
    inner[path[-1]] = value + 1 if isinstance(value, int | float) else value[:-1] + ("0" if value[-1:] != "0" else "1")
    return edited


def test_a_change_of_any_value_is_noticed(lake: Lake) -> None:
    stored = json.loads(lake.catalog_path.read_bytes())
    before = lake.digest()
    paths = values(stored)
    assert len(paths) > 60
    for path in paths:
        lake.catalog_path.write_text(json.dumps(with_change(stored, path)))
        with pytest.raises((VerificationError, DataError)):
            lake.digest()
    lake.catalog_path.write_bytes(canonical_json(stored))
    assert lake.digest() == before


def drop_segment(found: Json) -> None:
    version = found["entries"][0]["versions"][-1]
    del version["segments"][0], version["file_sha256"][0]


def drop_series(found: Json) -> None:
    del found["entries"][0]


def twice(found: Json) -> None:
    found["entries"].append(found["entries"][0])


def no_version(found: Json) -> None:
    found["entries"][0]["versions"] = []


def more_rows(found: Json) -> None:
    found["entries"][0]["versions"][-1]["rows"] += 1


def no_segment(found: Json) -> None:
    version = found["entries"][0]["versions"][-1]
    version["segments"], version["file_sha256"] = [], []


def other_order(found: Json) -> None:
    version = found["entries"][0]["versions"][-1]
    version["segments"].reverse()


@pytest.mark.parametrize("edit", [drop_segment, drop_series, twice, no_version, more_rows, no_segment, other_order])
@pytest.mark.parametrize("resealed", [False, True])
def test_a_catalog_that_says_something_else_is_refused(
    lake: Lake, edit: Callable[[Json], None], resealed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sealed anew, only a series that is gone without a trace passes here: the datasets that name it, and its digest, tell."""
    found = json.loads(lake.catalog_path.read_bytes())
    noted = lake.digest()
    edit(found)
    if resealed:
        del found["sha256"]
        found["sha256"] = digest(found)
    lake.catalog_path.write_bytes(canonical_json(found))
    if resealed and edit is drop_series:
        assert lake.digest() != noted
        return
    with pytest.raises(VerificationError, match="catalog was altered"):
        lake.catalog()
    assert main(["data", "list"]) == EXIT_VERIFY
    assert "move it away and import the same bars again" in " ".join(capsys.readouterr().err.split())


def test_a_lost_catalog_comes_back_by_importing_the_same_bars(home: Path, source: Path) -> None:
    import_bars(home, FileProvider(source))
    before, noted = tree(home / "lake"), Lake(home).digest()
    found = json.loads(Lake(home).catalog_path.read_bytes())
    drop_segment(found)
    Lake(home).catalog_path.write_bytes(canonical_json(found))
    with pytest.raises(VerificationError):
        import_bars(home, FileProvider(source))
    Lake(home).catalog_path.unlink()
    import_bars(home, FileProvider(source))
    assert (tree(home / "lake"), Lake(home).digest()) == (before, noted)


def test_no_dataset_is_made_from_an_altered_catalog(home: Path, lake: Lake) -> None:
    found = json.loads(lake.catalog_path.read_bytes())
    found["entries"][0]["versions"][-1]["unclosed_t"] = [1]
    lake.catalog_path.write_bytes(canonical_json(found))
    with pytest.raises(VerificationError, match="catalog was altered"):
        build_dataset(home, "binance-spot", accept_names=["gap"])


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"7", b"\xff", b'{"format":2}', b'{"entries":[],"format":2,"sha256":""}']
)
def test_what_is_no_catalog_is_named(lake: Lake, content: bytes) -> None:
    lake.catalog_path.write_bytes(content)
    with pytest.raises((DataError, VerificationError), match="catalog"):
        lake.catalog()
