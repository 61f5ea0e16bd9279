"""Every program that a call might run, at any depth: in text, wrappers, substitutions, code. Only used to tighten."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from runner.policy import characters, outputs, scripts, syntax, wrappers
from runner.policy.characters import names

_DEEPEST = 1_000
_MOST = 2_000
_LONGEST = 200_000
_MOST_WORDS = 150_000
_PIPED = 20
_TESTS = names("-name -iname -path -ipath -regex -type -newer -mtime -mmin -size -empty -perm -user -wholename")
_COMMON = names(
    "rm rmdir mv cp dd ln chmod chown chgrp chattr shred truncate unlink tee touch mkdir cat find xargs sed awk "
    "perl python python3 ruby node php sh bash dash zsh env sudo su doas mount umount mkfs fdisk kill pkill "
    "killall curl wget nc ncat netcat socat ssh scp sftp rsync ftp telnet git npm pip docker kubectl systemctl "
    "crontab at shutdown reboot useradd passwd iptables tar gzip base64 xxd openssl gpg runner timeout nice "
    "nohup busybox"
)


@dataclass(slots=True)
class Seen:
    """What a search came upon: words of programs with the wrappers round them, and words that are paths or hosts."""

    programs: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict[tuple[str, ...], tuple[str, ...]])
    redirects: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    literals: dict[str, None] = field(default_factory=dict[str, None])
    complete: bool = True


@dataclass(frozen=True, slots=True)
class _Item:
    kind: str
    argv: tuple[str, ...]
    text: str
    depth: int
    via: tuple[str, ...] = ()
    stdin: str = ""


def search(texts: Iterable[str], argvs: Iterable[tuple[str, ...]], stdin: str = "", home: str = "/root") -> Seen:
    """Look through shell texts and programs' words, and whatever these run in turn. Iterative; never raises.

    `complete` is False when the search was cut off, or the text is too long to look through.
    """
    seen = Seen()
    queue = deque(_Item("shell", (), text, 0, (), stdin) for text in texts)
    queue.extend(_Item("argv", argv, "", 0, (), stdin) for argv in argvs)
    looked: set[tuple[str, tuple[str, ...], str, str]] = set()
    words = 0
    renamed = False
    while queue or not renamed:
        if not queue:
            renamed = True
            queue.extend(_Item("argv", argv, "", 1) for argv in _renamed(seen))
            continue
        item = queue.popleft()
        key = (item.kind, item.argv, item.text, item.stdin)
        if key in looked:
            continue
        looked.add(key)
        words += len(item.argv)
        if len(looked) > _MOST or words > _MOST_WORDS or item.depth > _DEEPEST or len(item.text) > _LONGEST:
            seen.complete = False
            continue
        queue.extend(_within(item, seen, home))
    return seen


def _renamed(seen: Seen) -> list[tuple[str, ...]]:
    """Programs under a name that the text itself gave them: a copy, a link, an alias, a hashed path."""
    meant: dict[str, tuple[str, ...]] = {}
    for argv in seen.programs:
        told = [word for word in argv[1:] if not word.startswith("-")]
        name = wrappers.base(argv[0])
        if name in ("cp", "ln", "install", "mv", "hash") and len(told) > 1:
            source, target = (told[0], told[1]) if name == "hash" else (told[-2], told[-1])
            meant.setdefault(wrappers.base(target), (source,))
        elif name == "alias":
            meant.update((word.partition("=")[0], tuple(word.partition("=")[2].split())) for word in told)
    return [
        (*meant[named], *argv[1:])
        for argv in seen.programs
        if meant.get(named := wrappers.base(argv[0])) and argv[0] != meant[named][0]
    ]


def _within(item: _Item, seen: Seen, home: str) -> Iterator[_Item]:
    deeper = item.depth + 1
    if item.kind == "shell":
        for text in dict.fromkeys((item.text, characters.without_unseen(item.text))):
            found = syntax.read(text, home)
            seen.redirects.update((redirect, None) for redirect in found.redirects)
            yield from (_Item("shell", (), inner, deeper, item.via) for inner in found.texts)
            yield from (_Item("code", (), inner, deeper, item.via) for inner in found.codes)
            for argv, stdin in found.commands:
                yield _Item("argv", argv, "", deeper, item.via, stdin or item.stdin)
    elif item.kind == "code":
        seen.literals.update((literal, None) for literal in scripts.literals_in(item.text))
        for words in scripts.commands_in(item.text):
            if len(words) == 1:
                yield _Item("shell", (), words[0], deeper, item.via)
                if words[0] != item.text:
                    yield _Item("code", (), words[0], deeper, item.via)
            else:
                yield _Item("argv", words, "", deeper, item.via)
    else:
        yield from _program(item, seen, deeper)


def _program(item: _Item, seen: Seen, deeper: int) -> Iterator[_Item]:
    argv = item.argv
    while argv and not argv[0]:
        # an empty expansion before the name leaves the name
        argv = argv[1:]
    if not argv:
        return
    seen.programs.setdefault(argv, item.via)
    if any(char in argv[0] for char in "*?[") and argv[0].strip("*"):
        # a pattern in place of a program: whatever it may come to
        pattern = argv[0].rpartition("/")[2]
        for name in _COMMON:
            if fnmatchcase(name, pattern):
                yield _Item("argv", (name, *argv[1:]), "", deeper, item.via, item.stdin)
    via = (*item.via, wrappers.base(argv[0]))
    for inner in wrappers.inside(argv):
        if inner.kind == "stdin":
            if item.stdin:
                yield _Item("shell", (), item.stdin, deeper, via)
        elif inner.kind in ("argv", "also"):
            yield _Item("argv", inner.argv, "", deeper, via, item.stdin)
            if wrappers.base(argv[0]) in ("find", "gfind") and "{}" in inner.argv:
                for place in dict.fromkeys((*_searched(argv), *outputs.output(argv, "", {}).split())):
                    yield _Item("argv", tuple(place if word == "{}" else word for word in inner.argv), "", deeper, via)
            if wrappers.base(argv[0]) in ("xargs", "parallel") and item.stdin:
                yield from _piped(inner.argv, item.stdin, deeper, via)
        else:
            yield _Item(inner.kind, (), inner.text, deeper, via)


def _searched(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Where find starts from, where all that is found is meant: of the whole workspace a test picks something."""
    picks = any(word in _TESTS for word in argv)
    return tuple(word for word in argv[1:2] if word[:1] != "-" and not (picks and word.strip("./") == ""))


def _piped(argv: tuple[str, ...], text: str, deeper: int, via: tuple[str, ...]) -> Iterator[_Item]:
    """What xargs makes of words it is piped."""
    words = tuple(text.split())
    yield _Item("argv", (*argv, *words), "", deeper, via)
    yield _Item("argv", (*argv, text.strip("\n")), "", deeper, via)
    for word in dict.fromkeys((*text.splitlines()[:_PIPED], *words[:_PIPED])):
        yield _Item("argv", tuple(part.replace("{}", word) for part in argv), "", deeper, via)
