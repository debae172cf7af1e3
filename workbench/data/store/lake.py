"""The lake: immutable, content-addressed Parquet files of bars, and one small catalog that says which are current.

Layout under `HOME/lake`:

    bars/<venue>/<interval>/<SYMBOL>/<period>-<first 16 hex of the content digest>.parquet    written once, never changed
    catalog/head.json                                                                        replaced whole, by one rename

A series is a sequence of segments, cut by the calendar (`workbench.data.store.segments`). A file's address is the digest of the
bars in it, so it does not depend on the Parquet writer; the catalog holds the file's own SHA-256 as well. A commit writes new
files first and the catalog last: a reader, a crash or a folder synchroniser sees the old state or the new one. Conflict
copies a synchroniser makes are never read. Nothing in the lake holds a wall clock or a machine path.

`Shelf` is what reads need and `Commit` what a write is: another store implements these two.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import polars as pl

from runtime.canonical import digest, sha256_file
from runtime.errors import DataError, EnvironmentFailure, VerificationError
from runtime.files import atomic_path, write_bytes
from workbench.data.bars import Bars, joined, read_parquet, to_frame, within
from workbench.data.store.catalog import Catalog, Entry, sealed, unsealed
from workbench.data.store.segments import Segment, overlapping

WRITERS_N: Final = 4
"""Files written at the same time: encoding and flushing wait for different things."""


@dataclass(slots=True)
class Commit:
    """What one write changes: entries to be replaced, by key, and bars of files to be written, by path below `lake/`."""

    entries: dict[str, Entry] = field(default_factory=dict)
    files: dict[str, Bars] = field(default_factory=dict)


class Shelf(Protocol):
    """What a dataset is built from: the lake, or the bars of one source that stand in for it."""

    def catalog(self) -> Catalog:
        """Return the series held."""
        ...

    def read(self, key: str, segments: Sequence[Segment]) -> Bars:
        """Return the bars of segments of the series `venue/interval/SYMBOL`, verified.

        Raises:
            VerificationError: the shelf does not hold them.
        """
        ...


class Lake:
    """The lake of one home folder."""

    def __init__(self, home: Path) -> None:
        self.root = home / "lake"

    @property
    def catalog_path(self) -> Path:
        """Return where the catalog lives."""
        return self.root / "catalog" / "head.json"

    def catalog(self) -> Catalog:
        """Read the catalog; an absent lake is an empty one.

        Raises:
            DataError: the catalog cannot be read, or has another format.
            VerificationError: it was altered.
        """
        try:
            return unsealed(self.catalog_path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Catalog()
        except (ValueError, OSError) as e:
            raise DataError(
                f"{self.catalog_path}: {str(e).splitlines()[0]}",
                expected="the catalog this version of ballast writes",
                action="restore it from a backup, or move it away and import the same bars again: files that are whole are kept",
            ) from e

    def digest(self) -> str:
        """Return the digest of what the lake holds: SHA-256 of the canonical JSON of series keys and series digests."""
        return digest({e.key: e.current.sha256 for e in self.catalog().entries})

    def read(self, key: str, segments: Sequence[Segment], since_t: int | None = None, until_t: int | None = None) -> Bars:
        """Read segments of a series and verify that they hold the bars their addresses promise.

        Args:
            key: `venue/interval/SYMBOL`.
            segments: of one of its versions, N > 0.
            since_t, until_t: keeps bars that open in `[since_t, until_t)`; other segments are not read.

        Raises:
            VerificationError: a file is missing, unreadable or holds other bars.
        """
        needed = overlapping(segments, since_t, until_t) or segments[:1]
        return within(joined([self._read_file(s.path(key), s.sha256) for s in needed]), since_t, until_t)

    def _read_file(self, path: str, sha256: str) -> Bars:
        target = self.root / path
        action = "import the same bars again (or run that demo again): the file is then written anew"
        if not target.is_file():
            raise VerificationError(f"lake file {path} is missing", expected=f"bars with digest {sha256}", action=action)
        try:
            bars = read_parquet(target, path)
        except DataError as e:
            raise VerificationError(f"lake file {e.got}", expected=f"bars with digest {sha256}", action=action) from e
        found = bars.digest
        if found != sha256:
            raise VerificationError(f"lake file {path} holds bars with digest {found}", expected=sha256, action=action)
        return bars

    def holds(self, key: str, segment: Segment) -> bool:
        """Return whether the file of a segment is there and holds the bars its address promises."""
        try:
            self.read(key, (segment,))
        except VerificationError:
            return False
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lake's writer lock, a file beside the lake; a second writer fails at once.

        Raises:
            EnvironmentFailure: another process writes, or the folder cannot be written.
        """
        path = self.root.with_name(".lake-lock")
        made = _missing_folders(path.parent)
        fd = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if fd >= 0:
                os.close(fd)
            _remove(made)
            busy = isinstance(e, BlockingIOError)
            raise EnvironmentFailure(
                f"another process writes to {self.root}" if busy else f"cannot write {self.root}: {e.strerror or e}",
                expected="a writable folder and no other import",
                action="wait for the other import to end"
                if busy
                else "check permissions and disk, or choose another folder with --out",
            ) from e
        try:
            yield
        finally:
            os.close(fd)

    def commit(self, commit: Commit) -> None:
        """Write files, damaged ones anew, then replace the catalog. Call it inside `locked`.

        On any failure before the catalog is replaced, Ctrl-C included, every file and folder this call made is removed again.

        Raises:
            EnvironmentFailure: the folder cannot be written.
        """
        targets = {path: self.root / path for path in sorted(commit.files)}
        made: list[Path] = []
        for folder in dict.fromkeys(t.parent for t in targets.values()):
            made += [p for p in _missing_folders(folder) if p not in made]
        made += [t for t in targets.values() if not t.exists()]
        try:
            file_sha256 = _write_all({path: (target, commit.files[path]) for path, target in targets.items()})
            if not commit.entries:
                return
            for key, entry in commit.entries.items():
                commit.entries[key] = self._with_file_digests(entry, file_sha256)
            merged = {e.key: e for e in self.catalog().entries} | commit.entries
            made.extend(_missing_folders(self.catalog_path.parent))
            self._write_catalog(merged)
        except BaseException:
            if not self._holds(commit):  # a Ctrl-C just after the catalog's rename must not take the files it names
                _remove(made)
            raise

    def prune(self, keep: frozenset[str], age_s: float, now_s: float) -> list[str]:
        """Remove the files that neither the catalog nor `keep` names and return their paths. Call it inside `locked`.

        Args:
            keep: paths below `lake/` that something else still needs (datasets).
            age_s: files younger than this stay, so that a reader of the catalog before can still open them.
            now_s: the time now, seconds since 1970.
        """
        named = keep | {s.path(e.key) for e in self.catalog().entries for v in e.versions for s in v.segments}
        removed = []
        for target in sorted((self.root / "bars").rglob("*.parquet")):
            path = target.relative_to(self.root).as_posix()
            if path not in named and not target.name.startswith(".") and now_s - target.stat().st_mtime >= age_s:
                target.unlink()
                removed.append(path)
        return removed

    def _holds(self, commit: Commit) -> bool:
        current = {e.key: e for e in self.catalog().entries}
        return bool(commit.entries) and all(current.get(key) == entry for key, entry in commit.entries.items())

    def _with_file_digests(self, entry: Entry, written: Mapping[str, str]) -> Entry:
        """Return the entry with the digests of its files: known ones, those of files just written, and of any other."""
        known = dict(written)
        for e in self.catalog().entries:
            if e.key == entry.key:
                for v in e.versions:
                    known = dict(zip((s.path(e.key) for s in v.segments), v.file_sha256, strict=False)) | known

        def of(segment: Segment) -> str:
            path = segment.path(entry.key)
            return known.get(path) or sha256_file(self.root / path)

        versions = [v.model_copy(update={"file_sha256": tuple(of(s) for s in v.segments)}) for v in entry.versions]
        return entry.model_copy(update={"versions": tuple(versions)})

    def _write_catalog(self, entries: Mapping[str, Entry]) -> None:
        catalog = Catalog(entries=tuple(entries[k] for k in sorted(entries)))
        write_bytes(self.catalog_path, sealed(catalog))


