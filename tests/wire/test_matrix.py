"""Every adapter through everything a provider does: each cell holds by itself, and the page says what was seen."""

from collections.abc import Iterator

import pytest

from tests.wire import matrix
from tests.wire.lab import ADAPTERS


@pytest.fixture(scope="module")
def bench() -> Iterator[matrix.Bench]:
    with matrix.bench() as made:
        yield made


@pytest.fixture(scope="module")
def seen() -> dict[tuple[str, str], str]:
    return {}


@pytest.mark.parametrize("column", matrix.COLUMNS)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_call_ends_in_the_ledger_state_the_page_says(bench: matrix.Bench, adapter: str, column: str):
    said = matrix.COLUMNS[column](bench, ADAPTERS[adapter])
    rows = [
        line.split(" | ") for line in matrix.PAGE.read_text("utf-8").splitlines() if line.startswith(f"| {column} |")
    ]
    assert [row[1 + list(ADAPTERS).index(adapter)].removesuffix(" |") for row in rows] == [said]


def test_the_page_is_what_the_tables_say_now():
    """The cells are compared one by one above; here everything else, and that none is empty."""
    text = matrix.PAGE.read_text("utf-8")
    cells = {
        (column, name): cell.strip()
        for column in matrix.COLUMNS
        for line in text.splitlines()
        if line.startswith(f"| {column} |")
        for name, cell in zip(ADAPTERS, line.removesuffix("|").split(" | ")[1:], strict=True)
    }
    assert all(cells.values())
    assert matrix.page(matrix.Matrix(cells)) == text, "make it anew: python -m tests.wire.matrix"
