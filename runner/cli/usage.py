"""A command line that cannot be understood, said again in runner's words: what is wrong with it, and what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from runner.cli.tree import COMMANDS, real
from runner.errors import ConfigError, closest

# what other tools, and other people, call the same command
_COMMANDS = {
    "cancel": "stop",
    "check": "spec check",
    "continue": "resume",
    "create": "init",
    "delete": "clean",
    "exec": "loop",
    "go": "loop",
    "help": "--help",
    "history": "runs",
    "info": "show",
    "kill": "stop",
    "lint": "spec check",
    "list": "runs",
    "logs": "log",
    "ls": "runs",
    "merge": "apply",
    "new": "init",
    "prune": "clean",
    "ps": "runs",
    "remove": "clean",
    "restore": "rollback",
    "revert": "rollback",
    "rm": "clean",
    "run": "loop",
    "start": "loop",
    "status": "show",
    "tail": "log",
    "undo": "rollback",
    "validate": "spec check",
    "version": "--version",
}
_FLAGS = {
    "--budget": "--max-cost",
    "--cost": "--max-cost",
    "--cost-limit": "--max-cost",
    "--dangerously-skip-permissions": "--unattended",
    "--headless": "--unattended",
    "--iterations": "--max-iterations",
    "--max-budget": "--max-cost",
    "--max-time": "--max-duration",
    "--max-turns": "--max-steps",
    "--max-usd": "--max-cost",
    "--non-interactive": "--unattended",
    "--message": "--prompt",
    "--task": "--prompt",
    "--time": "--max-duration",
    "--timeout": "--max-duration",
    "--tokens": "--max-tokens",
    "--turns": "--max-steps",
    "--usd": "--max-cost",
    "--yolo": "--unattended",
}
_EXAMPLES = {
    "--deadline": "07:00",
    "--env-file": "~/keys.env",
    "--max-calls": "100",
    "--max-cost": "2.50",
    "--max-duration": "1h30m",
    "--max-iterations": "10",
    "--max-steps": "50",
    "--max-tokens": "500000",
    "--model": "openai/gpt-5-mini",
    "--prices": "prices.toml",
    "--prompt": '"make the tests pass"',
}
_KEY = re.compile(r"--?(?:[a-z]+-)*(?:api-?)?(?:key|token|secret)s?\Z", re.IGNORECASE)


def explained(error: typer.TyperException, argv: Sequence[str]) -> ConfigError:
    """What was typed wrong in `argv`, as an error with what was meant. Values of flags are never repeated."""
    message = error.format_message()
    command = next((word for word in argv if word in COMMANDS), None)
    words = " ".join(["runner", *([command, *_inside(command, argv)] if command else [])])
    help_line = f"{words} --help"
    option = str(getattr(error, "option_name", ""))
    kind = error.__class__.__name__
    if kind == "NoSuchOption":
        return _option(option, command, words)
    if kind == "BadOptionUsage" and "requires an argument" in message:
        return _without_value(option, command, help_line)
    if (found := re.match(r"No such command '(.*?)'", message, re.DOTALL)) is not None:
        return _command(found[1], argv, error)
    if (found := re.match(r"Got unexpected extra arguments? *\(?s?\)? *\((.*)\)", message, re.DOTALL)) is not None:
        return _extra(found[1], command, help_line)
    if (found := re.match(r"Missing argument '(.*?)'", message)) is not None:
        return ConfigError(f"{words}: {found[1]} is missing", hint=f"see: {help_line}")
    return ConfigError(_sentence(message), hint=f"see: {help_line}")


def _inside(command: str, argv: Sequence[str]) -> list[str]:
    """The command of a group that was typed behind the group's name, if one was."""
    names = getattr(real(COMMANDS[command].module, command), "commands", {})
    return [word for word in argv[argv.index(command) + 1 :] if word in names][:1]


