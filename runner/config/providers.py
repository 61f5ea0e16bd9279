"""The servers in a user's configuration: `[providers.NAME]`, each an address and what its models cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import cast

from runner.errors import ConfigError, closest
from runner.models.keys import FOREIGN_KEYS, KNOWN_KEYS, OWN, SUPPORTED_KEYS, is_key
from runner.models.server import Api, Server, refuse_address

KEYS: Mapping[str, str] = {
    "base_url": "The server's address; required. It usually ends in /v1.",
    "key": f"The variable that holds its key: a known provider's, {OWN}NAME, or any NAME_API_KEY.",
    "api": "What it speaks: chat, responses or messages.",
    "local": "Its models may be priced at nothing: true or false.",
    "models": "A table for each model, as in a file of prices.",
}
"""What a table `[providers.NAME]` may hold, and what each is."""

APIS: tuple[Api, ...] = ("chat", "responses", "messages")

EXAMPLE = """\
# A server of your own, or any that speaks as OpenAI's or Anthropic's does: its models are called desk/NAME. `key` names
# the variable that holds its key; `local` allows a price of "0".
#[providers.desk]
#base_url = "http://127.0.0.1:11434/v1"
#local = true

#[providers.desk.models."llama"]
#input = "0"
#output = "0"
#context = 32768
#max_output = 4096
#as_of = 2026-11-01
"""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")
_TAKEN = ("replay", "litellm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """Servers by name, each with the line it stands on, and the prices beside them as the file has them."""

    servers: Mapping[str, Server] = field(default_factory=dict[str, Server])
    lines: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    prices: Mapping[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])


def read_providers(value: object, path: Path, line: Callable[[str], int | None]) -> Providers:
    """Read the table `providers`; `line` finds a key by its full name. Raises ConfigError with the line."""
    read = _Reader(path, line)
    tables = read.table(value, "providers", hint='write [providers.NAME] and base_url = "…" under it')
    found = {name: read.server(name, table) for name, table in tables.items()}
    return Providers(
        servers={name: server for name, (server, _) in found.items()},
        lines={name: line(f"providers.{name}") for name in found},
        prices={name: models for name, (_, models) in found.items() if models},
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path
    line: Callable[[str], int | None]

    def table(self, value: object, name: str, *, hint: str) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self.wrong(f"{name} is not a table", name, hint)
        # tomllib makes every key a str
        return cast("dict[str, object]", value)

    def server(self, name: str, value: object) -> tuple[Server, Mapping[str, object]]:
        place = f"providers.{name}"
        if not _NAME.match(name) or name in _TAKEN:
            hint = "small letters, digits, - and _; not replay, not litellm"
            raise self.wrong(f"{name!r} cannot be the name of a server", place, hint)
        table = self.table(value, place, hint=f'write [{place}] and base_url = "…" under it')
        for key in table:
            if key not in KEYS:
                near = closest(key, KEYS)
                hint = f"did you mean '{near}'?" if near else f"known keys: {', '.join(KEYS)}"
                raise self.wrong(f"unknown key '{place}.{key}'", f"{place}.{key}", hint)
        stated = table.get("local")
        if not isinstance(stated, bool | None):
            raise self.wrong(f"{place}.local: write true or false", f"{place}.local", KEYS["local"])
        server = Server(
            name=name,
            base_url=self._address(table, place),
            key=self._key(table, name, place),
            api=self._api(table, name, place),
            local=stated is True,
        )
        return server, self._models(table, place, stated)

    def _address(self, table: Mapping[str, object], place: str) -> str:
        url = table.get("base_url")
        if not isinstance(url, str):
            raise self.wrong(
                f"{place} has no base_url" if url is None else f"{place}.base_url: write a text in quotes",
                place if url is None else f"{place}.base_url",
                'write e.g. base_url = "http://127.0.0.1:11434/v1"',
            )
        try:
            refuse_address(url.strip(), f"{place}.base_url")
        except ConfigError as error:
            error.path, error.line = self.path, self.line(f"{place}.base_url")
            # an address may carry a password
            error.quotable = False
            raise
        return url.strip().rstrip("/")

    def _key(self, table: Mapping[str, object], name: str, place: str) -> str:
        usual = SUPPORTED_KEYS.get(name) or FOREIGN_KEYS.get(name, "")
        key = table.get("key", usual)
        if isinstance(key, str) and (not key or is_key(key)):
            return key
        hint = f"a known provider's ({', '.join(sorted(KNOWN_KEYS)[:3])}…), one that begins with {OWN}, or NAME_API_KEY"
        # what stands there may be a key itself
        raise ConfigError(
            f"{place}.key is not the name of a variable that holds a key",
            path=self.path, line=self.line(f"{place}.key"), hint=hint, quotable=False,
        )  # fmt: skip

    def _api(self, table: Mapping[str, object], name: str, place: str) -> Api:
        value = table.get("api", "messages" if name == "anthropic" else "chat")
        for api in APIS:
            if value == api:
                return api
        raise self.wrong(f"{place}.api is none of {', '.join(APIS)}", f"{place}.api", KEYS["api"])

    def _models(
        self,
        table: Mapping[str, object],
        place: str,
        local: bool | None,  # noqa: FBT001 - as the file has it
    ) -> Mapping[str, object]:
        """The models' tables, for the price book to read; a server's word on `local` holds where a model has none."""
        name = f"{place}.models"
        models = self.table(table.get("models", {}), name, hint=f'write [{name}."NAME"] and its prices under it')
        found: dict[str, object] = {}
        for model, value in models.items():
            stated = self.table(value, f"{name}.{model}", hint=f'write [{name}."{model}"] and its prices under it')
            unpriced = not {"input", "output"} & stated.keys()
            nothing = unpriced or (_is_nothing(stated.get("input")) and _is_nothing(stated.get("output")))
            usual: dict[str, object] = {"local": local} if local is False or (local and nothing) else {}
            if local and unpriced:
                usual |= {"input": "0", "output": "0"}
            found[model] = {**usual, **stated}
        return found

    def wrong(self, what: str, name: str, hint: str) -> ConfigError:
        return ConfigError(what, path=self.path, line=self.line(name), hint=hint)


def _is_nothing(price: object) -> bool:
    """Whether a price is written as nothing, in any way that the price book reads."""
    try:
        return isinstance(price, str | int | Decimal) and not isinstance(price, bool) and Decimal(price) == 0
    except InvalidOperation:
        return False
