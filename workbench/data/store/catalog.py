"""The catalog: every series of a lake, its versions, and the seal by which an edit is noticed.

The file is one JSON object: `format`, `entries`, and `sha256`, the SHA-256 of the canonical JSON of the other two. Reading it also
holds what it says twice against itself: the digest, rows and ends of a version against its segments, keys against each other.
Whoever computes the seal anew as well is found by what names the bars elsewhere: a dataset, or a digest of the lake that was noted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel, ConfigDict

from runtime.canonical import canonical_json, digest
from runtime.errors import DataError, VerificationError
from workbench.data.store.segments import Segment, series_digest

FORMAT: Final = 2


class Change(BaseModel):
    """Evidence of a correction: one value of one bar, before and after."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    open_t: int
    column: str
    old: float
    new: float


class Late(BaseModel):
    """Evidence of late bars: a run of bars that arrived after newer ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_t: int
    last_t: int
    bars_n: int


class Version(BaseModel):
    """One state of a series, newest last in its entry.

    Bars after the last or before the first one extend the newest version; late and changed bars make a new one, with evidence.

    Attributes:
        sha256: content digest of the series (`segments.series_digest`).
        segments: in time order.
        file_sha256: per segment, of the Parquet file's bytes, for plain `sha256sum`.
        rows, first_t, last_t: of the bars.
        sources: providers and file names the bars came from, sorted; no folder, no host.
        unclosed_t: opening times of bars that may have been cut while they were still forming (see `gates.unclosed`).
        late_n, changed_n: bars that arrived late, and bars that changed, when this version was made.
        reason: why bars changed; empty when none did.
        late: runs of late bars, at most 100.
        changes: the first values that changed, at most 100.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    segments: tuple[Segment, ...]
    file_sha256: tuple[str, ...] = ()
    rows: int
    first_t: int
    last_t: int
    sources: tuple[str, ...]
    unclosed_t: tuple[int, ...]
    late_n: int = 0
    changed_n: int = 0
    reason: str = ""
    late: tuple[Late, ...] = ()
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

    def paths(self) -> tuple[str, ...]:
        """Return the paths below `lake/` of the current version's files, in time order."""
        return tuple(s.path(self.key) for s in self.current.segments)


class Catalog(BaseModel):
    """Every series of the lake, in the order of their keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    entries: tuple[Entry, ...] = ()

    def find(self, venue: str, interval: str) -> list[Entry]:
        """Return the entries of one venue and interval, in the order of their symbols."""
        return [e for e in self.entries if (e.venue, e.interval) == (venue, interval)]

    def get(self, key: str) -> Entry | None:
        """Return the entry of `venue/interval/SYMBOL`."""
        return next((e for e in self.entries if e.key == key), None)


def sealed(catalog: Catalog) -> bytes:
    """Return the bytes of the catalog's file."""
    content = catalog.model_dump(mode="json")
    return canonical_json({**content, "sha256": digest(content)})


def unsealed(content: bytes) -> Catalog:
    """Return the catalog of a file's bytes.

    Raises:
        ValueError: it is no catalog.
        DataError: it has another format.
        VerificationError: it was altered.
    """
    found = json.loads(content)
    if not isinstance(found, dict) or "format" not in found:
        raise ValueError("no catalog: an object with `format` is missing")
    written = found.pop("sha256", "")
    if type(found["format"]) is not int or found["format"] != FORMAT:
        raise DataError(
            f"the catalog is of lake format {found['format']!r}",
            expected=f"lake format {FORMAT}",
            action="use the version of ballast that wrote it, or import the bars into another home with --out",
        )
    computed = digest(found)
    catalog = Catalog.model_validate(found)
    problem = f"its content has the digest {computed}" if computed != written else next(_contradictions(catalog), "")
    if problem:
        raise VerificationError(
            f"the lake's catalog was altered: {problem}",
            expected=f"the digest it is sealed with, {written or '(none)'}"
            if computed != written
            else "a catalog that agrees with itself",
            action="restore lake/catalog/head.json from a backup, or move it away and import the same bars again: files that are "
            "whole are kept",
        )
    return catalog


def _contradictions(catalog: Catalog) -> Iterator[str]:
    """Yield what a catalog says twice and differently."""
    keys = [e.key for e in catalog.entries]
    if keys != sorted(set(keys)):
        yield "its series are not in order, each once"
    for entry in catalog.entries:
        for n, v in enumerate(entry.versions, 1):
            ordered = all(a.last_t < b.first_t for a, b in zip(v.segments, v.segments[1:], strict=False))
            told = (v.sha256, v.rows, v.first_t, v.last_t, len(v.file_sha256), True)
            ends = (v.segments[0].first_t, v.segments[-1].last_t) if v.segments else (None, None)
            if told != (series_digest(v.segments), sum(s.rows for s in v.segments), *ends, len(v.segments), ordered):
                yield f"version {n} of {entry.key} is not what its segments are"
        if not entry.versions:
            yield f"{entry.key} has no version"
