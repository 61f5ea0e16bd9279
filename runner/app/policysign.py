"""Signatures of policy files: made beside the file, and checked against one key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from runner.errors import ConfigError, StateError
from runner.policy import signing


def signed(file: Path, key: Path) -> Iterator[str]:
    """Sign a file; a key that is not there yet is made. Sentences of what was done."""
    data = _bytes(file)
    if not key.exists():
        secret, public = signing.new_key()
        beside = key.with_name(f"{key.name.removesuffix('.pem')}.pub")
        _new(key, secret, 0o600)
        _new(beside, public, 0o644)
        yield f"made the key {key} and its public half {beside}"
    place = Path(f"{file}.sig")
    text = signing.sign(data, _bytes(key), str(key))
    try:
        place.write_text(text, encoding="ascii")
    except OSError as error:
        raise StateError(f"cannot write {place}: {error.strerror}") from None
    yield f"signed {file}: {place}"
    yield "whoever is to trust it puts the public half into the directory `keys` beside the policies, as NAME.pub"


def verified(file: Path, key: Path) -> str:
    """Check the signature beside a file. Raises ConfigError where it is not one of this file by this key."""
    signature = _bytes(Path(f"{file}.sig")).decode("utf-8", "replace")
    signing.verify(_bytes(file), signature, {key.name: _bytes(key)}, str(file))
    return f"{file} is signed by {key}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path, hint="check its path") from None


def _new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet, with this mode from its first moment."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", path=path, hint="name another place") from None
    with os.fdopen(handle, "wb") as made:
        made.write(data)
