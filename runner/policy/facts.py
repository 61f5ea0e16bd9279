"""What a tool call comes to: programs, flags, paths, hosts. Computed once a call; rules match these facts."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, cast

from runner.policy import characters, hosts, touched, wrappers
from runner.policy.characters import names
from runner.policy.flags import flags_of, subcommands_of
from runner.policy.shell import Opaque, Word, read_shell
from runner.policy.suspects import search
from runner.values import NanoUsd

_NOTHING: Mapping[str, object] = MappingProxyType({})
_KNOWN = names("read_file list_files search_text output stop write_file edit_file tick run shell")
_RISK = {"reads": "low", "writes": "medium", "commands": "medium"}
_HARMLESS = frozenset(("/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin", "/dev/tty"))
_STANDARD = frozenset(
    ("/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin")
)
_IDLE = names("cd true false : exit")
"""The shell's own commands that nobody needs a rule for, as long as another program is there."""
_MOST_DIRECTORIES = 8
_MOST_SUBCOMMANDS = 8
_PIPED = Word(text="…", glob="*")
"""Stands for words that a wrapper reads from its input: nobody knows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that a call runs, or (as a suspect) may run.

    `name` is the plain name only where the name leads to the tools' own PATH; a program of the workspace (`inside`)
    or of an unusual directory is named by its path. `flags` are exploded: `-rf` gives `-r` and `-f` beside `-rf`,
    `--a=b` gives `--a`. `literal` is False where a pattern may still become a flag: a rule that looks at flags or
    words cannot allow it. `globs` are patterns among its words. `via` are the wrappers it was found in, outermost
    first.
    """

    name: str
    path: str = ""
    argv: tuple[str, ...] = ()
    subcommand: str = ""
    flags: tuple[str, ...] = ()
    inside: bool = False
    literal: bool = True
    globs: tuple[str, ...] = ()
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one call. Paths are relative inside the workspace, absolute outside, NFC.

    `refused` says why nobody may allow it (control characters), `opaque` why its text is not understood; of opaque
    text `programs` is empty. `suspects` are programs seen at any depth in text, wrappers and code: they only tighten.
    `read_globs` and `write_globs` are patterns whose matches are touched too. `outside` are the paths outside the
    workspace. `sandboxed` = behind walls that passed their test, or recorded commands only.
    """

    tool: str
    args: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    effect: str = "commands"
    recognised: bool = True
    opaque: str = ""
    refused: str = ""
    programs: tuple[Program, ...] = ()
    suspects: tuple[Program, ...] = ()
    redirects: tuple[tuple[str, str], ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    read_globs: tuple[str, ...] = ()
    write_globs: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    cwd: str = "."
    risk: str = "high"
    cost: NanoUsd = 0
    sandboxed: bool = False
    egress: bool = False
    background: bool = False


class Surroundings(Protocol):
    """What text alone does not say: where names and paths lead on this machine. Never raises."""

    @property
    def sandboxed(self) -> bool: ...
    @property
    def egress(self) -> bool: ...
    @property
    def home(self) -> str: ...

    def program(self, name: str, cwd: str) -> tuple[str, bool]:
        """The absolute path a name leads to ("" when none), and whether that lies in the workspace."""
        ...

    def path(self, text: str, cwd: str) -> tuple[str, bool]:
        """Where a path leads, symlinks followed: relative to the workspace and True, or absolute and False."""
        ...

    def file_digest(self, path: str) -> str:
        """SHA-256 of a file of the workspace; "" when there is none."""
        ...

    def secrets(self, text: str) -> tuple[str, ...]:
        """Names of the secrets that a text holds."""
        ...


class _Gatherer:
    """Collects the facts of one call. Directories a text changes into are kept as a set: `cd` may fail."""

    def __init__(self, tool: str, arguments: Mapping[str, object], effect: str, around: Surroundings) -> None:
        self._tool, self._args, self._effect, self._around = tool, arguments, effect, around
        self._programs: dict[Program, None] = {}
        self._suspects: dict[Program, None] = {}
        self._idle: dict[Program, None] = {}
        self._redirects: dict[tuple[str, str], None] = {}
        self._paths: dict[str, dict[str, None]] = {
            kind: {} for kind in ("reads", "writes", "read_globs", "write_globs")
        }
        self._outside: dict[str, None] = {}
        self._hosts: dict[str, None] = {}
        self._opaque = self._refused = ""
        self._cwd = _text(arguments, "cwd") or "."
        self._cwds = [self._cwd]

    def facts(self) -> Facts:
        match self._tool:
            case "shell":
                self._shell(_text(self._args, "command"))
            case "run":
                self._run(_words(self._args, "argv"))
            case "write_file" | "edit_file" | "read_file" | "list_files" | "search_text":
                self._file(_text(self._args, "path") or ".")
            case _:
                for text in _strings(self._args):
                    self._hosts.update((host, None) for host in hosts.hosts_in(text))
        secrets = (name for text in _strings(self._args) for name in self._around.secrets(text))
        return Facts(
            tool=self._tool,
            args=self._args,
            effect=self._effect,
            recognised=not self._opaque and not self._refused,
            opaque=self._opaque,
            refused=self._refused,
            programs=() if self._opaque or self._refused else tuple(self._programs or self._idle),
            suspects=tuple(self._suspects),
            redirects=tuple(self._redirects),
            reads=tuple(self._paths["reads"]),
            writes=tuple(self._paths["writes"]),
            read_globs=tuple(self._paths["read_globs"]),
            write_globs=tuple(self._paths["write_globs"]),
            outside=tuple(self._outside),
            hosts=tuple(self._hosts),
            secrets=tuple(dict.fromkeys(secrets)),
            cwd=self._cwd,
            risk=_RISK.get(self._effect, "high") if self._tool in _KNOWN else "high",
            sandboxed=self._around.sandboxed,
            egress=self._around.egress,
            background=self._args.get("background") is True,
        )

    # ---- shell text and words ----------------------------------------------------------------------------

    def _shell(self, text: str) -> None:
        self._refused = characters.refused(text)
        if self._refused:
            return
        self._text(text)
        self._tighten([text], [])

    def _run(self, argv: tuple[str, ...]) -> None:
        self._refused = next((why for word in argv if (why := _refused_word(word))), "" if argv else "no program")
        if self._refused:
            return
        self._unclear(next((why for word in argv if (why := characters.unseen(word))), ""))
        self._command([Word(text=word, bare=False) for word in argv])
        self._tighten([], [argv])

    def _unclear(self, why: str) -> None:
        self._opaque = self._opaque or why

    def _text(self, text: str) -> None:
        """Shell text that must be plain to be allowed."""
        read = read_shell(text)
        if isinstance(read, Opaque):
            self._unclear(read.why)
            return
        for command in read.commands:
            for redirect in command.redirects:
                self._redirect(redirect.operator, self._told(redirect.target))
            self._command(list(command.words))

    def _command(self, words: list[Word]) -> None:
        """One program's words, wrappers unwrapped: iterative, as they may nest as deep as the text is long."""
        todo = [words]
        while todo and not self._opaque:
            words = todo.pop(0)
            argv = tuple(self._told(word) for word in words)
            if argv[0] == "cd":
                self._changed_directory(words)
            if argv[0] in _IDLE and self._within_workspace():
                # it does nothing by itself, and where a program starts is the call's own to say
                self._idle[self._program(argv)] = None
                continue
            self._unclear(wrappers.hidden(argv))
            inner = tuple(wrappers.inside(argv))
            if not (inner and wrappers.is_transparent(argv)):
                self._add(words, argv)
            for one in inner:
                if not one.sure and one.kind != "code":
                    self._unclear(f"{argv[0]}, which may run another program")
                elif one.kind == "stdin":
                    self._unclear("a shell that runs what it is piped")
                elif one.kind == "shell":
                    self._text(one.text)
                elif one.kind == "argv" and one.argv:
                    # the last words, as words: what was a pattern stays one
                    kept = words[-len(one.argv) :]
                    same = tuple(self._told(word) for word in kept) == one.argv
                    todo.append(kept if same else [Word(text=word, bare=False) for word in one.argv])
                    if argv[0].endswith("xargs"):
                        todo[-1] = [*todo[-1], _PIPED]

    def _told(self, word: Word) -> str:
        return self._around.home + word.text[1:] if word.tilde else word.text

    def _within_workspace(self) -> bool:
        return all(self._around.path(".", cwd)[1] for cwd in self._cwds)

    def _changed_directory(self, words: list[Word]) -> None:
        told = [self._told(word) for word in words[1:]]
        if len(told) > 1 or (told and (told[0].startswith("-") or words[1].glob)):
            self._unclear("a directory that the text does not tell")
            return
        target = told[0] if told else self._around.home
        further = [_join(cwd, target) for cwd in self._cwds]
        self._cwds = list(dict.fromkeys((*self._cwds, *further)))
        if len(self._cwds) > _MOST_DIRECTORIES:
            self._unclear("too many changes of directory")

    def _add(self, words: list[Word], argv: tuple[str, ...]) -> None:
        globs = tuple(word.glob for word in words if word.glob)
        literal = not any(_may_be_flag(glob) for glob in globs) and _PIPED not in words
        found = subcommands_of(argv)
        sure = len(found) == 1 and not any(word.glob and word.text == found[0] for word in words)
        program = self._program(argv, literal=literal, globs=globs, subcommand=found[0] if sure else "")
        self._programs[program] = None
        if program.inside:
            # it may be named like what a rule denies
            self._suspect((program.path.rpartition("/")[2], *argv[1:]), ())
        self._touch(argv, program.subcommand, {self._told(word): word.glob for word in words if word.glob})

    def _program(
        self,
        argv: tuple[str, ...],
        *,
        literal: bool = True,
        globs: tuple[str, ...] = (),
        subcommand: str = "",
        via: tuple[str, ...] = (),
    ) -> Program:
        places = {self._around.program(argv[0], cwd) for cwd in self._cwds}
        path, inside = max(places, key=lambda place: place[1])
        name = argv[0]
        if "/" in name and not inside and path:
            # /usr/bin/git is git where git leads there
            directory, _, plain = path.rpartition("/")
            if directory in _STANDARD or self._around.program(plain, self._cwd)[0] == path:
                name = plain
        elif inside:
            name = self._around.path(name if "/" in name else path, self._cwds[0])[0]
            name = name if "/" in name else f"./{name}"
        return Program(
            name=name,
            path=path,
            argv=argv,
            subcommand=subcommand,
            flags=flags_of(argv),
            inside=inside,
            literal=literal,
            globs=globs,
            via=via,
        )

    # ---- what only tightens ------------------------------------------------------------------------------

    def _tighten(self, texts: list[str], argvs: list[tuple[str, ...]]) -> None:
        seen = search(texts, argvs, _text(self._args, "stdin"), self._around.home)
        if not seen.complete:
            # what was not looked through may be denied: not even a sandbox makes that fine
            self._refused = "more than can be looked through"
        if self._opaque:
            self._cwds = list(dict.fromkeys((*self._cwds, *self._gone_to(seen.programs))))[:_MOST_DIRECTORIES]
        known = set[tuple[str, ...]]() if self._opaque else {program.argv for program in self._programs}
        for words, via in seen.programs.items():
            argv = tuple(word.replace(wrappers.HOLE, "…") for word in words)
            if argv not in known:
                self._suspect(argv, via)
        if self._opaque:
            for operator, target in seen.redirects:
                self._redirect(operator, target)
        for literal in seen.literals:
            self._hosts.update((host, None) for host in hosts.hosts_in(literal))
            if "/" in literal or literal.startswith("."):
                self._path("reads", literal)
                self._path("writes", literal)

    def _gone_to(self, programs: Iterable[tuple[str, ...]]) -> Iterator[str]:
        """Directories that text which is not understood may change into."""
        for argv in programs:
            name, target = argv[0], next(iter(argv[1:]), self._around.home)
            if name == "env":
                target = next((argv[at + 1] for at, word in enumerate(argv[:-1]) if word in ("-C", "--chdir")), "")
                target = target or next((word[8:] for word in argv if word.startswith("--chdir=")), "")
            elif name not in ("cd", "pushd"):
                continue
            if target and wrappers.HOLE not in target and not target.startswith("-"):
                target = self._around.home + target[1:] if target == "~" or target.startswith("~/") else target
                yield from (_join(cwd, target) for cwd in tuple(self._cwds))

    def _suspect(self, argv: tuple[str, ...], via: tuple[str, ...]) -> None:
        for name in dict.fromkeys((argv[0], wrappers.base(argv[0]))):
            for subcommand in subcommands_of(argv)[:_MOST_SUBCOMMANDS] or ("",):
                program = Program(
                    name=name,
                    argv=(name, *argv[1:]),
                    subcommand=subcommand,
                    flags=flags_of(argv),
                    literal="…" not in "".join(argv),
                    via=via,
                )
                self._suspects[program] = None
                self._touch(argv, subcommand, {})
                if patterned := {word: word for word in argv[1:] if any(char in word for char in "*?[")}:
                    self._touch(argv, subcommand, patterned)

    # ---- paths and hosts ---------------------------------------------------------------------------------

    def _file(self, path: str) -> None:
        self._refused = characters.refused(path)
        self._unclear(characters.unseen(path))
        self._path("writes" if self._effect == "writes" else "reads", path)

    def _touch(self, argv: tuple[str, ...], subcommand: str, globs: Mapping[str, str]) -> None:
        self._hosts.update((host, None) for host in hosts.hosts_of(argv))
        wraps = wrappers.wraps(argv)
        for kind, word in touched.by_wrapper(argv) if wraps else touched.touched(argv, subcommand):
            if not word:
                continue
            glob = globs.get(word) or _named_by(globs, word)
            for way in (
                ("reads", "writes") if kind == touched.BOTH else ("reads",) if kind == touched.READ else ("writes",)
            ):
                if glob:
                    self._path(f"{way[:-1]}_globs", glob)
                else:
                    self._path(way, word)
                if kind == touched.TREE:
                    self._path("write_globs", f"{glob or characters.escaped_glob(word)}/**")

    def _redirect(self, operator: str, target: str) -> None:
        if operator.endswith("&") and (target.isdigit() or target == "-"):
            return
        if any(char in target for char in "*?["):
            self._path("read_globs" if operator == "<" else "write_globs", target)
        self._hosts.update((host, None) for host in hosts.hosts_in(target))
        for path in self._path("reads" if operator == "<" else "writes", target):
            self._redirects[operator, path] = None

    def _path(self, way: str, text: str) -> list[str]:
        """Take down a path, from wherever the text may be by then; the places it leads to."""
        text = self._around.home + text[1:] if text == "~" or text.startswith("~/") else text
        if not text or wrappers.HOLE in text or "\n" in text:
            return []
        found: list[str] = []
        for cwd in self._cwds:
            path, inside = self._around.path(text, cwd)
            found.append(path)
            self._paths[way][path] = None
            named = _join(cwd, text)
            if not named.startswith(("/", "../")) and named != "..":
                # what it is called, where it leads elsewhere
                self._paths[way][unicodedata.normalize("NFC", named)] = None
            if not inside and path not in _HARMLESS:
                self._outside[path] = None
        return found


