"""How `ballast data diff` and `ballast data reconcile` show their results to people."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

from workbench.data.checks.reconcile import Reconciled, Reconciliation
from workbench.data.commands.tables import DIGEST_HEX, plain_table
from workbench.data.datasets.diff import AssetDifference, DatasetDifference, Run
from workbench.data.universe.versions import iso

RUNS_N: Final = 5
"""Runs of added or removed bars named per asset; `--json` has them all."""
NO_VALUE: Final = "-"


def show_difference(console: Console, found: DatasetDifference) -> None:
    """Show what differs between two datasets."""
    names = f"A {found.a[:DIGEST_HEX]} and B {found.b[:DIGEST_HEX]}"
    if found.equal:
        console.print(Text(f"equal: {names}", style="bold"))
        return
    console.print(Text(f"{names} differ", style="bold"))
    if found.fields:
        cells = [(f.field, f.a, f.b) for f in found.fields]
        console.print(plain_table("Manifest", ("field", "A", "B"), cells))
    for side, symbols in (("A", found.symbols_only_a), ("B", found.symbols_only_b)):
        if symbols:
            console.print(Text(f"Assets only in {side}: {', '.join(symbols)}"))
    if found.assets:
        rows = [
            (a.symbol, *map(str, (a.rows_a, a.rows_b, a.added_n, a.removed_n, a.changed_n, a.values_n))) for a in found.assets
        ]
        columns = ("asset", "bars A", "bars B", "added", "removed", "changed", "values")
        console.print(plain_table("Assets whose files differ", columns, rows))
    for asset in found.assets:
        _show_asset(console, asset)
    _show_records(console, found)


def _show_asset(console: Console, asset: AssetDifference) -> None:
    for word, runs, columns in (("added", asset.added, asset.columns_added), ("removed", asset.removed, asset.columns_removed)):
        if runs:
            console.print(
                Text(
                    f"{asset.symbol} {word}: "
                    + "; ".join(_run(r) for r in runs[:RUNS_N])
                    + (f"; and {len(runs) - RUNS_N} more runs" if len(runs) > RUNS_N else "")
                )
            )
        if columns:
            console.print(Text(f"{asset.symbol} columns {word}: {', '.join(columns)}"))
    if asset.values:
        rows = [
            (iso(v.open_t), v.column, f"{v.old:.12g}", f"{v.new:.12g}", number(v.difference_bp, 2, sign=True))
            for v in asset.values
        ]
        title = f"{asset.symbol}: " + (
            f"{asset.values_n} changed values"
            if len(rows) == asset.values_n
            else f"the {len(rows)} largest of {asset.values_n} changed values"
        )
        console.print(plain_table(title, ("bar", "column", "A", "B", "bp"), rows))


def _run(run: Run) -> str:
    return f"{iso(run.first_t)} to {iso(run.last_t)} ({run.bars_n})" if run.bars_n > 1 else iso(run.first_t)


def _show_records(console: Console, found: DatasetDifference) -> None:
    for side, gaps, findings, assumptions in (
        ("A", found.gaps_only_a, found.findings_only_a, found.assumptions_only_a),
        ("B", found.gaps_only_b, found.findings_only_b, found.assumptions_only_b),
    ):
        if gaps:
            rows = [(g.symbol, iso(g.first_t), iso(g.last_t), str(g.bars_n)) for g in gaps]
            console.print(plain_table(f"Gaps only in {side}", ("asset", "first", "last", "bars"), rows))
        if findings:
            cells = [(f.name, str(f.rows_n), f.detail) for f in findings]
            console.print(plain_table(f"Findings only in {side}", ("finding", "bars", "detail"), cells, flexible="detail"))
        for text in assumptions:
            console.print(Text(f"Assumption only in {side}: {text}"))
    if found.acceptances:
        cells = [
            (x.name, _accepted(x.accepted_a, x.certificate_a), _accepted(x.accepted_b, x.certificate_b))
            for x in found.acceptances
        ]
        console.print(plain_table("Findings they do not accept alike", ("finding", "A", "B"), cells))


def _accepted(accepted: bool, certificate: str) -> str:
    return f"certificate {certificate[:DIGEST_HEX]}" if certificate else "by name" if accepted else "no"


def show_reconciled(console: Console, found: Reconciled) -> None:
    """Show how far two sources agree."""
    rows = [_pair(p) for p in found.pairs]
    columns = (
        "asset",
        "common from",
        "to",
        "both",
        "equal",
        "only A",
        "only B",
        "corr",
        "median bp",
        "p95 bp",
        "max bp",
        "A-B bp",
        "vol A/B",
    )
    console.print(plain_table(f"A {found.a} and B {found.b}, {found.interval}", columns, rows))
    cells = [
        (
            p.asset,
            iso(w.open_t),
            f"{w.close_a:.12g}",
            f"{w.close_b:.12g}",
            number(w.difference_bp, 2, sign=True),
            f"{w.volume_a:.12g}",
            f"{w.volume_b:.12g}",
        )
        for p in found.pairs
        for w in p.worst
    ]
    if cells:
        console.print(plain_table("Worst bars", ("asset", "bar", "close A", "close B", "bp", "volume A", "volume B"), cells))
    for side, series in (("A", found.series_only_a), ("B", found.series_only_b)):
        if series:
            console.print(Text(f"Only {side} has: {', '.join(key.rsplit('/', 1)[-1] for key in series)}"))


def _pair(p: Reconciliation) -> tuple[str, ...]:
    return (
        p.asset + (f" ({p.ticker})" if p.ticker else ""),
        NO_VALUE if p.first_t is None else iso(p.first_t),
        NO_VALUE if p.last_t is None else iso(p.last_t),
        *map(str, (p.both_n, p.equal_n, p.only_a_n, p.only_b_n)),
        number(p.correlation, 5),
        number(p.median_bp, 2),
        number(p.p95_bp, 2),
        number(p.max_bp, 1),
        number(p.bias_bp, 2, sign=True),
        number(p.volume_ratio, 4),
    )


def number(value: float | None, places_n: int, *, sign: bool = False) -> str:
    """Return a number with fixed places, or a dash for none."""
    return NO_VALUE if value is None else f"{value:{'+' if sign else ''}.{places_n}f}"