def _sentence(message: str) -> str:
    text = message.strip().rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _command(word: str, argv: Sequence[str], error: typer.TyperException) -> ConfigError:
    inside = getattr(getattr(error, "ctx", None), "command", None)
    names = sorted(getattr(inside, "commands", COMMANDS))
    rest = [one for one in argv[argv.index(word) + 1 :] if not one.startswith("-")] if word in argv else []
    shown = word if len(word) <= 60 else f"{word[:59]}…"
    message = f"there is no command {shown!r}"
    if names != sorted(COMMANDS):
        group = next((one for one in argv if one in COMMANDS), "")
        near = closest(word, names)
        instead = f"did you mean 'runner {group} {near}'? " if near else ""
        return ConfigError(message, hint=f"{instead}commands of {group}: {', '.join(names)}")
    if " " in word.strip():
        return ConfigError(message, hint="to give a prompt instead of a spec: runner loop -p TEXT")
    if word.endswith((".md", ".txt")) or Path(word).is_file():
        return ConfigError(message, hint=f"to run the agent on a spec: runner loop {word}")
    meant = _COMMANDS.get(word.lower()) or closest(word, names)
    if meant is None:
        return ConfigError(message, hint=f"commands: {', '.join(names)}; see runner --help")
    again = " ".join(["runner", meant, *rest[:1]])
    return ConfigError(message, hint=f"did you mean '{again}'? all commands: runner --help")


def _option(option: str, command: str | None, words: str) -> ConfigError:
    help_line = f"{words} --help"
    if _KEY.match(option):
        return ConfigError(
            f"keys are not given on the command line ({option}): others could read them there",
            hint="put OPENAI_API_KEY=… in the environment, or in a file .env here;\n"
            "your shell's history now holds what you typed: if it was a real key, make a new one",
        )
    flags = _flags(command)
    message = f"there is no flag {option}" + (f" of {words}" if command else "")
    if command is None:
        known = next((one for one in ("loop",) if option in _flags(one)), None)
        if known is not None:
            return ConfigError(message, hint=f"flags belong to a command: runner {known} {option} …")
        near = closest(option, ("--help", "--version"))
        return ConfigError(message, hint=f"did you mean {near}? see: {help_line}" if near else f"see: {help_line}")
    if option in flags:
        return ConfigError(f"{option} stands before the command", hint=f"write: {words} {option} …")
    meant = _FLAGS.get(option)
    begun = [flag for flag in flags if flag.startswith(option)] if len(option) > 3 else []
    near = meant if meant in flags else begun[0] if len(begun) == 1 else closest(option, flags)
    if near is not None:
        return ConfigError(message, hint=f"did you mean {near}? all flags: {help_line}")
    return ConfigError(message, hint=f"all flags: {help_line}")


def _without_value(option: str, command: str | None, help_line: str) -> ConfigError:
    long = next((flag for flag in _same(option, command) if flag in _EXAMPLES), option)
    example = _EXAMPLES.get(long)
    hint = f"for example: {option} {example}" if example else f"see: {help_line}"
    return ConfigError(f"{option} needs a value", hint=hint)


def _extra(words: str, command: str | None, help_line: str) -> ConfigError:
    shown = words if len(words) <= 60 else f"{words[:59]}…"
    if command == "loop":
        hint = f"one spec at a time; a prompt of several words stands in quotes behind -p; see: {help_line}"
        return ConfigError(f"more was given than one spec: {shown}", hint=hint)
    return ConfigError(f"more arguments than runner {command or ''} takes: {shown}", hint=f"see: {help_line}")


def _flags(command: str | None) -> list[str]:
    """The long flags of a command."""
    return [flag for names in _options(command) for flag in names if flag.startswith("--")]


def _same(option: str, command: str | None) -> Iterable[str]:
    """All names of the option that is called `option`."""
    return next((names for names in _options(command) if option in names), (option,))


def _options(command: str | None) -> list[tuple[str, ...]]:
    if command is None:
        return []
    built = real(COMMANDS[command].module, command)
    # a group has its flags at its commands
    every = [built, *getattr(built, "commands", {}).values()]
    return [
        (*one.opts, *one.secondary_opts) for each in every for one in each.params if one.param_type_name == "option"
    ]
