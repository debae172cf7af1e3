"""Scripts that a page carries: parsed by a JavaScript engine where one is installed, required in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = [
    "reports/static/report.js",
    "reports/static/quality/quality.js",
    "reports/dashboards/static/frame.js",
    "reports/dashboards/static/decisions.js",
    "reports/dashboards/static/offline.js",
    "reports/dashboards/static/theme.js",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_of_a_page_parse(repository: Path, script: str) -> None:
    node = shutil.which("node")
    if node is None:
        assert not os.environ.get("CI"), "CI has a JavaScript engine"
        pytest.skip("no node: the pages' scripts are parsed in CI")
    done = subprocess.run([node, "--check", str(repository / script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
