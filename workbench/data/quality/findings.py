"""What a quality gate found: a record with its severity and rows, and how a person accepts it by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from runtime.errors import UsageError
from workbench.data.universe.versions import iso

Severity = Literal["fatal", "blocking", "note"]
"""`fatal`: malformed bars, never accepted, never imported. `blocking`: real but defective history; blocks a dataset until it
is accepted by name. `note`: a fact on record that blocks nothing (a skipped symbol, a rename)."""

GATES: dict[str, tuple[Severity, str]] = {
    "schema": ("fatal", "columns, types, empty or unreadable file, naive timestamps"),
    "ordering": ("fatal", "a bar that opens before the one in the row above"),
    "duplicate": ("fatal", "two bars with one opening time"),
    "timestamp": ("fatal", "an opening time before 2009 or after 2099: milliseconds or nanoseconds taken for seconds"),
    "future": ("fatal", "a bar that has not closed yet by the clock of this machine"),
    "off_grid": ("fatal", "an opening time that is no multiple of the interval"),
    "interval": ("fatal", "no two bars as far apart as the interval says, all on the grid of a longer one"),
    "not_finite": ("fatal", "NaN or infinity"),
    "non_positive": ("fatal", "a price that is zero or negative, or a negative volume or trade count"),
    "out_of_range": ("fatal", "a price or volume that the core's scaled 64-bit integers cannot hold"),
    "ohlc": ("fatal", "high below, or low above, another price of the bar"),
    "gap": ("blocking", "bars missing between the first and the last of a series"),
    "zero_volume": ("blocking", "consecutive bars without volume"),
    "fill_forward": ("blocking", "bars that copy the one before: its close in all four prices and no trade, or all its values"),
    "interval_mix": ("blocking", "a run of bars as far apart as a longer interval says"),
    "wick": ("blocking", "low or high far outside the bar's body"),
    "wick_contradicted": ("blocking", "such a low or high that the second source does not have"),
    "jump": ("blocking", "open or close far from the previous close"),
    "jump_contradicted": ("blocking", "such a move that the second source does not have"),
    "second_source": ("blocking", "an independent download of the series differs"),
    "stale_tail": ("blocking", "a series that ends long before the others"),
    "stale_live": ("blocking", "a series whose newest bar is older than the clock allows"),
    "clock_skew": ("blocking", "this machine's clock differs from the venue's"),
    "watermark_lag": ("blocking", "a synchronisation that has not asked for the newest bars"),
    "partial_tail": ("blocking", "a last bar that may have been cut while it was still forming; left out of the dataset"),
    "unknown_symbol": ("note", "not an asset and quote of the universe: skipped"),
    "absent": ("note", "an asset of the universe that the venue never listed: it has no series"),
    "short_history": ("note", "fewer bars than the dataset's rule asks for: left out"),
    "rename": ("note", "bars of the former ticker, used by a dated rename of the universe"),
}


ROWS_KEPT: Final = 100
"""Opening times a finding lists; `rows_n` counts them all."""


class Finding(BaseModel):
    """One finding.

    Attributes:
        gate: a key of `GATES`.
        severity: see `Severity`.
        symbol: the asset in a dataset; the venue's symbol in an import or a check.
        series: `venue/interval/SYMBOL`.
        first_t, last_t: opening times of the first and last row concerned, seconds UTC.
        rows_n: bars concerned (missing bars for a gap).
        rows: opening times of the bars concerned, at most `ROWS_KEPT`, oldest first; none for a gap, whose range says it all.
        detail: the numbers, in words.
        accepted: a person accepted it by name, or a gap certificate covers it; part of the dataset's hash.
        certificate: digest of that gap certificate (`workbench.data.quality.certificates`), else empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: str
    severity: Severity
    symbol: str
    series: str
    first_t: int
    last_t: int
    rows_n: int
    rows: tuple[int, ...] = ()
    detail: str
    accepted: bool = False
    certificate: str = ""

    @property
    def name(self) -> str:
        """Return the name a person accepts it by: `gap:BTC:2024-06-15T14:00Z`."""
        return f"{self.gate}:{self.symbol}:{iso(self.first_t)}"


