"""Options and words by which ordinary programs run others: `find -exec`, `git -c alias.x=!…`, `tar --to-command`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from runner.policy import options as told
from runner.policy import scripts
from runner.policy.characters import names

Found: TypeAlias = tuple[str, Sequence[str], bool]
"""Kind (argv, also, shell, code), the words, and whether that is certain."""

_PACKAGE_VALUED = names("--with --python -p --package --extra --group -e --env")
_FIND_EXEC = names("-exec -execdir -ok -okdir")
_FD_EXEC = names("-x -X --exec --exec-batch")
_SAFE_GIT = re.compile(
    r"(user\.(name|email)|color\.\w+|advice\.\w+|init\.defaultbranch|core\.(quotepath|abbrev|autocrlf|filemode|precomposeunicode)"
    r"|commit\.gpgsign|tag\.gpgsign|log\.\w+|status\.\w+|diff\.(renames|algorithm|context|nopreffix|mnemonicprefix)|fetch\.prune"
    r"|pull\.(rebase|ff)|push\.default|merge\.(ff|conflictstyle)|protocol\.version|safe\.directory|rerere\.enabled|gc\.auto)=.*"
    r"|core\.pager=(cat)?|pager\.\w+=(cat|false|off|0)",
    re.IGNORECASE,
)
_BUILTINS = names(
    "eval exec . source alias unalias export readonly declare typeset local unset read mapfile readarray "
    "let trap shopt enable builtin hash bind complete compgen compopt fc history getopts suspend pushd "
    "popd dirs logout chdir jobs disown bg fg coproc caller shift return break continue"
)
_SETS = re.compile(r"[-+][eux]+|[-+]([eux]*)o|errexit|nounset|xtrace|pipefail")
_SSH_VALUED = names("-b -c -D -E -e -F -I -i -J -L -l -m -O -o -p -Q -R -S -W -w -B")
_MODULE = re.compile(r"-[A-Za-ln-z]*m(.*)", re.DOTALL)


def runs(name: str, argv: Sequence[str]) -> Iterator[Found]:
    """What the words of an ordinary program make it run."""
    yield from _by_options(name, argv)
    if special := _SPECIAL.get(name):
        yield from special(argv)
    for word in told.AFTER.get(name, ()):
        yield from _after(name, word, argv)
    if name in ("awk", "gawk", "mawk", "nawk"):
        yield "code", scripts.operands(argv)[:1], True
    for at, word in enumerate(argv):
        if name in ("python", "pypy") and at and (found := _MODULE.fullmatch(word)):
            yield "also", (*filter(None, found.groups()), *argv[at + 1 :]), True
            return


def hidden(name: str, argv: Sequence[str]) -> str:
    """Why these words cannot be judged by their program alone; "" when they can."""
    words = argv[1:]
    if name in _BUILTINS:
        return f"the shell's own command {name}"
    if name == "set" and not all(_SETS.fullmatch(word) for word in words):
        return "the shell's own command set"
    if name in ("test", "[", "printf") and any(word in ("-v", "-R") or word.startswith("-v") for word in words):
        return f"a variable's name given to {name}"
    if name == "wait" and words[:1] == ["-p"]:
        return "a variable's name given to wait"
    if name in ("sed", "gsed") and not scripts.sed_is_plain(argv):
        return "a sed script that may run or write something"
    if name in ("awk", "gawk", "mawk", "nawk") and not scripts.awk_is_plain(argv):
        return "an awk program that may run or write something"
    if name == "git":
        return _git_hidden(words)
    if name in ("make", "gmake") and any(
        re.match(r"(SHELL|\.SHELLFLAGS|MAKEFLAGS)\s*[:+?]?=|--eval|-E", word) for word in words
    ):
        return "a make variable that runs something"
    if name in ("ssh", "socat", "tmux", "screen", "at", "batch", "crontab", "expect"):
        return f"what {name} is told to run"
    return ""


def _git_hidden(words: Sequence[str]) -> str:
    for at, word in enumerate(words):
        if word in ("-c", "--config-env") or word.startswith(("--exec-path=", "--config-env=")):
            value = words[at + 1] if word == "-c" and at + 1 < len(words) else ""
            if not _SAFE_GIT.fullmatch(value):
                return "a setting of git that may run something"
        elif word.startswith(("ext::", "fd::")):
            return "a transport of git that runs something"
        elif word in ("--git-dir", "--work-tree") or word.startswith(("--git-dir=", "--work-tree=")):
            return "another repository's settings"
        elif not word.startswith("-"):
            break
    return ""


def _by_options(name: str, argv: Sequence[str]) -> Iterator[Found]:
    """Values of the options that name a command, attached or following."""
    for options, kind in ((told.SHELL_TEXT.get(name), "shell"), (told.CODES.get(name), "code")):
        if not options:
            continue
        for at, word in enumerate(argv[1:], 1):
            option, equals, value = word.partition("=")
            following = argv[at + 1] if at + 1 < len(argv) else ""
            if equals and option in options:
                yield kind, (_told(kind, value),), False
            elif word in options or (kind == "code" and _ends_in(word, options)):
                yield kind, (_told(kind, following),), False
            elif len(word) > 2 and word[:2] in options and word[1] != "-":
                yield kind, (_told(kind, word[2:]),), False


def _ends_in(word: str, options: frozenset[str]) -> bool:
    """Letters together, the last of which takes the code: `perl -ne`, `python -Bc`."""
    return re.fullmatch(r"-[A-Za-z0-9]+", word) is not None and f"-{word[-1]}" in options


def _told(kind: str, value: str) -> str:
    """The command in a value: `exec=CMD` of tar, `ProxyCommand=CMD` of ssh."""
    if kind == "code":
        return value
    found = re.match(
        r"(?:exec|command|ProxyCommand|LocalCommand|KnownHostsCommand|RemoteCommand)[= ](.*)",
        value,
        re.DOTALL | re.IGNORECASE,
    )
    return found.group(1) if found else value


def _find(argv: Sequence[str]) -> Iterator[Found]:
    at = 1
    while at < len(argv):
        if argv[at] in _FIND_EXEC:
            end = next((n for n in range(at + 1, len(argv)) if argv[n] in (";", "+")), len(argv))
            yield "argv", argv[at + 1 : end], True
            at = end
        at += 1


def _fd(argv: Sequence[str]) -> Iterator[Found]:
    for at, word in enumerate(argv):
        if word in _FD_EXEC:
            yield "argv", argv[at + 1 :], True
            return


def _joined(argv: Sequence[str]) -> Iterator[Found]:
    """Eval and its like: the words, joined, are shell text."""
    yield "shell", (" ".join(argv[1:]),), False


def _each(argv: Sequence[str]) -> Iterator[Found]:
    """Words any of which may be shell text, and where a program may begin anywhere."""
    for at, word in enumerate(argv[1:], 1):
        if not word.startswith("-"):
            yield "shell", (word,), False
            yield "argv", argv[at:], False


def _alias(argv: Sequence[str]) -> Iterator[Found]:
    for word in argv[1:]:
        if "=" in word:
            yield "shell", (word.partition("=")[2],), False


def _ssh(argv: Sequence[str]) -> Iterator[Found]:
    at = 1
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] in _SSH_VALUED else 1
    if at + 1 < len(argv):
        yield "shell", (" ".join(argv[at + 1 :]),), False


def _git(argv: Sequence[str]) -> Iterator[Found]:
    for at, word in enumerate(argv):
        value = argv[at + 1] if word in ("-c", "config") and at + 1 < len(argv) else ""
        if word == "-c" and value.startswith("alias.") and "=!" not in value:
            name, _, meant = value[6:].partition("=")
            rest = argv[argv.index(name, at) + 1 :] if name in argv[at:] else ()
            yield "argv", (argv[0], *meant.split(), *rest), False
        if word in ("-x", "--exec") and "rebase" in argv[:at]:
            yield "argv", argv[at + 1 :], False
        if word == "-c" and "=" in value and not _SAFE_GIT.fullmatch(value):
            yield "shell", (value.partition("=")[2].lstrip("!"),), False
        if word.startswith("ext::"):
            parts = re.split(r"(?<!%) ", word[5:])
            yield "argv", [part.replace("% ", " ") for part in parts], False
        if word in ("run", "foreach") and argv[at - 1] in ("bisect", "submodule"):
            rest = [text for text in argv[at + 1 :] if text != "--recursive"]
            yield "argv", rest, False
            yield "shell", (" ".join(rest),), False
        if word == "config":
            yield from (("shell", (text.lstrip("!"),), False) for text in argv[at + 2 :] if text.startswith("!"))


def _escapes(argv: Sequence[str]) -> Iterator[Found]:
    """Editors and the like: what follows `!`, in a word or in what they read."""
    for word in argv[1:]:
        if "!" in word or word.startswith((".shell", ".system")):
            yield "code", (word,), False


def _piped(_: Sequence[str]) -> Iterator[Found]:
    yield "stdin", (), True


def _subscripts(argv: Sequence[str]) -> Iterator[Found]:
    """Names of variables that the shell works out: `test -v 'a[$(…)]'`."""
    yield from (("shell", (word,), False) for word in argv[1:] if "[" in word and ("$(" in word or "`" in word))


def _sourced(argv: Sequence[str]) -> Iterator[Found]:
    if argv[1:2] and argv[1] in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
        yield "stdin", (), True


def _sed(argv: Sequence[str]) -> Iterator[Found]:
    for word in argv[1:]:
        yield from (("shell", (text,), False) for text in scripts.run_by_sed(word))


def _trap(argv: Sequence[str]) -> Iterator[Found]:
    yield "shell", argv[1:2], False


def _hash(argv: Sequence[str]) -> Iterator[Found]:
    for at, word in enumerate(argv[:-1]):
        if word == "-p":
            yield "argv", (argv[at + 1],), False


def _packages(argv: Sequence[str]) -> Iterator[Found]:
    """Npx and its like: options, then a package's program."""
    at = 1
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] in ("-p", "--package", "--from", "--with", "--python", "-c", "--call") else 1
    if at < len(argv):
        yield "argv", argv[at:], True