def _may_be_flag(glob: str) -> bool:
    """Whether a pattern may come out as a flag that is not written: `*`, `--outp*`; `--include=*.py` is as it is."""
    return glob[0] in "*?[" or (glob[0] == "-" and any(char in glob.partition("=")[0] for char in "*?["))


def _refused_word(word: str) -> str:
    """Words of an argv may have lines; what a terminal or the kernel takes for an order they may not."""
    return characters.refused(word.replace("\r\n", "\n"))


def _join(directory: str, path: str) -> str:
    return path if path.startswith("/") else posixpath.normpath(posixpath.join(directory, path))


def _named_by(globs: Mapping[str, str], word: str) -> str:
    """The pattern of a place in a directory that takes the last name of one of `globs`; none for any other word."""
    directory, slash, name = word.rpartition("/")
    for told, glob in globs.items():
        if slash and name and told.rstrip("/").rpartition("/")[2] == name:
            return f"{characters.escaped_glob(directory)}/{glob.rstrip('/').rpartition('/')[2]}"
    return ""


def _text(arguments: Mapping[str, object], name: str) -> str:
    value = arguments.get(name)
    return value if isinstance(value, str) else ""


def _words(arguments: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = arguments.get(name)
    return tuple(str(word) for word in cast("list[object]", value)) if isinstance(value, list | tuple) else ()


def _strings(value: object) -> Iterator[str]:
    """Every text in arguments, however deep."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            todo.extend(cast("Mapping[str, object]", one).values())
        elif isinstance(one, list | tuple):
            todo.extend(cast("list[object]", one))


def facts_of(call_name: str, arguments: Mapping[str, object], effect: str, around: Surroundings) -> Facts:
    """The facts of a call. Never raises for what is in the arguments; ValueError where they are of no tool's kind."""
    return _Gatherer(call_name, arguments, effect, around).facts()
