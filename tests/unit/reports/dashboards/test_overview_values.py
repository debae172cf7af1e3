"""What the head and the banner say: the gravest first, and always with what to do."""

from __future__ import annotations

import pytest

from reports.dashboards.overview_values import banner_of, health_of
from reports.dashboards.shapes import Status

HEX = "ab" * 32
SOUND = {
    "state": "running", "reasons": [], "mode": "paper", "simulated": False, "clock": "system", "run_id": "paper-1", "version": "1", "now_t": 0,
    "head": {"seq_n": 1, "block_hash": HEX}, "symbols": ["BTC", "ETH"], "interval_t": 3600, "tier": "NORMAL",
    "profile": {"name": "p", "version": 1, "policy_digest": HEX},
    "bundle": {"name": "b", "bundle_hash": HEX, "feature_set_hash": HEX, "manifest_digest": HEX},
    "switches": {"kill_on": False, "kill": "off", "halt_on": False},
    "feed": {"connected": True, "last_message_ms": 0, "last_bar_t": 0, "gaps_n": 0, "checksum_n": 0, "late_n": 0, "duplicate_n": 0,
             "reconnects_n": 0, "stale": [], "skew_ms": 0, "venue_mode": "online"},
    "latency": {"p50_ms": 1.0, "p99_ms": 2.0, "blocks_n": 9}, "paper_days": {"completed_n": 0, "required_n": 30, "reason": ""},
}  # fmt: skip
KILL = {"switches": {"kill_on": True, "kill": "data", "halt_on": True}}
FEED = {"feed": SOUND["feed"] | {"connected": False}}  # type: ignore[operator]
STALE = {"feed": SOUND["feed"] | {"stale": ["ETH"]}}  # type: ignore[operator]
MODE = {"feed": SOUND["feed"] | {"venue_mode": "cancel_only"}}  # type: ignore[operator]


@pytest.mark.parametrize(
    ("changes", "state", "word", "said"),
    [
        ({}, "ok", "Healthy", ""),
        (KILL | FEED | {"state": "stopped"}, "killed", "Kill switch on", "thrown by data"),
        (FEED | {"state": "halted", "reasons": ["hash mismatch"]}, "killed", "Halted by a fault", "hash mismatch"),
        ({"state": "stopped"}, "wait", "Trading stopped", "ballast runtime start"),
        ({"state": "starting"}, "wait", "Starting", ""),
        (FEED, "late", "Feed lost", "reconnects by itself"),
        (STALE, "late", "1 of 2 books stale", ""),
        (MODE, "late", "Venue: cancel only", ""),
        ({"tier": "HALT20"}, "late", "HALT20: no entries", "until an operator releases"),
        ({"reasons": ["clock is 3 s off"]}, "late", "Not trading fully", "clock is 3 s off"),
    ],
)
def test_what_an_operator_is_told(changes: dict[str, object], state: str, word: str, said: str) -> None:
    status = Status.model_validate(SOUND | changes)
    assert health_of(status) == (state, word)
    banner = banner_of(status)
    assert said in (" ".join(banner) if banner else "")
    assert (banner is None) == (said == "")
