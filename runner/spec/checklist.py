"""The checklist of a spec: Markdown checkboxes, where a reader of the rendered page would see them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner.spec.frontmatter import body_start
from runner.spec.model import Item

_BREAK = re.compile(r"\r\n|\n|\r")
_MARKER = r"(?:[-*+]|[0-9]{1,9}[.)])"
_BOX = re.compile(rf"[ \t>]*(?:{_MARKER}[ \t]+)+\[([ xX])\][ \t]+(\S.*)\Z")
_FENCE = re.compile(rf"(?:[ \t>]|{_MARKER}[ \t])*(`{{3,}}(?=[^`]*\Z)|~{{3,}})")
_COMMENT = re.compile(r" {0,3}<!--")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """A checkbox and the offset of the character between its brackets."""

    item: Item
    offset: int


def checklist(text: str) -> tuple[Item, ...]:
    """The checkboxes of a spec's body, in order; those in front matter, code fences and HTML comments are none."""
    return tuple(box.item for box in _boxes(text))


def tick(text: str, item: str) -> str | None:
    """The text with one box ticked; None when `item` names no box, or several.

    `item` is the box's text, its number (1 is the first), or the beginning of one box's text; tried in this order.
    Of boxes with the same text the first open one is meant. A box that is ticked already stays so.
    """
    box = _find(_boxes(text), item.strip())
    if box is None:
        return None
    return text if box.item.ticked else f"{text[: box.offset]}x{text[box.offset + 1 :]}"


def normalised(text: str) -> str:
    """The text with every box open: two texts that differ in ticks alone have the same."""
    chars = list(text)
    for box in _boxes(text):
        chars[box.offset] = " "
    return "".join(chars)


def _find(boxes: list[_Box], wanted: str) -> _Box | None:
    if written := _BOX.match(wanted):
        wanted = written[2].strip()
    if same := [box for box in boxes if box.item.text == wanted]:
        return next((box for box in same if not box.item.ticked), same[0])
    if wanted.isascii() and wanted.isdecimal() and len(wanted) < 10:
        number = int(wanted)
        return boxes[number - 1] if 1 <= number <= len(boxes) else None
    begins = [box for box in boxes if wanted and box.item.text.startswith(wanted)]
    return begins[0] if len(begins) == 1 else None


def _boxes(text: str) -> list[_Box]:
    found: list[_Box] = []
    fence = ""
    in_comment = False
    number = len(_BREAK.findall(text, 0, at := body_start(text)))
    for line in _BREAK.split(text[at:]):
        number += 1
        if fence:
            fence = "" if _closes(line, fence) else fence
        elif in_comment:
            in_comment = "-->" not in line
        elif opened := _FENCE.match(line):
            fence = opened[1]
        elif _COMMENT.match(line):
            in_comment = "-->" not in line
        elif box := _BOX.match(line):
            item = Item(text=box[2].strip(), ticked=box[1] != " ", line=number)
            found.append(_Box(item=item, offset=at + box.start(1)))
        at += len(line)
        at += 2 if text.startswith("\r\n", at) else 1
    return found


def _closes(line: str, fence: str) -> bool:
    marks = line.strip(" \t>")
    return len(marks) >= len(fence) and marks == fence[0] * len(marks)
