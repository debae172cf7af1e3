"""The daemon's log: JSON lines, rotated, private, and no planted secret in any of them."""

from __future__ import annotations

import base64
import errno
import json
import logging
import random
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog

from runtime.errors import EnvironmentFailure
from runtime.ops import logs
from runtime.ops.logs import HIDDEN, Redaction, configure, log_path, tail

RANDOM = random.Random(20_261_123)
SECRET = base64.b64encode(RANDOM.randbytes(64)).decode()  # the form of a Kraken secret, and of its API-Sign
API_KEY = base64.b64encode(RANDOM.randbytes(42)).decode()  # the form of a Kraken key: 56 characters
TOKEN = "lt-" + RANDOM.randbytes(16).hex()
PASSWORD = "hunter2-" + RANDOM.randbytes(4).hex()
PLANTED = (SECRET, API_KEY, TOKEN, PASSWORD)


class Pair(NamedTuple):
    name: str
    api_secret: str


class Held:
    def __repr__(self) -> str:
        return f"Held(api_key={PASSWORD!r}, at=3)"


@pytest.fixture
def log(home: Path) -> Iterator[structlog.stdlib.BoundLogger]:
    """Yield a logger that writes the log of `home`, and leave logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    configure(home, bytes_max=100_000, files_n=2, level="INFO", to_stderr=False)
    yield structlog.get_logger("test")
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def written(home: Path) -> str:
    for handler in logging.getLogger().handlers:
        handler.flush()
    return "".join(path.read_text("utf-8") for path in sorted(log_path(home).parent.glob("daemon.log*")))


def lines(home: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in written(home).splitlines()]


def test_one_json_object_on_a_line(home: Path, log: structlog.stdlib.BoundLogger) -> None:
    log.info("block", seq_n=3, at_t=1_700_000_000, reasons=("a", "b"), none=None, share=0.5)
    logging.getLogger("library").warning("with %s", "arguments", extra={"port": 8})
    log.debug("not written")
    first, second = lines(home)
    assert first | {"timestamp": ""} == {
        "event": "block", "seq_n": 3, "at_t": 1_700_000_000, "reasons": ["a", "b"], "none": None, "share": 0.5, "level": "info",
        "logger": "test", "timestamp": "",
    }  # fmt: skip
    assert (second["event"], second["level"], second["logger"], second["port"]) == ("with arguments", "warning", "library", 8)
    assert str(first["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "value",
    [
        {"secret": SECRET}, {"apiKey": API_KEY}, {"API-Sign": PASSWORD}, {"launch_token": TOKEN}, {"headers": {"Authorization": f"Bearer {TOKEN}"}},
        {"headers": [("cookie", f"session={TOKEN}; Path=/")]}, {"headers": [[b"authorization", f"Bearer {TOKEN}".encode()]]},
        {"a": [{"b": ({"password": PASSWORD},)}]}, {b"set-cookie": TOKEN}, Pair("x", PASSWORD), Held(), {"k": Held()}, {PASSWORD: 1, "passphrase": PASSWORD},
        f"POST /0/private/AddOrder API-Key: {API_KEY} API-Sign: {SECRET}", f"https://me:{PASSWORD}@example.org/x", f"token={TOKEN}&x=1",
        f'{{"secret": "{PASSWORD}", "ok": 1}}', json.dumps(json.dumps({"secret": PASSWORD, "ok": 1})), f"Cookie: a={TOKEN}; b={PASSWORD}",
        f"{{'apiKey': '{API_KEY}', 'password': '{PASSWORD}'}}", f"signature={SECRET}", SECRET.encode(), f"Authorization: Basic {TOKEN}",
        f"-----BEGIN PRIVATE KEY-----\n{TOKEN}\n{PASSWORD}\n-----END PRIVATE KEY-----", f"key {API_KEY} was refused", f"the value {SECRET}",
        f"BALLAST_TOKEN={TOKEN}", f"secretKey => {PASSWORD}", f"nonce=1&otp={PASSWORD}", f"-----BEGIN RSA PRIVATE KEY-----\n{TOKEN}",
        f"access_token: {TOKEN}", f'password="{PASSWORD} with words"', f"token('{TOKEN}')", frozenset({f"password={PASSWORD}"}),
    ],
    ids=str,
)  # fmt: skip
def test_no_planted_secret_is_written(home: Path, log: structlog.stdlib.BoundLogger, value: object) -> None:
    logs.REDACTION.hide(PASSWORD) if value.__class__ is dict and PASSWORD in value else None  # type: ignore[operator]
    log.info("an event", field=value)
    said = f"in the text {value}"
    log.info(said)
    logging.getLogger("uvicorn").error("as an argument %s", value)
    try:
        raise ValueError(value)
    except ValueError:
        log.exception("raised")
        logging.getLogger("ccxt").exception("raised below")
    text = written(home)
    assert len(lines(home)) == 5
    assert HIDDEN in text
    for secret in PLANTED:
        assert secret not in text
        assert repr(secret)[1:-1] not in text


def test_a_nested_cause_is_redacted_too(home: Path, log: structlog.stdlib.BoundLogger) -> None:
    try:
        try:
            raise KeyError(f"Authorization: Bearer {TOKEN}")
        except KeyError as e:
            raise RuntimeError(f"with secret={PASSWORD!r}") from e
    except RuntimeError:
        log.exception("it failed")
    (line,) = lines(home)
    assert "RuntimeError" in str(line["exception"])
    assert "KeyError" in str(line["exception"])
    assert not any(secret in written(home) for secret in PLANTED)


def test_a_value_that_was_told_is_hidden_wherever_it_turns_up(home: Path, log: structlog.stdlib.BoundLogger) -> None:
    odd = "plain-words-that-no-pattern-knows"
    before, after = f"before {odd}", f"after x{odd}x"
    log.info(before)
    logs.REDACTION.hide(odd)
    log.info(after, other=[odd], **{odd: 1})
    before, after = written(home).splitlines()
    assert odd in before
    assert odd not in after
    redaction = Redaction()
    redaction.hide("short")
    assert redaction.text("a short word") == "a short word", "what is no secret by its length would make the log unreadable"


def test_what_is_no_secret_stays_readable(home: Path, log: structlog.stdlib.BoundLogger) -> None:
    digest, order = "ab" * 32, "OQCLML-BW3P3-BUCMWZ"
    log.info(
        "order sent",
        block_hash=digest,
        cl_ord_id=order,
        signal_id=4,
        design="x",
        key_n=3,
        profile="conservative",
        keyword="buy",
    )
    said = f"block {digest} signal_id=4 monkey=3 at 2026-11-23T00:00:00Z; head 12, chain_key: 12"
    log.info(said)
    text = written(home)
    assert HIDDEN not in text.replace(f"chain_key: {HIDDEN}", "")
    assert all(word in text for word in (digest, order, "signal_id=4", "2026-11-23T00:00:00Z"))


def test_deep_and_long_values_end() -> None:
    redaction = Redaction()
    nested: object = {"secret": PASSWORD}
    for _ in range(100):
        nested = [nested]
    assert PASSWORD not in json.dumps(redaction.value(nested))
    assert len(redaction.text("x" * 10**6)) < 21_000
    loop: list[object] = []
    loop.append(loop)
    json.dumps(redaction.value(loop))


def test_the_redaction_ends_in_time() -> None:
    """Hostile text must not make a pattern run for ever: the trading loop writes this log."""
    import time

    began_s = time.perf_counter()
    for hostile in (
        "a" * 20_000,
        "key" * 7_000,
        "key=" * 5_000,
        "key='" * 4_000,
        "a_" * 10_000,
        "\\" * 20_000,
        "cookie:" * 3_000,
        "a+." * 7_000,
    ):
        Redaction().text(hostile)
    assert time.perf_counter() - began_s < 5.0


def test_it_is_rotated_and_private(home: Path, log: structlog.stdlib.BoundLogger) -> None:
    for n in range(3_000):
        log.info("a line of some length", n=n, filler="x" * 50)
    files = sorted(path.name for path in log_path(home).parent.iterdir())
    assert files == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    for path in log_path(home).parent.iterdir():
        assert path.stat().st_size <= 100_000
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(tail(home, 2)[-1])["n"] == 2_999
    assert len(tail(home, 2)) == 2


def test_warnings_are_logged(home: Path, log: structlog.stdlib.BoundLogger) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"token={TOKEN}", stacklevel=1)
    (line,) = lines(home)
    assert line["logger"] == "py.warnings"
    assert TOKEN not in written(home)


def test_a_full_disk_is_one_line_on_the_terminal(
    home: Path, log: structlog.stdlib.BoundLogger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (handler,) = (h for h in logging.getLogger().handlers if isinstance(h, logs.PrivateRotatingFile))

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(handler.stream, "flush", full)
        for n in range(3):
            log.info("a line", n=n)
    said = capsys.readouterr().err
    assert said.splitlines() == [f"the log {log_path(home)} cannot be written: [Errno 28] No space left on device"]


def test_no_place_for_it(home: Path) -> None:
    (home / "runtime").write_text("a file in the way")
    with pytest.raises(EnvironmentFailure, match=r"cannot write .*daemon\.log"):
        configure(home, bytes_max=100_000, files_n=2, level="INFO", to_stderr=False)
    assert tail(home, 5) == []


def test_the_terminal_gets_it_too(home: Path, log: structlog.stdlib.BoundLogger, capsys: pytest.CaptureFixture[str]) -> None:
    configure(home, bytes_max=100_000, files_n=2, level="INFO", to_stderr=True)
    log.info("shown", token=TOKEN)
    shown = capsys.readouterr().err
    assert '"event": "shown"' in shown
    assert TOKEN not in shown
