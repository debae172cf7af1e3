"""A process of many readers: each polls the API over one connection, until stdin ends; prints how many answers came and the worst.

Usage: python -m tests.support.readers PORT TOKEN READERS PAUSE_S PATH...
"""

from __future__ import annotations

import asyncio
import json
import sys
import time


async def read(port: int, token: str, paths: list[str], pause_s: float, stop: asyncio.Event, told: dict[str, float]) -> None:
    """Ask for the paths in turn."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    n = 0
    while not stop.is_set():
        path = paths[n % len(paths)]
        n += 1
        started = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        told["answers"] += 1
        told["failed"] += not head.startswith(b"HTTP/1.1 200")
        told["worst_ms"] = max(told["worst_ms"], (time.perf_counter() - started) * 1_000)
        await asyncio.sleep(pause_s)
    writer.close()


async def main() -> None:
    """Run the readers."""
    port, token, readers_n, pause_s, *paths = sys.argv[1:]
    stop = asyncio.Event()
    told = {"answers": 0.0, "failed": 0.0, "worst_ms": 0.0}
    tasks = [asyncio.create_task(read(int(port), token, paths, float(pause_s), stop, told)) for _ in range(int(readers_n))]
    while told["answers"] < int(readers_n):  # noqa: ASYNC110  a count, looked at fifty times a second for a second
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    stop.set()
    await asyncio.gather(*tasks)
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
