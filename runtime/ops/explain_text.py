"""An explanation as lines for a person: decimals where the name's ending says so, hashes whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from runtime.ops.explain import Decision, Explanation
from runtime.ops.explain_gates import decimal_text


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
    yield f"  size           wanted {decimal_text('e8', decision.wanted_e8)}, allowed {decimal_text('e8', decision.sized_e8)}"
    width = max((len(line.verdict) for line in decision.gates), default=0) + 2
    for line in decision.gates:
        compared = f"limit {decimal_text(line.scale, line.limit)}, value {decimal_text(line.scale, line.value)}"
        yield f"  {line.gate:<17}{line.verdict:<{width}}{compared} ({line.scale})"


def _numbers(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {decimal_text(name.rpartition('_')[2], value)}" for name, value in values.items())


def _time(at_t: int) -> str:
    return datetime.fromtimestamp(at_t, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at_t else "never"
