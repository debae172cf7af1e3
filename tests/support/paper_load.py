"""What goes on beside a trading daemon: clients that never stop asking, and a probe of the disk that everything waits for."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final, Self

import numpy as np

from runtime.errors import EnvironmentFailure
from runtime.ops.api_client import ControlClient
from runtime.ops.endpoint import read_endpoint


class DiskProbe:
    """What one sync of a small file takes meanwhile on the disk of the journal, where a transaction has three."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "probe"
        self._end = threading.Event()
        self._took_ms: list[float] = []
        self._thread = threading.Thread(target=self._probe)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def quantile_ms(self, q: float) -> float:
        """Return a quantile of the syncs so far."""
        return float(np.quantile(self._took_ms, q)) if self._took_ms else 0.0

    def _probe(self) -> None:
        with self._path.open("wb", buffering=0) as f:
            while not self._end.wait(0.25):
                f.write(bytes(4_096))
                began_s = time.perf_counter()
                os.fsync(f.fileno())
                self._took_ms.append((time.perf_counter() - began_s) * 1_000)


class Readers:
    """Clients of the control API that never stop asking: REST in a loop, and one event stream."""

    PATHS: Final = (
        "/runtime/status",
        "/portfolio/summary",
        "/portfolio/assets",
        "/decisions/timeline?limit=50",
        "/predictions/latest",
    )

    def __init__(self, home: Path, readers_n: int = 2) -> None:
        self._home = home
        self._end = threading.Event()
        self.answers_n = 0
        self.stream_n = 0
        self._threads = [threading.Thread(target=self._read, args=(n,)) for n in range(readers_n)]
        self._threads.append(threading.Thread(target=self._listen))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _read(self, n: int) -> None:
        while not self._end.wait(0.05):
            endpoint = read_endpoint(self._home)
            if endpoint is None:
                continue
            try:
                ControlClient(endpoint).get(self.PATHS[(n + self.answers_n) % len(self.PATHS)])
                self.answers_n += 1
            except EnvironmentFailure:  # killed, or not there yet
                continue

    def _listen(self) -> None:
        import httpx

        while not self._end.wait(0.05):
            endpoint = read_endpoint(self._home)
            if endpoint is None:
                continue
            headers = {"Authorization": f"Bearer {endpoint.launch_token}"}
            try:
                with httpx.stream("GET", f"{endpoint.url}/events", headers=headers, timeout=5.0) as answer:
                    for line in answer.iter_lines():
                        self.stream_n += line.startswith("data:")
                        if self._end.is_set():
                            return
            except httpx.HTTPError:
                continue
