"""Times on the command line: ISO 8601, UTC unless they say otherwise, one reading for every command."""

from __future__ import annotations

import pytest

from runtime.console import iso_time, time_option
from runtime.errors import UsageError


@pytest.mark.parametrize(
    ("text", "at_t"),
    [
        (None, None),
        ("", None),
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00", 3_600),
        ("1970-01-01T01:00Z", 3_600),
        ("1970-01-01T01:00+01:00", 0),
    ],
)
def test_a_time_is_read(text: str | None, at_t: int | None) -> None:
    assert time_option(text, "--at") == at_t


def test_what_is_shown_can_be_given_back() -> None:
    assert time_option(iso_time(1_704_067_200), "--at") == 1_704_067_200


@pytest.mark.parametrize("text", ["noon", "2024-13-01", "3600"])
def test_what_is_no_time_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        time_option(text, "--since")
