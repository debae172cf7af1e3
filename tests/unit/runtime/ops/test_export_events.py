"""Events that cannot be: a forger of inputs with every hash computed again is named at the event's block."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from runtime.core import codes as c
from runtime.ops import verify_export as v
from tests.support.exports import Members, defect, export_blocks, forged, read_members
from tests.support.venues import venue_run

FIELDS = v.EVENT.split()


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export with every kind of event."""
    inputs, blocks, events = venue_run(1, hours=120)
    assert set(events["kind_id"].tolist()) == set(c.EVENT_NAMES) - {c.EV_POLICY, c.EV_BUNDLE, c.EV_SESSION}  # those carry notes
    return export_blocks(tmp_path_factory.mktemp("venue") / "run.zip", inputs, blocks, events)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (c.EV_FILL, "order_id", 10**6), (c.EV_FILL, "instrument_id", 99), (c.EV_FILL, "qty_e8", 0), (c.EV_FILL, "qty_e8", 10**16),
        (c.EV_FILL, "price_e8", 0), (c.EV_FILL, "price_e8", 10**16), (c.EV_ORDER, "status_id", 77), (c.EV_ORDER, "order_id", 0),
        (c.EV_WITHDRAWAL, "amount_e8", -5), (c.EV_WITHDRAWAL, "amount_e8", 10**17), (c.EV_DEPOSIT, "quote_id", 9),
        (c.EV_DEPOSIT, "amount_e8", 0), (c.EV_CORRECTION, "amount_e8", -(10**17)), (c.EV_CONTROL, "instrument_id", 9),
        (c.EV_QUOTE, "price_e8", 0), (c.EV_QUOTE, "instrument_id", -3), (c.EV_RATE, "price_e8", 0), (c.EV_RATE, "quote_id", 5),
        (c.EV_HEARTBEAT, "kind_id", 99), (c.EV_HEARTBEAT, "at_t", 5), (c.EV_HEARTBEAT, "bar_n", 0), (c.EV_BARS, "bar_n", 0),
        (c.EV_BARS, "bar_n", -1), (c.EV_BARS, "bar_n", 10**6), (c.EV_BARS, "value_n", 3), (c.EV_BARS, "forecast_n", 0),
        (c.EV_CLUSTERS, "cluster_n", 10**6), (c.EV_CLUSTERS, "cluster_n", -1), (c.EV_CLUSTERS, "value_n", 77),
    ],
)  # fmt: skip
def test_an_impossible_event_is_named(venue: Path, tmp_path: Path, kind: int, field: str, value: int) -> None:
    events = list(struct.iter_unpack("<15q", read_members(venue)["events.bin"]))
    n = [k for k, event in enumerate(events) if event[0] == kind][-1 if kind != c.EV_BARS else 60]

    def change(members: Members) -> None:
        at = n * v.EVENT_BYTES
        struct.pack_into("<q", members["events.bin"], at + 8 * FIELDS.index(field), value)
        kind_id, at_t = struct.unpack_from("<2q", members["events.bin"], at)
        struct.pack_into("<2q", members["blocks.bin"], n * v.BLOCK_BYTES + 8, at_t, kind_id)

    found = defect(forged(venue, tmp_path / "forged.zip", change, hashes=True))
    later = field == "value_n" and kind == c.EV_CLUSTERS  # the version shows in the next hour's states
    assert found["block"] == n + 1 or (later and found["block"] > n + 1), found
    assert found["what"]


def test_a_backtest_has_no_events_of_a_venue(whole: Path, tmp_path: Path) -> None:
    for kind in (c.EV_HEARTBEAT, c.EV_DEPOSIT):

        def change(members: Members, kind: int = kind) -> None:
            struct.pack_into("<q", members["events.bin"], 30 * v.EVENT_BYTES, kind)
            struct.pack_into("<q", members["blocks.bin"], 30 * v.BLOCK_BYTES + 16, kind)

        assert defect(forged(whole, tmp_path / "forged.zip", change, hashes=True))["block"] == 31


def test_the_command_in_this_process(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert v.main([str(whole)]) == 0
    assert "EXPORT VERIFIED: TRUE" in capsys.readouterr().out
    assert v.main([str(whole), "--json", "--run-root", "00"]) == 1
    assert '"verified": false' in capsys.readouterr().out
    members = read_members(whole)
    members["README.md"] += b" "
    from tests.support.exports import write_members

    assert v.main([str(write_members(tmp_path / "x.zip", members))]) == 1
    assert "changed members README.md" in capsys.readouterr().out
    assert v.main([str(tmp_path / "none.zip")]) == 1
