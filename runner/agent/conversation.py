"""What is sent: the conversation of the iteration under way, encoded once per message, folded from the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.agent.prompt import CUT_NOTE, NOTE_CAP
from runner.events.facts import (
    CallDispatched,
    CallSettled,
    Event,
    InputCounted,
    IterationStarted,
    ModelSwitched,
    RunResumed,
    ToolFinished,
    ToolRefused,
)
from runner.ports import Answered, Message, Model, SystemText, ToolText, UserText
from runner.pricing.book import Entry
from runner.values import Reply, Usage

NORMALISED = 12
"""Bytes that one may become where the tokenizer rewrites text first (NFKC makes 33 of the three of U+FDFA)."""

COUNT_PERCENT, COUNT_MORE = 2, 1_000
"""What a provider's own count, which it calls an estimate, is raised by: percent and tokens."""

_CUT = frozenset({"window"})


@dataclass(frozen=True, slots=True)
class Bound:
    """The most input tokens the next request can have, and what says so: `bytes`, `prefix` or `count`."""

    tokens: int
    by: str


@dataclass(frozen=True, slots=True)
class _Said:
    """A message, who made it where only its maker can read a part of it, and what that part may weigh in tokens."""

    message: Message
    maker: str = ""
    weight: int = 0


class Conversation:
    """Folds events into encoded messages. A resumed run folds the same events and sends the same bytes.

    `models` are those the run may call, in order, `entries` what the price book says of each. A driver begins with
    the first; once another is called, everything said is encoded anew for it, without the blocks that only another
    provider can read.
    """

    def __init__(self, models: Sequence[Model], entries: Sequence[Entry]) -> None:
        self._models, self._entries = tuple(models), tuple(entries)
        self._engine = 0
        self._said: list[_Said] = []
        self._parts: list[bytes] = []
        self._known: Bound | None = None
        self._since = self._opaque = 0
        self._fresh = 0
        self._asked = ""
        self._body: tuple[int, bytes] | None = None

    def apply(self, event: Event) -> None:
        """Take in what one event adds; most add nothing."""
        match event:
            case IterationStarted(system=system, prompt=prompt):
                self._said, self._asked, self._fresh = [], "", 0
                self._encode_anew()
                self._add(_Said(SystemText(system)), _Said(UserText(prompt)))
            case CallDispatched(model=model):
                self._asked = model
            case CallSettled(usage=usage, reply=reply):
                self._answer(usage, reply)
            case ToolFinished(call_id=call_id, text=text):
                self._add(_Said(ToolText(call_id, text)))
            case ToolRefused(call=call, reason=reason):
                self._add(_Said(ToolText(call.id, reason)))
            case InputCounted(tokens=tokens):
                self._count(tokens)
            case ModelSwitched(engine=engine):
                self._switch(engine)
            case RunResumed():
                self._resume()
            case _:
                pass

    def _answer(self, usage: Usage, reply: Reply) -> None:
        # another model counts the same words differently, and some servers leave out what they had cached
        ours = self._asked == self._model.name and self._trusted
        self._known, self._since = Bound(usage.input_tokens, "prefix") if ours else None, 0
        if reply.cut or reply.ending in _CUT:
            self._add(_Said(Answered(Reply(text=reply.text))), _Said(UserText(CUT_NOTE)))
        elif reply.opaque:
            # what such a block stands for may be longer than the block: all that was billed for it counts again
            self._add(_Said(Answered(reply), _provider(self._asked), usage.output_tokens))
        else:
            self._add(_Said(Answered(reply)))

    def _count(self, tokens: int | None) -> None:
        if tokens is None or not self._trusted:
            return
        counted = -(-tokens * (100 + COUNT_PERCENT) // 100) + COUNT_MORE
        if self._known is None or counted < self._known.tokens + self._since:
            self._known, self._since = Bound(counted, "count"), 0

    def _resume(self) -> None:
        self._switch(0)
        # a driver may bring another address, other tools or other thinking, where the same name counts differently
        self._known = None

    def _switch(self, engine: int) -> None:
        if engine != self._engine and engine < len(self._models):
            self._engine, self._fresh = engine, 0
            self._encode_anew()

    def _encode_anew(self) -> None:
        said, self._said = self._said, []
        self._parts, self._known, self._since, self._opaque = [], None, 0, 0
        self._add(*said)

    def _add(self, *said: _Said) -> None:
        self._body = None
        for one in said:
            message, weight = one.message, one.weight
            if one.maker and isinstance(message, Answered) and one.maker != _provider(self._model.name):
                message, weight = Answered(replace(message.reply, opaque=())), 0
            part = self._model.encode(message)
            self._parts.append(part)
            self._since += (len(part) + 2) * self._factor + weight
            self._opaque += weight
            self._said.append(one)

    @property
    def _model(self) -> Model:
        return self._models[self._engine]

    @property
    def _entry(self) -> Entry:
        return self._entries[self._engine]

    @property
    def _trusted(self) -> bool:
        # a server of one's own may count nothing at all, now and then: its requests are taken to have all their bytes
        return self._entry.count != "untrusted" and not self._entry.local

    @property
    def _factor(self) -> int:
        return NORMALISED if self._entry.tokenizer == "normalises" else 1

    def body(self, max_output: int) -> bytes:
        """The whole request body for an output limit. What was bounded and is then sent is joined once."""
        if self._body is None or self._body[0] != max_output:
            self._body = (max_output, self._model.body(self._parts, max_output))
        return self._body[1]

    def bound(self, max_output: int) -> Bound:
        """Bound the input tokens of the next request from above, what the provider may add by itself included.

        Every token covers at least one byte (a twelfth, where the tokenizer rewrites text first), so the body's length
        bounds them; the provider's own count of a prefix plus the bytes of what is new bounds them more tightly.
        """
        whole = Bound(len(self.body(max_output)) * self._factor + self._opaque, "bytes")
        known = self._known
        if known is not None and known.tokens + self._since < whole.tokens:
            whole = Bound(known.tokens + self._since, known.by)
        return Bound(whole.tokens + self._added, whole.by)

    def fresh_bound(self, max_output: int) -> int:
        """About the bound of a fresh iteration's first request: this one's opening, with a handoff note."""
        if not self._fresh:
            opening = len(self._model.body(self._parts[:2], max_output)) + NOTE_CAP
            self._fresh = opening * self._factor + self._added
        return self._fresh

    @property
    def _added(self) -> int:
        entry = self._entry
        return entry.allowance + entry.tools_allowance + entry.thinking_allowance


def _provider(model: str) -> str:
    return model.partition("/")[0]
