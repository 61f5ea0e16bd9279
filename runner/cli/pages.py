"""What a command says of itself, as values: the one source of `--help`, the CLI reference, the man page and completion.

A command's docstring is read as: its line; paragraphs; `Exit codes: 0 done, 1 ...`; and, last, `Example:` or
`Examples:` with indented command lines, each of which may be followed by two spaces and what it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

PROGRAM = "runner"
_OPTIONS = "Options"
_EXIT_CODES = "Exit codes: "
_CODE = re.compile(r"(\d+) (.+?)(?=, \d+ |\.?$)")


@dataclass(frozen=True, slots=True)
class Example:
    """A command line, and what it does where that needs words."""

    command: str
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An argument (no `flags`) or an option. `value` is what stands for its value, "" for a plain flag.

    `name` is the parameter's own, as the code calls it; `is_file` says that it takes a path.
    """

    name: str
    flags: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    value: str = ""
    about: str = ""
    panel: str = _OPTIONS
    is_file: bool = False
    many: bool = False

    @property
    def shown(self) -> str:
        """As the left column of a list: `-m, --model MODEL`, `--worktree / --in-place`, `RUN`."""
        flags = ", ".join(self.flags)
        other = ", ".join(self.others)
        named = f"{flags} / {other}" if other else flags
        return f"{named} {self.value}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that is said of one command. `panels` are its options by group; `commands` what it contains, by group."""

    words: tuple[str, ...]
    usage: str
    line: str
    text: tuple[str, ...]
    examples: tuple[Example, ...] = ()
    codes: tuple[tuple[str, str], ...] = ()
    arguments: tuple[Parameter, ...] = ()
    panels: tuple[tuple[str, tuple[Parameter, ...]], ...] = ()
    commands: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    pages: tuple[Page, ...] = field(default=(), compare=False)

    @property
    def title(self) -> str:
        return " ".join((PROGRAM, *self.words))

    @property
    def options(self) -> tuple[Parameter, ...]:
        return tuple(one for _, every in self.panels for one in every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A docstring, taken apart."""

    paragraphs: tuple[str, ...]
    examples: tuple[Example, ...]
    codes: tuple[tuple[str, str], ...]


def understood(docstring: str) -> Words:
    """Take a command's docstring apart; what comes after the examples is a paragraph like those before."""
    paragraphs: list[str] = []
    examples: list[Example] = []
    codes: list[tuple[str, str]] = []
    for block in re.split(r"\n\s*\n", docstring.strip()):
        lines = block.splitlines()
        if lines[0] in {"Example:", "Examples:"}:
            lines = lines[1:]
        if lines and all(line.startswith("  ") for line in lines):
            examples += [_example(line.strip()) for line in lines]
            continue
        said = " ".join(line.strip() for line in lines)
        if said.startswith(_EXIT_CODES):
            codes += [(code, about) for code, about in _CODE.findall(said.removeprefix(_EXIT_CODES))]
        elif said:
            paragraphs.append(said)
    return Words(paragraphs=tuple(paragraphs), examples=tuple(examples), codes=tuple(codes))


def _example(line: str) -> Example:
    command, _, about = line.partition("  ")
    return Example(command, about.strip())


def page(command: TyperCommand | TyperGroup, words: tuple[str, ...], *, deep: bool = True) -> Page:
    """Describe a command and, if `deep`, everything in it; `words` are what is typed after `runner`."""
    context = typer.Context(command, info_name=" ".join((PROGRAM, *words)))
    context.help_option_names = ["-h", "--help"]
    said = understood(command.help or "")
    every = [_parameter(one, context) for one in command.get_params(context)]
    arguments = tuple(one for one in every if one is not None and not one.flags)
    inner: tuple[Page, ...] = ()
    if isinstance(command, TyperGroup) and deep:
        inner = tuple(
            page(one, (*words, name))
            for name, one in command.commands.items()
            if isinstance(one, TyperCommand | TyperGroup) and not one.hidden
        )
    ends = ["COMMAND ..."] if isinstance(command, TyperGroup) else [_in_usage(one) for one in arguments]
    return Page(
        words=words,
        usage=" ".join((PROGRAM, *words, "[OPTIONS]", *ends)),
        line=said.paragraphs[0] if said.paragraphs else "",
        text=said.paragraphs[1:],
        examples=said.examples or tuple(one for part in inner for one in part.examples[:1]),
        codes=said.codes,
        arguments=arguments,
        panels=_panels([one for one in every if one is not None and one.flags]),
        commands=(("Commands", tuple((one.words[-1], one.line) for one in inner)),) if inner else (),
        pages=inner,
    )


def _parameter(one: object, context: typer.Context) -> Parameter | None:
    """A parameter as it is shown; None for a hidden one."""
    match one:
        case TyperOption():
            record = one.get_help_record(context)
            plain = one.is_flag or one.count
        case TyperArgument():
            record = one.get_help_record(context)
            plain = False
        case _:
            return None
    if record is None:
        return None
    is_option = isinstance(one, TyperOption)
    name = one.name or ""
    return Parameter(
        name=name,
        # the short one first; typer keeps the names of --help in a set, whose order differs from run to run
        flags=tuple(sorted(one.opts, key=lambda flag: flag.startswith("--"))) if is_option else (),
        others=tuple(one.secondary_opts) if is_option else (),
        value="" if plain else one.metavar or name.upper(),
        about=_about(record[1]),
        panel=one.rich_help_panel or _OPTIONS,
        is_file=one.display_type(context) in {"<path>", "<file>"},
        many=one.nargs != 1 or (is_option and one.multiple),
    )


def _about(text: str) -> str:
    # two spaces stand before what typer adds itself: [default: last]
    return re.sub(r"\s{2,}\[", " [", text).replace("Show this message and exit.", "Show this page.")


def _in_usage(one: Parameter) -> str:
    if "required]" in one.about or one.value.startswith("["):
        return one.value
    return f"[{one.value}{'...' if one.many else ''}]"


def _panels(options: list[Parameter]) -> tuple[tuple[str, tuple[Parameter, ...]], ...]:
    """Options by group: those without one first, `--help` last among them, the groups in the order they appear."""
    names = dict.fromkeys((_OPTIONS, *(one.panel for one in options)))
    grouped = ((name, tuple(one for one in options if one.panel == name)) for name in names)
    return tuple((name, every) for name, every in grouped if every)
