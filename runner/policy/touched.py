"""Which of a program's words are files it reads or writes, as far as the words say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from runner.policy.characters import names
from runner.policy.flags import flags_of

READ, WRITE, BOTH, TREE = "read", "write", "both", "tree"
"""TREE is a write of everything below, too."""

_NOTHING = names("echo printf true false : [ test cd pwd exit sleep kill type wait ulimit umask basename dirname")
_READERS = names(
    "cat head tail less more bat nl tac rev wc cut tr paste join fold fmt pr expand diff cmp comm cksum "
    "md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum sum file stat ls dir vdir tree du df "
    "find fd locate od xxd hexdump strings base64 base32 column look tsort shuf seq which whereis realpath "
    "readlink namei pytest mypy pyright basedpyright pylint flake8 eslint tsc cargo go make gmake cmake "
    "ninja npm npx yarn pnpm pip pip3 uv uvx poetry pipenv hatch tox nox docker podman kubectl helm python "
    "python3 pypy3 node deno bun ruby php lua java javac rustc gcc g++ cc c++ clang clang++ ld nm objdump "
    "readelf ldd size sh bash dash zsh ksh ash source . gem bundle mvn gradle dotnet swift jest vitest ssh "
    "ssh-add git-lfs gh crontab xargs env nohup timeout nice time pgrep ps top coverage runner pre-commit "
    "import-linter lint-imports shellcheck hadolint yamllint jsonlint markdownlint"
)
_SCRIPTED = names("grep egrep fgrep zgrep rg ag ack jq yq awk gawk mawk nawk sed gsed perl")
_TREES = names("rm rmdir shred chmod chown chgrp chattr setfacl unlink")
_WRITERS = names("tee touch mkdir truncate mkfifo mknod mktemp patch fallocate")
_COPIERS = names("cp install ln rsync scp")
_MODED = names("chmod chown chgrp chattr")
_PACKERS = names("gzip gunzip bzip2 bunzip2 xz unxz zstd unzstd lzma zip unzip")
_FORMATTERS = names("black isort prettier rustfmt gofmt goimports autopep8 yapf clang-format shfmt ruff")
_OUT = re.compile(
    r"--(.*-)?(output|out|outfile|outdir|dest|destination|target|report|log|logfile|basetemp|junitxml|junit)(-.*)?$"
)
_OUT_TOO = names("--directory-prefix --cookie-jar --dump-header --trace --trace-ascii --stderr --save --html-report")
_SHORT_OUT = names(
    "curl wget sort shuf tree less iconv gcc g++ cc c++ clang clang++ ld rustc go gpg pandoc dot tsc nasm as"
)
_IN = names(
    "--file --config --input --in --from-file --post-file --body-file --upload-file --data --data-binary "
    "--data-raw --data-urlencode --form --identity --cert --key --cacert --env-file --netrc-file "
    "--regexp-file --include"
)
_GIT_WRITES = names("checkout restore rm mv clean reset apply am stash switch worktree init sparse-checkout")
_VAGUE = re.compile(r"^$|^\.\.?$|^\..*[*?\[{]|\u2026")
"""Names that may come out as any hidden one, or as none."""
_SHOWS = names("show cat-file diff log blame archive grep ls-tree rev-parse")
_OF_WRAPPERS = {
    "xargs": (("-a", READ), ("--arg-file", READ)),
    "parallel": (("-a", READ), ("--arg-file", READ)),
    "strace": (("-o", WRITE), ("--output", WRITE)),
    "ltrace": (("-o", WRITE), ("--output", WRITE)),
    "time": (("-o", WRITE), ("--output", WRITE)),
}
_IN_TREE = re.compile(r"[^/!^(:][^:]*:(?:[0-3]:)?(?!//)|:(?:[0-3]:)?(?![/!^(])")
"""What stands before a path in a commit, or in the index: `HEAD:`, `:0:`."""
_PATHLIKE = re.compile(r"^(~|\.{0,2}/|\.[A-Za-z]|[^\s=:]*/|[\w.-]+\.[A-Za-z0-9_]{1,10}$)|^\.{1,2}$|^\*")


def touched(argv: Sequence[str], subcommand: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of READ, WRITE, BOTH or TREE and a word. Rather too many than too few: rules deny and ask by them."""
    name = argv[0].rpartition("/")[2] if argv else ""
    if name in _NOTHING:
        return
    yield from _options(name, argv)
    operands = _operands(name, argv)
    if name == "git":
        yield from _git(argv, operands, subcommand)
    elif name == "dd":
        for word in argv[1:]:
            key, equals, value = word.partition("=")
            if equals and key in ("if", "of"):
                yield (READ if key == "if" else WRITE), value
    elif name in _SCRIPTED:
        yield from _scripted(name, argv, operands)
    elif name in _TREES:
        yield from ((TREE, word) for word in operands[1 if name in _MODED and "--reference" not in argv else 0 :])
    elif name in _COPIERS:
        yield from _copied(argv, operands)
    elif name == "mv":
        yield from _moved(argv, operands)
    elif name == "tar":
        yield from _tar(argv, operands)
    elif name in ("uniq", "xxd"):
        yield from zip((READ, WRITE), operands, strict=False)
    elif name == "find":
        yield from _find(argv)
    else:
        kind = _kind(name, argv)
        yield from (
            (kind, word) for word in operands if name in _READERS | _WRITERS | _PACKERS or _PATHLIKE.match(word)
        )


