"""Files that are missing or damaged end in one clear failure, and a study is found by name."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from reports.static.inputs import TABLES, Study, read_run, read_table, read_view
from reports.static.study_report import find_study
from runtime.errors import BallastError, DataError, UsageError


def test_a_missing_or_damaged_file_is_named(study_on_disk: tuple[Path, Path]) -> None:
    home, study = study_on_disk
    summary = read_view(study / "study.json", Study).runs["ml"]
    equity = study / "tables" / "equity.parquet"
    genesis = home / "runs" / summary.run_id / "genesis.json"

    def read_all() -> None:
        read_view(study / "study.json", Study)
        read_run(home, "ml", summary)
        read_table(equity, TABLES["equity"])

    def fails(path: Path, content: bytes | None) -> BallastError:
        before = path.read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_all()
        path.write_bytes(before)
        return caught.value

    read_all()
    for path in (study / "study.json", equity, genesis):
        assert path.name in fails(path, None).got
        assert path.name in fails(path, b"").got
        assert path.name in fails(path, b"[1, 2]").got
    whole = equity.read_bytes()
    pl.read_parquet(equity).drop("pv_e8").write_parquet(equity)
    with pytest.raises(DataError, match="lacks pv_e8"):
        read_all()
    equity.write_bytes(whole)
    content = json.loads((study / "study.json").read_text())
    del content["runs"]["ml"]["fees_e8"]
    assert "runs.ml.fees_e8" in fails(study / "study.json", json.dumps(content).encode()).got


def test_a_study_is_found_by_path_id_prefix_and_latest(study_on_disk: tuple[Path, Path]) -> None:
    home, study = study_on_disk
    assert {find_study(home, name) for name in (str(study), study.name, study.name[:4], "latest")} == {study}
    with pytest.raises(UsageError, match=study.name):
        find_study(home, "nothing")
    with pytest.raises(UsageError, match="none"):
        find_study(home / "empty", "latest")
