"""What the user set up: the configuration file, prices, keys, and the server that is called."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from runner import config as settings
from runner.app import pricefile
from runner.app.clock import SystemClock
from runner.app.health.finding import Finding, Mark, World, at
from runner.app.plan import price_note
from runner.app.presence import keys_present
from runner.config.settings import user_config_path
from runner.errors import RunnerError
from runner.models import catalog
from runner.models.keys import SUPPORTED_KEYS
from runner.pricing.book import Book, Entry, staleness

DEFAULT_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
_CONNECT_S = 2.0


def config(world: World) -> Iterator[Finding]:
    """The user's configuration file, and variables that look misspelt."""
    path, _ = user_config_path(world.environ)
    if (error := world.broken) is not None:
        yield Finding(Mark.FAIL, "config", at(error), error.hint.partition("\n")[0])
    elif not path.exists():
        yield Finding(Mark.OK, "config", f"no file at {path}; everything as built in")
    else:
        yield Finding(Mark.OK, "config", f"{path}")
        status = path.stat()
        if status.st_mode & 0o022 or status.st_uid not in {os.getuid(), 0}:
            text = f"others may write {path}, and it names commands that are run"
            yield Finding(Mark.WARN, "config", text, f"chmod go-w {path}")
    for note in world.settings.notes:
        yield Finding(Mark.WARN, "config", note)


def book_of(world: World) -> Book:
    """The prices in force. Raises ConfigError."""
    return pricefile.book(world.settings)


def prices(world: World) -> Iterator[Finding]:
    """Whether the price files can be read, and how old they are."""
    own, path = book_of(world).entries, world.settings.prices.value
    built_in = Book.load().entries
    yield _age("prices", "built in", [*built_in.values()], "install a newer runner, or give newer ones with --prices")
    if path is not None:
        changed = [entry for name, entry in own.items() if built_in.get(name) != entry]
        yield _age("prices", str(path), changed, f"look the prices up and set as_of in {path}")


def _age(what: str, place: str, entries: list[Entry], fix: str) -> Finding:
    if not entries:
        return Finding(Mark.NOTE, what, f"{place}: no model in it")
    oldest = min(entries, key=lambda one: one.as_of)
    text = f"{place}: {len(entries)} models, as of {oldest.as_of}"
    match staleness(oldest, SystemClock().now()):
        case "fresh":
            return Finding(Mark.OK, what, text)
        case "old":
            return Finding(Mark.WARN, what, f"{text}, more than 60 days ago ({oldest.name})", fix)
        case "stale":
            more = f"more than 180 days ago: a quarter more is held ({oldest.name})"
            return Finding(Mark.WARN, what, f"{text}, {more}", fix)


def keys(world: World) -> Iterator[Finding]:
    """Which keys there are, never their values, and which model they choose."""
    if world.cwd is not None:
        found = settings.workspace_keys(world.cwd)
        world.keys.add(found.keys, f"{world.cwd / '.env'}")
        if found.warning:
            yield Finding(Mark.NOTE, ".env", found.warning)
    base_url = world.settings.openai_base_url.value
    servers = world.settings.providers.value
    every = [*keys_present(world.keys, servers.values())]
    needless = bool(base_url or servers) or any(key.place for key in every)
    for key in every:
        if key.place is None:
            own = base_url and key.name == SUPPORTED_KEYS["openai"]
            text = "missing; a server of your own may need none" if own else "missing"
            fix = f"export {key.name}=..., or play a recording with --model replay:FILE"
            yield Finding(Mark.NOTE if needless else Mark.WARN, key.name, text, "" if needless else fix)
            # one key is enough, so one warning is, too
            needless = True
        elif key.supported:
            yield Finding(Mark.OK, key.name, f"present ({key.place})")
        else:
            yield Finding(Mark.OK, key.name, f"present ({key.place}); {key.provider} is called through litellm")
    yield from _model(world)


