"""An explanation as lines for a person: decimals where the name's ending says so, hashes whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from runtime.ops.explain import Decision, Explanation

_DIGITS: Final = {"e8": 8, "e4": 4, "ppm": 6, "ppb": 9}


def explanation_lines(found: Explanation) -> Iterator[str]:
    """Yield the lines of an explanation."""
    yield f"BLOCK {found.block}: {found.event} at {_time(found.at_t)}, run {found.run_id}"
    same = "the same bytes" if found.same_records else "OTHER BYTES: replay the run"
    yield f"  recomputed     {same}"
    yield f"  before it      {_numbers(found.portfolio)}"
    for name in ("previous_hash", "inputs_digest", "records_digest", "block_hash"):
        yield f"  {name:<15}{getattr(found, name)}"
    given = {name: value for name, value in found.event_fields.items() if value not in {0, -1}}
    yield f"  event          {_numbers(given)}"
    for decision in found.decisions:
        yield from _decision_lines(decision)
    for record in found.records:
        yield ""
        yield f"{record.table}: {', '.join(f'{name}={value}' for name, value in record.values.items())}"
        yield f"  row hash       {record.row_hash}"
        for parent, row_hash in record.parents.items():
            yield f"  parent         {parent} {row_hash}".rstrip()


def _decision_lines(decision: Decision) -> Iterator[str]:
    yield ""
    yield f"{decision.symbol}: {decision.action} ({decision.reason}): {decision.words}"
    yield f"  outcome        {decision.outcome}"
    when = "new with this event" if decision.new_forecast else f"of {_time(decision.forecast_t)}"
    yield f"  forecast       {when}: {_numbers(decision.forecast)}"
    pending = f", {decision.persist_n} forecasts in a row for a change" if decision.persist_n else ""
    yield f"  outlook        {decision.outlook_before} -> {decision.outlook}; this forecast alone: {decision.raw_outlook}{pending}"
    yield f"  position       {_numbers(decision.position)}"
    yield f"  size           wanted {_number('e8', decision.wanted_e8)}, allowed {_number('e8', decision.sized_e8)}"
    for line in decision.gates:
        compared = f"limit {_number(line.scale, line.limit)}, value {_number(line.scale, line.value)}"
        yield f"  {line.gate:<17}{line.verdict:<24}{compared} ({line.scale})"


def _numbers(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {_number(name.rpartition('_')[2], value)}" for name, value in values.items())


def _number(scale: str, value: int) -> str:
    digits = _DIGITS.get(scale, 0)
    return f"{Decimal(value).scaleb(-digits):f}" if digits else str(value)


def _time(at_t: int) -> str:
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at_t else "never"
