"""Reports of progress between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.progress import PROGRESS_FILE_VARIABLE, from_environment, silent


def test_a_parent_that_asks_gets_one_line_per_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress"
    monkeypatch.setenv(PROGRESS_FILE_VARIABLE, str(file))
    report = from_environment()
    report("train", 0, 4)
    report("backtest é", 4, 4)
    assert file.read_text("utf-8") == '["train", 0, 4]\n["backtest \\u00e9", 4, 4]\n'


def test_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS_FILE_VARIABLE, raising=False)
    assert from_environment() is silent