def _model(world: World) -> Iterator[Finding]:
    setting = world.settings.model
    present = dict.fromkeys(world.keys.names, "present")
    try:
        book = book_of(world)
        base_url, servers = world.settings.openai_base_url.value, world.settings.providers.value
        choice = catalog.choose(setting.value, present, book, base_url=base_url, servers=servers)
        if choice.kind == "replay":
            yield Finding(Mark.OK, "model", f"replay:{choice.name} ({setting.place})")
            return
        entry = book.lookup(choice.name)
    except RunnerError as error:
        yield _no_model(error, world)
        return
    note = price_note(entry)
    mark = Mark.OK if note is None else Mark.WARN
    why = choice.why if setting.value is None else setting.place
    yield Finding(mark, "model", f"{entry.name} ({why}){f'; {note}' if note else ''}")


def _no_model(error: RunnerError, world: World) -> Finding:
    if world.settings.model.value is not None:
        return Finding(Mark.WARN, "model", error.message, "runner models lists the models that have a price")
    if world.settings.openai_base_url.value is not None:
        return Finding(Mark.NOTE, "model", error.message, "name one: --model openai/NAME, or RUNNER_MODEL")
    # nothing is chosen without a key, and the key's own line says how to mend that
    return Finding(Mark.NOTE, "model", error.message)


# ---- network ---------------------------------------------------------------------------------------------


def network(world: World) -> Iterator[Finding]:
    """Whether the servers answer a connection. Nothing is sent, and none but this machine is tried unasked."""
    for url, named, place in _addresses(world):
        yield from _reached(world, url, named, place)


def _addresses(world: World) -> Iterator[tuple[str, str, str]]:
    """The servers that may be called: each with what names its address, and where that stands."""
    setting, servers = world.settings.openai_base_url, world.settings.providers.value
    others = bool(servers) or SUPPORTED_KEYS["anthropic"] in world.keys
    if "openai" not in servers and (setting.value or not others or SUPPORTED_KEYS["openai"] in world.keys):
        yield setting.value or DEFAULT_URL, "OPENAI_BASE_URL", setting.place
    if "anthropic" not in servers and SUPPORTED_KEYS["anthropic"] in world.keys:
        yield ANTHROPIC_URL, "ANTHROPIC_BASE_URL", "built-in"
    for name, server in servers.items():
        place = world.settings.server_lines[name]
        yield server.base_url, place if place == "ANTHROPIC_BASE_URL" else f"providers.{name}", place


def _reached(world: World, url: str, named: str, place: str) -> Iterator[Finding]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    if not host or parts.scheme not in {"http", "https"}:
        text = f"{named} is no address ({place})"
        yield Finding(Mark.FAIL, "network", text, "write it like http://127.0.0.1:11434/v1")
        return
    local = is_local(host)
    if parts.scheme == "http" and not local:
        text = f"{host} is called without encryption: whoever listens reads key and work"
        yield Finding(Mark.WARN, "network", text, f"use https:// in {named}")
    if not local and not world.network:
        yield Finding(Mark.NOTE, "network", f"{host} was not tried", "runner doctor network --network")
        return
    through = "" if local else _proxy(parts.scheme, host)
    if through:
        target = urlsplit(through if "://" in through else f"http://{through}")
        host, port = target.hostname or "", target.port or 80
    what = f"{'the proxy ' if through else ''}{host}:{port}"
    if (trouble := connect(host, port)) is None:
        yield Finding(Mark.OK, "network", f"{what} accepts connections")
    else:
        fix = f"start the server, or unset {named}" if local else "check the connection, proxy and firewall"
        yield Finding(Mark.WARN, "network", f"{what}: {trouble}", fix)


def is_local(host: str) -> bool:
    """Whether a host's name says that it is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _proxy(scheme: str, host: str) -> str:
    """The proxy that calls go through, "" for none."""
    from urllib.request import getproxies, proxy_bypass

    return "" if proxy_bypass(host) else getproxies().get(scheme, "")


def connect(host: str, port: int, seconds: float = _CONNECT_S) -> str | None:
    """Connect and hang up at once; None when that worked, else why not."""
    said: list[str | None] = []

    def attempt() -> None:
        try:
            with socket.create_connection((host, port), timeout=seconds):
                said.append(None)
        except OSError as error:
            said.append((error.strerror or str(error)).lower())
        except (ValueError, OverflowError) as error:
            said.append(str(error))

    # looking a name up has no time-out of its own
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds + 0.5)
    return said[0] if said else f"no answer within {seconds:.0f} s"
