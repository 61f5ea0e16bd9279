"""Programs that run other programs: what is inside their words.

`inside` finds it: other programs' words, shell text, code of another language. What a shell would put in later is
HOLE in these words. Nothing here decides: for an allow every program found must be allowed, a deny needs one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.policy import running
from runner.policy.characters import names

HOLE = "\0"
"""Stands in a word for what only running the text would tell."""
SHELLS = names("sh bash dash zsh ksh ash mksh yash rbash fish ksh93 pdksh csh tcsh nu xonsh elvish pwsh")
TRANSPARENT = names("nice nohup timeout env stdbuf command ionice setsid")
"""Wrappers that only ever do to a program what a policy need not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """What a program runs: `argv`, or `text` of a `kind` (shell, code, or stdin: what it is piped is shell text).

    `sure` is False for a guess, which may only deny, and the kind `also` for what its program stands for as well.
    """

    kind: str = "argv"
    argv: tuple[str, ...] = ()
    text: str = ""
    sure: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prefix:
    """How a wrapper's own words end: options that take a value, others, and operands before the program."""

    valued: frozenset[str]
    lone: frozenset[str]
    operands: int = 0
    assigns: bool = False


def _prefix(valued: str = "", lone: str = "", operands: int = 0, *, assigns: bool = False) -> _Prefix:
    return _Prefix(valued=names(valued), lone=names(lone), operands=operands, assigns=assigns)


