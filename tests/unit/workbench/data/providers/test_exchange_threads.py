from __future__ import annotations

import threading
import time

from workbench.data.providers.exchange import ExchangeProvider


class Client:
    """Tells how many threads were in it at once: what ccxt remembers of its last answer is one field for all of them."""

    last_json_response = object()

    def __init__(self) -> None:
        self.inside_n, self.most_n, self.guard = 0, 0, threading.Lock()

    def fetch_ohlcv(self, market: str, interval: str, since: int, limit: int) -> list[list[float]]:
        with self.guard:
            self.inside_n += 1
            self.most_n = max(self.most_n, self.inside_n)
        time.sleep(0.02)
        with self.guard:
            self.inside_n -= 1
        return [[since, 1.0, 1.0, 1.0, 1.0, 1.0]]


def test_series_read_at_once_never_share_the_memory_of_an_answer() -> None:
    provider, client = ExchangeProvider("binance", call_interval_ms=0, sleep=lambda _: None), Client()
    provider._client = client
    threads = [threading.Thread(target=provider._page, args=(f"{n}/USDT", "1h", 3_600 * n, 10**9)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.most_n == 1
