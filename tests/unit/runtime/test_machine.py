"""The platform on record: it names what differs, and a run without a record says nothing."""

from __future__ import annotations

from pathlib import Path

from runtime.machine import PLATFORM_NAME, made_on, this_platform
from workbench.notebook.environment import environment


def test_a_run_records_the_platform_it_was_made_on(made_run: Path) -> None:
    here = this_platform()
    assert made_on(made_run) == here
    assert here.differences(here) == ()
    assert here.system == environment().system
    assert here.processor_features == environment().processor_features


def test_what_differs_is_named() -> None:
    here = this_platform().model_copy(update={"switches": ()})
    then = here.model_copy(update={"python": "3.0.0", "switches": ("NUMBA_DISABLE_JIT=1",)})
    assert then.differences(here) == ("switches NUMBA_DISABLE_JIT=1 then, none now", f"python 3.0.0 then, {here.python} now")


def test_no_record_and_a_damaged_one(tmp_path: Path) -> None:
    assert made_on(tmp_path) is None
    for content in (b"", b"{}", b"\xff", b'{"system": 1}'):
        (tmp_path / PLATFORM_NAME).write_bytes(content)
        assert made_on(tmp_path) is None