class FindingSummary(BaseModel):
    """All findings of one gate for one symbol in one row, for tables."""

    model_config = ConfigDict(frozen=True)

    gate: str
    severity: Severity
    symbol: str
    findings_n: int
    accepted_n: int
    certified_n: int
    rows_n: int
    rows_n_max: int
    first_t: int
    last_t: int
    example: str


def finding(
    gate: str, symbol: str, series: str, first_t: int, last_t: int, rows_n: int, detail: str, rows: Iterable[int] = ()
) -> Finding:
    """Return a finding with its gate's severity and the first of its rows."""
    return Finding(
        gate=gate,
        severity=GATES[gate][0],
        symbol=symbol,
        series=series,
        first_t=int(first_t),
        last_t=int(last_t),
        rows_n=int(rows_n),
        rows=tuple(int(t) for t in islice(rows, ROWS_KEPT)),
        detail=detail,
    )


def accept(findings: Iterable[Finding], names: Sequence[str]) -> list[Finding]:
    """Return the findings with those marked that a name covers.

    A name is a gate (`gap`), a gate and symbol (`gap:BTC`), or one finding in full (`gap:BTC:2024-06-15T13:00Z`). The venue's
    symbol may stand for the asset's, so that names a check prints can be used for a dataset. Fatal findings stay as they are.

    Raises:
        UsageError: a name starts with no known blocking gate.
    """
    for name in names:
        gate = name.split(":", 1)[0]
        if gate not in GATES or GATES[gate][0] != "blocking":
            raise UsageError(
                f"cannot accept {name!r}",
                expected="GATE, GATE:SYMBOL or GATE:SYMBOL:TIME with GATE one of "
                + ", ".join(g for g, (s, _) in GATES.items() if s == "blocking"),
                action="copy a name that `ballast data check` prints",
            )
    wanted = frozenset(names)

    def covered(f: Finding) -> bool:
        return f.severity == "blocking" and not wanted.isdisjoint(names_of(f))

    return [f.model_copy(update={"accepted": True}) if covered(f) else f for f in findings]


def names_of(f: Finding) -> set[str]:
    """Return every name that covers a finding: its gate, gate and symbol (asset or venue symbol), and either with its time."""
    symbols = {f.symbol, *(key.rsplit("/", 1)[-1] for key in f.series.split("+"))}
    by_symbol = {f"{f.gate}:{s}" for s in symbols}
    return {f.gate} | by_symbol | {f"{name}:{iso(f.first_t)}" for name in by_symbol}


def blocking(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that stand in the way: fatal ones, and blocking ones nobody accepted."""
    return [f for f in findings if f.severity == "fatal" or (f.severity == "blocking" and not f.accepted)]


def summarise(findings: Iterable[Finding], *, by_series: bool = False) -> list[FindingSummary]:
    """Return one row per gate and symbol, gates in the order of `GATES`, symbols as they first appear.

    Args:
        findings: of a dataset, an import or a check.
        by_series: tell apart series of one symbol (venues, intervals); `symbol` is then `venue/interval/SYMBOL`.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for f in findings:
        groups.setdefault((f.gate, f.series if by_series else f.symbol), []).append(f)
    order = {gate: i for i, gate in enumerate(GATES)}
    rows = []
    for (gate, symbol), group in sorted(groups.items(), key=lambda item: order[item[0][0]]):
        largest = max(group, key=lambda f: f.rows_n)
        rows.append(
            FindingSummary(
                gate=gate,
                severity=group[0].severity,
                symbol=symbol,
                findings_n=len(group),
                accepted_n=sum(f.accepted for f in group),
                certified_n=sum(bool(f.certificate) for f in group),
                rows_n=sum(f.rows_n for f in group),
                rows_n_max=largest.rows_n,
                first_t=min(f.first_t for f in group),
                last_t=max(f.last_t for f in group),
                example=largest.detail,
            )
        )
    return rows
