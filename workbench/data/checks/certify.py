"""Make gap certificates: compute what can be computed, refuse what another source disproves, write the rest down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np

from runtime.canonical import sha256_file, sha256_hex
from runtime.errors import DataError, GateError, UsageError
from runtime.files import create_bytes
from workbench.data.bars import Bars, interval_seconds
from workbench.data.providers import read_series
from workbench.data.providers.files import FileProvider
from workbench.data.quality.certificates import Certificate, Evidence, Relation, Witness, certificates_dir, load_certificates
from workbench.data.quality.gates import gaps
from workbench.data.store.catalog import Catalog, Entry
from workbench.data.store.lake import Lake
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX, Universe, iso, load_universe

NANOSECONDS: Final = 1_000_000_000
TEXT_MAX: Final = 1_000
EVIDENCE_FORMS: Final = "source:FILE, trades:FILE or outage:TEXT"


class Hole(NamedTuple):
    """A gap of one series."""

    entry: Entry
    interval_t: int
    first_t: int
    last_t: int

    @property
    def end_t(self) -> int:
        """Return when the last missing bar would have closed."""
        return self.last_t + self.interval_t

    @property
    def text(self) -> str:
        """Return series and range in words."""
        return f"{self.entry.key} {iso(self.first_t)} to {iso(self.last_t)}"


def certify_gap(
    home: Path,
    series: str,
    first_t: int,
    last_t: int | None,
    *,
    author: str,
    reason: str,
    now_t: int,
    evidence: Sequence[str] = (),
    despite: str = "",
    universe: Universe | None = None,
) -> Certificate:
    """Certify one gap of one series of the lake and write the certificate.

    Args:
        home: the home folder.
        series: `venue/interval/SYMBOL`.
        first_t, last_t: opening times of the first and last missing bar; `last_t` None = the gap that begins at `first_t`.
        author: who certifies.
        reason: why the bars are missing, in a sentence.
        now_t: the time now, seconds UTC.
        evidence: `source:FILE` (the source asked again: bars around the gap, none in it), `trades:FILE` (an answer of Kraken's
            `Trades` that reaches over the gap and has no trade in it), `outage:TEXT` (a statement with a reference).
        despite: why it stands although another source has bars there.
        universe: default version v1.

    Raises:
        UsageError: no such series, no such gap, or text that says nothing.
        DataError: a file of evidence cannot be read or does not reach over the gap.
        GateError: the gap is certified already, there is no evidence, or evidence or another series disproves it.
        VerificationError: the lake or a certificate is damaged.
    """
    for option, text in (("--author", author), ("--reason", reason), *(("--despite", despite),) * bool(despite)):
        if not text.strip() or len(text) > TEXT_MAX or not text.isprintable():
            raise UsageError(
                f"{option} {text!r:.80}", expected=f"1 to {TEXT_MAX} characters on one line", action="say who and why"
            )
    lake = Lake(home)
    catalog = lake.catalog()
    hole = find_hole(lake, catalog, series, first_t, last_t)
    for known in load_certificates(home):
        if (known.series, known.first_t, known.last_t) == (series, hole.first_t, hole.last_t):
            raise GateError(
                f"{hole.text} is certified already",
                expected="a gap without a certificate",
                action=f"see {known.digest[:12]} in `ballast data certificates`; to replace it, remove its file",
            )
    seen = witnesses(lake, catalog, hole, universe or load_universe())
    _refuse_disproved(hole, seen, despite)
    given = [_given(hole, text) for text in evidence]
    computed = [
        Evidence(kind="both sources lack it", text=f"{w.series} covers the time and has no bar there", sha256=w.sha256)
        for w in seen
        if w.relation == "second source" and w.covers and w.bars_n == 0
    ]
    if not given and not computed:
        raise GateError(
            f"{hole.text}: no evidence that the bars do not exist",
            expected=f"a second source in the lake that covers the time, or --evidence {EVIDENCE_FORMS}",
            action="ask the source again and give its answer, or accept the gap by name: `--accept gap:...`",
        )
    certificate = Certificate(
        series=series,
        interval_t=hole.interval_t,
        first_t=hole.first_t,
        last_t=hole.last_t,
        bars_n=(hole.last_t - hole.first_t) // hole.interval_t + 1,
        series_sha256=hole.entry.current.sha256,
        evidence=(*computed, *given),
        witnesses=tuple(seen),
        despite=despite,
        author=author,
        reason=reason,
        written_t=now_t,
    )
    create_bytes(certificates_dir(home) / f"{certificate.digest}.json", certificate.content())
    return certificate


def find_hole(lake: Lake, catalog: Catalog, series: str, first_t: int, last_t: int | None) -> Hole:
    """Return the gap of a series with this range.

    Raises:
        UsageError: the lake has no such series, or the range is no gap of it, or only a part of one.
    """
    entry = catalog.get(series)
    if entry is None:
        raise UsageError(
            f"the lake has no series {series!r}",
            expected="VENUE/INTERVAL/SYMBOL, such as binance-spot/1h/BTCUSDT",
            action="see `ballast data list`",
        )
    step = interval_seconds(entry.interval)
    found = gaps(lake.read(entry.key, entry.current.segments).t, step)
    for first, last, _ in found:
        if first == first_t and last_t in (None, last):
            return Hole(entry, step, first, last)
    near = [g for g in found if g[0] <= (first_t if last_t is None else last_t) and g[1] >= first_t]
    raise UsageError(
        f"{series} has no gap {iso(first_t)}" + (f" to {iso(last_t)}" if last_t is not None else ""),
        expected="the whole of one gap"
        + ("; there: " + ", ".join(f"{iso(a)}..{iso(z)}" for a, z, _ in near[:3]) if near else f" of {len(found)}"),
        action="copy a range from `ballast data check --rows gap:SYMBOL`; bars that are there need no certificate",
    )


def witnesses(lake: Lake, catalog: Catalog, hole: Hole, universe: Universe) -> list[Witness]:
    """Return what every other series of the lake that could know better has inside a gap, in the catalog's order."""
    seen = []
    for e in catalog.entries:
        relation = _relation(hole.entry, e, universe)
        if relation is None:
            continue
        bars = lake.read(e.key, e.current.segments)
        end_t = bars.t + interval_seconds(e.interval)
        inside = (bars.t >= hole.first_t) & (end_t <= hole.end_t)
        if relation == "other interval":  # a bar without volume is the venue's own word that nobody traded
            inside &= bars.volume > 0.0
        covers = bool(bars.t[0] < hole.first_t) and bool(end_t[-1] > hole.end_t)
        seen.append(Witness(relation=relation, series=e.key, sha256=e.current.sha256, covers=covers, bars_n=int(inside.sum())))
    return seen


