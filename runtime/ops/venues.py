"""What stands at a venue's address: the real venue, or a local Kraken that has a time of its own."""

from __future__ import annotations

import http.client
import json
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from runtime.errors import EnvironmentFailure

ANSWER_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 10_000


class LocalTime(NamedTuple):
    """The virtual time of a local Kraken: nanoseconds UTC, and how fast it runs (0: it is stepped)."""

    now_ns: int
    speed: float


def local_time(url: str) -> LocalTime | None:
    """Return the virtual time of a local Kraken; `None` for an address that is not of this machine, whose time is the system's.

    Only plain http on this machine can be one (`settings.venue_address`), and it always tells its time: guessing another one would put
    events of the present behind those of a replayed past.

    Raises:
        EnvironmentFailure: nothing there tells its time.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        return None
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=ANSWER_S)
    try:
        connection.request("GET", "/control/now")
        said = json.loads(connection.getresponse().read(ANSWER_BYTES_MAX))
        return LocalTime(int(said["now_ns"]), float(said["speed"]))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as e:
        raise EnvironmentFailure(
            f"no local Kraken at {url}: {str(e) or type(e).__name__}",
            expected="one that tells its virtual time",
            action="start it with `ballast kraken serve --port PORT`, or correct --venue",
        ) from e
    finally:
        connection.close()
