"""What is in the repository speaks of the project alone, and everything the package needs is packed with it."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Folders of the machine somebody worked on.
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.~/$}>-])/(?:work|shared|root|tmp/briefs)/")


def files() -> list[Path]:
    """Every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    return [path for name in listed.split(b"\0") if name and (path := ROOT / name.decode()).is_file()]


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    found = []
    for path in files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if SOMEBODYS_FOLDER.search(line)
        ]
    assert found == []


def test_a_named_folder_is_seen_and_a_relative_one_is_not() -> None:
    folder = "work"  # apart from its slashes, so that this file does not find itself
    assert SOMEBODYS_FOLDER.search(f"see /{folder}/main")
    relative = f"docs/{folder}/plan.md, https://example.org/{folder}/plan, $HOME/{folder}/x"
    assert not SOMEBODYS_FOLDER.search(relative)


def test_everything_the_package_reads_at_run_time_is_tracked() -> None:
    ignored = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", "runner"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    lost = [name for name in ignored.split("\0") if name.endswith((".py", ".toml", ".sql", ".md", ".typed", ".json"))]
    assert lost == [], "git ignores these, so the wheel leaves them out"
    assert (ROOT / "runner" / "py.typed").is_file()


def imported(source: str) -> set[str]:
    """The top-level packages that `source` imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", requirement)[0].lower() for requirement in requirements}


def test_a_fresh_machine_gets_every_package_that_runner_imports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [need for name in ("litellm", "cel", "signing") for need in project["optional-dependencies"][name]]
    declared = names(project["dependencies"] + extras)
    distributions = packages_distributions()
    used = set[str]().union(*(imported(path.read_text("utf-8")) for path in (ROOT / "runner").rglob("*.py")))
    missing = {
        package
        # scripts that start in a sandbox import each other by file: there, no package is
        for package in used - sys.stdlib_module_names - {"runner", "host"}
        if declared.isdisjoint(name.lower() for name in distributions.get(package, [package]))
    }
    assert missing == set(), "imported, but not in pyproject.toml"


def test_the_core_needs_neither_the_extra_nor_the_tools_of_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extra in project["optional-dependencies"].values():
        assert names(project["dependencies"]).isdisjoint(names(extra))
