"""What is sent: the conversation of the iteration under way, encoded once per message, folded from the journal."""

from __future__ import annotations

from runner.agent.prompt import CUT_NOTE
from runner.events.facts import CallDispatched, CallSettled, Event, IterationStarted, ToolFinished, ToolRefused
from runner.ports import Answered, Message, Model, SystemText, ToolText, UserText
from runner.values import Reply


class Conversation:
    """Folds events into encoded messages. A resumed run folds the same events and sends the same bytes."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._parts: list[bytes] = []
        self._known: tuple[int, int] | None = None
        self._asked = ""
        self._body: tuple[int, bytes] | None = None

    def apply(self, event: Event) -> None:
        """Take in what one event adds; most add nothing."""
        match event:
            case IterationStarted(system=system, prompt=prompt):
                self._parts, self._known = [], None
                self._add(SystemText(system), UserText(prompt))
            case CallDispatched(model=model):
                self._asked = model
            case CallSettled(usage=usage, reply=reply):
                # another model counts the same words differently
                self._known = (len(self._parts), usage.input_tokens) if self._asked == self._model.name else None
                if reply.cut:
                    self._add(Answered(Reply(text=reply.text)), UserText(CUT_NOTE))
                else:
                    self._add(Answered(reply))
            case ToolFinished(call_id=call_id, text=text):
                self._add(ToolText(call_id, text))
            case ToolRefused(call=call, reason=reason):
                self._add(ToolText(call.id, reason))
            case _:
                pass

    def _add(self, *messages: Message) -> None:
        self._parts += [self._model.encode(message) for message in messages]
        self._body = None

    def body(self, max_output: int) -> bytes:
        """The whole request body for an output limit. What was bounded and is then sent is joined once."""
        if self._body is None or self._body[0] != max_output:
            self._body = (max_output, self._model.body(self._parts, max_output))
        return self._body[1]

    def input_bound(self, max_output: int) -> int:
        """Bound the input tokens of the next request from above.

        Every token covers at least one byte, so the body's length bounds them; after a settled call the provider's own
        count of that prefix plus the bytes of what is new bounds them more tightly.
        """
        whole = len(self.body(max_output))
        if self._known is None:
            return whole
        parts, tokens = self._known
        return min(whole, tokens + sum(len(part) + 2 for part in self._parts[parts:]))
