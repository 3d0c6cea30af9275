"""Keys of a server: their digests in a file, and the cookies that stand for them."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from crosscue.errors import OptionError, StorageError

SHORTEST = 32
"""Bytes of a secret."""


@dataclass(frozen=True)
class Keys:
    """Digests of the keys that a server takes."""

    digests: dict[str, str]
    """Name -> SHA-256 of its key, in hexadecimal."""
    secret: bytes
    """Signs cookies. Replicas with one secret take each other's cookies."""

    @classmethod
    def read(cls, path: Path, secret: Path | None = None) -> Keys:
        """Returns the keys of a file with lines `name sha256`.

        Args:
            path: the file of keys.
            secret: file whose content signs cookies; default the file of keys.

        Raises:
            OptionError: the file cannot be read, holds no key, or a line is wrong; or the secret cannot be read or is short.
        """
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(
                f"{path}: cannot be read ({error}). Make one: crosscue serve key NAME --keys {path}"
            ) from error
        digests: dict[str, str] = {}
        for number, line in enumerate(content.splitlines(), 1):
            parts = line.split()
            if not parts or parts[0].startswith("#"):
                continue
            if len(parts) != 2 or len(parts[1]) != 64 or set(parts[1]) - set("0123456789abcdef"):
                raise OptionError(
                    f"{path}, line {number}: expected `name sha256`. Make one: crosscue serve key NAME --keys {path}"
                )
            digests[parts[0]] = parts[1]
        if not digests:
            raise OptionError(f"{path}: there is no key in it. Make one: crosscue serve key NAME --keys {path}")
        signing = content.encode() if secret is None else read_secret(secret)
        return cls(digests, hashlib.sha256(b"crosscue cookie " + signing).digest())

    def owner(self, key: str) -> str | None:
        """Returns the name of a key. All keys are compared, so that the time does not depend on the key."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        matches = [name for name, known in self.digests.items() if hmac.compare_digest(known, digest)]
        return matches[0] if matches else None

    def cookie(self, name: str, until: int) -> str:
        """Returns the signed value of the cookie of a name, which is good until a time in seconds."""
        signed = f"{name}.{until}"
        return f"{signed}.{hmac.new(self.secret, signed.encode(), 'sha256').hexdigest()}"

    def owner_of_cookie(self, value: str) -> str | None:
        """Returns the name in a cookie, or None where it is forged, too old, or its key was removed."""
        name, _, rest = value.rpartition(".")[0].rpartition(".")
        if not re.fullmatch("[0-9]{1,12}", rest) or int(rest) < time.time() or name not in self.digests:
            return None
        return name if hmac.compare_digest(self.cookie(name, int(rest)).encode(), value.encode()) else None


def read_secret(path: Path) -> bytes:
    """Returns the content of a file that signs cookies, without space around it.

    Raises:
        OptionError: it cannot be read, or is so short that it could be guessed.
    """
    make = f"Make one: head -c 32 /dev/urandom | base64 > {path}"
    try:
        content = path.read_bytes().strip()
    except OSError as error:
        raise OptionError(f"{path}: the secret cannot be read ({error.strerror}). {make}") from error
    if len(content) < SHORTEST:
        raise OptionError(f"{path}: the secret has {len(content)} bytes, and {SHORTEST} are needed. {make}")
    return content


def new_key(name: str, path: Path) -> str:
    """Returns a new key, and adds its digest to a file of keys."""
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise OptionError(f"'{name}' is no name of a key. Use letters, digits, - and _.")
    if path.exists() and name in Keys.read(path).digests:
        raise OptionError(f"{path}: there is a key '{name}' already. Remove its line first, or choose another name.")
    key = f"cc-{secrets.token_urlsafe(32)}"
    try:
        with path.open("a", encoding="utf-8") as lines:
            lines.write(f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n")
        path.chmod(0o600)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}). Choose another file.") from error
    return key
