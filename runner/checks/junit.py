"""JUnit XML as a check left it: hostile until read. Counts test cases itself and believes no summary that is kinder."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat

LARGEST_REPORT = 16 * 1024 * 1024

_PLACE = re.compile(r"\s*(?P<path>[^\n]+?):\d+: ")


@dataclass(frozen=True, slots=True)
class Skip:
    """A test that was skipped, and the file that asked for it as far as the report says ("" = unsaid)."""

    test: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report says of single tests. A skipped test neither passed nor failed."""

    passed: int = 0
    failures: tuple[str, ...] = ()
    skips: tuple[Skip, ...] = ()

    def __add__(self, other: Report) -> Report:
        return Report(
            passed=self.passed + other.passed,
            failures=self.failures + other.failures,
            skips=self.skips + other.skips,
        )


@dataclass(slots=True)
class _Reader:
    passed: int = 0
    failures: list[str] = field(default_factory=list[str])
    skips: list[Skip] = field(default_factory=list[Skip])
    claimed: int = 0
    root: str = ""
    test: str | None = None
    failed: bool = False
    skipped: bool = False
    inside_skip: bool = False
    skip_text: list[str] = field(default_factory=list[str])

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        self.root = self.root or name
        if name == "testcase":
            parts = (attributes.get("classname", ""), attributes.get("name", ""))
            self.test = "::".join(part for part in parts if part) or "(unnamed)"
            self.failed = self.skipped = False
            self.skip_text = []
        elif name in {"testsuite", "testsuites"}:
            self.claimed = max(self.claimed, _count(attributes, "failures") + _count(attributes, "errors"))
        elif self.test is not None and name in {"failure", "error"}:
            self.failed = True
        elif self.test is not None and name == "skipped":
            self.skipped = self.inside_skip = True

    def end(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        if name == "skipped":
            self.inside_skip = False
        if name != "testcase" or self.test is None:
            return
        if self.failed:
            self.failures.append(self.test)
        elif self.skipped:
            place = _PLACE.match("".join(self.skip_text))
            self.skips.append(Skip(self.test, place["path"] if place else ""))
        else:
            self.passed += 1
        self.test = None

    def text(self, piece: str) -> None:
        if self.inside_skip:
            self.skip_text.append(piece)

    def report(self) -> Report:
        # A suite that counts more failures than it lists lost some on the way: they stay failures.
        unlisted = max(0, self.claimed - len(self.failures))
        failures = (*self.failures, *(f"(unlisted failure {n + 1})" for n in range(min(unlisted, 1000))))
        return Report(passed=self.passed, failures=failures, skips=tuple(self.skips))


def read_junit(data: bytes) -> Report:
    """Read one report; raise ValueError when it is too large, malformed, no JUnit, or carries a document type.

    Document types are refused because entities, external or nested, come with them.
    """
    if len(data) > LARGEST_REPORT:
        raise ValueError(f"the report is larger than {LARGEST_REPORT // 1024**2} MiB")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(data, True)  # noqa: FBT003  the signature of expat: this is the last piece
    except expat.ExpatError as error:
        raise ValueError(f"the report is no XML: {error}") from None
    if reader.root not in {"testsuite", "testsuites"}:
        raise ValueError(f"the report is no JUnit XML: it begins with <{reader.root}>")
    return reader.report()


def _refuse(*_: object) -> None:
    raise ValueError("the report carries a document type, which is refused")


def _count(attributes: dict[str, str], name: str) -> int:
    text = attributes.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
