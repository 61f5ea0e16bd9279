"""Send JSON to somebody's address, signed so that the receiver knows who sent it, and when."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from runner.errors import ConfigError

TIMEOUT_S = 10.0
_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})
SHORTEST_SECRET = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An address that takes JSON by POST. Without a `secret` nothing is signed: chat services know the address alone.

    The signature is HMAC-SHA256 over `<X-Runner-Timestamp>.<body>`, in hex, as `X-Runner-Signature: sha256=…`.
    """

    url: str = field(repr=False)  # who knows a chat's address may write there
    secret: bytes = field(default=b"", repr=False)
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise ConfigError("a webhook's address is a URL", hint="https://hooks.example.com/runner")
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            msg = f"a webhook to {parts.hostname} without TLS would show what is asked to everybody on the way"
            raise ConfigError(msg, hint="write https://…")
        if self.secret and len(self.secret) < SHORTEST_SECRET:
            raise ConfigError(f"the secret of webhooks has fewer than {SHORTEST_SECRET} bytes: it could be guessed")

    @property
    def host(self) -> str:
        """Whom it goes to, for people: an address may be a secret itself."""
        return urlsplit(self.url).hostname or ""

    def send(self, body: bytes) -> str | None:
        """Send it once, following no redirect; gives what went wrong in a sentence, None when the receiver took it."""
        import httpx  # 40 ms that only a server of approvals pays

        headers = {"Content-Type": "application/json", "User-Agent": "runner", **self._signed(body)}
        try:
            answer = httpx.post(self.url, content=body, headers=headers, timeout=self.timeout_s, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"the webhook at {self.host} cannot be reached: {type(error).__name__}"
        return None if answer.is_success else f"the webhook at {self.host} answered {answer.status_code}"

    def _signed(self, body: bytes) -> dict[str, str]:
        if not self.secret:
            return {}
        at = str(int(time.time()))
        signature = hmac.new(self.secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {"X-Runner-Timestamp": at, "X-Runner-Signature": f"sha256={signature}"}
