"""Errors say three things and travel between processes whole."""

from __future__ import annotations

import pickle

import pytest

from runtime import errors

KINDS = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BallastError)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_s_error_arrives_in_its_own_words(kind: type[errors.BallastError]) -> None:
    sent = kind("got 3 bars", expected="at least 4", action="fetch more")
    arrived = pickle.loads(pickle.dumps(sent))  # noqa: S301  our own bytes
    assert type(arrived) is kind
    assert (arrived.got, arrived.expected, arrived.action) == ("got 3 bars", "at least 4", "fetch more")
    assert str(arrived) == str(sent) == "got 3 bars (expected: at least 4; do: fetch more)"
    assert arrived.exit_code == kind.exit_code


def test_every_kind_has_a_code_of_its_own() -> None:
    specific = [kind for kind in KINDS if kind is not errors.BallastError]
    assert len(specific) >= 6
    assert all(kind.exit_code > 1 for kind in specific)
