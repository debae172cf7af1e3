"""What the figures of the quality page mean, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from reports.static.numbers import count, plural, utc
from reports.static.quality.facts import Inputs
from reports.static.quality.heatmap import stands
from workbench.data.universe.versions import SECOND_SOURCE_SUFFIX


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: one word, one line, and the sentences that carry it."""

    word: str
    mark: str
    headline: str
    sentences: tuple[str, ...]


def share_text(present_n: int, expected_n: int) -> str:
    """Return a share of bars in percent, never rounded up: only what is complete reads 100 %."""
    if present_n >= expected_n:
        return "100 %"
    value = Decimal(100 * present_n) / Decimal(expected_n)
    return f"{value.quantize(Decimal('0.01'), ROUND_DOWN)} %"


def verdict(inputs: Inputs) -> Verdict:
    """Return the answer to `can I use this data?`."""
    findings = inputs.check.findings
    fatal = [f for f in findings if f.severity == "fatal"]
    stand = [f for f in findings if stands(f)]
    if fatal:
        n = len({f.series for f in fatal})
        return Verdict("BLOCKED", "bad", f"No: {plural(n, 'series', 'series')} malformed.", _caveats(inputs))
    if stand:
        gates = len({f.gate for f in stand})
        line = f"Not yet: {plural(len(stand), 'finding')} of {plural(gates, 'gate')} must be accepted by name, or corrected."
        return Verdict("BLOCKED", "warn", line, _caveats(inputs))
    if any(f.accepted for f in findings):
        return Verdict("ACCEPTED", "ok", "Yes, with what was accepted by name.", _caveats(inputs))
    return Verdict("CLEAN", "ok", "Yes: no gate stands in the way.", _caveats(inputs))


def _caveats(inputs: Inputs) -> tuple[str, ...]:
    there, could = sum(len(s.t) for s in inputs.series), sum(s.expected_n for s in inputs.series)
    said = [
        f"{count(there)} of {count(could)} bars between the first and the last one of each series are there "
        f"({share_text(there, could)}). Nothing was filled in."
        if there < could
        else f"Every bar between the first and the last one of each series is there: {count(there)} of them."
    ]
    holes = sorted((-n * s.interval_t, s.entry.key, a, z, n) for s in inputs.series for a, z, n in s.gaps)
    if holes:
        _, name, a, z, n = holes[0]
        others = sum((x, y) == (a, z) for _, _, x, y, _ in holes) - 1
        too = f" ({plural(others, 'other')} with the same)" if others else ""
        said.append(f"The longest hole: {name}{too}, {plural(n, 'bar')} from {utc(a)} to {utc(z)}.")
    changed = [s for s in inputs.series if any(v.changed_n or v.late_n for v in s.entry.versions)]
    if changed:
        said.append(f"{plural(len(changed), 'series', 'series')} had late or changed bars; the evidence is below.")
    said += _second_sources(inputs)
    return tuple(said)


def _second_sources(inputs: Inputs) -> list[str]:
    """Return one sentence about every independent second download together."""
    pairs = [p for r in inputs.reconciled if r.b == r.a + SECOND_SOURCE_SUFFIX for p in r.pairs]
    if not pairs:
        return ["No series has a second, independent source to check it."]
    both, equal = sum(p.both_n for p in pairs), sum(p.equal_n for p in pairs)
    only = sum(p.only_a_n + p.only_b_n for p in pairs)
    whole = sum(not s.entry.venue.endswith(SECOND_SOURCE_SUFFIX) for s in inputs.series)
    what = f"{len(pairs)} of {plural(whole, 'series', 'series')} have a second, independent source"
    same = (
        f"all {count(both)} common bars are equal in every price"
        if both == equal
        else f"{count(both - equal)} of {count(both)} common bars differ in a price"
    )
    return [
        f"{what}: {same}"
        + (f", {plural(only, 'bar')} only one of the two has." if only else ", and neither has a bar the other misses.")
    ]


def map_says(inputs: Inputs) -> str:
    """Return what the coverage map shows, in one or two sentences."""
    whole = [s for s in inputs.series if not s.gaps]
    low = min(inputs.series, key=lambda s: (Decimal(len(s.t)) / s.expected_n, s.entry.key))
    text = (
        f"{len(whole)} of {plural(len(inputs.series), 'series', 'series')} have no hole."
        if whole
        else "Every series has a hole."
    )
    return text + (
        f" The thinnest is {low.entry.key} with {share_text(len(low.t), low.expected_n)} of its bars." if low.gaps else ""
    )