_SUDO = _prefix(
    "-u -g -h -p -C -T -R -D -r -t -U --user --group --host --prompt --close-from --chroot --chdir --role --type",
    "-A -b -E -e -H -i -K -k -l -n -P -S -s -V -v -B --login --shell --preserve-env "
    "--non-interactive --stdin --background",
    assigns=True,
)
_PLAIN: Mapping[str, _Prefix] = {
    "sudo": _SUDO,
    "doas": _prefix("-u -C -a", "-n -s -L"),
    "pkexec": _prefix("--user", "--disable-internal-agent --keep-cwd"),
    "env": _prefix("-u -C --unset --chdir --argv0 -a", "- -i -0 -v --ignore-environment --null --debug", assigns=True),
    "nice": _prefix("-n --adjustment"),
    "ionice": _prefix("-c -n -p -P -u --class --classdata", "-t --ignore"),
    "chrt": _prefix("-T -P -D", "-a -b -d -f -i -m -o -p -r -R -v", 1),
    "taskset": _prefix("", "-a -c -p --cpu-list --all-tasks", 1),
    "nohup": _prefix(),
    "setsid": _prefix("", "-c -f -w --ctty --fork --wait"),
    "timeout": _prefix("-s -k --signal --kill-after", "-v -f -p --verbose --foreground --preserve-status", 1),
    "time": _prefix("-f -o --format --output", "-a -p -q -v --append --portability --quiet --verbose"),
    "stdbuf": _prefix("-i -o -e --input --output --error"),
    "command": _prefix("", "-p"),
    "builtin": _prefix(),
    "exec": _prefix("-a", "-c -l -cl -lc"),
    "setarch": _prefix("", "-R -v -B -F -I -L -S -T -X -Z -3", 1),
    "linux32": _prefix("", "-R -B"),
    "linux64": _prefix("", "-R -B"),
    "unshare": _prefix(
        "-S -G -R -w --setuid --setgid --root --wd --map-user --map-group --propagation --setgroups --map-users",
        "-m -u -i -n -p -U -C -T -f -r -c -rn -Urn -Ur -rm -pf --mount --uts --ipc --net --pid --user --fork "
        "--map-root-user --map-current-user --kill-child --mount-proc --keep-caps",
    ),
    "nsenter": _prefix("-t -S -G -r -w --target --setuid --setgid", "-a -m -u -i -n -p -U -C -T -F --all --mount"),
    "chroot": _prefix("", "--skip-chdir", 1),
    "fakeroot": _prefix("-l -s -i -b --lib --faked", "-u -- "),
    "faketime": _prefix("-p", "-m -f", 1),
    "proot": _prefix("-r -b -q -w -v -k", "-0 -R -S"),
    "bwrap": _prefix(
        "--uid --gid --hostname --chdir --proc --dev --tmpfs --dir --cap-add --cap-drop --args --unsetenv"
    ),
    "firejail": _prefix(),
    "strace": _prefix("-a -e -o -p -s -S -u -E -I -O -P -b -X", "-c -C -d -f -F -h -i -k -q -r -t -tt -T -v -x -y -ff"),
    "ltrace": _prefix("-a -e -o -p -s -u -n -l -A -D", "-c -C -f -i -r -S -t -T"),
    "valgrind": _prefix(),
    "xargs": _prefix(
        "-a -d -E -I -L -n -P -s --arg-file --delimiter --max-args --max-procs --max-lines --max-chars --replace",
        "-0 -r -t -p -x -i -l -e --null --no-run-if-empty --verbose --exit --open-tty",
    ),
    "parallel": _prefix("-j -a -I -N -n -S --jobs --delay --colsep --timeout --retries --joblog", "-0 -k -X -m --bar"),
    "watch": _prefix("-n -q --interval --equexit", "-b -c -C -d -e -g -p -r -t -w -x --errexit --exec --no-title"),
    "entr": _prefix("", "-a -c -d -n -p -r -s -z -cr -rc"),
    "systemd-run": _prefix(
        "-p -u -E -t -M -H --unit --property --setenv --slice --uid --gid", "--user --scope -P --pty --wait"
    ),
    "gosu": _prefix(operands=1),
    "su-exec": _prefix(operands=1),
    "setuidgid": _prefix(operands=1),
    "chpst": _prefix("-u -U -e -/ -n -m -o -f -c -t", "-v -P -0 -1 -2"),
    "setpriv": _prefix(
        "--reuid --regid --groups --inh-caps --ambient-caps --bounding-set --pdeathsig",
        "--clear-groups --init-groups --no-new-privs",
    ),
    "numactl": _prefix("-N -m -C -i -p --cpunodebind --membind --physcpubind --interleave", "-l --localalloc"),
    "prlimit": _prefix("-p --pid -o"),
    "rlwrap": _prefix("-H -f -s -p -P -S -C"),
    "unbuffer": _prefix("", "-p"),
    "catchsegv": _prefix(),
    "dbus-run-session": _prefix("--dbus-daemon --config-file", "--"),
    "xvfb-run": _prefix("-n -f -s -e -p -w --server-num --server-args", "-a --auto-servernum"),
    "cgexec": _prefix("-g", "--sticky"),
    "start-stop-daemon": _prefix(
        "-p -c -u -x -n -a -d --pidfile --chuid --user --exec --name --startas", "-S -b -m -o -q"
    ),
    "runcon": _prefix("-u -r -t -l", "-c", 1),
    "torsocks": _prefix(),
    "proxychains": _prefix("-f", "-q"),
    "proxychains4": _prefix("-f", "-q"),
    "caffeinate": _prefix("-t -w", "-d -i -m -s -u"),
    "arch": _prefix("-e -d", "-x86_64 -arm64 -i386"),
    "chronic": _prefix(),
    "ts": _prefix(),
    "retry": _prefix("-t -d --times --delay"),
    "with-contenv": _prefix(),
    "tini": _prefix("-p -e", "-s -v -w -g"),
    "dumb-init": _prefix("-r", "-c -v"),
    **dict.fromkeys(
        names(
            "dbus-launch ssh-agent eatmydata torify tsocks aoss sem newgrp pv daemon daemonize trickle wine "
            "heaptrack fakechroot noglob nocorrect - foreman"
        ),
        _prefix(),
    ),
    **dict.fromkeys(names("logsave envdir"), _prefix(operands=1)),
    "cpulimit": _prefix("-l -p -e -P --limit --pid --exe --path", "-z -i -v -b -f"),
    "dtach": _prefix("-n -c -A -a -p -N"),
    "schroot": _prefix("-c -u -d -s --chroot --user --directory", "-p"),
    "choom": _prefix("-n -p --adjust --pid"),
}
_RUNNERS = {
    **_PLAIN,
    **{f"g{name}": _PLAIN[name] for name in ("env", "nice", "nohup", "timeout", "stdbuf", "time", "xargs")},
}
_TEXT_ONLY = re.compile(r"-[eux]*c[eux]*")
_APPLETS = names("busybox toybox")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_LOADER = re.compile(r"qemu-[\w]+$|ld(-linux[\w.-]*|-musl[\w.-]*|)\.so(\.\d+)?$")
_VERSIONED = re.compile(r"^(python|pypy|perl|ruby|node|php|lua|bash|zsh|ksh)[-\d.]*(?:w|\.exe)?$")


