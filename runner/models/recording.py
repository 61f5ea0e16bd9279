"""Recordings: a model's replies in a JSON-lines file, keyed by iteration and step, that may branch on tools.

The format is documented in `docs/reference/recording.md`. A recording that cannot be meant is refused when it
is read, with its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from runner.errors import ConfigError, closest
from runner.values import Usage

_HEADER_KEYS = ("recording", "model", "about")
_REPLY_KEYS = (
    "iteration",
    "step",
    "when",
    "otherwise",
    "text",
    "tools",
    "usage",
    "cut",
    "ending",
    "delay_ms",
    "about",
)
_ENDINGS = ("", "paused", "refused", "filtered", "window", "withheld")
_CALL_KEYS = ("name", "arguments", "id")
_USAGE_KEYS = ("input", "output", "cached", "cache_write")
_WHEN_KEYS = ("tools", "prompt")
_TEST_KEYS = ("contains", "lacks", "matches", "exit")

_EXIT = re.compile(r"\bexit(?:ed)?(?: with)?(?: code| status)?[ :=]+(-?\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a text must be like; every stated part must hold."""

    contains: str | None = None
    lacks: str | None = None
    matches: re.Pattern[str] | None = None
    exit: int | None = None

    def holds(self, text: str) -> bool:
        return (
            (self.contains is None or self.contains in text)
            and (self.lacks is None or self.lacks not in text)
            and (self.matches is None or self.matches.search(text) is not None)
            and (self.exit is None or self.exit in [int(found) for found in _EXIT.findall(text)])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """A tool call of a recorded reply. `id` "" means one is made from iteration, step and place."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One line: a reply and the requests it is for. None means any; no usage means it is computed from sizes."""

    line: int
    iteration: int | None
    step: int | None
    on_tools: Condition
    on_prompt: Condition
    otherwise: bool
    text: str
    calls: tuple[RecordedCall, ...]
    usage: Usage | None
    cut: bool
    ending: str
    delay_ms: int

    def fits(self, iteration: int, step: int, *, prompt: str, answered: str) -> bool:
        """Whether this reply is for a request: where it stands, what it was asked, what tools answered last."""
        return (
            self.iteration in (None, iteration)
            and self.step in (None, step)
            and self.on_tools.holds(answered)
            and self.on_prompt.holds(prompt)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A whole file. `model` is the one its replies are priced as."""

    path: Path
    model: str
    replies: tuple[Recorded, ...]

    @classmethod
    def parse(cls, text: str, path: Path) -> Recording:
        """Read a recording; raises ConfigError with `path:line` when it is not one."""
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if not lines:
            raise ConfigError("an empty recording", path=path, line=1, hint=_HEADER_HINT)
        number, line = lines[0]
        header = _Line(path, number, line)
        if "recording" not in header.top:
            raise header.error("the first line is not a recording's header", _HEADER_HINT)
        header.only(header.top, _HEADER_KEYS)
        if header.top["recording"] != 1:
            raise header.error(f"format {header.top['recording']!r} of recordings is unknown", "This version reads 1.")
        model = header.text(header.top, "model")
        if "/" not in model.strip("/"):
            raise header.error(f"`model` is not PROVIDER/NAME: {model!r}", _HEADER_HINT)
        replies = tuple(_Line(path, number, line).reply() for number, line in lines[1:])
        return cls(path=path, model=model, replies=replies)


_HEADER_HINT = 'The first line is: {"recording": 1, "model": "openai/gpt-5"}'


class _Line:
    """One line being read; its complaints name it."""

    def __init__(self, path: Path, number: int, line: str) -> None:
        self._path, self._number = path, number
        try:
            value: object = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"not JSON: {error.msg}", path=path, line=number, column=error.colno, hint="One JSON object per line."
            ) from None
        self.top = self._object(value, "the line")

    def error(self, message: str, hint: str = "See the reference's page recording.") -> ConfigError:
        return ConfigError(message, path=self._path, line=self._number, hint=hint)

    def reply(self) -> Recorded:
        top = self.top
        self.only(top, _REPLY_KEYS)
        when = self._object(top.get("when", {}), "`when`")
        self.only(when, _WHEN_KEYS)
        calls = top.get("tools", [])
        if not isinstance(calls, list):
            raise self.error("`tools` is not a list")
        otherwise = self._flag(top, "otherwise")
        if otherwise and any(key in top for key in ("iteration", "step", "when")):
            raise self.error("`otherwise` is for any request: it goes without iteration, step and when")
        return Recorded(
            line=self._number,
            iteration=self._count(top, "iteration", 1),
            step=self._count(top, "step", 1),
            on_tools=self._condition(when, "tools"),
            on_prompt=self._condition(when, "prompt"),
            otherwise=otherwise,
            text=self.text(top, "text") if "text" in top else "",
            # the elements of a JSON list; each is looked at
            calls=tuple(self._call(item) for item in cast("list[object]", calls)),
            usage=self._usage(top),
            cut=self._flag(top, "cut"),
            ending=self._ending(top),
            delay_ms=self._count(top, "delay_ms", 0) or 0,
        )

    def _ending(self, top: Mapping[str, object]) -> str:
        ending = self.text(top, "ending") if "ending" in top else ""
        if ending not in _ENDINGS:
            raise self.error(f"no reply ends {ending!r}", f"One of: {', '.join(_ENDINGS[1:])}.")
        return ending

    def _call(self, value: object) -> RecordedCall:
        call = self._object(value, "a tool call")
        self.only(call, _CALL_KEYS)
        arguments = call.get("arguments", {})
        if not isinstance(arguments, str):
            arguments = json.dumps(self._object(arguments, "`arguments`"), ensure_ascii=False, separators=(",", ":"))
        name, call_id = self.text(call, "name"), self.text(call, "id") if "id" in call else ""
        return RecordedCall(name=name, arguments=arguments, id=call_id)

    def _usage(self, top: Mapping[str, object]) -> Usage | None:
        if "usage" not in top or top["usage"] == "auto":
            return None
        usage = self._object(top["usage"], "`usage`")
        self.only(usage, _USAGE_KEYS)
        found = {key: self._count(usage, key, 0) for key in _USAGE_KEYS}
        if found["input"] is None or found["output"] is None:
            raise self.error("`usage` needs `input` and `output`", 'Without "usage" it is computed from sizes.')
        cached, written = found["cached"] or 0, found["cache_write"] or 0
        if cached + written > found["input"]:
            raise self.error("`cached` and `cache_write` are parts of `input`, and larger than it")
        return Usage(found["input"], found["output"], cached, written)

    def _condition(self, when: Mapping[str, object], key: str) -> Condition:
        tests = self._object(when.get(key, {}), f"`{key}`")
        self.only(tests, _TEST_KEYS)
        pattern = None
        if "matches" in tests:
            try:
                pattern = re.compile(self.text(tests, "matches"), re.MULTILINE)
            except re.error as error:
                raise self.error(f"`matches` is not a regular expression: {error}") from None
        code = tests.get("exit")
        if code is not None and (not isinstance(code, int) or isinstance(code, bool)):
            raise self.error("`exit` is not a number")
        return Condition(
            contains=self.text(tests, "contains") if "contains" in tests else None,
            lacks=self.text(tests, "lacks") if "lacks" in tests else None,
            matches=pattern,
            exit=code,
        )

    def only(self, table: Mapping[str, object], allowed: tuple[str, ...]) -> None:
        for key in table:
            if key not in allowed:
                near = closest(key, allowed)
                hint = f"Did you mean `{near}`?" if near else f"Known keys: {', '.join(allowed)}."
                raise self.error(f"unknown key `{key}`", hint)

    def text(self, table: Mapping[str, object], key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str):
            raise self.error(f"`{key}` is not a text")
        return value

    def _flag(self, table: Mapping[str, object], key: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            raise self.error(f"`{key}` is not true or false")
        return value

    def _count(self, table: Mapping[str, object], key: str, least: int) -> int | None:
        value = table.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise self.error(f"`{key}` is not a whole number from {least} on")
        return value

    def _object(self, value: object, what: str) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self.error(f"{what} is not a JSON object")
        # JSON makes every key a str
        return cast("Mapping[str, object]", value)
