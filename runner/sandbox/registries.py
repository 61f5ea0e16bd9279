"""`package-registries`: the hosts that this machine's pip, npm, cargo and go are configured for, asked of them.

No host is written down here. A client that is not installed, or gives no answer in time, adds nothing; the workspace's
own files are not asked, for the agent can write them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runner.sandbox.proxy import Destination

WORD = "package-registries"
_ANSWER_S = 5.0
_MOST_BYTES = 1 << 20
_PORTS = {"https": 443, "sparse+https": 443, "http": 80, "sparse+http": 80}
_PIP_LISTS = ("find-links", "index-url", "extra-index-url", "cert", "client-cert", "constraint")
# What pip does where nothing is configured is known to pip alone.
_PIP_DEFAULT = """
import sys
sys.path.insert(0, sys.argv[1])
from pip._internal.models.index import PyPI
print(PyPI.simple_url, "https://" + PyPI.file_storage_domain)
"""
_CARGO_ASKED = ("install", "--root", os.devnull, "where-packages-come-from")
_NPM = re.compile(r'^ *"([^"]+)": "([^"\\]*)"', re.MULTILINE)
_URL = re.compile(r"(?:sparse\+)?https?://[^\s`'\"|,<>]+")


@dataclass(frozen=True, slots=True)
class Registries:
    """Hosts that packages come from, and files and folders of this machine that take part."""

    hosts: frozenset[Destination] = frozenset()
    paths: frozenset[Path] = frozenset()


def ask(env: Mapping[str, str]) -> Registries:
    """Ask every client that is on PATH of `env`, the environment of tools; takes a few seconds at most."""

    def words_of(client: Callable[[Mapping[str, str]], Iterable[str]]) -> list[str]:
        return list(client(env))

    clients = (_pip, _npm, _cargo, _go)
    with ThreadPoolExecutor(len(clients)) as pool:
        return read(word for words in pool.map(words_of, clients) for word in words)


def read(words: Iterable[str]) -> Registries:
    """Sort URLs and absolute paths; whatever is neither is left out."""
    hosts: set[Destination] = set()
    paths: set[Path] = set()
    for word in words:
        with contextlib.suppress(ValueError):
            url = urlsplit(word)
            if url.scheme in _PORTS and url.hostname:
                hosts.add(Destination(url.hostname, url.port or _PORTS[url.scheme]))
            elif url.scheme == "file" or (not url.scheme and word.startswith("/")):
                paths.add(Path(unquote(url.path)))
    return Registries(frozenset(hosts), frozenset(path for path in paths if path.exists()))


def _pip(env: Mapping[str, str]) -> Iterator[str]:
    about = re.match(r"pip \S+ from (.+)[/\\]pip \(python", _answer(env, "pip", "--version"))
    if about is None:
        return
    configured: dict[str, str] = {}
    for line in _answer(env, "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        # `global.index-url='…'`, or of a command's section, or `:env:.index-url`
        configured[name.rpartition(".")[2]] = configured.get(name.rpartition(".")[2], "") + " " + value.strip("'\"")
    for name in _PIP_LISTS:
        yield from configured.get(name, "").replace("\\n", " ").split()
    if "index-url" not in configured and configured.get("no-index", "").strip() not in {"1", "true", "yes", "on"}:
        yield from _answer(env, sys.executable, "-I", "-S", "-c", _PIP_DEFAULT, about[1]).split()


def _npm(env: Mapping[str, str]) -> Iterator[str]:
    for name, value in _NPM.findall(_answer(env, "npm", "config", "list", "--json")):
        if name.endswith("registry") or name == "cafile":
            yield value


def _go(env: Mapping[str, str]) -> Iterator[str]:
    """`direct` and `off` are no hosts: what a proxy does not have comes from anywhere."""
    answer = _answer(env, "go", "env", "GOPROXY", "GOSUMDB")
    proxies, _, sums = answer.partition("\n")
    yield from re.split(r"[,|]", proxies)
    name = (sums.split() or ["off"])[-1]
    if name != "off":
        yield name if "://" in name else f"https://{name.partition('+')[0]}"


def _cargo(env: Mapping[str, str]) -> Iterator[str]:
    """Cargo has no question for it: sent through a proxy that is none, it says where it would have looked."""
    nobody = {**env, "CARGO_NET_RETRY": "0", "CARGO_HTTP_PROXY": "http://127.0.0.1:9", "CARGO_TERM_COLOR": "never"}
    for index in _URL.findall(_answer(nobody, "cargo", *_CARGO_ASKED, errors=True)):
        yield index
        if index.endswith("/config.json"):
            yield from _URL.findall(_fetched(index))


def _fetched(url: str) -> str:
    """The answer of a registry's own description of itself; "" when there is none."""
    try:
        # The pattern that found it begins with http.
        with urllib.request.urlopen(url.removeprefix("sparse+"), timeout=_ANSWER_S) as answer:  # noqa: S310
            data: bytes = answer.read(_MOST_BYTES)
    except (OSError, ValueError):
        return ""
    return data.decode("utf-8", "replace")


def _answer(env: Mapping[str, str], program: str, *arguments: str, errors: bool = False) -> str:
    """What a program prints, asked from `/` so that no project's settings count; "" when it does not answer."""
    found = shutil.which(program, path=env.get("PATH", os.defpath))
    if found is None:
        return ""
    try:
        done = subprocess.run(
            [found, *arguments],
            cwd="/",
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
            timeout=_ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[:_MOST_BYTES].decode("utf-8", "replace")
