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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runner.sandbox.proxy import Destination

WORD = "package-registries"
ANSWER_S = 15.0
_MOST_BYTES = 1 << 20
_PORTS = {"https": 443, "sparse+https": 443, "http": 80, "sparse+http": 80}
_PIP_SETTINGS = frozenset(
    {"find-links", "index-url", "extra-index-url", "no-index", "trusted-host", "cert", "constraint"}
)
_PASSWORD = re.compile(r"//[^/@\s]+@")
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
    """Hosts that packages come from, and files and folders of this machine that take part.

    `variables` tell the clients the same where they cannot see the user's own settings; no password is in them.
    """

    hosts: frozenset[Destination] = frozenset()
    paths: frozenset[Path] = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one client said: settings as variables, and other places."""

    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    places: Sequence[str] = ()


def ask(env: Mapping[str, str], *, outside: Path, within_s: float = ANSWER_S) -> Registries:
    """Ask every client that is on PATH of `env`, the environment of tools; each answers `within_s` seconds or never.

    They run without walls: none is asked that lies in the workspace, `outside` of which they must be.
    """
    folders = [word for word in env.get("PATH", os.defpath).split(os.pathsep) if _away(Path(word), outside)]
    env = {**env, "PATH": os.pathsep.join(folders)}

    def answer_of(client: Callable[[Mapping[str, str], float], _Answer]) -> _Answer:
        return client(env, within_s)

    clients = (_pip, _npm, _cargo, _go)
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(answer_of, clients))
    told = {name: _PASSWORD.sub("//", value) for answer in answers for name, value in answer.variables.items() if value}
    values = " ".join(value for answer in answers for value in answer.variables.values())
    found = read([*re.split(r"[\s,|]+", values), *(place for answer in answers for place in answer.places)])
    return Registries(found.hosts, found.paths, told)


def _away(folder: Path, workspace: Path) -> bool:
    """Whether a folder of PATH, and what its clients lead to, is no part of the workspace."""
    there = [os.path.realpath(each) for each in (folder, *(folder / name for name in ("pip", "npm", "cargo", "go")))]
    return folder.is_absolute() and not any(Path(each).is_relative_to(workspace) for each in there)


def read(words: Iterable[str]) -> Registries:
    """Sort URLs and absolute paths; whatever is neither is left out. The files of an index are beside its `simple`."""
    hosts: set[Destination] = set()
    paths: set[Path] = set()
    for word in words:
        with contextlib.suppress(ValueError):
            url = urlsplit(word)
            if url.scheme in _PORTS and url.hostname:
                hosts.add(Destination(url.hostname, url.port or _PORTS[url.scheme]))
            elif url.scheme == "file" or (not url.scheme and word.startswith("/")):
                path = Path(unquote(url.path))
                paths.add(path.parent if path.name == "simple" and len(path.parts) > 2 else path)
    return Registries(frozenset(hosts), frozenset(path for path in paths if path.exists()))


def _pip(env: Mapping[str, str], within_s: float) -> _Answer:
    about = re.match(r"pip \S+ from (.+)[/\\]pip \(python", _answer(env, within_s, "pip", "--version"))
    if about is None:
        return _Answer()
    configured: dict[str, str] = {}
    for line in _answer(env, within_s, "pip", "config", "list").splitlines():
        # `global.index-url='…'`, or of a command's section, or `:env:.index-url`
        where, _, value = line.partition("=")
        name = where.rpartition(".")[2]
        if name in _PIP_SETTINGS:
            more = f"{configured[name]} " if name in configured else ""
            configured[name] = more + " ".join(value.strip("'\"").replace("\\n", " ").split())
    alone = "index-url" in configured or configured.get("no-index", "") in {"1", "true", "yes", "on"}
    own = "" if alone else _answer(env, within_s, sys.executable, "-I", "-S", "-c", _PIP_DEFAULT, about[1])
    return _Answer({f"PIP_{name.replace('-', '_').upper()}": value for name, value in configured.items()}, own.split())


def _npm(env: Mapping[str, str], within_s: float) -> _Answer:
    said = _NPM.findall(_answer(env, within_s, "npm", "config", "list", "--json"))
    return _Answer({f"npm_config_{key}": value for key, value in said if key.endswith("registry") or key == "cafile"})


def _go(env: Mapping[str, str], within_s: float) -> _Answer:
    """`direct` and `off` are no hosts: what a proxy does not have comes from anywhere."""
    answer = _answer(env, within_s, "go", "env", "GOPROXY", "GOSUMDB")
    proxies, _, sums = (part.strip() for part in answer.partition("\n"))
    name = (sums.split() or ["off"])[-1]
    where = [] if name == "off" else [name if "://" in name else f"https://{name.partition('+')[0]}"]
    return _Answer({"GOPROXY": proxies, "GOSUMDB": sums}, where)


def _cargo(env: Mapping[str, str], within_s: float) -> _Answer:
    """Cargo has no question for it: sent through a proxy that is none, it says where it would have looked."""
    nobody = {**env, "CARGO_NET_RETRY": "0", "CARGO_HTTP_PROXY": "http://127.0.0.1:9", "CARGO_TERM_COLOR": "never"}
    found = _URL.findall(_answer(nobody, within_s, "cargo", *_CARGO_ASKED, errors=True))
    files = [
        url for index in found if index.endswith("/config.json") for url in _URL.findall(_fetched(index, within_s))
    ]
    config = Path(env.get("CARGO_HOME") or Path(env.get("HOME", "/"), ".cargo"), "config.toml")
    try:
        # it may hold the tokens of registries; then it stays outside
        shown = [] if "token" in config.read_text("utf-8", "replace") else [str(config)]
    except OSError:
        shown = []
    return _Answer(places=[*found, *files, *shown])


def _fetched(url: str, within_s: float) -> str:
    """The answer of a registry's own description of itself; "" when there is none."""
    try:
        import urllib.request  # 25 ms, and asked for by setup alone

        # the pattern that found it begins with http
        with urllib.request.urlopen(url.removeprefix("sparse+"), timeout=within_s) as answer:  # noqa: S310
            data: bytes = answer.read(_MOST_BYTES)
    except (OSError, ValueError):
        return ""
    return data.decode("utf-8", "replace")


def _answer(env: Mapping[str, str], within_s: float, program: str, *arguments: str, errors: bool = False) -> str:
    """What a program prints, asked from `/` so that no project's settings count; "" when it does not answer."""
    found = shutil.which(program, path=env["PATH"])
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
            timeout=within_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[:_MOST_BYTES].decode("utf-8", "replace")
