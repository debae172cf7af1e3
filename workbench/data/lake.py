"""The lake: immutable, content-addressed Parquet files of bars, and one small catalog that says which are current.

Layout under `HOME/lake`:

    bars/<venue>/<interval>/<SYMBOL>/<first 16 hex of the content digest>.parquet    written once, never changed
    catalog/head.json                                                               replaced whole, by one rename

A file's address is the digest of the bars in it (`Bars.digest`), so it does not depend on the Parquet writer; the catalog
holds the file's own SHA-256 as well. A commit writes new files first and the catalog last: a reader, a crash or a folder
synchroniser sees the old state or the new one. Conflict copies a synchroniser makes are never read. Nothing in the lake
holds a wall clock, a machine path or an order of imports.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from runtime.canonical import canonical_json, sha256_file
from runtime.errors import DataError, EnvironmentFailure, VerificationError
from runtime.files import atomic_path, write_bytes
from workbench.data.bars import Bars, read_parquet, to_frame

ADDRESS_HEX: Final = 16


def bars_path(key: str, sha256: str) -> str:
    """Return the path below `lake/` of the file that holds a series' bars of this content digest."""
    return f"bars/{key}/{sha256[:ADDRESS_HEX]}.parquet"


class Change(BaseModel):
    """Evidence of a correction: one value of one bar, before and after."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    open_t: int
    column: str
    old: float
    new: float


class Version(BaseModel):
    """One state of a series, newest last in its entry.

    Attributes:
        sha256: content digest of all bars (`Bars.digest`).
        file_sha256: of the Parquet file's bytes, for plain `sha256sum`.
        rows, first_t, last_t: of the bars.
        source: provider and file name the bars came from; no folder.
        unclosed_t: opening times of bars that may have been cut while they were still forming (see `gates.unclosed`).
        added_n, changed_n: bars against the version before.
        reason: why bars changed; empty when none did.
        changes: the first values that changed, at most 100.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    file_sha256: str
    rows: int
    first_t: int
    last_t: int
    source: str
    unclosed_t: tuple[int, ...]
    added_n: int
    changed_n: int = 0
    reason: str = ""
    changes: tuple[Change, ...] = ()


class Entry(BaseModel):
    """One series and its versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: str
    interval: str
    symbol: str
    versions: tuple[Version, ...]

    @property
    def key(self) -> str:
        """Return `venue/interval/SYMBOL`."""
        return f"{self.venue}/{self.interval}/{self.symbol}"

    @property
    def current(self) -> Version:
        """Return the newest version."""
        return self.versions[-1]

    @property
    def path(self) -> str:
        """Return the current file's path below `lake/`."""
        return bars_path(self.key, self.current.sha256)


class Catalog(BaseModel):
    """Every series of the lake, in the order of their keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    entries: tuple[Entry, ...] = ()

    def find(self, venue: str, interval: str) -> list[Entry]:
        """Return the entries of one venue and interval, in the order of their symbols."""
        return [e for e in self.entries if (e.venue, e.interval) == (venue, interval)]

    def get(self, key: str) -> Entry | None:
        """Return the entry of `venue/interval/SYMBOL`."""
        return next((e for e in self.entries if e.key == key), None)


@dataclass(slots=True)
class Commit:
    """Entries to be replaced, by key, and bars of files that are missing or damaged, by path below `lake/`."""

    entries: dict[str, Entry] = field(default_factory=dict)
    files: dict[str, Bars] = field(default_factory=dict)


class Shelf(Protocol):
    """What a dataset is built from: the lake, or the bars of one source that stand in for it."""

    def catalog(self) -> Catalog:
        """Return the series held."""
        ...

    def read(self, path: str, sha256: str) -> Bars:
        """Return the bars of a file, verified.

        Raises:
            VerificationError: it does not hold them.
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
            DataError: the catalog cannot be read.
        """
        try:
            return Catalog.model_validate_json(self.catalog_path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Catalog()
        except (ValidationError, OSError) as e:
            raise DataError(
                f"{self.catalog_path}: {str(e).splitlines()[0]}",
                expected="the catalog this version of ballast writes",
                action="restore it from a backup, or move the lake folder away and import again",
            ) from e

    def read(self, path: str, sha256: str) -> Bars:
        """Read a file of the lake and verify that it holds the bars its address promises.

        Raises:
            VerificationError: the file is missing, unreadable or holds other bars.
        """
        target = self.root / path
        action = "import the same bars again (or run that demo again): the file is then written anew"
        if not target.is_file():
            raise VerificationError(f"lake file {path} is missing", expected=f"bars with digest {sha256}", action=action)
        try:
            bars = read_parquet(target, path)
        except DataError as e:
            raise VerificationError(f"lake file {e.got}", expected=f"bars with digest {sha256}", action=action) from e
        if bars.digest != sha256:
            raise VerificationError(f"lake file {path} holds bars with digest {bars.digest}", expected=sha256, action=action)
        return bars

    def holds(self, path: str, sha256: str) -> bool:
        """Return whether a file is there and holds the bars its address promises."""
        try:
            self.read(path, sha256)
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
        made: list[Path] = []
        try:
            for path in sorted(commit.files):
                target = self.root / path
                made.extend(_missing_folders(target.parent))
                if not target.exists():
                    made.append(target)
                with atomic_path(target) as temporary:
                    to_frame(commit.files[path]).write_parquet(temporary, compression="zstd")
            if not commit.entries:
                return
            for key, entry in commit.entries.items():
                commit.entries[key] = self._with_file_digests(entry, commit.files)
            merged = {e.key: e for e in self.catalog().entries} | commit.entries
            made.extend(_missing_folders(self.catalog_path.parent))
            self._write_catalog(merged)
        except BaseException:
            if not self._holds(commit):  # a Ctrl-C just after the catalog's rename must not take the files it names
                _remove(made)
            raise

    def _holds(self, commit: Commit) -> bool:
        current = {e.key: e for e in self.catalog().entries}
        return bool(commit.entries) and all(current.get(key) == entry for key, entry in commit.entries.items())

    def _with_file_digests(self, entry: Entry, written: Mapping[str, Bars]) -> Entry:
        """Return the entry with the file digests of its newest version and of every version whose file was written."""
        versions = []
        for v in entry.versions:
            path = bars_path(entry.key, v.sha256)
            fresh = v is entry.current or path in written
            versions.append(v.model_copy(update={"file_sha256": sha256_file(self.root / path)}) if fresh else v)
        return entry.model_copy(update={"versions": tuple(versions)})

    def _write_catalog(self, entries: Mapping[str, Entry]) -> None:
        catalog = Catalog(entries=tuple(entries[k] for k in sorted(entries)))
        write_bytes(self.catalog_path, canonical_json(catalog.model_dump(mode="json")))


def _remove(made: list[Path]) -> None:
    """Remove files and folders this process made, innermost first; what others put there stays."""
    for path in reversed(made):
        with suppress(NotADirectoryError):  # below a file nothing was made, and the first failure is the one to report
            if not path.is_dir():
                path.unlink(missing_ok=True)
            elif not any(path.iterdir()):
                path.rmdir()


def _missing_folders(path: Path) -> list[Path]:
    """Return the folders of `path` that do not exist yet, outermost first."""
    return [p for p in (*reversed(path.parents), path) if not p.exists()]
