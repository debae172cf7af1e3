"""Check the JSON object that `ballast demo --json` printed: every promised key, the right form, and a proof that proves something."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtime.ops.gates import GATES

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
DIGEST_KEYS: Final = ("dataset_hash", "feature_set_hash", "policy_hash", "run_root", "journal_head")
COUNT_KEYS: Final = ("blocks", "signals", "orders", "fills", "trades")
OTHER_KEYS: Final = (
    "source", "model_hashes", "replay_parity", "refusals", "final_pv", "net_return", "max_drawdown", "baselines", "seconds", "runs",
    "runs_valid", "checks",
)  # fmt: skip
BASELINES: Final = ("flat", "btc_hold", "equal_weight")
RUNS: Final = ("ml", "trend")


def findings(result: Mapping[str, object]) -> list[str]:
    """Return what is wrong with the demo's result, one sentence each; empty when nothing is."""
    wrong = [f"{key} is missing" for key in (*DIGEST_KEYS, *COUNT_KEYS, *OTHER_KEYS) if key not in result]
    if wrong:
        return wrong
    wrong += [f"{key} is no SHA-256: {result[key]!r}" for key in DIGEST_KEYS if not _is_digest(result[key])]
    hashes = result["model_hashes"]
    if not isinstance(hashes, list) or not hashes or not all(_is_digest(h) for h in hashes) or hashes != sorted(hashes):
        wrong.append("model_hashes is not a sorted, non-empty list of SHA-256")
    wrong += [f"{key} is no count: {result[key]!r}" for key in COUNT_KEYS if not _is_count(result[key])]
    if result["replay_parity"] is not True:
        wrong.append(f"replay_parity is {result['replay_parity']!r}")
    wrong += _part_findings(result, "baselines", BASELINES)
    wrong += _part_findings(result, "runs", RUNS)
    wrong += _check_findings(result)
    if not wrong:
        runs = result["runs"]
        trend = runs["trend"] if isinstance(runs, dict) else {}
        if not trend.get("fills"):
            wrong.append("the trend run has no fills: parity on an empty ledger is no proof")
    return wrong


def _check_findings(result: Mapping[str, object]) -> list[str]:
    """Return every gate that is missing, was skipped, or does not hold, on either run."""
    wrong = _part_findings(result, "checks", RUNS)
    if wrong:
        return wrong
    if result["runs_valid"] is not True:
        wrong.append(f"runs_valid is {result['runs_valid']!r}")
    checks = result["checks"]
    for run in RUNS:
        counts = checks[run] if isinstance(checks, dict) else {}
        for gate in GATES:
            found = counts.get(gate.name) if isinstance(counts, dict) else None
            if found is None or found < 0:
                wrong.append(f"checks.{run}: the gate {gate.name} did not run")
            elif found:
                wrong.append(f"checks.{run}: {found} rows against the gate {gate.name}")
    return wrong


def _part_findings(result: Mapping[str, object], key: str, names: tuple[str, ...]) -> list[str]:
    part = result[key]
    if not isinstance(part, dict):
        return [f"{key} is no object"]
    return [f"{key}.{name} is missing" for name in names if name not in part]


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def main() -> int:
    """Check the file named on the command line; print what is wrong; return 1 if anything is."""
    wrong = findings(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    for sentence in wrong:
        print(f"demo: {sentence}")
    print("demo: the JSON object is as promised" if not wrong else f"demo: {len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