def _make(argv: Sequence[str]) -> Iterator[Found]:
    if any(word in ("-f-", "--file=-", "--makefile=-", "/dev/stdin", "-f/dev/stdin") for word in argv) or any(
        word in ("-f", "--file", "--makefile") and argv[at + 1] in ("-", "/dev/stdin")
        for at, word in enumerate(argv[:-1])
    ):
        yield "stdin", (), True
    for word in argv[1:]:
        if "=" in word and not word.startswith("-"):
            yield "shell", (word.partition("=")[2],), False


def _flock(argv: Sequence[str]) -> Iterator[Found]:
    operands = [at for at, word in enumerate(argv[1:], 1) if not word.startswith("-")]
    if len(operands) > 1:
        yield "argv", argv[operands[1] :], False


def _after(name: str, verb: str, argv: Sequence[str]) -> Iterator[Found]:
    """What follows a subcommand that runs things. Sure only where options end with the subcommand's own words."""
    if verb and verb not in argv[1:]:
        return
    at = argv.index(verb, 1) + 1 if verb else 1
    if verb and name not in told.LOOSE:
        while at < len(argv) and argv[at].startswith("-"):
            at += 2 if argv[at] in _PACKAGE_VALUED else 1
        if at < len(argv):
            yield ("also" if name == "coverage" else "argv"), argv[at:], True
        return
    if "--" in argv[at:]:
        yield "argv", argv[argv.index("--", at) + 1 :], False
    for n in range(at, len(argv)):
        if not argv[n].startswith("-"):
            yield "argv", argv[n:], False
            if " " in argv[n] or name in ("tmux", "screen", "hyperfine"):
                yield "shell", (argv[n],), False


