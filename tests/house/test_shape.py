"""The code keeps the shape its contributors agreed on: short functions, short files, one screen for the loop."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "runner"

LONGEST_FUNCTION = 70
LONGEST_FILE = 450
ONE_SCREEN = 40

MODULES = sorted(PACKAGE.rglob("*.py"))


def functions(source: str) -> Iterator[tuple[str, int, int]]:
    """Name, first line and length of every function of `source`, decorators and docstring included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            assert node.end_lineno is not None
            yield node.name, first, node.end_lineno - first + 1


def too_long(source: str) -> list[str]:
    return [
        f"{name} (line {line}): {length} lines" for name, line, length in functions(source) if length > LONGEST_FUNCTION
    ]


def test_no_function_is_longer_than_70_lines() -> None:
    found = [f"{path.relative_to(ROOT)}: {what}" for path in MODULES for what in too_long(path.read_text("utf-8"))]
    assert found == []


def test_no_file_is_longer_than_450_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_the_measure_sees_the_package_and_a_function_of_71_lines() -> None:
    assert PACKAGE / "__init__.py" in MODULES
    body = "    pass\n" * (LONGEST_FUNCTION - 1)
    assert too_long("def fits():\n" + body) == []
    assert too_long("@decorator\ndef too_long():\n" + body) == ["too_long (line 1): 71 lines"]
    assert too_long("class A:\n async def method(self):\n" + "  pass\n" * 70) == ["method (line 2): 71 lines"]


def test_the_loop_reads_on_one_screen() -> None:
    loop = PACKAGE / "loop"
    if not loop.is_dir():
        pytest.fail("runner/loop/ is gone; where is the loop?")
    lengths = [
        length for path in loop.rglob("*.py") for name, _, length in functions(path.read_text("utf-8")) if name == "run"
    ]
    assert lengths, "no function named run in runner/loop/"
    assert max(lengths) <= ONE_SCREEN