def base(name: str) -> str:
    """A program's plain name: no directory, no version."""
    name = name.rpartition("/")[2]
    found = _VERSIONED.match(name)
    return found.group(1) if found else name


def inside(argv: Sequence[str]) -> Iterator[Inner]:
    """Whatever these words make their program run."""
    if not argv:
        return
    name = base(argv[0])
    if name in SHELLS:
        yield from _shell(argv)
    elif name in _RUNNERS:
        yield from _run(name, _RUNNERS[name], argv)
    elif name in _APPLETS:
        yield Inner(argv=tuple(argv[1:]))
    elif _LOADER.search(name):
        yield from (Inner(argv=tuple(argv[at:]), sure=False) for at in range(1, len(argv)) if argv[at][:1] != "-")
    else:
        for kind, value, sure in running.runs(name, argv):
            if kind in ("argv", "also", "stdin"):
                yield Inner(kind=kind, argv=tuple(value), sure=sure)
            else:
                yield Inner(kind=kind, text=" ".join(value), sure=sure)


def wraps(argv: Sequence[str]) -> bool:
    """Whether a program does nothing with its words but to run what is in them."""
    name = base(argv[0]) if argv else ""
    return name in _RUNNERS or name in SHELLS or name in _APPLETS


def is_transparent(argv: Sequence[str]) -> bool:
    """Whether nothing but the program inside need be judged: `timeout 5 make`, `sh -c 'make'`."""
    if argv and argv[0] in ("sh", "bash", "dash"):
        return len(argv) == 3 and _TEXT_ONLY.fullmatch(argv[1]) is not None
    return bool(argv) and base(argv[0]) in TRANSPARENT


def hidden(argv: Sequence[str]) -> str:
    """Why these words keep what they run from sight, or change what names mean; "" when they do not."""
    name = base(argv[0]) if argv else ""
    if name == "env" and _program_at(_RUNNERS["env"], argv)[0] > 1 and len(argv) > 1:
        return "an assignment"
    if name in TRANSPARENT and len(argv) > 1 and not _program_at(_RUNNERS[name], argv)[1]:
        return f"an option of {name} that may take a value or not"
    return running.hidden(name, argv)


def _program_at(prefix: _Prefix, argv: Sequence[str]) -> tuple[int, bool]:
    """Where the inner program begins (len(argv): nowhere), and whether every option before it is a known one."""
    at, sure, left = 1, True, prefix.operands
    while at < len(argv):
        word = argv[at]
        if word == "--":
            at += 1
        elif (word.startswith("-") and len(word) > 1) or word in prefix.lone:
            option = word.partition("=")[0]
            if word in prefix.valued:
                at += 2
                continue
            short = word[:2] in prefix.valued and not word.startswith("--")
            known = word in prefix.lone or option in prefix.valued or option in prefix.lone or short
            # nice -10, strace -ff: letters that are known one by one
            letters = not word.startswith("--") and all(
                f"-{letter}" in prefix.lone or letter.isdigit() for letter in word[1:]
            )
            sure = sure and (known or letters)
            at += 1
        elif prefix.assigns and _ASSIGNMENT.match(word):
            at += 1
        elif left:
            left -= 1
            at += 1
        else:
            return at, sure
    return len(argv), sure


