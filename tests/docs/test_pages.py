"""What the pages point at and name is there, and what is generated is what the program says today."""

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from runner.config.userfile import read_user_file
from runner.pricing.book import Book
from runner.spec.parse import parse_spec
from tests.docs.pages import README, ROOT, blocks, pages, prose

DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
VARIABLE = re.compile(r"\bRUNNER_[A-Z_]+\b")
COMMAND = re.compile(r"^(?:\$ )?runner ([a-z][a-z-]*)", re.MULTILINE)
RUNNER_LINE = re.compile(r"^(?:\$ )?(runner [^|#>\n]*)", re.MULTILINE)
NAMED = re.compile(r"`runner ([a-z][a-z-]*)[^`]*`")
NAMED_FLAGS = re.compile(r"`(--[a-z][^`]*|runner [^`]*)`")
LARGEST_README = 200

# Flags of other programs that pages speak of by themselves.
FOREIGN = {"--max-turns", "--no-git", "--prune", "--rec"}


def script(name: str) -> ModuleType:
    """A script of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def links(page: Path) -> Iterator[str]:
    for plain, picture in LINK.findall(prose(page)):
        target = plain or picture
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    lost = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(target)
    assert lost == []


def test_every_page_can_be_reached_from_the_readme():
    reached, ahead = set[Path](), [README]
    while ahead:
        page = ahead.pop()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        if page.suffix == ".md":
            ahead += [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
    assert {str(page.relative_to(ROOT)) for page in pages()} - {str(p.relative_to(ROOT)) for p in reached} == set()


def test_a_link_into_nothing_is_seen():
    assert list(LINK.findall("[a](b.md) and ![c](d.svg)")) == [("b.md", ""), ("", "d.svg")]
    assert "exit-codes-of-a-run" in anchors(README)
    assert "no-such-heading" not in anchors(README)


def shape(lines: list[str]) -> list[str]:
    """Sizes, times and ids differ from run to run, and with them every digit."""
    joined = (re.sub(r"[\d.]+(?:-\w+)?", "#", re.sub(r"\b\d{8}-\d{6}-\w+", "ID", line)) for line in lines)
    return [" ".join(line.split()) for line in joined]


def drawn(name: str) -> list[str]:
    """The rows of a picture of a terminal, the first of them its title."""
    rows: dict[float, list[str]] = {}
    for text in ET.parse(DOCS / name).iter("{http://www.w3.org/2000/svg}text"):
        rows.setdefault(float(text.get("y", "0")), []).append(text.text or "")
    return ["".join(parts).replace("\xa0", " ") for parts in rows.values()]


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """What the demo prints today."""
    return [line for line in script("picture").printed() if line]


def test_the_picture_is_what_the_demo_prints(printed):
    shown = [line for line in shape(drawn("demo.svg")) if line]
    assert shown == ["make demo", *shape(printed)], "run `make docs`"
    assert "/tmp" not in (DOCS / "demo.svg").read_text("utf-8")


def test_the_picture_of_the_live_view_shows_its_parts_below_what_the_demo_prints(printed):
    _, *rows = drawn("live.svg")
    rule = next(number for number, row in enumerate(rows) if row.startswith("───"))

    def letters(lines: list[str]) -> str:
        """A terminal breaks lines where it is full."""
        return "".join("".join(shape(lines)).split())

    assert letters(rows[:rule]) in letters(printed), "run `make docs`"
    region = " ".join(shape(rows[rule + 1 :]))
    for part in (
        r"iteration # of # · step # of # · #:# of #:#:#",
        r"run python -m pytest -q #:#",
        r"money [█▓▒░]+ ?spent \$# of \$#",
        r"score █+ # \(best #, target #\)",
        r"list # of # ticked · next: ",
        r"Ctrl-C ends it after this step .* runner watch \S+",
    ):
        assert re.search(part, region), f"{part}\n{region}"
    assert "/tmp" not in (DOCS / "live.svg").read_text("utf-8")


def test_every_command_flag_and_variable_of_the_pages_is_one():
    commands = (DOCS / "reference" / "cli.md").read_text("utf-8")
    known = {*re.findall(r"^## `runner ([a-z-]+)", commands, re.MULTILINE)}
    flags = {*FLAG.findall(commands)} | FOREIGN
    variables = {*VARIABLE.findall((DOCS / "reference" / "config.md").read_text("utf-8")), "RUNNER_TOOL"}
    for page in pages():
        if page.name == "cli.md":
            continue
        typed = [block.text for block in blocks(page) if block.language in {"console", "sh"}]
        text = page.read_text("utf-8")
        where = str(page.relative_to(ROOT))
        assert {*COMMAND.findall("\n".join(typed)), *NAMED.findall(text)} - known == set(), where
        # a key of one's own has the name that its owner gives it
        named = {name for name in VARIABLE.findall(text) if not name.startswith("RUNNER_KEY_")}
        assert named - variables == set(), where
        said = "\n".join((*RUNNER_LINE.findall("\n".join(typed)), *NAMED_FLAGS.findall(text)))
        assert {*FLAG.findall(said)} - flags == set(), where


def test_every_spec_configuration_and_price_file_of_the_pages_is_sound(tmp_path: Path):
    marks = {"spec": 0, "config": 0, "prices": 0}
    for page in pages():
        for block in blocks(page):
            if block.mark == "spec":
                spec = parse_spec(block.text, str(block), on_path=lambda _: True, now=0)
                assert spec.title
            elif block.mark == "config":
                (tmp_path / "config.toml").write_text(block.text, "utf-8")
                assert read_user_file(tmp_path / "config.toml", required=True), str(block)
            elif block.mark == "prices":
                assert len(Book.load(block.text).entries) > len(Book.load().entries), str(block)
            else:
                continue
            marks[block.mark] += 1
    assert min(marks.values()) > 0, marks


def test_blocks_of_configuration_carry_a_mark_in_the_pages_people_copy_from():
    for page in (README, *(DOCS / "how-to").glob("*.md"), *(DOCS / "tutorial").glob("*.md")):
        bare = [str(b) for b in blocks(page) if b.language in {"toml", "yaml", "markdown"} and not b.mark]
        assert bare == []


def test_the_readme_is_short_enough_to_be_read():
    assert len(README.read_text("utf-8").splitlines()) <= LARGEST_README
