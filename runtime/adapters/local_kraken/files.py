"""Which files of a folder the local Kraken can replay, and reading them block by block.

Bars: Parquet with `ts_utc open high low close volume [trades]` in a folder named by the interval (`1h/XBTUSD.parquet`), or Kraken's
own OHLCVT CSV files (`XBTUSD_60.csv`, no header: time, open, high, low, close, volume, trades). Trades: Parquet with `ts_utc
trade_id type side price amount`, the pair as one word of the name. Books: JSON captures of WebSocket v1 or v2.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from runtime.adapters.local_kraken.pairs import split_pair
from runtime.errors import DataError

Floats = npt.NDArray[np.float64]
Kind = Literal["trades", "bars", "book"]

BLOCK_N: Final = 131_072
"""Rows read at once: fifteen years of hourly bars, three months of minutes."""
INTERVALS: Final = {"1m": 60, "5m": 300, "15m": 900, "30m": 1_800, "1h": 3_600, "4h": 14_400, "12h": 43_200, "1d": 86_400}
BAR_COLUMNS: Final = ("ts_utc", "open", "high", "low", "close", "volume")
TRADE_COLUMNS: Final = ("ts_utc", "trade_id", "type", "side", "price", "amount")
STAND_IN_QUOTE: Final = "USDT"
STAND_IN_FOLDER: Final = "binance"
CSV_NAMES: Final = ("t", "open", "high", "low", "close", "volume", "trades")


@dataclass(frozen=True, slots=True)
class Source:
    """What one pair is replayed from."""

    kind: Kind
    path: Path
    base: str
    """Kraken's name; empty for a book, whose file names its pair."""
    quote: str
    interval_s: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Return what is preferred within one folder, smallest first: trades, then bars from the shortest interval."""
        return (0 if self.kind == "trades" else 1, self.interval_s)


def sources_in(folder: Path, stand_in_for: Sequence[str] = ("USD",)) -> list[Source]:
    """Return every file of a folder and its sub-folders that can be replayed, in the order of their paths.

    Args:
        folder: any folder; files of other kinds are passed over.
        stand_in_for: quotes that USDT bars below a folder named `binance...` stand for, 1:1, the same numbers under each.

    Raises:
        DataError: there is no such folder or nothing in it can be replayed.
    """
    found = [source for path in sorted(folder.rglob("*")) if path.is_file() for source in _sources_of(path, stand_in_for)]
    if not found:
        raise DataError(
            f"nothing in {folder} can be replayed",
            expected="bars (1h/XBTUSD.parquet or XBTUSD_60.csv), trades or book captures",
            action="name another folder with --data; docs/reference/local-kraken.md lists the forms",
        )
    return found


def _sources_of(path: Path, stand_in_for: Sequence[str]) -> list[Source]:
    if path.suffix == ".json":
        return [Source("book", path, "", "")] if "book" in path.stem else []
    if path.suffix == ".csv":
        name, _, minutes = path.stem.rpartition("_")
        pair = split_pair(name)
        return [Source("bars", path, *pair, int(minutes) * 60)] if pair and minutes.isdecimal() else []
    if path.suffix != ".parquet":
        return []
    if path.parent.name in INTERVALS:
        pair, interval_s = split_pair(path.stem), INTERVALS[path.parent.name]
        if pair is None:
            return []
        stands_in = pair[1] == STAND_IN_QUOTE and any(part.startswith(STAND_IN_FOLDER) for part in path.parts)
        return [Source("bars", path, pair[0], quote, interval_s) for quote in (stand_in_for if stands_in else (pair[1],))]
    words = [pair for pair in map(split_pair, path.stem.split("_")) if pair]
    return [Source("trades", path, *words[0])] if words else []


class RowFile:
    """A file of rows, read in blocks of at most `BLOCK_N` rows. The caller keeps what it needs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets: list[int] = []
        self.rows_n = self._count_csv() if path.suffix == ".csv" else self._count_parquet()
        if self.rows_n == 0:
            raise DataError(f"{path} has no rows", expected="at least one", action="leave the file out")

    @property
    def blocks_n(self) -> int:
        """Return the number of blocks."""
        return -(-self.rows_n // BLOCK_N)

    def block(self, block_n: int, columns: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
        """Return the columns of one block; `ts_ns` stands for the time in nanoseconds. Columns that the file lacks are left out.

        Raises:
            DataError: a needed column is missing or of another type.
        """
        return self._csv_block(block_n) if self.path.suffix == ".csv" else self._parquet_block(block_n, columns)

    def _count_parquet(self) -> int:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return int(pq.read_metadata(self.path).num_rows)
        except (OSError, pa.ArrowException) as e:
            raise self._unreadable(e) from e

    def _parquet_block(self, block_n: int, columns: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        first, end = block_n * BLOCK_N, min((block_n + 1) * BLOCK_N, self.rows_n)
        try:
            with pq.ParquetFile(self.path) as file:
                ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)])
                groups = [g for g in range(len(ends)) if ends[g] > first and (ends[g - 1] if g else 0) < end]
                start = int(ends[groups[0] - 1]) if groups[0] else 0
                wanted = [name for name in (*columns, "trades") if name in file.schema_arrow.names]
                table = file.read_row_groups(groups, columns=wanted, use_threads=False).slice(first - start, end - first)
                if not pa.types.is_timestamp(table["ts_utc"].type):
                    raise TypeError(f"ts_utc is {table['ts_utc'].type}, no timestamp")
                found = {name: table[name].to_numpy() for name in wanted if name != "ts_utc"}
                found["ts_ns"] = table["ts_utc"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy()
        except (OSError, pa.ArrowException, KeyError, TypeError) as e:
            raise self._unreadable(e) from e
        missing = [name for name in columns if name != "ts_utc" and name not in found]
        if missing:
            raise DataError(
                f"{self.path} lacks {', '.join(missing)}", expected=", ".join(columns), action="check the file's source"
            )
        return found

    def _count_csv(self) -> int:
        """Count rows and note where each block begins."""
        rows_n = offset = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if rows_n % BLOCK_N == 0:
                    self._offsets.append(offset)
                rows_n += 1
                offset += len(line)
        self._offsets.append(offset)
        return rows_n

    def _csv_block(self, block_n: int) -> dict[str, npt.NDArray[np.generic]]:
        import pyarrow as pa
        from pyarrow import csv

        with self.path.open("rb") as f:
            f.seek(self._offsets[block_n])
            content = f.read(self._offsets[block_n + 1] - self._offsets[block_n])
        types = dict.fromkeys(CSV_NAMES[1:], pa.float64()) | {"t": pa.int64()}
        try:
            table = csv.read_csv(
                io.BytesIO(content),
                read_options=csv.ReadOptions(column_names=list(CSV_NAMES), use_threads=False),
                convert_options=csv.ConvertOptions(column_types=types),
            )
        except pa.ArrowException as e:
            raise self._unreadable(e) from e
        found = {name: table[name].to_numpy() for name in CSV_NAMES[1:]}
        found["ts_ns"] = table["t"].to_numpy() * 1_000_000_000
        return found

    def _unreadable(self, cause: Exception) -> DataError:
        return DataError(
            f"{self.path} cannot be read: {cause}",
            expected="rows of bars or trades in a form of docs/reference/local-kraken.md",
            action="check the file, or leave it out",
        )
