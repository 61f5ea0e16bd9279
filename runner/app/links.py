"""Signed one-time links: who holds one may answer one question, as one person, once, in time.

A link is `payload.signature`: the payload is JSON in base64url, the signature HMAC-SHA256 over it with a key that only
the server of links reads. It names the approval, its action's digest, the person and the time it ends. That it is used
once is seen to by the database, in the transaction that leaves its vote.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runner.errors import ConfigError, RefusedError, StateError
from runner.values import Ms

_KEY_BYTES = 32
_LONGEST = 4_096
_FOR = b"runner approval link 1\n"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What a link says. `token` is its own name, `until` in milliseconds since the epoch."""

    run: str
    approval: str
    action: str
    person: str
    until: Ms
    token: str


@dataclass(frozen=True, slots=True)
class LinkKey:
    """The key that signs links."""

    value: bytes

    def __repr__(self) -> str:
        return "LinkKey(…)"

    def sign(self, link: Link) -> str:
        """The link as text, safe in a URL."""
        payload = base64.urlsafe_b64encode(msgspec.json.encode(link)).rstrip(b"=")
        return f"{payload.decode()}.{self._signature(payload)}"

    def read(self, text: str) -> Link:
        """What a link says that was signed here; nothing is said of its time. Raises RefusedError for any other."""
        payload, _, signature = text.partition(".")
        ours = len(text) <= _LONGEST and text.isascii()
        if not ours or not hmac.compare_digest(self._signature(payload.encode()), signature):
            raise RefusedError("this link is not one of ours", hint="copy it whole, or ask for another")
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Link)

    def _signature(self, payload: bytes) -> str:
        return hmac.new(self.value, _FOR + payload, hashlib.sha256).hexdigest()


def fresh(*, run: str, approval: str, action: str, person: str, until: Ms) -> Link:
    """A link that was never given out."""
    return Link(run=run, approval=approval, action=action, person=person, until=until, token=secrets.token_urlsafe(16))


def key_at(path: Path) -> LinkKey:
    """The key in this file, made if there is none. Raises ConfigError where others could read or replace it."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _existing(path)
    except OSError as error:
        raise StateError(f"cannot make the key for links {path}: {error.strerror}") from error
    value = secrets.token_bytes(_KEY_BYTES)
    try:
        os.write(file, value)
        os.fsync(file)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StateError(f"cannot write the key for links {path}: {error.strerror}") from error
    finally:
        os.close(file)
    return LinkKey(value)


def _existing(path: Path) -> LinkKey:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status, value = os.fstat(file), os.read(file, _KEY_BYTES + 1)
        finally:
            os.close(file)
    except OSError as error:
        raise StateError(f"cannot read the key for links {path}: {error.strerror}") from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        msg = "the key for links must be yours, and readable by nobody else"
        raise ConfigError(msg, path=path, hint=f"rm {path}: another is made")
    if len(value) != _KEY_BYTES:
        raise ConfigError("the key for links is damaged", path=path, hint=f"rm {path}: another is made")
    return LinkKey(value)
