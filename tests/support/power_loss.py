"""What a disk may hold after the power failed: read the log that power_loss.c wrote and draw one of the possible states.

The rules are those that POSIX leaves a file system, with SQLite's one assumption (a write harms no byte beside it):

- A file holds what it held at its last sync. Of each later write any 512-byte sector may be there or not, whatever was written
  before or after it; a file may have any of the sizes it had since; what lies between is zeros or stale bytes.
- A folder says what it said at its last sync. Of later creations, renames and removals any may have happened; a rename is one step.
- The last write may have been under way. A file nobody names is gone, with all its content.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

SECTOR: Final = 512
_HEAD: Final = struct.Struct("<4q")
CREATE, WRITE, RESIZE, SYNC, RENAME, UNLINK, MKDIR, ACKNOWLEDGE = range(1, 9)
NOTHING: Final = -1
ROOT: Final = 0


class Record(NamedTuple):
    """One step of the log; `offset` is a size for RESIZE and a number for ACKNOWLEDGE."""

    op: int
    inode: int
    offset: int
    data: bytes


def read_log(path: Path) -> list[Record]:
    """Return the records of a log; a last one that was cut off by the kill never happened."""
    content, found, at = path.read_bytes() if path.exists() else b"", [], 0
    while at + _HEAD.size <= len(content):
        op, inode, offset, size = _HEAD.unpack_from(content, at)
        at += _HEAD.size + size
        if at <= len(content):
            found.append(Record(op, inode, offset, content[at - size : at]))
    return found


@dataclass
class File:
    """Content at the last sync, and the writes (offset, bytes) and sizes (offset, `None`) since."""

    durable: bytes = b""
    later: list[tuple[int, bytes | None]] = field(default_factory=list)

    def whole(self, count: int | None = None) -> bytes:
        """Return the content with the first `count` later changes, all by default."""
        content = bytearray(self.durable)
        for offset, data in self.later[:count]:
            _apply(content, offset, data)
        return bytes(content)

    def sync(self) -> None:
        """Make everything durable."""
        self.durable, self.later = self.whole(), []


@dataclass
class Folder:
    """Names at the last sync, and the changes since: each sets (name, object) or clears (name, `None`) one or two names."""

    durable: dict[str, int] = field(default_factory=dict)
    later: list[list[tuple[str, int | None]]] = field(default_factory=list)

    def names(self, taken: list[bool] | None = None) -> dict[str, int]:
        """Return the names with all later changes, or those taken."""
        found = dict(self.durable)
        for n, change in enumerate(self.later):
            if taken is None or taken[n]:
                for name, thing in change:
                    if thing is None:
                        found.pop(name, None)
                    else:
                        found[name] = thing
        return found

    def sync(self) -> None:
        """Make everything durable."""
        self.durable, self.later = self.names(), []


class Disk:
    """The files below a folder: what of them is durable, and what might be."""

    def __init__(self, folder: Path) -> None:
        """Take a folder as it is, all of it durable."""
        self.things: dict[int, File | Folder] = {}
        self._by_inode: dict[int, int] = {}
        self._load(folder)

    def _load(self, path: Path) -> int:
        key = len(self.things)
        self._by_inode[path.stat().st_ino] = key
        if path.is_dir():
            names: dict[str, int] = {}
            self.things[key] = Folder(names)
            names.update({p.name: self._load(p) for p in sorted(path.iterdir()) if not p.name.endswith("-shm")})
        else:
            self.things[key] = File(path.read_bytes())
        return key

    def play(self, records: list[Record], *, syncs: bool = True) -> int:
        """Carry out records; return the last number acknowledged (`NOTHING`: none). Without `syncs` no sync has an effect."""
        acknowledged = NOTHING
        for op, inode, offset, data in records:
            if op == ACKNOWLEDGE:
                acknowledged = max(acknowledged, offset)
            elif op in {CREATE, MKDIR}:
                key = len(self.things)
                self._by_inode[inode] = key
                self.things[key] = Folder() if op == MKDIR else File()
                folder, name = self._place(data.decode())
                folder.later.append([(name, key)])
            elif op == UNLINK:
                folder, name = self._place(data.decode())
                folder.later.append([(name, None)])
            elif op == RENAME:
                self._rename(*data.decode().split("\0"))
            elif op == SYNC:
                if syncs:
                    self.things[self._by_inode[inode]].sync()
            else:
                thing = self.things[self._by_inode[inode]]
                assert isinstance(thing, File)
                thing.later.append((offset, data if op == WRITE else None))
        return acknowledged

    def _rename(self, old: str, new: str) -> None:
        folder, name = self._place(old)
        target, new_name = self._place(new)
        assert folder is target, "a rename between folders needs a model of its own"
        folder.later.append([(name, None), (new_name, folder.names()[name])])

    def _place(self, path: str) -> tuple[Folder, str]:
        *above, name = path.split("/")
        folder = self.things[ROOT]
        for part in above:
            assert isinstance(folder, Folder)
            folder = self.things[folder.names()[part]]
        assert isinstance(folder, Folder)
        return folder, name

    def everything(self) -> dict[str, bytes]:
        """Return path -> content of every file when nothing is lost."""
        return dict(self._walk(ROOT, "", None))

    def survivors(self, rng: np.random.Generator) -> dict[str, bytes]:
        """Return path -> content of every file in one of the states the disk may be in; an empty path part is a folder."""
        return dict(self._walk(ROOT, "", rng))

    def _walk(self, key: int, path: str, rng: np.random.Generator | None) -> Iterator[tuple[str, bytes]]:
        thing = self.things[key]
        if isinstance(thing, File):
            yield path, thing.whole() if rng is None else _surviving_content(thing, rng)
            return
        names = thing.names() if rng is None else _surviving_names(thing, rng)
        yield f"{path}/", b""
        for name, inner in sorted(names.items()):
            yield from self._walk(inner, f"{path}/{name}", rng)

    def copy(self) -> Disk:
        """Return an independent copy."""
        return copy.deepcopy(self)


def lay_out(files: dict[str, bytes], folder: Path) -> None:
    """Write files into an empty folder."""
    for path, content in files.items():
        if path.endswith("/"):
            (folder / path.strip("/")).mkdir(exist_ok=True)
        else:
            (folder / path.strip("/")).write_bytes(content)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
    content.extend(bytes(max(offset - len(content), 0)))
    if data is not None:
        content[offset : offset + len(data)] = data


def _taken(count: int, rng: np.random.Generator) -> list[bool]:
    """Draw which of `count` steps happened: none, all, the first few, or any."""
    style = int(rng.integers(0, 4))
    if style == 2:
        first_n = int(rng.integers(0, count + 1))
        return [n < first_n for n in range(count)]
    share = (0.0, 1.0, 0.5, float(rng.choice([0.05, 0.3, 0.7, 0.95])))[style]
    return [bool(rng.random() < share) for _ in range(count)]


def _surviving_names(folder: Folder, rng: np.random.Generator) -> dict[str, int]:
    return folder.names(_taken(len(folder.later), rng))


def _surviving_content(file: File, rng: np.random.Generator) -> bytes:
    if not file.later:
        return file.durable
    style = int(rng.integers(0, 5))
    if style < 3:  # nothing, everything, or the first few, the last of them torn
        count = (0, len(file.later), int(rng.integers(0, len(file.later))))[style]
        content = bytearray(file.whole(count))
        offset, data = file.later[count] if style == 2 else (0, None)
        if data is not None:
            _apply(content, offset, data[: SECTOR * int(rng.integers(0, len(data) // SECTOR + 1))])
        return bytes(content)
    return _any_sectors(file, rng)


def _any_sectors(file: File, rng: np.random.Generator) -> bytes:
    """Draw each sector on its own: what it was at the sync, or what it was after any later change to it."""
    share = float(rng.choice([0.02, 0.2, 0.5, 0.8, 0.98]))
    sizes, states, content = [len(file.durable)], {}, bytearray(file.durable)
    for offset, data in file.later:
        before = len(content)
        _apply(content, offset, data)
        sizes.append(len(content))
        first = min(offset, before) // SECTOR
        for sector in range(
            first, -(-max(before, len(content)) // SECTOR) if data is None else -(-(offset + len(data)) // SECTOR)
        ):
            at = sector * SECTOR
            known = states.setdefault(sector, [file.durable[at : at + SECTOR]])
            known.append(bytes(content[at : at + SECTOR]))
    size = int(rng.choice(sizes)) if rng.random() < 0.5 else max(sizes)
    blank = rng.bytes(size) if rng.random() < 0.3 else bytes(size)  # where nothing arrived: zeros, or what was there long ago
    result = bytearray(file.durable[:size] + blank[len(file.durable) :])
    for sector, versions in states.items():
        chosen = versions[-1] if rng.random() < share else versions[int(rng.integers(0, len(versions)))]
        at = sector * SECTOR
        if at < size:
            result[at : at + len(chosen)] = chosen
    return bytes(result[:size])
