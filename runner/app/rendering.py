"""What an approver is shown: everything, and nothing in it that steers a terminal or looks like what it is not."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import cast

from runner.events.facts import ApprovalRequested
from runner.policy import gates
from runner.values import Ms, format_duration, format_usd

_PLAIN = re.compile(r"[A-Za-z0-9_./:=@%+,-]+")
# controls, marks of direction, joiners, halves of characters, private and unassigned ones, separators of lines
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def shown(name: str, arguments: Mapping[str, object]) -> str:
    """A call with all its arguments. Anything but ASCII is written as its number: letters may look like others."""
    return "\n".join(
        (_ascii(name), *(f"  {line}" for key, value in arguments.items() for line in _argument(key, value)))
    )


def diff(old: str, new: str, path: str) -> str:
    """What a file would change by, as a unified diff; a character that cannot be seen is written as its number."""
    lines = difflib.unified_diff(old.split("\n"), new.split("\n"), f"a/{path}", f"b/{path}", lineterm="", n=3)
    return "\n".join(_visible(line) for line in lines)


def page(request: ApprovalRequested, *, missing: str, now: Ms) -> Iterator[str]:
    """A question in lines, as it is asked and shown. The diff comes last: it may be long."""
    decision = request.decision
    left = (request.expires_at - now) // 1000
    yield f"{request.approval}: a call waits for {_visible(gates.waits_for(request.gates))}"
    yield f"  rule      {_visible(decision.rule or 'no rule matched')} ({_visible(decision.place)})"
    if decision.reason:
        yield f"  advice    {_visible(decision.reason)}"
    if missing:
        yield f"  needs     {_visible(missing)}"
    yield f"  time      {f'{format_duration(left)} left' if left > 0 else 'over'}"
    if request.cost:
        yield f"  cost      about {format_usd(request.cost)} (not bound)"
    yield f"  for       {_visible(decision.owner)}, by {_visible(decision.agent or 'the agent')}"
    yield "  call"
    yield from (f"    {line}" for line in request.shown.split("\n"))
    if request.diff:
        yield "  diff"
        yield from (f"    {line}" for line in request.diff.split("\n"))


def facts(request: ApprovalRequested) -> Iterator[str]:
    """What the answer is bound to, part by part, and every other rule that spoke."""
    decision = request.decision
    yield f"  action    {decision.action}"
    yield f"  policy    {decision.policy}"
    yield from (f"  bound to  {_visible(name)} {digest}" for name, digest in request.bound.items())
    for one in decision.others:
        mode = "" if one.mode == "enforce" else f", {one.mode} only"
        yield f"  also      {one.ruling} by {_visible(one.rule)} ({_visible(one.place)}{mode})"


def _argument(key: str, value: object) -> Iterator[str]:
    match value:
        case str() if "\n" in value or " " in value:
            yield f"{_ascii(key)}:"
            yield from (f"| {_ascii(line)}" for line in value.split("\n"))
        case list():
            # what is in it is looked at one by one
            words = cast("list[object]", value)
            yield f"{_ascii(key)}: {' '.join(_word(one) for one in words)}"
        case _:
            yield f"{_ascii(key)}: {_word(value)}"


def _word(value: object) -> str:
    """One word, quoted as JSON unless nothing in it can be mistaken."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value).replace("\x7f", "\\u007f")


def _ascii(text: str) -> str:
    return "".join(one if " " <= one <= "~" else f"\\u{{{ord(one):x}}}" for one in text)


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{{{ord(one):x}}}" if _is_hidden(one) else one for one in text)


def _is_hidden(one: str) -> bool:
    category = unicodedata.category(one)
    return category in _HIDDEN or (category == "Zs" and one != " ") or "\ufe00" <= one <= "\ufe0f"
