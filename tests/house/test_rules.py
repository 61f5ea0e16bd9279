"""What the linters let pass, they let pass for a reason that stands beside it."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

EXCLUSION = re.compile(r'^\s*"(?P<code>[A-Z]+[0-9]*)",\s*(?:#\s*(?P<reason>\S.*))?$')
SILENCED = re.compile(r"#\s*(?:noqa|type:\s*ignore|pyright:\s*ignore)")
DIRECTIVE = re.compile(r"#\s*(?:noqa:\s*[A-Z0-9, ]+|type:\s*ignore\[[^\]]*\]|pyright:\s*ignore\[[^\]]*\])")


def lint_table(text: str) -> str:
    """The lines of pyproject.toml between `[tool.ruff.lint]` and the types' section."""
    return text.partition("[tool.ruff.lint]")[2].partition("[tool.mypy]")[0]


def exclusions(text: str) -> dict[str, str | None]:
    return {m["code"]: m["reason"] for line in lint_table(text).splitlines() if (m := EXCLUSION.match(line))}


def unexplained(source: str) -> list[int]:
    """Lines that silence a checker without words after the directive or in a comment on the line above."""
    lines = source.splitlines()
    found = []
    for number, line in enumerate(lines):
        if (silenced := SILENCED.search(line)) is None:
            continue
        beside = DIRECTIVE.sub("", line[silenced.start() :]).strip(" #-–:")
        above = lines[number - 1].strip() if number else ""
        if not beside and not above.startswith("#"):
            found.append(number + 1)
    return found


def test_every_lint_exclusion_carries_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    codes = {*lint["ignore"], *(code for codes in lint["per-file-ignores"].values() for code in codes)}
    reasons = exclusions(text)
    assert set(reasons) == codes, "one exclusion a line, so that each can have its reason"
    assert {code for code, reason in reasons.items() if reason is None} == set()


def test_an_exclusion_without_a_reason_is_seen() -> None:
    text = '[tool.ruff.lint]\nignore = [\n  "S1",  # because\n  "S2",\n]\n[tool.mypy]\n'
    assert exclusions(text) == {"S1": "because", "S2": None}


def test_every_silenced_checker_says_why() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "runner").rglob("*.py"))
        for number in unexplained(path.read_text("utf-8"))
    ]
    assert found == [], "put the reason on the line above, or behind the directive"


def test_a_silenced_checker_without_a_reason_is_seen() -> None:
    ignored = "x = y  # type" + ": ignore[arg-type]"
    assert unexplained(ignored) == [1]
    assert unexplained(f"{ignored}  # the stub is wrong") == []
    assert unexplained(f"# The stub is wrong.\n{ignored}") == []


def test_ci_runs_the_whole_of_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111 == 0o111
    assert script.read_text("utf-8").splitlines()[-1] == "make test"
    plan = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for part in ("ruff check", "ruff format --check", "mypy", "basedpyright", "lint-imports", "-m pytest"):
        assert part in plan
