"""Folders get their name when they are complete, and never take another's place half-way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.files import TEMPORARY_PREFIX, partial_folder, publish_folder


def test_a_folder_is_published_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "run"
    for content in ("one", "two"):
        with partial_folder(target) as partial:
            assert partial.name == f"{TEMPORARY_PREFIX}{os.getpid()}-run"
            (partial / "inner").mkdir()
            (partial / "inner" / "file").write_text(content)
            publish_folder(partial, target)
        assert (target / "inner" / "file").read_text() == content
        assert [path.name for path in target.parent.iterdir()] == ["run"]


def test_what_was_not_published_is_removed(tmp_path: Path) -> None:
    def interrupted() -> None:
        with partial_folder(tmp_path / "run") as partial:
            (partial / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_brings_the_old_folder_back(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "file").write_text("old")
    with partial_folder(target) as partial:
        (partial / "file").write_text("new")
        real, calls = Path.rename, []

        def rename(path: Path, to: Path) -> Path:
            calls.append(path.name)
            if path == partial:
                raise OSError("no")
            return real(path, to)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "rename", rename)
            with pytest.raises(OSError, match="no"):
                publish_folder(partial, target)
    assert (target / "file").read_text() == "old"
    assert len(calls) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
