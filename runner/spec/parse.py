"""Read a spec. Pure: the caller brings the text, the time, and what is on PATH."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import tzinfo
from pathlib import PurePosixPath

from runner.errors import ConfigError, closest
from runner.spec import fields, keys
from runner.spec.checklist import checklist
from runner.spec.commands import checks_of, services_of, setup_inputs_of, setup_of
from runner.spec.deadline import deadline_at
from runner.spec.frontmatter import Map, Node, Scalar, Seq, read, split
from runner.spec.model import DEFAULT_PROMISE, Spec, Stall
from runner.values import Limits, Ms

_NO_SETUP: tuple[tuple[str, ...], ...] = ()

MAX_BYTES = 1_000_000
_HEADING = re.compile(r" {0,3}#{1,6}[ \t](.*)")
_MODELS = "models: [openai/gpt-5-mini, anthropic/claude-sonnet-5]"
_FENCE = re.compile(r" {0,3}(?:```|~~~)")


def parse_spec(
    text: str,
    path: str,
    *,
    on_path: Callable[[str], bool],
    now: Ms,
    zone: tzinfo | None = None,
    known_models: Collection[str] | None = None,
) -> Spec:
    """The spec that `text` says; `path` names it in errors. Raises ConfigError, and nothing else.

    `on_path` tells whether a program is on PATH or in the workspace. `now` and `zone` (default: this machine's)
    turn a deadline like `07:00` into an instant. With `known_models`, any other model is an error here; a
    recording (`replay:FILE`) never is.
    """
    whole_text(text, path)
    parts = split(text, path)
    if not parts.body.strip():
        raise ConfigError(
            "nothing follows the front matter: the spec has no text",
            path=path,
            line=parts.body_line,
            hint="write what the agent shall do below the closing '---'",
        )
    top = read(parts, text, path)
    # a fault in one key hides none in another: all are told at once
    faults = fields.Faults()
    faults.of(lambda: fields.known(top, keys.TOP, ""), top)
    setup = faults.of(lambda: setup_of(top), _NO_SETUP)
    limits, stated = faults.of(lambda: _limits(top, now, zone), (Limits(), frozenset[str]()))
    spec = Spec(
        path=path,
        text=text,
        body=parts.body,
        title=_title(parts.body),
        checks=faults.of(lambda: checks_of(top, None if setup else on_path), ()),
        target=faults.of(lambda: _target(top), 1.0),
        limits=limits,
        stated=stated,
        stall=faults.of(lambda: _stall(top), Stall()),
        promise=faults.of(lambda: _promise(top), None),
        model=faults.of(lambda: _model(top, known_models), None),
        models=faults.of(lambda: _models(top, known_models), ()),
        protect=faults.of(lambda: _protect(top), ()),
        setup=setup,
        setup_inputs=faults.of(lambda: setup_inputs_of(top), ()),
        services=faults.of(lambda: services_of(top), ()),
        workspace=faults.of(lambda: _workspace(top), None),
        on_false_claim=faults.of(lambda: _on_false_claim(top), "continue"),
        checklist=checklist(text),
        places=_places(top),
    )
    faults.end()
    return spec


def whole_text(text: str, path: str) -> None:
    """Refuse what is no spec before anything reads it: empty, too large, or not text."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise too_large(path)
    if not text.strip(" \t\r\n\ufeff"):
        raise ConfigError(
            "the spec is empty", path=path, line=1, hint="write what the agent shall do, or run 'runner init'"
        )
    if (found := re.search("[\0\ud800-\udfff]", text)) is not None:
        what = "a NUL character" if found[0] == "\0" else "bytes that are not UTF-8"
        line = text.count("\n", 0, found.start()) + 1
        raise ConfigError(f"the spec holds {what}", path=path, line=line, hint="save it as UTF-8 text")


def too_large(path: str) -> ConfigError:
    """The error for a spec above the size limit."""
    return ConfigError(
        f"the spec is larger than {MAX_BYTES:,} bytes",
        path=path,
        line=1,
        hint="keep the spec short and name large files in it: the agent can read them",
    )


def _title(body: str) -> str:
    fenced = False
    first = ""
    for line in body.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        if not fenced and (heading := _HEADING.match(line)):
            title = heading[1].strip()
            closed = title.rstrip("#")
            title = closed.rstrip() if not closed or closed[-1] in " \t" else title
            if title:
                return _short(title)
        first = first or line.strip()
    return _short(first)


def _short(title: str) -> str:
    return title if len(title) <= 80 else f"{title[:79]}…"


def _target(top: Map) -> float:
    node = top.get("target")
    if node is None:
        return 1.0
    value = fields.number(node, "target", hint="write a share from 0 to 1, e.g. 'target: 0.95' for 95 %")
    if value > 1:
        raise fields.wrong(node, "target is not between 0 and 1", f"write 'target: {_share(value)}'")
    return value


def _share(value: float) -> str:
    return f"{value / 100:g}" if value <= 100 else "1"


def _limits(top: Map, now: Ms, zone: tzinfo | None) -> tuple[Limits, frozenset[str]]:
    node = top.get("budget")
    if node is None:
        return Limits(), frozenset()
    table = fields.mapping(node, "budget", keys.BUDGET, example="budget: {usd: 5, iterations: 20}")

    def stated(key: str, reader: Callable[[Node, str], int]) -> int | None:
        value = table.get(key)
        return None if value is None or fields.is_none(value) else reader(value, f"budget.{key}")

    def deadline(value: Node, name: str) -> Ms:
        try:
            return deadline_at(value.text if isinstance(value, Scalar) else "", now=now, zone=zone)
        except ValueError:
            hint = "write e.g. 'deadline: 07:00' or 'deadline: 2030-01-31T07:00'"
            raise fields.wrong(value, f"{name} is not a time", hint) from None

    faults = fields.Faults()

    def limit(key: str, reader: Callable[[Node, str], int]) -> int | None:
        return faults.of(lambda: stated(key, reader), None)

    limits = Limits(
        usd=limit("usd", fields.usd),
        tokens=limit("tokens", fields.whole),
        calls=limit("calls", fields.whole),
        iterations=limit("iterations", fields.whole),
        steps=limit("steps", fields.whole),
        duration_s=limit("duration", fields.seconds),
        deadline=limit("deadline", deadline),
        idle_s=limit("idle", fields.seconds),
    )
    faults.end()
    names = {"duration": "duration_s", "idle": "idle_s"}
    return limits, frozenset(names.get(key.text, key.text) for key, _ in table.entries)


def _stall(top: Map) -> Stall:
    node, name = top.get("stall"), "stall"
    if isinstance(node, Map):
        node, name = fields.known(node, keys.STALL, "stall").get("iterations"), "stall.iterations"
    if node is None:
        return Stall()
    if fields.is_none(node):
        return Stall(iterations=None)
    if isinstance(node, Scalar) and node.text in {"0", "false"}:
        raise fields.wrong(node, f"{name} is not a number of iterations", "write 'none' to never stop for a stall")
    return Stall(iterations=fields.whole(node, name, least=1))


def _promise(top: Map) -> str | None:
    node = top.get("promise")
    if node is None:
        return None
    if isinstance(node, Scalar) and node.plain and node.text.lower() in {"true", "false"}:
        return DEFAULT_PROMISE if fields.flag(node, "promise") else None
    value = fields.text(node, "promise", example="promise: true")
    if len(value) > 200:
        raise node.at.error(
            "promise is longer than 200 characters", hint="one short line is what an agent repeats exactly"
        )
    return value


def _model(top: Map, known_models: Collection[str] | None) -> str | None:
    node = top.get("model")
    if node is None:
        return None
    return _known_model(node, "model", known_models)


def _models(top: Map, known_models: Collection[str] | None) -> tuple[str, ...]:
    node = top.get("models")
    if node is None:
        return ()
    if top.get("model") is not None:
        raise node.at.error("both model and models are there", hint="keep models: it begins with the one to use first")
    found: list[str] = []
    for entry in fields.entries(node, "models", example=_MODELS):
        name = _known_model(entry, "models", known_models)
        if name in found:
            raise fields.wrong(entry, "models names one model twice", "name each once, the one to use first at the top")
        found.append(name)
    if not found:
        raise node.at.error("models is an empty list", hint=f"write '{_MODELS}', or leave the key out")
    return tuple(found)


def _known_model(node: Node, key: str, known_models: Collection[str] | None) -> str:
    name = fields.text(node, key, example=f"{key}: openai/gpt-5-mini")
    if known_models is None or name in known_models or name.startswith("replay:"):
        return name
    near = closest(name, known_models)
    hint = f"did you mean '{near}'?" if near else f"known models: {', '.join(sorted(known_models)) or 'none'}"
    raise node.at.error(f"unknown model {name!r}", hint=hint)


def _protect(top: Map) -> tuple[str, ...]:
    node = top.get("protect")
    if node is None:
        return ()
    example = 'protect: ["tests/**"]'
    globs: list[str] = []
    for entry in fields.entries(node, "protect", example=example):
        glob = fields.text(entry, "protect", example=example)
        # with an exclamation mark first it gives a file back that would be protected
        plain = glob.removeprefix("!")
        if not plain or plain.startswith(("/", "~", "!")) or ".." in PurePosixPath(plain).parts:
            raise fields.wrong(
                entry,
                "protect takes globs inside the workspace",
                "write e.g. 'tests/**', or '!app.py' to give a file back; no '/' or '~' first, no '..'",
            )
        globs.append(glob)
    return tuple(globs)


def _workspace(top: Map) -> str | None:
    node = top.get("workspace")
    return None if node is None else fields.text(node, "workspace", example="workspace: ../app")


def _on_false_claim(top: Map) -> str:
    node = top.get("completion")
    if node is None:
        return "continue"
    table = fields.mapping(node, "completion", keys.COMPLETION, example="completion: {on_false_claim: stop}")
    value = table.get("on_false_claim")
    return "continue" if value is None else fields.one_of(value, "completion.on_false_claim", ("continue", "stop"))


def _places(top: Map) -> tuple[tuple[str, int, int], ...]:
    found: list[tuple[str, int, int]] = []
    for key, value in top.entries:
        found.append((key.text, value.at.line, value.at.column))
        if isinstance(value, Map):
            found += [(f"{key.text}.{sub.text}", part.at.line, part.at.column) for sub, part in value.entries]
        elif isinstance(value, Seq):
            found += [(f"{key.text}[{n}]", item.at.line, item.at.column) for n, item in enumerate(value.items)]
    return tuple(found)
