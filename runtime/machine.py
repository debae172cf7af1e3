"""On what this process computes: all that may change bits while inputs and source stay the same. Part of no digest."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

PLATFORM_NAME: Final = "platform.json"
"""File beside a run's journal: the platform that the run was made on."""
SWITCHES: Final = ("NUMBA_DISABLE_JIT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NPY_DISABLE_CPU_FEATURES")
"""Variables that make the same machine compute with other instructions."""


class Platform(BaseModel):
    """What compiled code and array libraries run on.

    Attributes:
        system: operating system and machine (`Linux x86_64`).
        processor: as LLVM names it, which is what compiled functions are made for.
        processor_features: vector extensions that NumPy dispatches on, sorted.
        processor_flags: first digits of the SHA-256 of all features that LLVM sees.
        switches: those of `SWITCHES` that are set, `name=value`.
        python, numpy, numba, llvmlite: versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    system: str
    processor: str
    processor_features: tuple[str, ...]
    processor_flags: str
    switches: tuple[str, ...]
    python: str
    numpy: str
    numba: str
    llvmlite: str

    def differences(self, other: Platform) -> tuple[str, ...]:
        """Return what differs, one phrase each: this platform's value, then the other's."""
        return tuple(
            f"{name} {_shown(getattr(self, name))} then, {_shown(getattr(other, name))} now"
            for name in Platform.model_fields
            if getattr(self, name) != getattr(other, name)
        )


def _shown(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else " ".join(value) or "none"


@cache
def this_platform() -> Platform:
    """Return the platform of this process."""
    from llvmlite import binding

    return Platform(
        system=system_name(),
        processor=binding.get_host_cpu_name(),
        processor_features=processor_features(),
        processor_flags=processor_flags(),
        switches=tuple(f"{name}={os.environ[name]}" for name in SWITCHES if os.environ.get(name)),
        python=platform.python_version(),
        numpy=version("numpy"),
        numba=version("numba"),
        llvmlite=version("llvmlite"),
    )


def system_name() -> str:
    """Return operating system and machine (`Linux x86_64`)."""
    return f"{platform.system()} {platform.machine()}"


def processor_features() -> tuple[str, ...]:
    """Return the vector extensions that some compiled loop of this NumPy uses on this processor, sorted."""
    from numpy.lib.introspect import opt_func_info

    return tuple(sorted({signature["current"] for loops in opt_func_info().values() for signature in loops.values()}))


def processor_flags() -> str:
    """Return the first digits of the SHA-256 of every processor feature that LLVM sees."""
    from llvmlite import binding

    return hashlib.sha256(binding.get_host_cpu_features().flatten().encode()).hexdigest()[:12]


def made_on(run_dir: Path) -> Platform | None:
    """Return the platform that a run was made on; `None` when it is not on record or cannot be read."""
    try:
        return Platform.model_validate_json((run_dir / PLATFORM_NAME).read_bytes())
    except (OSError, ValidationError):
        return None
