"""The other frameworks: an environment each, the same market, and whether their trades are ours."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from runtime.core.records import E4, E8, PPM
from tools.bench.market import SYMBOLS_N, Rows, close_times, make_bars
from tools.bench.ours import TRADE
from tools.bench.rule import CASH_N, FEE_PPM, entry_quantities, wants_long

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENTS: Final = ROOT / ".venv-bench"
SCRIPTS: Final = Path(__file__).parent / "rivals"
INSTALL_S: Final = 900
RUN_S: Final = 1_800


class Framework(NamedTuple):
    """A framework: how it is called, which Python versions it runs on, and in which ways it computes the rule."""

    name: str
    pythons: tuple[tuple[int, int], ...]
    ways: tuple[str, ...]

    @property
    def stem(self) -> str:
        """Return the name of its script and of its list of pinned packages."""
        return self.name.lower().removesuffix("trader") if self.name != "backtrader" else self.name


FRAMEWORKS: Final = (
    Framework("vectorbt", ((3, 12), (3, 13)), ("both",)),
    Framework("backtrader", ((3, 12), (3, 13)), ("own", "given")),
    Framework("NautilusTrader", ((3, 12), (3, 13)), ("own", "given")),
)


class Measured(NamedTuple):
    """What a framework measured, all ways together, and the trades of the last way.

    Attributes:
        figures: what its script printed: seconds by name, its version, its Python, the number of fills.
        process_s: whole process of each way, imports and loading included.
        trades: TRADE [N].
    """

    figures: dict[str, float | str]
    process_s: dict[str, float]
    trades: Rows


class Unavailable(Exception):
    """A framework that cannot be measured here, and why."""


def find_python(versions: tuple[tuple[int, int], ...]) -> str:
    """Return an interpreter of one of some versions: on the PATH, or where pyenv keeps them.

    Raises:
        Unavailable: there is none.
    """
    for major, minor in versions:
        kept = sorted(map(str, Path.home().glob(f".pyenv/versions/{major}.{minor}*/bin/python")))
        for candidate in (shutil.which(f"python{major}.{minor}"), *kept, sys.executable):
            if candidate is None:
                continue
            asked = subprocess.run(
                [candidate, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
            )
            if asked.returncode == 0 and asked.stdout.split() == [str(major), str(minor)]:
                return candidate
    wanted = " or ".join(f"{major}.{minor}" for major, minor in versions)
    raise Unavailable(f"there is no Python {wanted} here")


def environment(framework: Framework) -> Path:
    """Return the Python of a framework's own environment, made from its pinned list when it is not there yet.

    Raises:
        Unavailable: no suitable Python, or the packages cannot be installed.
    """
    pins = SCRIPTS / f"{framework.stem}.txt"
    folder = ENVIRONMENTS / f"{framework.stem}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    python, stamp = folder / "bin" / "python", folder / ".complete"
    if stamp.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    base = find_python(framework.pythons)
    print(f"installing {framework.name} into {folder.relative_to(ROOT)}", file=sys.stderr)
    try:
        subprocess.run([base, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=INSTALL_S)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-qq", "--no-input", "--no-deps", "--only-binary", ":all:", "-r", str(pins)],
            check=True, capture_output=True, timeout=INSTALL_S,
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError) as e:
        raise Unavailable(f"its packages cannot be installed ({type(e).__name__})") from e
    stamp.touch()
    return python


def write_market(folder: Path, bars_n: int, symbols_n: int = SYMBOLS_N) -> None:
    """Write the market, the rule's answers and its quantities as the frameworks read them: float64 [T, S] each."""
    bars = make_bars(bars_n, symbols_n)[:, :symbols_n]
    prices = {name: bars[f"{name}_e8"] / E8 for name in ("open", "high", "low", "close")}
    np.savez(
        folder / "market.npz", open=prices["open"], high=prices["high"], low=prices["low"], close=prices["close"],
        volume=bars["volume_e4"] / E4, long=wants_long(bars["close_e8"]), quantity=entry_quantities(bars["close_e8"]),
        close_t=close_times(bars_n), cash=CASH_N, fee=FEE_PPM / PPM,
    )  # fmt: skip


def measure(framework: Framework, folder: Path) -> Measured:
    """Run a framework over the market in `folder`, once per way.

    Raises:
        Unavailable: it has no environment here, or its run failed.
    """
    python = environment(framework)
    figures: dict[str, float | str] = {}
    process_s = {}
    for way in framework.ways:
        began_s = time.perf_counter()
        done = subprocess.run(
            [str(python), "-W", "ignore", str(SCRIPTS / f"{framework.stem}_run.py"), str(folder), way],
            capture_output=True, text=True, check=False, timeout=RUN_S,
            env={k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NUMBA"))},
        )  # fmt: skip
        process_s[way] = time.perf_counter() - began_s
        if done.returncode != 0:
            raise Unavailable(f"its run failed: {done.stderr.strip().splitlines()[-1:]}")
        figures |= json.loads(done.stdout.strip().splitlines()[-1])
    columns = np.load(folder / "trades.npy")
    trades = np.zeros(len(columns), TRADE)
    for n, name in enumerate(TRADE.names or ()):
        trades[name] = columns[:, n]
    return Measured(figures, process_s, trades)


class Agreement(NamedTuple):
    """How two lists of round trips compare.

    Attributes:
        ours_n, theirs_n: round trips of each.
        same_n: round trips with the same symbol, entry time and exit time in both.
        symbols_n: symbols whose numbers of round trips agree.
        price: largest relative difference of an entry or exit price among the same ones.
        quantity: largest relative difference of a quantity among the same ones.
    """

    ours_n: int
    theirs_n: int
    same_n: int
    symbols_n: int
    price: float
    quantity: float


def compare(ours: Rows, theirs: Rows, symbols_n: int = SYMBOLS_N) -> Agreement:
    """Return how two lists of round trips (TRADE) agree."""
    keys = ["symbol_n", "entry_t", "exit_t"]
    left = {tuple(row[keys].tolist()): row for row in ours}
    pairs = [(left[key], row) for row in theirs if (key := tuple(row[keys].tolist())) in left]
    counts = [np.bincount(trades["symbol_n"], minlength=symbols_n) for trades in (ours, theirs)]

    def largest(*names: str) -> float:
        return max((abs(float(b[name]) / float(a[name]) - 1) for a, b in pairs for name in names), default=0.0)

    return Agreement(
        len(ours), len(theirs), len(pairs), int((counts[0] == counts[1]).sum()), largest("entry_price", "exit_price"), largest("quantity")
    )  # fmt: skip
