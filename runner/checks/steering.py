"""Files added since checkpoint 0 that could steer a check instead of being judged by it: they take no part."""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from runner.checks import names
from runner.checks.protect import Protection

# Python reads path configuration of this size; a model's weights of the same name it does not.
_LARGEST_PTH = 65_536
_MODULE = re.compile(r"(?P<name>\w+)(?:\.[\w-]+)*\.(?:py|pyc|pyw|so|pyd)")


def own_tests(protection: Protection, added: Iterable[str]) -> bool:
    """Whether tests of the agent's own count: checkpoint 0 has none, or a check runs one that it does not have."""
    return any(
        (is_meant(protection, path) and (names.is_test(path) or names.is_script(path, protection.tools)))
        or (not protection.has_tests and names.is_test(path))
        for path in added
    )


def is_meant(protection: Protection, path: str) -> bool:
    """Whether a check names this path, or a folder above it, and checkpoint 0 has nothing there."""
    return any(path == each or path.startswith(f"{each}/") for each in protection.named)


def left_out(
    protection: Protection,
    added: Iterable[str],
    *,
    read: Callable[[str], bytes | None],
    foreign: frozenset[str],
) -> dict[str, str]:
    """Of the files added since checkpoint 0, those that take no part, and why.

    `read` gives a file of the newest tree; `foreign` are installed modules that the protected tests import.
    """
    paths = sorted(added)
    roots = _import_roots(protection, paths)
    found: dict[str, str] = {}
    for path in paths:
        why = _always(protection, path, read) or _shadow(path, roots, foreign)
        if not why and protection.has_tests and not is_meant(protection, path):
            why = _beside_tests(protection, path, read)
        if why:
            found[path] = why
    packages = {posixpath.dirname(path) for path, why in found.items() if why == _SHADOWS and "/__init__." in path}
    for path in paths:
        if any(path.startswith(f"{package}/") for package in packages):
            found.setdefault(path, _SHADOWS)
    return found


def foreign_modules(
    tests: Mapping[str, bytes], base: frozenset[str], *, env: Mapping[str, str], programs: Iterable[Path]
) -> frozenset[str]:
    """Top-level modules that these tests import, checkpoint 0 does not have, and the checks' Python has installed.

    `programs` are the checks' programs that lie in the workspace (`.venv/bin/pytest`); else the Python on PATH counts.
    """
    imported = {name for source in tests.values() for name in _imports(source)}
    tops = {part for path in base for part in path.removesuffix(".py").split("/")}
    wanted = imported - tops
    return frozenset(wanted & _installed(env, programs)) if wanted else frozenset()


_SHADOWS = "hides a module that checks use"


def _always(protection: Protection, path: str, read: Callable[[str], bytes | None]) -> str:
    parts = path.lower().split("/")
    if ".git" in parts:
        return "belongs to a git repository"
    if names.START_MODULES & {parts[-1].partition(".")[0], *parts[:-1]}:
        return "Python runs it at every start"
    if any(part.endswith((".dist-info", ".egg-info")) for part in parts):
        return "passes for an installed package"
    if parts[-1].endswith((".pth", ".egg-link")):
        data = read(path)
        if data is not None and len(data) <= _LARGEST_PTH and b"\0" not in data:
            return "changes where Python finds modules"
    if any(names.matches(path, pattern) for pattern in protection.patterns):
        return "matches `protect:`"
    return ""


def _shadow(path: str, roots: frozenset[str], foreign: frozenset[str]) -> str:
    folder, name = posixpath.split(path)
    module = _MODULE.fullmatch(name)
    if module is None:
        return ""
    what = module["name"]
    if what == "__init__":
        folder, what = posixpath.split(folder)
    hides = what in names.SHADOWED or what in foreign or what.startswith(("pytest_", "_pytest"))
    return _SHADOWS if hides and what and folder in roots and not names.is_test(path) else ""


def _beside_tests(protection: Protection, path: str, read: Callable[[str], bytes | None]) -> str:
    if protection.is_test(path):
        return "is a test, and checkpoint 0 has its own"
    if names.is_control(path, protection.tools):
        data = read(path)
        if data is None or protection.steers(path, data):
            return "configures tests"
    if posixpath.basename(path) == "__init__.py" and posixpath.dirname(path) in _test_homes(protection):
        return "changes how tests are imported"
    return ""


def _test_homes(protection: Protection) -> frozenset[str]:
    return frozenset({"", *(posixpath.dirname(path) for path in protection.paths if names.is_test(path))})


def _import_roots(protection: Protection, added: Iterable[str]) -> frozenset[str]:
    """Folders that stand on Python's path while the tests run: the top, `src`, `lib`, and those above a test."""
    roots = {"", "src", "lib", *protection.test_dirs}
    for path in added:
        if names.is_test(path):
            folder = posixpath.dirname(path)
            while folder:
                roots.add(folder)
                folder = posixpath.dirname(folder)
    return frozenset(roots)


def _imports(source: bytes) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _installed(env: Mapping[str, str], programs: Iterable[Path]) -> set[str]:
    """Names of modules in the site folders of the Pythons that checks may use, read from their folders alone."""
    bins = {program.parent for program in programs}
    for name in ("python3", "python", "pytest"):
        if (found := shutil.which(name, path=env.get("PATH", ""))) is not None:
            # The folder it stands in is a virtual environment's, the one its link leads to is the base's.
            bins |= {Path(found).parent, Path(found).resolve().parent}
    found_names: set[str] = set()
    for folder in bins:
        for pattern in ("lib/python3*/site-packages", "lib/python3*/dist-packages", "lib64/python3*/site-packages"):
            for site in folder.parent.glob(pattern):
                for entry in site.iterdir():
                    module = _MODULE.fullmatch(entry.name)
                    found_names.add(module["name"] if module is not None else entry.name)
    return found_names
