"""Market data: providers, quality gates, the lake, the universe, content-addressed datasets.

`workbench.data.open()` is the researcher's door to the bars: ibis, polars and DuckDB over the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.progress import Report, silent

if TYPE_CHECKING:
    from workbench.data.view.lake_view import LakeView


def open(  # noqa: A001  `data.open()` is the name a researcher looks for; nothing in this module needs the builtin
    home: Path | str | None = None,
    *,
    dataset: str | None = None,
    venue: str | None = None,
    interval: str | None = None,
    symbols: Sequence[str] | str | None = None,
    as_of: datetime | str | None = None,
    universe: str = "v1",
    verify: bool | None = None,
    report: Report = silent,
) -> LakeView:
    """Open bars of the lake or of a dataset; use it in a `with` block, or call `close()`.

    Args:
        home: the home folder; default $BALLAST_HOME, else `./out`.
        dataset: exactly the bars of this dataset (hash, unique prefix or `latest`); default the lake's current bars.
        venue: one venue; default every venue but second sources (`-b`).
        interval: bar length by name; default `1h`, or the dataset's.
        symbols: assets of the universe, or one; default all that are there.
        as_of: only bars that had closed by this time (a datetime with a zone, or ISO text with one).
        universe: version of the universe that says which ticker is which asset.
        verify: hold every file to its digest first; default yes for a dataset and for up to 5 million bars of the lake. What was not
            verified says so (`repr(view)`, `view.verified`).
        report: told about progress of the verification.

    Raises:
        UsageError: no such dataset, asset, interval or universe; a time without a zone; options that contradict the dataset.
        DataError: the lake has no such series, or no bar of them had closed by `as_of`.
        VerificationError: a file is missing or damaged, or holds other bars than its address promises.
    """
    from workbench.data.view.lake_view import open_view

    return open_view(
        home, dataset=dataset, venue=venue, interval=interval, symbols=symbols, as_of=as_of, universe=universe, verify=verify,
        report=report,
    )  # fmt: skip
