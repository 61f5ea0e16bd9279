"""Hosts that a program's words name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from runner.policy.characters import names

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s/@'\"]*@)?(\[[0-9A-Fa-f:.]+\]|[^\s/:?#'\"<>)]+)")
_SCP = re.compile(r"^(?:[\w.+-]+@)?([A-Za-z0-9][A-Za-z0-9.-]*):(?!//)(?!\\)")
_DEVICE = re.compile(r"/dev/(?:tcp|udp)/([^/\s]+)")
_NAME = re.compile(
    r"^(?:[\w.+-]+@)?(\[?[0-9A-Fa-f:]*:[0-9A-Fa-f:.]+\]?|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+|localhost)(?::\d+)?(?:/.*)?$"
)
_FIRST = names("ssh nc ncat netcat telnet ftp sftp socat mosh")
_ANY = names(
    "ping ping6 dig host nslookup traceroute tracepath mtr whois nmap curl wget http https xh aria2c lynx "
    "w3m links httpie openssl"
)
_COPIES = names("scp rsync sftp git")


def hosts_in(text: str) -> Iterator[str]:
    """Hosts of the addresses inside a text: URLs and bash's own network devices."""
    if "/" in text:
        for found in (*_URL.finditer(text), *_DEVICE.finditer(text)):
            yield _clean(found.group(1))


def hosts_of(argv: Sequence[str]) -> Iterator[str]:
    """Hosts that a program is told of: URLs anywhere, bare names where the program takes them."""
    name = argv[0].rpartition("/")[2] if argv else ""
    first = True
    for word in argv[1:]:
        yield from hosts_in(word)
        if "://" in word or word.startswith("-"):
            continue
        if name in _COPIES and (copied := _SCP.match(word)):
            yield _clean(copied.group(1))
        elif name in _FIRST and (named := _NAME.match(word)):
            yield _clean(named.group(1))
        elif name in _FIRST and first and re.fullmatch(r"(?:[\w.+-]+@)?[A-Za-z0-9][A-Za-z0-9-]*", word):
            yield _clean(word.rpartition("@")[2])
        elif name in _ANY and (named := _NAME.match(word)):
            yield _clean(named.group(1))
        first = False


def _clean(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
