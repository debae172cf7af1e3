"""From a run to a signed bundle: the evidence that the main job already produced, checked again, then written as data."""

from __future__ import annotations

from workbench.promote.checks import Check
from workbench.promote.make import Promotion, promote

__all__ = ["Check", "Promotion", "promote"]