def _relation(of: Entry, other: Entry, universe: Universe) -> Relation | None:
    """Return what another series is to one with a gap, or None when it cannot know of it."""
    if other.key == of.key:
        return None
    same_venue = other.venue.removesuffix(SECOND_SOURCE_SUFFIX) == of.venue.removesuffix(SECOND_SOURCE_SUFFIX)
    if same_venue:
        if other.symbol != of.symbol:
            return None
        return "second source" if other.interval == of.interval else "other interval"
    if other.interval != of.interval or "simulated" in (other.venue, of.venue):
        return None
    mine, theirs = universe.resolve(of.venue, of.symbol), universe.resolve(other.venue, other.symbol)
    same = mine is not None and theirs is not None and (mine.asset, mine.quote) == (theirs.asset, theirs.quote)
    return "other venue" if same else None


def _refuse_disproved(hole: Hole, seen: Sequence[Witness], despite: str) -> None:
    against = [w for w in seen if w.disproves]
    if against and not despite:
        raise GateError(
            f"{hole.text}: " + "; ".join(f"{w.series} ({w.relation}) has {w.bars_n} bars there" for w in against),
            expected="no other source with bars in the gap",
            action="bring the missing bars with `ballast data import`, or state with --despite why the certificate stands anyway",
        )


def _given(hole: Hole, text: str) -> Evidence:
    """Return evidence a person gave, after looking at it."""
    kind, _, value = text.partition(":")
    if kind == "outage" and value.strip() and len(value) <= TEXT_MAX and value.isprintable():
        return Evidence(kind="venue outage", text=value.strip())
    if kind == "source" and value:
        return _asked_again(hole, Path(value))
    if kind == "trades" and value:
        return _no_trades(hole, Path(value))
    raise UsageError(f"--evidence {text!r:.80}", expected=EVIDENCE_FORMS, action="choose one of the three forms")


