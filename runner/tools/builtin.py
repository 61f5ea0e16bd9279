"""The built-in tools: calls checked, prepared, carried out, and after a crash accounted for."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RunnerError
from runner.events.facts import ToolStarted
from runner.ports import Interrupt, Prepared, ToolDefinition, ToolOutcome
from runner.sandbox import leftovers
from runner.sandbox.process import Commands, Launch, unwalled
from runner.secrets import withheld_in
from runner.tools import writing
from runner.tools.arguments import DEFINITIONS, Arguments, ArgumentsError, read
from runner.tools.commands import Background, Foreground, Settings, outcome_of_lost
from runner.tools.output import Artefacts, Masks
from runner.tools.paths import RefusedPathError, locate, open_directory
from runner.tools.reading import Reader
from runner.values import Effect, ToolCall

_WRITING = frozenset({"write_file", "edit_file", "tick"})
_READING = frozenset({"read_file", "list_files", "search_text", "output"})
_ENDED = "there is no running command {handle!r}; background commands end with their iteration, or when runner ends"


def effect_of(name: str) -> Effect:
    """What a built-in tool can do to the workspace."""
    if name in _WRITING:
        return Effect.WRITES
    return Effect.READS if name in _READING else Effect.COMMANDS


@dataclass(frozen=True, slots=True)
class Act:
    """A call ready to act that waits for nothing."""

    started: ToolStarted
    action: Callable[[Interrupt], ToolOutcome]

    def act(self, interrupt: Interrupt) -> ToolOutcome:
        try:
            return self.action(interrupt)
        except (RefusedPathError, ArgumentsError) as error:
            return ToolOutcome(text=str(error), ok=False)
        except OSError as error:
            return ToolOutcome(text=_said(self.started.call.name, error), ok=False)

    def abandon(self) -> None:
        return


class BuiltinTools:
    """The agent's hands in `root`. Implements `ports.Tools`; called from one thread.

    `env` is the whole environment of commands (a marker of runner's aside). `artefacts` is a directory of this run's
    alone, outside the workspace; its path is also how a later process recognises what commands of this run left.
    `spec_path` is the spec's file: inside `root`, `tick` edits it through `tick(text, item) -> new text or None`;
    otherwise `on_tick(item)` decides and gives None, or the reason there is nothing to tick.
    `launch` starts the process that starts commands, behind the walls that `sandbox` names.
    `output_limit` is in characters; time-outs are in seconds, and no call gets more than `most_s`. `on_output` hears
    commands while they run, unmasked.
    """

    def __init__(
        self,
        root: Path,
        *,
        env: Mapping[str, str],
        artefacts: Path,
        vault: Masks,
        spec_path: Path | None,
        tick: Callable[[str, str], str | None],
        on_tick: Callable[[str], str | None],
        output_limit: int = 16_000,
        command_timeout_s: int = 600,
        most_s: int | None = None,
        idle_timeout_s: int = 300,
        on_output: Callable[[bytes], None] | None = None,
        launch: Callable[[Mapping[str, str]], Launch] = unwalled,
        sandbox: str = "",
    ) -> None:
        self._root = root.resolve()
        self._vault = vault
        self._artefacts = Artefacts(artefacts)
        self._reader = Reader(self._root, vault, self._artefacts, output_limit)
        self._commands = Commands(env, leftovers.tag("tools", artefacts.resolve()), launch=launch)
        self._settings = Settings(
            vault=vault,
            artefacts=self._artefacts,
            limit=output_limit,
            timeout_s=command_timeout_s if most_s is None else min(command_timeout_s, most_s),
            idle_s=idle_timeout_s,
            on_output=on_output,
        )
        self._sandbox = sandbox
        self._most_s = most_s
        self._background: dict[str, Background] = {}
        self._tick, self._on_tick = tick, on_tick
        self._spec = self._inside(spec_path)

    def _inside(self, spec: Path | None) -> str | None:
        """The spec's path from the root, when it is a file of the workspace."""
        if spec is None:
            return None
        resolved = spec.resolve()
        return resolved.relative_to(self._root).as_posix() if resolved.is_relative_to(self._root) else None

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]:
        return DEFINITIONS

    def prepare(self, call: ToolCall) -> Prepared | str:
        try:
            arguments = read(call.name, call.arguments)
            self._refuse_secrets(call, arguments)
            return self._prepared(call, arguments)
        except (ArgumentsError, RefusedPathError) as error:
            return self._vault.mask(str(error))
        except RunnerError as error:
            return self._vault.mask(f"{call.name}: {error.message}")
        except OSError as error:
            return self._vault.mask(_said(call.name, error))

    def _refuse_secrets(self, call: ToolCall, arguments: Arguments) -> None:
        for text in (call.arguments, *arguments.strings()):
            if (name := self._vault.found_in(text) or withheld_in(text)) is not None:
                raise ArgumentsError(f"{call.name}: the arguments contain the secret {name}; tools never get secrets")

    def _prepared(self, call: ToolCall, arguments: Arguments) -> Prepared:
        match call.name:
            case "read_file":
                return self._looks(call, lambda _: self._reader.read_file(arguments))
            case "list_files":
                return self._looks(call, lambda _: self._reader.list_files(arguments))
            case "search_text":
                return self._looks(call, lambda interrupt: self._reader.search_text(arguments, interrupt))
            case "output":
                return self._looks(call, lambda _: self._handle(arguments).output())
            case "stop":
                return Act(ToolStarted(call=call, effect=Effect.COMMANDS), lambda _: self._stop(arguments))
            case "write_file":
                path, content = arguments.text("path"), arguments.text("content")
                return self._writes(call, writing.plan_write(self._root, path, content, self._vault))
            case "edit_file":
                return self._writes(call, self._edit(arguments))
            case "tick":
                return self._ticks(call, arguments.text("item"))
            case _:
                return self._command(call, arguments)

    def _looks(self, call: ToolCall, action: Callable[[Interrupt], ToolOutcome]) -> Prepared:
        def masked(interrupt: Interrupt) -> ToolOutcome:
            try:
                return action(interrupt)
            except (RefusedPathError, OSError) as error:
                said = _said(call.name, error) if isinstance(error, OSError) else str(error)
                return ToolOutcome(text=self._vault.mask(said), ok=False)

        return Act(ToolStarted(call=call, effect=Effect.READS), masked)

    # ---- writing -----------------------------------------------------------------------------------------

    def _edit(self, arguments: Arguments) -> writing.Plan:
        return writing.plan_edit(
            self._root,
            arguments.text("path"),
            arguments.text("old"),
            arguments.text("new"),
            count=_count(arguments),
            vault=self._vault,
        )

    def _writes(self, call: ToolCall, plan: writing.Plan) -> Prepared:
        started = ToolStarted(call=call, effect=Effect.WRITES, path=plan.path, before=plan.before, after=plan.after)
        return Act(started, lambda _: ToolOutcome(text=self._vault.mask(writing.apply(self._root, plan)), ok=True))

    def _ticks(self, call: ToolCall, item: str) -> Prepared:
        if self._spec is not None:
            plan = writing.plan_tick(self._root, self._spec, item, self._tick)
            if plan is None:
                raise ArgumentsError(
                    f"tick: the spec has no open item {item!r}; give its text as it stands in the spec"
                )
            return self._writes(call, plan)

        def ask(_: Interrupt) -> ToolOutcome:
            refused = self._on_tick(item)
            return ToolOutcome(text=refused or writing.said_of_tick(item), ok=refused is None)

        return Act(ToolStarted(call=call, effect=Effect.WRITES), ask)

    # ---- commands ----------------------------------------------------------------------------------------

    def _command(self, call: ToolCall, arguments: Arguments) -> Prepared:
        argv = arguments.words("argv") or ("/bin/sh", "-c", arguments.text("command"))
        if any("\0" in word for word in argv):
            raise ArgumentsError(f"{call.name}: a command cannot contain NUL characters")
        cwd = arguments.text("cwd", ".")
        with locate(self._root, cwd) as place:
            os.close(open_directory(place, cwd))
            directory = self._root / place.relative
        command = self._commands.prepare(argv, directory, stdin=arguments.maybe_text("stdin"))
        started = ToolStarted(
            call=call,
            effect=Effect.COMMANDS,
            pgid=command.pid,
            started_ticks=leftovers.start_ticks(command.pid),
            boot_id=leftovers.boot_id(),
            background=arguments.flag("background"),
            sandbox=self._sandbox,
        )
        timeout_s = arguments.number("timeout_s")
        if timeout_s is not None and self._most_s is not None:
            timeout_s = min(timeout_s, self._most_s)
        if arguments.flag("background"):
            return Background(
                started,
                command,
                self._settings,
                title=shlex.join(argv)[:200],
                timeout_s=timeout_s,
                register=self._background,
            )
        return Foreground(started, command, self._settings, timeout_s)

    def _handle(self, arguments: Arguments) -> Background:
        handle = arguments.text("handle")
        if (found := self._background.get(handle)) is None:
            raise RefusedPathError(_ENDED.format(handle=handle))
        return found

    def _stop(self, arguments: Arguments) -> ToolOutcome:
        background = self._handle(arguments)
        outcome = background.stop()
        del self._background[background.handle]
        return outcome

    def end_iteration(self) -> tuple[str, ...]:
        running = [background for background in self._background.values() if background.running]
        threads = [threading.Thread(target=background.stop) for background in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._background.clear()
        self._commands.host.close()
        return tuple(self._vault.mask(background.title) for background in running)

    def end_leftovers(self) -> tuple[str, ...]:
        """End what commands of an earlier process of this run left, background ones too; masked command lines.

        Returns once the last of them is gone: call it on resume, before the tree is read.
        """
        return tuple(self._vault.mask(words) for words in self._commands.end_leftovers())

    # ---- after a crash -----------------------------------------------------------------------------------

    def recover(self, started: ToolStarted) -> ToolOutcome | None:
        ended = self.end_leftovers()
        match started.effect:
            case Effect.READS:
                return None
            case Effect.WRITES:
                return self._recover_write(started) if started.path else None
            case Effect.COMMANDS:
                if started.pgid == 0:
                    # `stop`: what it meant to end has ended with runner.
                    return None
                if started.boot_id == leftovers.boot_id() and self._still(started):
                    ended += leftovers.end_all(lambda: leftovers.group(started.pgid))
                return outcome_of_lost(ended)

    def _still(self, started: ToolStarted) -> bool:
        """Whether the recorded process group is what it was, and not a later one under a number used again."""
        now = leftovers.start_ticks(started.pgid)
        return now != 0 and now == started.started_ticks

    def _recover_write(self, started: ToolStarted) -> ToolOutcome | None:
        try:
            writing.remove_temporary(self._root, started.path, started.after)
            found = writing.digest(self._root, started.path)
        except (RefusedPathError, OSError):
            found = "something else"
        if found == started.after:
            return ToolOutcome(text=self._vault.mask(self._said_when_done(started)), ok=True)
        if found == started.before:
            return None
        return ToolOutcome(
            text=f"interrupted: {started.path} is neither as it was nor as {started.call.name} meant it; read it again",
            ok=False,
            interrupted=True,
        )

    def _said_when_done(self, started: ToolStarted) -> str:
        arguments = read(started.call.name, started.call.arguments)
        match started.call.name:
            case "write_file":
                return writing.said_of_write(started.path, arguments.text("content"))
            case "edit_file":
                return writing.said_of_edit(started.path, _count(arguments))
            case _:
                return writing.said_of_tick(arguments.text("item"))


def _count(arguments: Arguments) -> int:
    return arguments.number("count") or 1


def _said(tool: str, error: OSError) -> str:
    """An error of the operating system, without paths of this machine."""
    return f"{tool}: {error.strerror or type(error).__name__}"
