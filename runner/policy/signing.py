"""Ed25519 signatures of policy files: `NAME.yaml.sig` beside `NAME.yaml`, over its bytes.

Needs the extra `signing` (cryptography), and only where a signature is made or looked at.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from runner.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT = b"runner policy v1\0"
_HEAD = "ed25519"


def new_key() -> tuple[bytes, bytes]:
    """A new key to sign with, and the one to verify with, as PEM. Raises ConfigError without the extra."""
    _needed()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return secret, public


def sign(data: bytes, secret: bytes, where: str) -> str:
    """The text of a signature file for these bytes; `secret` is PEM, `where` names it in an error."""
    return f"{_HEAD} {base64.b64encode(_secret(secret, where).sign(_CONTEXT + data)).decode()}\n"


def verify(data: bytes, signature: str, keys: Mapping[str, bytes], where: str) -> str:
    """The name of the one of `keys` (PEM by name) that signed these bytes; raise ConfigError when none did."""
    wrong = ConfigError(
        "the signature is not one of this file",
        path=where,
        line=1,
        column=1,
        hint="sign the file again (runner policy sign), or restore what was signed",
    )
    head, _, encoded = signature.strip().partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
    if head != _HEAD:
        raise wrong
    if not keys:
        raise ConfigError(
            "there is a signature, and no key to verify it with",
            path=where,
            line=1,
            column=1,
            hint="put the public key into the directory 'keys' beside the policies, as NAME.pub",
        )
    _needed()
    from cryptography.exceptions import InvalidSignature

    for name, key in keys.items():
        try:
            _public(key, name).verify(raw, _CONTEXT + data)
        except InvalidSignature:
            continue
        return name
    raise wrong


def _needed() -> None:
    if find_spec("cryptography") is None:
        raise ConfigError(
            "signatures of policies need the package cryptography", hint="pip install 'agent-loop-runner[signing]'"
        )


def _secret(data: bytes, where: str) -> Ed25519PrivateKey:
    _needed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            "this is no Ed25519 key to sign with",
            path=where,
            hint="a PEM file, not encrypted, as `policy sign` makes it",
        )
    return key


def _public(data: bytes, where: str) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError("this is no Ed25519 key to verify with", path=where, line=1, column=1, hint="a PEM file")
    return key
