"""The endpoint file: read only when it is the owner's alone, and its token shown nowhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from reports.dashboards.client import ControlClient, RequestRefused, RuntimeUnreachable, read_endpoint
from reports.dashboards.shapes import Status

TOKEN = "t" * 43


def endpoint(path: Path, mode: int = 0o600, **changes: object) -> Path:
    """Write an endpoint file."""
    path.write_text(json.dumps({"url": "http://127.0.0.1:1", "launch_token": TOKEN, "pid": 1} | changes))
    path.chmod(mode)
    return path


def test_it_is_read_and_its_text_shows_no_token(tmp_path: Path) -> None:
    found = read_endpoint(endpoint(tmp_path / "endpoint.json"))
    assert found.launch_token == TOKEN
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    ("said", "mode", "changes"),
    [
        ("not yours alone", 0o644, {}), ("damaged", 0o600, {"url": "http://evil.example:80"}), ("damaged", 0o600, {"launch_token": "short"}),
        ("damaged", 0o600, {"url": "http://127.0.0.1:80@evil.example"}),
    ],
)  # fmt: skip
def test_it_is_refused(tmp_path: Path, said: str, mode: int, changes: dict[str, object]) -> None:
    with pytest.raises(RuntimeUnreachable, match=said) as caught:
        read_endpoint(endpoint(tmp_path / "endpoint.json", mode, **changes))
    assert TOKEN not in str(caught.value)


def test_a_link_is_not_followed_and_no_file_means_no_runtime(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnreachable, match="not running"):
        read_endpoint(tmp_path / "endpoint.json")
    (tmp_path / "link.json").symlink_to(endpoint(tmp_path / "real.json"))
    with pytest.raises(RuntimeUnreachable, match="cannot be read"):
        read_endpoint(tmp_path / "link.json")


def test_a_daemon_that_is_gone_and_a_form_without_a_key_are_said(tmp_path: Path) -> None:
    async def ask() -> None:
        async with ControlClient(endpoint(tmp_path / "endpoint.json")) as client:
            with pytest.raises(RuntimeUnreachable, match="does not answer"):
                await client.read(Status, "/runtime/status")
            with pytest.raises(RequestRefused, match="no key"):
                await client.command("/runtime/kill", {"on": True}, "")

    asyncio.run(ask())
