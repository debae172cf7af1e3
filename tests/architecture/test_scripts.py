"""Scripts that a page carries: parsed by a JavaScript engine where one is installed, required in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def test_the_report_script_parses(repository: Path) -> None:
    node = shutil.which("node")
    if node is None:
        assert not os.environ.get("CI"), "CI has a JavaScript engine"
        pytest.skip("no node: the report's script is parsed in CI")
    done = subprocess.run(
        [node, "--check", str(repository / "reports/static/report.js")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
