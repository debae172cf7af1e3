"""Canonical JSON and SHA-256 for manifests, policies and specs. Core records use fixed-width bytes instead."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import rfc8785


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 bytes of a JSON value.

    Integers beyond 2**53 and non-finite floats are refused by the standard (`rfc8785.CanonicalizationError`):
    store money as scaled integers in strings where it can exceed that.
    """
    return rfc8785.dumps(value)


def sha256_hex(data: bytes) -> str:
    """Return the lower-case hexadecimal SHA-256 of the bytes."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value."""
    return sha256_hex(canonical_json(value))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, read in blocks."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