def _run(name: str, prefix: _Prefix, argv: Sequence[str]) -> Iterator[Inner]:
    at, sure = _program_at(prefix, argv)
    if at < len(argv):
        yield Inner(argv=tuple(argv[at:]), sure=sure)
    if not sure:
        yield from (Inner(argv=tuple(argv[other:]), sure=False) for other in range(1, len(argv)) if other != at)
    if name in ("watch", "parallel", "entr") and at < len(argv):
        yield Inner(kind="shell", text=" ".join(argv[at:]), sure=False)
    if name == "env":
        yield from _split_string(argv)
    if name in ("env", "sudo"):
        yield from (
            Inner(kind="shell", text=word.partition("=")[2], sure=False) for word in argv[1:at] if runs_value(word)
        )
    if name == "start-stop-daemon":
        yield from (
            Inner(argv=(argv[n + 1],), sure=False) for n, word in enumerate(argv[:-1]) if word in ("-x", "--exec", "-a")
        )
    if name == "parallel" and ":::" in argv:
        cut = argv.index(":::")
        yield from (Inner(argv=(*argv[at:cut], word), sure=False) for word in argv[cut + 1 :])
        yield from (Inner(kind="shell", text=word, sure=False) for word in argv[cut + 1 :])


def _split_string(argv: Sequence[str]) -> Iterator[Inner]:
    for at, word in enumerate(argv):
        letters = re.match(r"-[0iv]*S", word)
        text = (
            word[letters.end() :] if letters else word.partition("=")[2] if word.startswith("--split-string=") else ""
        )
        apart = not text and (letters is not None or word == "--split-string")
        if apart and at + 1 < len(argv):
            text = argv[at + 1]
        if text:
            rest = argv[at + (2 if apart else 1) :]
            yield Inner(kind="shell", text=" ".join(["env", text, *rest]), sure=False)


def runs_value(assignment: str) -> bool:
    """Whether a variable's value is a command that some program will run."""
    name, equals, _ = assignment.partition("=")
    return bool(equals) and (name in _RUN_BY_VALUE or name.startswith(("GIT_", "BASH_FUNC_")))


_RUN_BY_VALUE = names(
    "PAGER MANPAGER EDITOR VISUAL BROWSER LESSOPEN LESSCLOSE PROMPT_COMMAND PS0 PS1 PS4 RSYNC_RSH CVS_RSH "
    "SVN_SSH TAR_OPTIONS BASH_ENV ENV SHELL SUDO_ASKPASS SSH_ASKPASS FCEDIT MAKEFLAGS XZ_OPT PERL5OPT "
    "PYTHONSTARTUP NODE_OPTIONS RUBYOPT LD_PRELOAD GREP_OPTIONS npm_config_script_shell"
)


def _with_words(text: str, words: Sequence[str]) -> str:
    """Shell text with the words it is given in the place of `$0`, `$1` and `$@`."""
    rest = " ".join(words[1:])
    text = re.sub(r"\"?\$\{?[@*]\}?\"?", lambda _: rest, text)

    def one(found: re.Match[str]) -> str:
        at = int(found.group(1))
        return words[at] if at < len(words) else ""

    return re.sub(r"\$\{?(\d)\}?", one, text)


def _shell(argv: Sequence[str]) -> Iterator[Inner]:
    """A shell's own words: its text after `-c`, or its standard input."""
    at, takes_text = 1, False
    while at < len(argv) and argv[at][:1] in ("-", "+") and len(argv[at]) > 1:
        word = argv[at]
        at += 1
        if word == "--":
            break
        if word in ("--rcfile", "--init-file") or (not word.startswith("--") and word.endswith(("o", "O"))):
            at += 1
        elif word.startswith(("--command=", "--init-command=")):
            yield Inner(kind="shell", text=word.partition("=")[2])
        elif word in ("--command", "--init-command", "-C"):
            takes_text = True
        if not word.startswith("--") and "c" in word:
            takes_text = True
    if takes_text:
        if at < len(argv):
            yield Inner(kind="shell", text=argv[at])
            if at + 1 < len(argv) and "$" in argv[at]:
                yield Inner(kind="shell", text=_with_words(argv[at], argv[at + 1 :]), sure=False)
            if at + 2 < len(argv):
                # "$@" and "$1" of the text
                yield Inner(argv=tuple(argv[at + 2 :]), sure=False)
    elif (
        at >= len(argv)
        or any(word.startswith("-") and "s" in word and word[:2] != "--" for word in argv[1:at])
        or argv[at] in ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
    ):
        yield Inner(kind="stdin")
