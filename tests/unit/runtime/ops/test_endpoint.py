"""The endpoint file: its owner's alone, whole or not there, and believed only when it is."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from runtime.errors import EnvironmentFailure
from runtime.ops import endpoint as module
from runtime.ops.endpoint import Endpoint, endpoint_path, read_endpoint, remove_endpoint, write_endpoint

TOKEN = "t0ken" * 10
ENDPOINT = Endpoint(url="http://127.0.0.1:8123", launch_token=TOKEN, pid=17)


def test_written_read_and_removed(home: Path) -> None:
    assert read_endpoint(home) is None
    write_endpoint(home, ENDPOINT)
    assert read_endpoint(home) == ENDPOINT
    assert stat.S_IMODE(endpoint_path(home).stat().st_mode) == 0o600
    write_endpoint(home, ENDPOINT.model_copy(update={"pid": 18}))
    assert [path.name for path in endpoint_path(home).parent.iterdir()] == ["endpoint.json"]
    remove_endpoint(home)
    remove_endpoint(home)
    assert read_endpoint(home) is None


def test_it_is_never_readable_by_others_not_even_while_it_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = module.os.fdopen

    def looking(fd: int, *rest: str, **options: str) -> object:
        seen.append(stat.S_IMODE(module.os.fstat(fd).st_mode))
        return real(fd, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(module.os, "fdopen", looking)
    write_endpoint(home, ENDPOINT)
    assert seen == [0o600]


def test_its_text_shows_no_token() -> None:
    assert TOKEN not in repr(ENDPOINT)
    assert TOKEN not in str(ENDPOINT)


def test_a_file_that_others_can_read_is_refused(home: Path) -> None:
    write_endpoint(home, ENDPOINT)
    endpoint_path(home).chmod(0o640)
    with pytest.raises(EnvironmentFailure, match="not yours alone"):
        read_endpoint(home)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"url":"http://example.org:1","launch_token":"%s","pid":1}' % TOKEN.encode(),
     b'{"url":"http://127.0.0.1:1","launch_token":"short","pid":1}'],
)  # fmt: skip
def test_a_damaged_file_is_refused_without_its_token(home: Path, content: bytes) -> None:
    write_endpoint(home, ENDPOINT)
    endpoint_path(home).write_bytes(content)
    with pytest.raises(EnvironmentFailure, match="it is damaged") as refused:
        read_endpoint(home)
    assert TOKEN not in str(refused.value)


def test_a_link_is_not_followed(home: Path, tmp_path: Path) -> None:
    write_endpoint(home, ENDPOINT)
    endpoint_path(home).rename(tmp_path / "elsewhere")
    endpoint_path(home).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFailure, match="cannot use"):
        read_endpoint(home)
