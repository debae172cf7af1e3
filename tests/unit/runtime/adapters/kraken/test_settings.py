from __future__ import annotations

import random

import pytest

from runtime.adapters.kraken.rest import pause_s
from runtime.adapters.kraken.settings import KRAKEN_SOCKET_URL, KRAKEN_URL, FeedSettings, socket_url
from runtime.errors import UsageError


def test_the_socket_belongs_to_the_address_and_v2_stays_in_its_path() -> None:
    assert socket_url(KRAKEN_URL) == KRAKEN_SOCKET_URL
    assert socket_url("http://127.0.0.1:8765") == "ws://127.0.0.1:8765/v2"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.kraken.com",
        "https://kraken.example.com",
        "http://10.0.0.1:80",
        "http://127.0.0.1:80/x",
        "",
        "ftp://localhost",
    ],
)
def test_no_other_address_is_spoken_to(url: str) -> None:
    with pytest.raises(UsageError, match="venue"):
        socket_url(url)


def test_a_book_of_another_depth_is_refused() -> None:
    with pytest.raises(UsageError, match="depth of 100"):
        FeedSettings(depth=100)


def test_pauses_double_up_to_a_bound_and_are_drawn_under_the_seed() -> None:
    settings = FeedSettings(backoff_s=1.0, backoff_max_s=8.0)
    drawn = [pause_s(settings, attempt, random.Random(4)) for attempt in range(1, 2_000)]
    assert drawn == [pause_s(settings, attempt, random.Random(4)) for attempt in range(1, 2_000)]
    for attempt, pause in enumerate(drawn, start=1):
        whole = min(2.0 ** min(attempt - 1, 10), 8.0)
        assert 2 / 3 * whole <= pause <= whole
    assert len({pause_s(settings, 1, random.Random(seed)) for seed in range(9)}) == 9
