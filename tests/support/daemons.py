"""A stand-in for the daemon's outside: it holds the lock, writes an endpoint, answers, and ends on SIGTERM. Run as a script.

Arguments: the home folder, and how it behaves: `well`, `deaf` (ignores SIGTERM), `mute` (never answers), `refuses` (ends with code 4 and
a message), `silent` (ends with code 6 and none), `crashes` (ends by a signal), `unhealthy` (answers 503),
`starting` (never gets further), `locked` (refuses the token).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from runtime.ops.endpoint import Endpoint, write_endpoint
from runtime.ops.lock import DaemonLock

TOKEN = "a" * 43
BEHAVIOUR = sys.argv[-1]


class Answers(BaseHTTPRequestHandler):
    """Says back what it was asked."""

    def do_GET(self) -> None:
        """Answer a read."""
        refused = {"unhealthy": 503, "locked": 401 if self.path != "/healthz" else 200}.get(BEHAVIOUR, 200)
        state = "starting" if BEHAVIOUR == "starting" else "running"
        self._answer(refused, {"status": "ok", "state": state, "path": self.path, "headers": dict(self.headers)})

    def do_POST(self) -> None:
        """Answer a write by what its body asks for."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told: dict[str, object] = {"path": self.path, "headers": dict(self.headers)}
        if "version" in body:
            given = body["version"]["profile"]
            told["profile"] = {
                "name": given["name"],
                "version": given["version"],
                "policy_digest": body["version"]["policy_digest"],
            }
        self._answer(body.get("status", 200), body.get("answer", told))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, value: object) -> None:
        content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main() -> None:
    """Behave."""
    home = Path(sys.argv[1])
    if BEHAVIOUR == "refuses":
        print("gate: no bundle is active\n  do next:  ballast bundle activate", file=sys.stderr)
        sys.exit(4)
    if BEHAVIOUR == "silent":
        sys.exit(6)
    if BEHAVIOUR == "crashes":
        os.kill(os.getpid(), signal.SIGKILL)
    lock = DaemonLock.take(home, 7)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if BEHAVIOUR == "deaf" else lambda *_: sys.exit(0))
    server = HTTPServer(("127.0.0.1", 0), Answers)
    if BEHAVIOUR != "mute":
        write_endpoint(home, Endpoint(url=f"http://127.0.0.1:{server.server_port}", launch_token=TOKEN, pid=os.getpid()))
    server.serve_forever(0.01)
    lock.release()


if __name__ == "__main__":
    main()
