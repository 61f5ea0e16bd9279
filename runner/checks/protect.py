"""What the agent must not change, decided once from the spec and checkpoint 0, and how much of each file that is."""

from __future__ import annotations

import ast
import configparser
import fnmatch
import hashlib
import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.checks import names
from runner.spec.model import Spec

_TOML_PARTS = (
    ("tool", "pytest"),
    ("tool", "coverage"),
    ("tool", "tox"),
    ("tool", "poe"),
    ("tool", "hatch", "envs"),
    ("tool", "pdm", "scripts"),
    ("tool", "poetry", "plugins"),
    ("project", "entry-points", "pytest11"),
)
_CFG_SECTIONS = re.compile(r"tool:pytest|pytest|coverage:.*|options\.entry_points|nosetests|unittest")
_PACKAGE_PARTS = ("scripts", "jest", "mocha", "ava", "vitest", "nyc", "c8")
_PART_FILES = frozenset({"pyproject.toml", "setup.cfg", "package.json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """The protected files of checkpoint 0. Build it with `protection`.

    `named` are paths a check names that checkpoint 0 does not have: the agent is meant to make them.
    `has_tests` says whether checkpoint 0 has tests of its own.
    """

    paths: frozenset[str]
    spec: str | None
    patterns: tuple[str, ...]
    test_patterns: tuple[str, ...]
    named: frozenset[str]
    tools: frozenset[str]
    test_dirs: frozenset[str]
    has_tests: bool
    normalise: Callable[[str], str]

    def digest(self, path: str, data: bytes | None) -> str:
        """SHA-256 of what is protected in a file, "" when it is absent.

        The whole file, except: in the spec ticks do not count, and of `pyproject.toml`, `setup.cfg` and `package.json`
        only the parts that steer tests and the checks' own tools count, so that adding a dependency is no tampering.
        """
        return "" if data is None else hashlib.sha256(self._essence(path, data)).hexdigest()

    def steers(self, path: str, data: bytes) -> bool:
        """Whether a configuration file holds anything that could steer a check."""
        part = self._part(path, data)
        return part is None or bool(part)

    def is_test(self, path: str) -> bool:
        """Whether a path is, or belongs to, a test: by name, by folder, or by a configured pattern."""
        name = posixpath.basename(path)
        return (
            names.is_test(path)
            or names.in_test_dir(path)
            or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.test_patterns)
        )

    def _essence(self, path: str, data: bytes) -> bytes:
        if path == self.spec:
            try:
                return self.normalise(data.decode("utf-8")).encode("utf-8")
            except UnicodeDecodeError:
                return data
        part = self._part(path, data)
        return data if part is None else json.dumps(part, sort_keys=True, default=str).encode()

    def _part(self, path: str, data: bytes) -> Mapping[str, object] | None:
        """The part of a file that steers checks; None = all of it (another file, or one that cannot be read)."""
        name = posixpath.basename(path)
        if name not in _PART_FILES or path in self.named or any(names.matches(path, each) for each in self.patterns):
            return None
        try:
            text = data.decode("utf-8")
            if name == "pyproject.toml":
                return dict(_toml_parts(tomllib.loads(text), self.tools))
            if name == "setup.cfg":
                return dict(_cfg_parts(text, self.tools))
            return dict(_json_parts(json.loads(text)))
        except (ValueError, configparser.Error, RecursionError):
            return None


def protected_paths(spec: Spec, base_paths: Iterable[str]) -> frozenset[str]:
    """The protected files among `base_paths`, from names alone. `protection` also reads checkpoint 0's settings."""
    return protection(spec, base_paths, read=lambda _path: None).paths


def protection(
    spec: Spec,
    base_paths: Iterable[str],
    *,
    read: Callable[[str], bytes | None],
    root: Path | None = None,
    normalise: Callable[[str], str] = str,
) -> Protection:
    """Decide what is protected.

    Protected are the spec, what `protect:` matches, files named in a check's command, tests (by name, folder or
    configured pattern), test configuration, plugins that configuration names, and settings of the checks' own tools.
    A pattern that begins with `!` takes files out again, the spec aside: the work itself, when a check names it.
    `read` gives a file of checkpoint 0; `root` is the workspace, to find the spec in it; `normalise` opens every
    checkbox of a text.
    """
    base = frozenset(base_paths)
    wanted = tuple(pattern for pattern in spec.protect if not pattern.startswith("!"))
    free = [pattern.removeprefix("!") for pattern in spec.protect if pattern.startswith("!")]
    tools = frozenset[str]().union(*(names.tools_of(check.argv) for check in spec.checks))
    patterns = tuple(filter(None, (names.unittest_pattern(check.argv) for check in spec.checks)))
    controls = frozenset(path for path in base if names.is_control(path, tools))
    stated, plugins = _settings(sorted(controls), read)
    patterns += tuple(stated)
    plugins |= {word for check in spec.checks for word in _plugin_words(" ".join(names.words_of(check.argv)))}
    tests = frozenset(
        path
        for path in base
        if names.is_test(path) or any(fnmatch.fnmatchcase(posixpath.basename(path), each) for each in patterns)
    )
    named = frozenset(path for check in spec.checks for path in names.named_paths(check.argv))
    own = spec_in(spec.path, base, root)
    paths = (
        controls
        | tests
        | (named & base)
        | _modules(plugins, base)
        | {path for path in base if names.in_test_dir(path) or _starts_python(path)}
        | {path for path in base if any(names.matches(path, pattern) for pattern in wanted)}
        | ({own} if own is not None else frozenset[str]())
    )
    paths -= {path for path in paths if path != own and any(names.matches(path, each) for each in free)}
    missing = (path for check in spec.checks for path in names.named_paths(check.argv, certain=True))
    folders = {folder for path in base for folder in _ancestors(path)}
    return Protection(
        paths=paths,
        spec=own,
        patterns=wanted,
        test_patterns=patterns,
        named=frozenset(missing) - base - folders,
        tools=tools,
        test_dirs=frozenset(folder for path in tests for folder in _ancestors(path)),
        has_tests=bool(tests),
        normalise=normalise,
    )


def spec_in(path: str, base: frozenset[str], root: Path | None) -> str | None:
    """The spec's path inside the workspace, `/`-separated; None when checkpoint 0 does not have it."""
    candidates = [posixpath.normpath(path)] if path and not path.startswith("/") else []
    if root is not None and path:
        real = root.resolve()
        for full in (Path(path), real / path):
            if full.resolve().is_relative_to(real):
                candidates.insert(0, full.resolve().relative_to(real).as_posix())
    return next((each for each in candidates if each in base), None)


def _ancestors(path: str) -> Iterator[str]:
    while path:
        path = posixpath.dirname(path)
        yield path


def _starts_python(path: str) -> bool:
    return path.rpartition("/")[2].removesuffix(".py") in names.START_MODULES


def _modules(dotted: Iterable[str], base: frozenset[str]) -> frozenset[str]:
    """Files of checkpoint 0 that these module names mean, at the top or in `src`."""
    stems = {f"{root}{name.replace('.', '/')}" for name in dotted for root in ("", "src/", "lib/")}
    return frozenset(path for stem in stems for path in (f"{stem}.py", f"{stem}/__init__.py") if path in base)


def _settings(controls: Iterable[str], read: Callable[[str], bytes | None]) -> tuple[list[str], set[str]]:
    """Test file patterns and plugin modules that checkpoint 0's own configuration names."""
    patterns: list[str] = []
    plugins: set[str] = set()
    for path in controls:
        data = read(path)
        if data is None:
            continue
        text = data.decode("utf-8", "replace")
        if posixpath.basename(path) == "conftest.py":
            plugins |= _conftest_plugins(text)
            continue
        plugins |= set(_plugin_words(text))
        for found in re.finditer(r"^\s*python_files\s*=\s*(\[[^\]]*\]|.*(?:\n[ \t]+\S.*)*)", text, re.MULTILINE):
            patterns += re.findall(r"[\w.*?-]*[*?][\w.*?-]*|[\w-]+\.py", found[1])
    return patterns, plugins


def _plugin_words(text: str) -> Iterator[str]:
    """Modules that options `-p NAME` load."""
    for found in re.finditer(r"(?<![\w-])-p[\s\"',=]*([A-Za-z_][\w.]*)", text):
        yield found[1]


def _conftest_plugins(text: str) -> set[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return set()
    found: set[str] = set()
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == "pytest_plugins" for target in targets):
            constants = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            found |= {value for value in constants if isinstance(value, str)}
    return found


def _toml_parts(document: Mapping[str, object], tools: frozenset[str]) -> Iterator[tuple[str, object]]:
    for keys in (*_TOML_PARTS, *(("tool", tool) for tool in sorted(tools))):
        node: object = document
        for key in keys:
            # What TOML and JSON parse to has only strings for keys.
            node = node.get(key) if isinstance(node, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if node is not None:
            yield ".".join(keys), node  # pyright: ignore[reportUnknownVariableType]  # as above


def _cfg_parts(text: str, tools: frozenset[str]) -> Iterator[tuple[str, object]]:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    for section in parser.sections():
        if _CFG_SECTIONS.fullmatch(section) or re.split(r"[:\-]", section)[0] in tools:
            yield section, sorted(parser.items(section))


def _json_parts(document: object) -> Iterator[tuple[str, object]]:
    if not isinstance(document, dict):
        return
    for key in _PACKAGE_PARTS:
        # What JSON parses to has only strings for keys.
        if key in document:
            yield key, document[key]  # pyright: ignore[reportUnknownVariableType]  # as above
