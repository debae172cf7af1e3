"""What the loop says in the log about its feed and about itself: every change once, and what goes on at most once a minute."""

from __future__ import annotations

from typing import Final

from runtime.market import Notice, NoticeKind
from runtime.trading.needs import Hooks

AGAIN_MS: Final = 60_000
"""Between two lines about a connection that stays away, at least."""
WARNED: Final = frozenset({NoticeKind.LOST, NoticeKind.GAP, NoticeKind.CHECKSUM, NoticeKind.STALE, NoticeKind.REJECTED})


class FeedLog:
    """Tells what the feed says of itself; a venue that stays away is one line, then a count."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._lost = False
        self._attempts_n = 0
        self._told_ms = 0

    def take(self, notice: Notice, now_ms: int) -> None:
        """Tell a notice, unless it says again that the connection is gone."""
        fields: dict[str, str | int | float] = {"instrument_id": notice.instrument_id, "text": notice.text}
        if notice.kind is NoticeKind.LOST:
            self._attempts_n += 1
            if self._lost and now_ms - self._told_ms < AGAIN_MS:
                return
            self._lost, self._told_ms = True, now_ms
            fields["attempts_n"] = self._attempts_n
        elif notice.kind is NoticeKind.CONNECTED:
            if self._lost:
                fields["attempts_n"] = self._attempts_n
            self._lost, self._attempts_n = False, 0
        say = self._hooks.warn if notice.kind in WARNED else self._hooks.log
        say(f"feed: {notice.kind}", fields)


class EntriesLog:
    """Tells when something begins or ends that keeps the loop from entering."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._told: frozenset[str] = frozenset()

    def take(self, reasons: dict[str, str]) -> None:
        """Tell the reasons, by what they are about, when others are in force than the last time."""
        if self._told == reasons.keys():
            return
        self._told = frozenset(reasons)
        if reasons:
            self._hooks.warn("nothing is entered", {"reasons": "; ".join(reasons.values())})
        else:
            self._hooks.log("entries are possible", {})
