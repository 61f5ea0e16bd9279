"""Which names mean tests, test configuration and modules that steer a test run. Plain facts about tools, no policy."""

from __future__ import annotations

import posixpath
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

SHELL = ("/bin/sh", "-c")

TEST_DIRS = frozenset({"tests", "test", "__tests__"})
_TEST_FILE = re.compile(
    r"test_.*\.py|.*_test\.py|tests?\.py|.*[.-](?:test|spec)\.[cm]?[jt]sx?|.*_test\.(?:go|exs?|c|cc|cpp|dart)|.*_spec\.rb"
    r"|.*_test\.rb|.*tests?\.(?:java|kt|cs)|.*test\.php|.*\.bats",
)
# In a folder of tests these are tests by their place alone; Python's are known by name.
_TEST_SOURCE = re.compile(r".*\.(?:rs|js|mjs|cjs|ts|tsx|jsx|go|rb|sh|t|java|kt|cs|php|c|cc|cpp|exs|ex|pl|lua|jl|r)\Z")
_SCRIPT = re.compile(r".*\.(?:py|sh|bash|js|mjs|cjs|ts|rb|pl|php|lua|bats|ps1)")

# Wherever they stand, these decide what a test run collects, skips or loads.
CONTROL_FILES = frozenset(
    [
        "conftest.py",
        "pytest.ini",
        ".pytest.ini",
        "pytest.toml",
        ".pytest.toml",
        "tox.ini",
        "setup.cfg",
        "pyproject.toml",
        ".coveragerc",
        "noxfile.py",
        "tox.toml",
    ]
)
_CONTROL_PATTERN = re.compile(
    r"(?:jest|vitest|playwright|karma|ava)\.config\..+|\.mocharc(?:\..+)?|\.nycrc(?:\..+)?|\.rspec"
)
# What a program reads although no check names it.
_TOOL_FILES = {
    "make": ("Makefile", "makefile", "GNUmakefile"),
    "just": ("justfile", "Justfile", ".justfile"),
    "npm": ("package.json",),
    "npx": ("package.json",),
    "pnpm": ("package.json",),
    "yarn": ("package.json",),
    "bun": ("package.json",),
    "mypy": ("mypy.ini", ".mypy.ini"),
    "dmypy": ("mypy.ini", ".mypy.ini"),
    "ruff": ("ruff.toml", ".ruff.toml"),
    "flake8": (".flake8",),
    "pylint": ("pylintrc", ".pylintrc", "pylintrc.toml", ".pylintrc.toml"),
    "pyright": ("pyrightconfig.json",),
    "basedpyright": ("pyrightconfig.json",),
    "eslint": (".eslintrc", ".eslintrc.json", ".eslintrc.js", "eslint.config.js", "eslint.config.mjs"),
    "tsc": ("tsconfig.json",),
}

# Modules Python itself imports at every start, when it finds them.
START_MODULES = frozenset({"sitecustomize", "usercustomize"})
_TEST_TOOLS = frozenset(
    [
        "pytest",
        "_pytest",
        "py",
        "pluggy",
        "iniconfig",
        "packaging",
        "pygments",
        "colorama",
        "exceptiongroup",
        "tomli",
        "xdist",
        "execnet",
        "coverage",
        "hypothesis",
        "sortedcontainers",
        "nose",
        "nose2",
        "mock",
        "attr",
        "attrs",
        "anyio",
        "tox",
        "nox",
    ]
)
SHADOWED = (frozenset(sys.stdlib_module_names) - {"test", "tests"}) | _TEST_TOOLS | START_MODULES


def is_test(path: str) -> bool:
    """Whether a file is a test by its name, or by its place in a folder of tests."""
    name = posixpath.basename(path).lower()
    if _TEST_FILE.fullmatch(name):
        return True
    return in_test_dir(path) and _TEST_SOURCE.match(name) is not None


def in_test_dir(path: str) -> bool:
    """Whether a path lies in a folder of tests: helpers and data there belong to the tests."""
    return any(part.lower() in TEST_DIRS for part in path.split("/")[:-1])


def is_script(path: str, tools: frozenset[str]) -> bool:
    """Whether a file that a check names is run by it rather than looked at, as far as names tell."""
    name = posixpath.basename(path)
    return _SCRIPT.fullmatch(name) is not None or ("." not in name and name in tools)


def is_control(path: str, tools: frozenset[str]) -> bool:
    """Whether a file configures tests, or one of `tools` (programs that the checks name)."""
    name = posixpath.basename(path)
    if name.lower() in CONTROL_FILES or _CONTROL_PATTERN.fullmatch(name.lower()):
        return True
    return any(name in _TOOL_FILES.get(tool, ()) for tool in tools)


def words_of(argv: Sequence[str]) -> list[str]:
    """The words of a command; of a shell text, those a shell would see, operators aside."""
    if tuple(argv[:2]) != SHELL or len(argv) < 3:
        return list(argv)
    lexer = shlex.shlex(argv[2], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return argv[2].split()


def named_paths(argv: Sequence[str], *, certain: bool = False) -> Iterator[str]:
    """Every path a command may be naming, relative to the workspace: its words, `--option=word`, `file::test`.

    `certain` leaves out bare words, which may be programs, targets or options as well.
    """
    for word in words_of(argv):
        for part in {word, word.partition("=")[2]}:
            path = part.partition("::")[0]
            if certain and not {"/", "."} & set(path):
                continue
            if path and not path.startswith(("/", "-", "$", "{")) and path.strip("./"):
                plain = posixpath.normpath(path)
                if not plain.startswith(".."):
                    yield plain


def tools_of(argv: Sequence[str]) -> frozenset[str]:
    """Names of the programs and `-m` modules a command may be starting."""
    return frozenset(posixpath.basename(word) for word in words_of(argv) if re.fullmatch(r"[\w./-]+", word))


def program_of_tests(argv: Sequence[str]) -> str:
    """`pytest` or `unittest` when the command is certainly one run of it and nothing else, else ""."""
    if tuple(argv[:2]) == SHELL and re.search(r"[|&;<>#\n`$()*?{}!\\]", argv[2]):
        return ""
    words = words_of(argv)
    if not words:
        return ""
    program = posixpath.basename(words[0])
    if program in {"pytest", "py.test"}:
        return "pytest"
    if re.fullmatch(r"python(?:3(?:\.\d+)?)?", program):
        for before, word in pairwise(words):
            if before == "-m":
                return word if word in {"pytest", "unittest"} else ""
            if before != words[0] and not before.startswith("-"):
                return ""
    return ""


def unittest_pattern(argv: Sequence[str]) -> str:
    """The file pattern of a unittest discovery (`test*.py` when it states none), or "" for another command."""
    words = words_of(argv)
    if "unittest" not in words:
        return ""
    for before, word in pairwise(words):
        if before in {"-p", "--pattern"}:
            return word
        if word.startswith("--pattern="):
            return word.partition("=")[2]
    return "test*.py"


@lru_cache(maxsize=256)
def _glob(pattern: str) -> re.Pattern[str]:
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    body = "".join(pieces.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern))
    return re.compile(body + r"(?:/.*)?", re.DOTALL)


def matches(path: str, pattern: str) -> bool:
    """Whether a `protect:` pattern covers a path: `*` stays in a folder, `**` does not, a folder covers its content.

    A pattern without a slash is looked for at every depth, as in `.gitignore`.
    """
    plain = pattern.removeprefix("./").rstrip("/")
    anchored = "/" in pattern.removeprefix("./").rstrip("/") or pattern.startswith("./")
    return _glob(plain.lstrip("/") if anchored else f"**/{plain}").fullmatch(path) is not None
