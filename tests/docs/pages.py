"""Read the documentation: its pages, its code blocks and the marks in front of them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[a-z]+) -->\n)?(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_INDENTED_MARK = re.compile(r"^ +(<!-- [a-z]+ -->)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block. `mark` is the word of an HTML comment on the line above, else empty."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every Markdown page a reader may open."""
    return [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    text = _INDENTED_MARK.sub(r"\1", page.read_text("utf-8"))
    found = []
    for match in _BLOCK.finditer(text):
        indent = match["indent"]
        inner = "\n".join(line.removeprefix(indent) for line in match["text"].splitlines())
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Block(page, line, match["language"], match["mark"] or "", f"{inner}\n"))
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", _INDENTED_MARK.sub(r"\1", page.read_text("utf-8")))