def _asked_again(hole: Hole, path: Path) -> Evidence:
    if not path.is_file():
        raise DataError(f"{path} is no file", expected="the file the source gave when asked again", action="check the path")
    provider = FileProvider(path, venue=hole.entry.venue, interval=hole.entry.interval)
    refs = provider.series()
    if refs[0].symbol != hole.entry.symbol:
        raise DataError(f"{path.name} holds {refs[0].symbol}", expected=hole.entry.symbol, action="give the file of the series")
    bars = read_series(provider, refs[0])
    _refuse_bars_inside(hole, bars, path.name)
    return Evidence(kind="source has none", text=f"{path.name}: {len(bars)} bars, none in the gap", sha256=sha256_file(path))


def _refuse_bars_inside(hole: Hole, bars: Bars, where: str) -> None:
    inside_n = int(((bars.t >= hole.first_t) & (bars.t <= hole.last_t)).sum())
    if inside_n:
        raise GateError(
            f"{where} has {inside_n} bars in the gap {hole.text}",
            expected="none",
            action="they exist: bring them with `ballast data import`",
        )
    if not (bool((bars.t < hole.first_t).any()) and bool((bars.t > hole.last_t).any())):
        raise DataError(
            f"{where} does not reach over the gap {hole.text}", expected="bars before and after it", action="ask for more"
        )


def _no_trades(hole: Hole, path: Path) -> Evidence:
    """Return evidence of an answer of `Trades`, alone or as `{"request": {"since": ...}, "answer": {...}}`."""
    try:
        content = path.read_bytes()
        since_ns, times_s, last_ns = _trades_page(json.loads(content))
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
        raise DataError(
            f"{path.name} is no answer of Trades: {type(e).__name__}: {e}",
            expected='{"error": [], "result": {PAIR: [[price, volume, time, ...], ...], "last": "..."}}',
            action="save the venue's answer as it came",
        ) from e
    inside_n = int(((times_s >= hole.first_t) & (times_s < hole.end_t)).sum())
    if inside_n:
        raise GateError(
            f"{path.name} has {inside_n} trades in the gap {hole.text}",
            expected="none",
            action="the bars exist: bring them with `ballast data import`",
        )
    begins_before = since_ns <= hole.first_t * NANOSECONDS or bool((times_s < hole.first_t).any())
    ends_after = last_ns >= hole.end_t * NANOSECONDS or bool((times_s >= hole.end_t).any())
    if not (begins_before and ends_after):
        raise DataError(
            f"{path.name} does not reach over the gap {hole.text}",
            expected="a trade (or `since`) before it, and a trade (or `last`) after it",
            action="ask with a `since` before the gap, and wrap the answer with the request when no trade came before it",
        )
    return Evidence(kind="no trades", text=f"{path.name}: {len(times_s)} trades, none in the gap", sha256=sha256_hex(content))


def _trades_page(raw: object) -> tuple[int, np.ndarray, int]:
    """Return `since` (nanoseconds, the end of time when unknown), the trades' times (seconds) and `last` (nanoseconds)."""
    page = raw if isinstance(raw, dict) else {}
    since = int(page["request"]["since"]) if "request" in page else 1 << 62
    answer = page["answer"] if "request" in page else page
    if answer["error"]:
        raise ValueError(str(answer["error"]))
    result = answer["result"]
    rows: list[list[str]] = next((v for k, v in result.items() if k != "last"), [])
    return since, np.array([float(r[2]) for r in rows], dtype=np.float64), int(result["last"])


Standing = Literal["covers its gap", "moot: the bars have arrived", "the lake lacks the series", "disproved"]


def standing(lake: Lake, catalog: Catalog, certificate: Certificate, universe: Universe | None = None) -> tuple[Standing, str]:
    """Return what a certificate is worth against the lake of today, and why.

    A witness that came after the certificate and has bars in the gap disproves it, unless it was made despite one.
    """
    if catalog.get(certificate.series) is None:
        return "the lake lacks the series", ""
    try:
        hole = find_hole(lake, catalog, certificate.series, certificate.first_t, certificate.last_t)
    except UsageError as e:
        return "moot: the bars have arrived", e.got
    against = [w for w in witnesses(lake, catalog, hole, universe or load_universe()) if w.disproves]
    if against and not certificate.despite:
        return "disproved", "; ".join(f"{w.series} has {w.bars_n} bars there" for w in against)
    return "covers its gap", certificate.despite
