"""Keys: the one that signs, in the keyring of the operating system, and those that are trusted, in `HOME/trust/`.

A trusted key is a file of its own, named after it, so that adding or removing one is one file operation that shows in any backup.
cryptography and keyring are imported where they are used: whoever only reads tables needs neither.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.canonical import canonical_json
from runtime.errors import EnvironmentFailure, UsageError, VerificationError
from runtime.files import TEMPORARY_PREFIX, create_bytes
from runtime.policy import HEX

SERVICE: Final = "ballast"
ENTRY: Final = "bundle-signing-key"
KEY_FILE_VARIABLE: Final = "BALLAST_SIGNING_KEY_FILE"
TRUST_FOLDER: Final = "trust"
SAFE_KEYRINGS: Final = ("keyring.backends.macOS", "keyring.backends.SecretService", "keyring.backends.kwallet")
"""Backends of the operating system; any other may keep its secrets in a file, and counts as one."""
SEED_HEX: Final = re.compile(r"[0-9a-f]{64}")
Store = Literal["keyring", "file"]


class TrustedKey(BaseModel):
    """A public key whose signature is accepted.

    Attributes:
        public_key: Ed25519, hex.
        store: where its private half is kept, as far as its owner said.
        label: whose it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    public_key: str = Field(pattern=HEX)
    store: Literal["keyring", "file", "elsewhere"]
    label: str = Field(max_length=80)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, ready to sign. Its text shows no secret.

    Attributes:
        public_key: hex.
        store: where it is kept.
        made: it was made just now.
    """

    public_key: str
    store: Store
    made: bool
    _seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.public_key[:12]}, {self.store})"

    def sign(self, content: bytes) -> str:
        """Return the Ed25519 signature, 128 hex digits."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._seed).sign(content).hex()


def is_signed(public_key: str, signature: str, content: bytes) -> bool:
    """Tell whether a signature over some content is of a key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


# ---- the key that signs ----------------------------------------------------------------------------------------


def signing_key(key_file: Path | None = None) -> SigningKey:
    """Return the key that signs bundles; it is made when there is none.

    Args:
        key_file: a file to keep it in instead of the keyring, else `BALLAST_SIGNING_KEY_FILE`; accepted for paper only.

    Raises:
        EnvironmentFailure: there is no keyring, it does not let us in, or the file is not ours alone.
        VerificationError: what is stored is not a key.
    """
    chosen = key_file or (Path(named) if (named := os.environ.get(KEY_FILE_VARIABLE)) else None)
    if chosen is not None:
        return _from_file(chosen)
    return _from_keyring()


def _from_keyring() -> SigningKey:
    import keyring
    from keyring.errors import KeyringError

    try:
        stored = keyring.get_password(SERVICE, ENTRY)
        store: Store = "keyring" if _is_safe(keyring.get_keyring()) else "file"
        if stored is not None:
            return _key(stored, store, made=False)
        seed = os.urandom(32).hex()
        keyring.set_password(SERVICE, ENTRY, seed)
        if keyring.get_password(SERVICE, ENTRY) != seed:
            raise _no_keyring("the keyring does not keep what it is given")
    except KeyringError as e:  # NoKeyringError among them
        raise _no_keyring(f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no reason given'}") from e
    return _key(seed, store, made=True)


def _is_safe(backend: object) -> bool:
    """Tell whether a keyring is the operating system's; of several in a chain, the one that is asked first."""
    chained = getattr(backend, "backends", None)
    first = chained[0] if chained else backend
    return type(first).__module__.startswith(SAFE_KEYRINGS)


def _no_keyring(found: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"no keyring to keep the signing key in ({found})",
        expected="the macOS Keychain, a Secret Service (GNOME Keyring) or KWallet",
        action=f"start one; for paper only, keep the key in a file: --key-file FILE or {KEY_FILE_VARIABLE}=FILE",
    )


def _from_file(path: Path) -> SigningKey:
    made = not os.path.lexists(path)
    if made:
        _make_file(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe must not make us wait
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
                raise _unusable(path, "it is not a file of yours alone")
            content = os.read(fd, 1_000)
        finally:
            os.close(fd)
    except OSError as e:
        raise _unusable(path, e.strerror or str(e)) from e
    return _key(content.decode("ascii", "replace").strip(), "file", made=made)


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as f:
            f.write(os.urandom(32).hex().encode() + b"\n")
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        raise _unusable(path, e.strerror or str(e)) from e


def _unusable(path: Path, what: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"cannot use the key file {path}: {what}",
        expected="a plain file that only you can read (0600), or none: it is made then",
        action="correct its owner and permissions (chmod 600), or choose another file",
    )


def _key(seed_hex: str, store: Store, *, made: bool) -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not SEED_HEX.fullmatch(seed_hex):
        raise VerificationError(
            f"what the {store} holds as signing key is not one", expected="64 hexadecimal digits",
            action=f"remove it (keyring entry {SERVICE}/{ENTRY}, or the file), so that a new one is made; trust the new key then",
        )  # fmt: skip
    seed = bytes.fromhex(seed_hex)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex()
    return SigningKey(public, store, made, seed)


# ---- the keys that are trusted ---------------------------------------------------------------------------------


def trust_path(home: Path) -> Path:
    """Return the folder of trusted keys."""
    return home / TRUST_FOLDER


def trusted_keys(home: Path) -> Mapping[str, TrustedKey]:
    """Return the trusted keys of a home folder by their hex.

    Raises:
        VerificationError: a file in the folder is not a key, or not the one it is named after.
    """
    found = {}
    folder = trust_path(home)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(TEMPORARY_PREFIX):
            continue
        try:
            key = TrustedKey.model_validate_json(path.read_bytes()) if not path.is_symlink() else None
        except (OSError, ValidationError):
            key = None
        if key is None or path.name != f"{key.public_key}.json":
            raise VerificationError(
                f"{path} is not a trusted key",
                expected="files that `ballast bundle trust` wrote, each named after its key",
                action="move it away, and find out how it got there",
            )
        found[key.public_key] = key
    return found


def trust(home: Path, key: TrustedKey) -> bool:
    """Trust a key from now on; return whether it was not trusted before.

    Raises:
        UsageError: it is no Ed25519 public key.
        EnvironmentFailure: the folder cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_key))
    except ValueError as e:
        raise UsageError(
            f"{key.public_key} is no Ed25519 public key", expected="64 hexadecimal digits, as `ballast bundle keys` prints them",
            action="copy it whole",
        ) from e  # fmt: skip
    if key.public_key in trusted_keys(home):
        return False
    create_bytes(trust_path(home) / f"{key.public_key}.json", canonical_json(key.model_dump(mode="json")) + b"\n")
    return True
