"""The commands of a spec: checks, setup and services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from runner.spec import fields, keys
from runner.spec.frontmatter import Map, Node
from runner.spec.model import Check, Service
from runner.spec.program import program

_PARSERS = ("exit", "junit", "tap", "number")
_NAME_LENGTH = 60


def checks_of(top: Map, on_path: Callable[[str], bool] | None) -> tuple[Check, ...]:
    """The checks, each under its own name. Without `on_path` (there is a setup) programs may be missing yet."""
    node = top.get("checks")
    if node is None:
        return ()
    found: dict[str, Check] = {}
    for entry in fields.entries(node, "checks", example="checks: [pytest -q]"):
        check = _check(entry)
        if (first := found.get(check.name)) is not None:
            raise entry.at.error(
                f"two checks are called {check.name!r} (first on line {first.line})",
                hint="give one a 'name:' of its own",
            )
        found[check.name] = check
        if on_path is not None and not check.creates:
            _has_program(entry, check, on_path)
    return tuple(found.values())


def _has_program(entry: Node, check: Check, on_path: Callable[[str], bool]) -> None:
    name = program(check.argv)
    if name is None or on_path(name):
        return
    where = entry.get("run") if isinstance(entry, Map) else None
    raise (where or entry).at.error(
        f"the check's program {name!r} is neither on PATH nor in the workspace",
        hint="correct it, install it with 'setup:', or write 'creates: true' when the agent shall make it",
    )


def _check(entry: Node) -> Check:
    if not isinstance(entry, Map):
        argv = fields.command(entry, "a check")
        return Check(name=_name(argv), argv=argv, line=entry.at.line)
    table = fields.known(entry, keys.CHECK, "a check")
    run = table.get("run")
    if run is None:
        raise entry.at.error("the check has no 'run'", hint="write its command, e.g. 'run: pytest -q'")
    argv = fields.command(run, "run")
    name, parse, weight = table.get("name"), table.get("parse"), table.get("weight")
    timeout, creates = table.get("timeout"), table.get("creates")
    how = "exit" if parse is None else fields.one_of(parse, "parse", _PARSERS)
    return Check(
        name=_name(argv) if name is None else fields.text(name, "name", example="name: tests"),
        argv=argv,
        parse=how,
        report=_report(table, how),
        out_of=_out_of(table, how),
        weight=1.0 if weight is None else fields.positive(weight, "weight"),
        timeout_s=600 if timeout is None else fields.seconds(timeout, "timeout", least=1),
        creates=False if creates is None else fields.flag(creates, "creates"),
        line=entry.at.line,
    )


def _report(table: Map, how: str) -> str:
    node = table.get("report")
    if node is None:
        if how != "junit":
            return ""
        raise table.at.error(
            "'parse: junit' needs 'report', the XML file the check writes",
            hint="write e.g. 'report: \"{results}/r.xml\"'",
        )
    if how != "junit":
        raise node.at.error(
            "'report' is read only with 'parse: junit'", hint="add 'parse: junit', or leave 'report' out"
        )
    return fields.text(node, "report", example='report: "{results}/r.xml"')


def _out_of(table: Map, how: str) -> float:
    node = table.get("out_of")
    if node is None:
        return 1.0
    if how != "number":
        raise node.at.error(
            "'out_of' is read only with 'parse: number'", hint="add 'parse: number', or leave 'out_of' out"
        )
    return fields.positive(node, "out_of")


def _name(argv: tuple[str, ...]) -> str:
    words = argv[2] if argv[:2] == fields.SHELL and len(argv) == 3 else " ".join(argv)
    line = " ".join(words.split())
    return line if len(line) <= _NAME_LENGTH else f"{line[: _NAME_LENGTH - 1]}…"


def setup_of(top: Map) -> tuple[tuple[str, ...], ...]:
    """The setup commands, in order."""
    node = top.get("setup")
    if isinstance(node, Map):
        table = fields.known(node, keys.SETUP, "setup")
        node = table.get("run")
        if node is None:
            raise table.at.error("the setup has no 'run'", hint="write its commands, e.g. 'run: [npm ci]'")
    if node is None:
        return ()
    return tuple(
        fields.command(entry, "a setup command") for entry in fields.entries(node, "setup", example="setup: [npm ci]")
    )


def setup_inputs_of(top: Map) -> tuple[str, ...]:
    """What setup depends on, as globs from the workspace's root."""
    setup = top.get("setup")
    node = setup.get("inputs") if isinstance(setup, Map) else None
    if node is None:
        return ()
    example = "inputs: [package-lock.json]"
    found: list[str] = []
    for entry in fields.entries(node, "setup.inputs", example=example):
        glob = fields.text(entry, "setup.inputs", example=example)
        if glob.startswith(("/", "~")) or ".." in PurePosixPath(glob).parts:
            raise fields.wrong(entry, "setup.inputs leaves the workspace", "write globs from the workspace's root")
        found.append(glob)
    return tuple(found)


def services_of(top: Map) -> tuple[Service, ...]:
    """The services, each under its own name."""
    node = top.get("services")
    if node is None:
        return ()
    found: dict[str, Service] = {}
    for entry in fields.entries(node, "services", example="services: [redis-server]"):
        service = _service(entry)
        if service.name in found:
            raise entry.at.error(f"two services are called {service.name!r}", hint="give one a 'name:' of its own")
        found[service.name] = service
    return tuple(found.values())


def _service(entry: Node) -> Service:
    if not isinstance(entry, Map):
        argv = fields.command(entry, "a service")
        return Service(name=_name(argv), argv=argv)
    table = fields.known(entry, keys.SERVICE, "a service")
    run = table.get("run")
    if run is None:
        raise entry.at.error("the service has no 'run'", hint="write its command, e.g. 'run: redis-server'")
    argv = fields.command(run, "run")
    name, ready, timeout = table.get("name"), table.get("ready"), table.get("timeout")
    return Service(
        name=_name(argv) if name is None else fields.text(name, "name", example="name: redis"),
        argv=argv,
        ready_port=None if ready is None else fields.whole(ready, "ready", least=1, most=65_535),
        timeout_s=30 if timeout is None else fields.seconds(timeout, "timeout", least=1),
    )
