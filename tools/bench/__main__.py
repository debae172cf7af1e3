"""`make bench` prints our figures beside their targets and the ratios to other frameworks; `make bench-all` also writes the page.

    python -m tools.bench [--json] [--all] [--no-frameworks]

The short run takes about two minutes once the environments of the frameworks are there (the first run makes them, which needs
a package index); it compares on one year of bars. The whole run compares on five and adds growth, memory and the profile.
"""

from __future__ import annotations

import os
import sys

from tools.bench import children, measure
from tools.bench.result import Result, as_text, describe_machine, write_page


def main() -> int:
    """Measure, show, and with `--all` write the page; 1 when a target is not kept."""
    words = sys.argv[1:]
    if words[:1] == ["child"]:
        children.answer(words[1:])
        return 0
    whole = "--all" in words
    result = Result(describe_machine())
    for label, step in measure.steps(whole=whole, frameworks="--no-frameworks" not in words):
        print(f"measuring {label}", file=sys.stderr)
        step(result)
    result.machine["load average after"] = f"{os.getloadavg()[0]:.2f}"
    print(result.as_json() if "--json" in words else as_text(result))
    if whole:
        write_page(result)
    return 0 if all(target.kept for target in result.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
