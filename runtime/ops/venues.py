"""What stands at a venue's address: the real venue, or a local Kraken that has a time of its own."""

from __future__ import annotations

import http.client
import json
from typing import Final, NamedTuple
from urllib.parse import urlsplit

ANSWER_S: Final = 5.0


class LocalTime(NamedTuple):
    """The virtual time of a local Kraken: nanoseconds UTC, and how fast it runs (0: it is stepped)."""

    now_ns: int
    speed: float


def local_time(url: str) -> LocalTime | None:
    """Return the virtual time of a local Kraken; `None` for anything that publishes none, so that the system's clock holds.

    Only plain http on this machine can be one (`settings.venue_address`); nothing else is asked.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        return None
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=ANSWER_S)
    try:
        connection.request("GET", "/control/now")
        said = json.loads(connection.getresponse().read(10_000))
        return LocalTime(int(said["now_ns"]), float(said["speed"]))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
