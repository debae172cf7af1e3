"""How the feed listens: addresses, depths and deadlines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from runtime.errors import UsageError

KRAKEN_URL: Final = "https://api.kraken.com"
KRAKEN_SOCKET_URL: Final = "wss://ws.kraken.com/v2"
DEPTHS: Final = (10, 25)
LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Bounds of the feed. Seconds are real time and bound waiting; milliseconds are the venue's time and concern data."""

    depth: int = 10
    """Levels a side of each book: 10 or 25."""
    trades: bool = True
    """Whether the trades of the market are followed."""
    settle_ms: int = 2_000
    """A bar counts as closed when the venue, asked so long after its end, has answered; its later changes are notices."""
    confirm: bool = True
    """Whether REST is asked for every closed bar before it is delivered: a candle's last update may have been lost without a trace.
    Where REST does not answer, the candle of the stream is taken. Without it REST is asked only for what the stream did not tell."""
    probe_s: float = 3.0
    """Silence after which the venue is asked for a sign of life; it beats every second."""
    answer_s: float = 5.0
    """Patience for that sign and for the answer to a subscription. Silence lasts at most `probe_s + answer_s`."""
    connect_s: float = 10.0
    """Patience for a connection."""
    open_s: float = 60.0
    """Patience for the first complete set of subscriptions."""
    backoff_s: float = 0.5
    """First pause before a reconnection; each next one is twice as long, a third of it drawn under the seed."""
    backoff_max_s: float = 30.0
    """Longest pause."""
    rest_timeout_s: float = 10.0
    """Patience for one REST answer."""
    rest_attempts_n: int = 3
    """Calls of one REST question before it counts as failed."""
    rest_pace_s: float = 0.35
    """Least time between two REST calls; 0: none."""
    seed: int = 0
    """Of the drawn part of the pauses."""

    def __post_init__(self) -> None:
        if self.depth not in DEPTHS:
            raise UsageError(f"a book depth of {self.depth}", expected="10 or 25", action="choose one of them")

    @classmethod
    def stepped(cls, *, seed: int = 0, trades: bool = False) -> FeedSettings:
        """Return what suits a local Kraken whose time is stepped in whole bars: no stragglers, short deadlines, no pacing."""
        return cls(
            trades=trades,
            settle_ms=0,
            confirm=False,
            probe_s=0.25,
            answer_s=0.5,
            connect_s=2.0,
            open_s=20.0,
            backoff_s=0.01,
            backoff_max_s=0.2,
            rest_timeout_s=2.0,
            rest_attempts_n=5,
            rest_pace_s=0.0,
            seed=seed,
        )


def socket_url(url: str) -> str:
    """Return the address of WebSocket v2 beside a REST address: Kraken's own, or `/v2` of a local Kraken.

    Raises:
        UsageError: the address is neither Kraken's nor one of this machine.
    """
    if url == KRAKEN_URL:
        return KRAKEN_SOCKET_URL
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOCAL_HOSTS or parts.path not in {"", "/"}:
        raise UsageError(
            f"the venue {url!r}",
            expected=f"{KRAKEN_URL}, or http://127.0.0.1:PORT of a local Kraken",
            action="correct the address in the settings",
        )
    return f"ws://{parts.netloc}/v2"