def _write_all(files: Mapping[str, tuple[Path, Bars]]) -> dict[str, str]:
    """Write files, several at a time, and return the SHA-256 of each; after a failure no further one is begun."""
    with ThreadPoolExecutor(WRITERS_N) as writers:
        begun = {path: writers.submit(_write, *file) for path, file in files.items()}
        try:
            return {path: written.result() for path, written in begun.items()}
        except BaseException:
            writers.shutdown(cancel_futures=True)
            raise


def _write(target: Path, bars: Bars) -> str:
    """Write a file of bars, whole or not at all, and return its SHA-256."""
    with atomic_path(target) as temporary:
        # Level 1 takes a quarter less time than the default, level 3, and a sixth more room; both are read equally fast.
        try:
            to_frame(bars).write_parquet(temporary, compression="zstd", compression_level=1)
        except pl.exceptions.PolarsError as e:  # a full disk speaks through the Parquet writer, which hides what it is
            raise OSError(str(e).splitlines()[0].rpartition("IO error: ")[2]) from e
        return sha256_file(temporary)


def _remove(made: list[Path]) -> None:
    """Remove files and folders this process made, innermost first; what others put there stays."""
    for path in reversed(made):
        with suppress(OSError):  # below a file or on a read-only disk nothing was made; the first failure is the one to report
            if not path.is_dir():
                path.unlink(missing_ok=True)
            elif not any(path.iterdir()):
                path.rmdir()


def _missing_folders(path: Path) -> list[Path]:
    """Return the folders of `path` that do not exist yet, outermost first."""
    return [p for p in (*reversed(path.parents), path) if not p.exists()]