def _kind(name: str, argv: Sequence[str]) -> str:
    if name in _WRITERS:
        return WRITE
    if name in _FORMATTERS:
        return READ if {"--check", "check", "--diff", "-l", "-d"} & set(argv) and "--fix" not in argv else BOTH
    if name == "sort":
        return READ
    return READ if name in _READERS or re.fullmatch(r"(python|pypy|node|ruby|perl|php|lua)[0-9.]*", name) else BOTH


def _operands(name: str, argv: Sequence[str]) -> list[str]:
    """Words that are no options. A value of an option counts as one: nobody knows every option of every program."""
    found: list[str] = []
    ended = False
    skip = name in ("curl", "wget")
    words = iter(argv[1:])
    for word in words:
        if ended or not word.startswith("-") or word == "-":
            if word != "-" and "://" not in word:
                found.append(word)
        elif word == "--":
            ended = True
        elif skip and word in ("-H", "--header", "-A", "--user-agent", "-X", "--request", "-u", "--user"):
            next(words, "")
    return found


def _options(name: str, argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Files that options name."""
    words = list(argv[1:])
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        if word == "--":
            return
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            value = value if equals else following
            if _OUT.match(option) or option in _OUT_TOO or (name == "git" and option == "--file"):
                yield WRITE, value
            elif option in _IN:
                yield READ, _attached(value)
            elif equals and _PATHLIKE.match(value):
                yield (READ if name in _READERS | _SCRIPTED else BOTH), value
        elif (word[:2] == "-o" and name in _SHORT_OUT) or (name == "wget" and word[:2] in ("-O", "-P", "-a")):
            yield WRITE, word[2:] or following
        elif name == "curl" and word[:2] in ("-d", "-F", "-T", "-K", "-E", "-b"):
            yield READ, _attached(word[2:] or following)
        elif name in ("ssh", "scp", "sftp") and word[:2] in ("-i", "-F"):
            yield READ, word[2:] or following
        elif "@" in word and name == "curl":
            yield READ, _attached(word)


def _attached(value: str) -> str:
    """The file in curl's `@file` and `name=@file`."""
    return value.partition("@")[2].partition(";")[0] if "@" in value else value


def _scripted(name: str, argv: Sequence[str], operands: list[str]) -> Iterator[tuple[str, str]]:
    """Programs whose first operand is no file, but a pattern or a script."""
    given = any(
        word[:2] in ("-e", "-f") or word.startswith(("--regexp", "--expression", "--file")) for word in argv[1:]
    )
    if given and name == "perl":
        given = False
    for at, word in enumerate(argv[1:-1], 1):
        if word == "-f" and name in ("grep", "egrep", "fgrep", "rg", "awk", "gawk", "mawk", "sed", "jq"):
            yield READ, argv[at + 1]
    in_place = name in ("sed", "gsed", "perl", "yq", "gawk") and any(
        re.match(r"-[A-Za-z]*i|--in-?place", word) for word in argv[1:]
    )
    files = operands if given else operands[1:]
    if name == "perl" and not any(re.match(r"-[A-Za-z0-9]*[eE]", word) for word in argv[1:]):
        files = operands
    for word in files:
        yield (BOTH if in_place else READ), word


def _moved(argv: Sequence[str], operands: list[str]) -> Iterator[tuple[str, str]]:
    into = _into(argv)
    sources = operands if into else operands[:-1]
    for word in sources:
        yield READ, word
        yield TREE, word
    for target in into or operands[-1:]:
        yield from _placed(TREE, target, sources, whole=_as_a_whole(argv))


def _copied(argv: Sequence[str], operands: list[str]) -> Iterator[tuple[str, str]]:
    into = _into(argv)
    sources = operands if into else operands[:-1]
    for word in sources:
        yield READ, word
    rsync = argv[0].endswith("rsync")
    deep = rsync or any(re.match(r"-[A-Za-z]*[rRa]|--(recursive|archive)", word) for word in argv)
    for target in into or operands[-1:]:
        yield from _placed(TREE if deep else WRITE, target, sources, whole=rsync or _as_a_whole(argv))


def _into(argv: Sequence[str]) -> list[str]:
    """Directories that options name as the target."""
    into = [argv[at + 1] for at, word in enumerate(argv[:-1]) if word in ("-t", "--target-directory")]
    into += [word.partition("=")[2] for word in argv if word.startswith("--target-directory=")]
    return into + [word[2:] for word in argv if word.startswith("-t") and len(word) > 2]


def _as_a_whole(argv: Sequence[str]) -> bool:
    """Whether an option lets a target that is a directory be merged with, or deeper places in it be written."""
    return any(re.match(r"-[A-Za-z]*T|--no-t|--pa", word) for word in argv)


def _placed(kind: str, target: str, sources: Sequence[str], *, whole: bool) -> Iterator[tuple[str, str]]:
    """The target of a copy or a move. A directory takes the sources' names; `.` is certainly one."""
    names = [word.rstrip("/").rpartition("/")[2] for word in sources]
    stands = target.rstrip("/").rpartition("/")[2] in (".", "..") and not whole
    yield (WRITE if stands and not any(map(_VAGUE.search, names)) else kind), target
    yield from ((kind, f"{target.rstrip('/')}/{name}") for name in names)


def _tar(argv: Sequence[str], operands: list[str]) -> Iterator[tuple[str, str]]:
    modes = argv[1].lstrip("-") if len(argv) > 1 and not argv[1].startswith("--") else ""
    extracts = "x" in modes or "--extract" in argv or "--get" in argv or "-x" in flags_of(argv)
    creates = "c" in modes or "--create" in argv
    into = [argv[at + 1] for at, word in enumerate(argv[:-1]) if word in ("-C", "--directory")]
    for word in operands:
        if word != modes:
            # a folder that an archive is unpacked into may get anything below it
            whole = extracts and word in into and word.rstrip("/") not in (".", "..")
            yield (TREE if whole else WRITE if extracts else BOTH if creates else READ), word


def _find(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    writes = "-delete" in argv
    for at, word in enumerate(argv[1:], 1):
        if word.startswith(("-", "(", "!")) and word not in ("-H", "-L", "-P"):
            break
        if not word.startswith("-"):
            yield (TREE if writes else READ), argv[at]
    for at, word in enumerate(argv[:-1]):
        if word in ("-fprint", "-fprint0", "-fls", "-fprintf"):
            yield WRITE, argv[at + 1]
        elif word == "-files0-from":
            yield READ, argv[at + 1]


def by_wrapper(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Files of a wrapper's own: `xargs -a FILE`, `strace -o FILE`, a script that a shell is given."""
    name = argv[0].rpartition("/")[2] if argv else ""
    if name in ("sh", "bash", "dash", "zsh", "ksh"):
        first = next((word for word in argv[1:] if word[:1] not in ("-", "+")), "")
        if first and not any(re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*", word) for word in argv[1:]):
            yield READ, first
    for at, word in enumerate(argv[1:], 1):
        for option, kind in _OF_WRAPPERS.get(name, ()):
            if word == option:
                yield from ((kind, value) for value in argv[at + 1 : at + 2])
            elif word.startswith(f"{option}=" if option.startswith("--") else option):
                yield kind, word.removeprefix(option).removeprefix("=")


def _git(argv: Sequence[str], operands: list[str], subcommand: str) -> Iterator[tuple[str, str]]:
    rest = operands[operands.index(subcommand) + 1 :] if subcommand in operands else operands
    if subcommand == "config":
        yield from _git_config(argv, rest)
        return
    kind = TREE if subcommand in ("rm", "mv", "clean") else WRITE if subcommand in _GIT_WRITES else READ
    for at, word in enumerate(argv[:-1]):
        if word == "-o" and subcommand in ("archive", "format-patch"):
            yield WRITE, argv[at + 1]
    if subcommand == "bundle" and rest[:1] == ["create"]:
        yield from ((WRITE, word) for word in rest[1:2])
    for word in rest:
        if (named := _IN_TREE.match(word)) and subcommand in _SHOWS:
            yield READ, word[named.end() :]
        if subcommand in ("commit", "push", "fetch", "pull", "clone", "branch", "tag", "remote"):
            continue
        yield kind, word


def _git_config(argv: Sequence[str], rest: list[str]) -> Iterator[tuple[str, str]]:
    changes = {
        "--add",
        "--unset",
        "--unset-all",
        "--replace-all",
        "--rename-section",
        "--remove-section",
        "--edit",
        "-e",
    }
    verbs = {"set", "unset", "rename-section", "remove-section", "edit"}
    if not (changes & set(argv) or len(rest) > 1 or (rest and rest[0] in verbs)) or (
        rest and rest[0] in ("get", "list")
    ):
        return
    if "--global" in argv:
        yield WRITE, "~/.gitconfig"
    elif "--system" in argv:
        yield WRITE, "/etc/gitconfig"
    elif not any(word.startswith(("-f", "--file")) for word in argv):
        yield WRITE, ".git/config"
    yield from ((WRITE, argv[at + 1]) for at, word in enumerate(argv[:-1]) if word == "-f")