def _socat(argv: Sequence[str]) -> Iterator[Found]:
    for word in argv[1:]:
        kind, colon, rest = word.partition(":")
        if colon and kind.upper() in ("EXEC", "SYSTEM", "SHELL"):
            yield "shell", (rest.partition(",")[0],), False


_SPECIAL: Mapping[str, Callable[[Sequence[str]], Iterator[Found]]] = {
    **dict.fromkeys(names("vim vi nvim ex view less more man sqlite3"), _escapes),
    "find": _find,
    "gfind": _find,
    "fd": _fd,
    "fdfind": _fd,
    "eval": _joined,
    "at": _piped,
    "batch": _piped,
    ".": _sourced,
    "source": _sourced,
    "sed": _sed,
    "gsed": _sed,
    "coproc": _joined,
    "trap": _trap,
    "alias": _alias,
    "hash": _hash,
    "ssh": _ssh,
    "mosh": _ssh,
    "git": _git,
    "socat": _socat,
    "npx": _packages,
    "bunx": _packages,
    "uvx": _packages,
    "pipx": _packages,
    "make": _make,
    "gmake": _make,
    "flock": _flock,
    "runuser": _each,
    "su": _each,
    "jobs": _each,
    "capsh": _each,
    "script": _each,
    **dict.fromkeys(names("test [ printf let declare typeset local unset read export readonly"), _subscripts),
}
