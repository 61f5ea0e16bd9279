"""A model that answers from a recording. Stateless: the same request gets the same reply, resumed or not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from runner.errors import LostError, NeverSentError, NoReplyError
from runner.models.recording import Recorded, Recording
from runner.models.wire import chat_body, encode_message, encode_tools
from runner.ports import Completion, Interrupt, Message, ToolDefinition
from runner.values import CallId, Reply, ToolCall, Usage

_BYTES_PER_TOKEN = 4
_PIECES = 4
_SHOWN = 200
_ITERATION = re.compile(r"^Iteration (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a recording looks at: where a request stands, its prompt, what tools answered last, and its bounds."""

    iteration: int
    step: int
    prompt: str
    answered: str
    size: int
    granted: int

    @classmethod
    def read(cls, body: bytes, *, iteration: int | None = None, step: int | None = None) -> Request:
        """Read a Chat Completions body; raises ValueError when it is none.

        Without `iteration` and `step`, the prompt's own line `Iteration N` and the replies so far tell them.
        """
        top = _mapping(json.loads(body))
        listed = top.get("messages")
        granted = top.get("max_completion_tokens", top.get("max_tokens"))
        if not isinstance(listed, list) or not isinstance(granted, int) or granted < 1:
            msg = "a request needs `messages` and a positive `max_completion_tokens`"
            raise ValueError(msg)
        # the elements of a JSON list; each is looked at
        messages = [_mapping(item) for item in cast("list[object]", listed)]
        prompt = next((_text(m) for m in messages if m.get("role") == "user"), "")
        replies = [place for place, m in enumerate(messages) if m.get("role") == "assistant"]
        latest = messages[replies[-1] + 1 :] if replies else []
        return cls(
            iteration=iteration or _iteration(prompt),
            step=step or len(replies) + 1,
            prompt=prompt,
            answered="\n".join(_text(m) for m in latest if m.get("role") == "tool"),
            size=len(body),
            granted=granted,
        )


def answer(recording: Recording, request: Request) -> tuple[Completion, Recorded]:
    """The first reply that fits, else the `otherwise` reply; raises NoReplyError naming the request."""
    here = [r for r in recording.replies if not r.otherwise]
    for recorded in [*here, *(r for r in recording.replies if r.otherwise)]:
        if recorded.fits(request.iteration, request.step, prompt=request.prompt, answered=request.answered):
            return _completion(recording, recorded, request), recorded
    last = request.answered.strip() or "nothing"
    shown = last if len(last) <= _SHOWN else f"{last[:_SHOWN]}…"
    raise NoReplyError(
        f"{recording.path} has no reply for iteration {request.iteration}, step {request.step}; "
        f"tools answered last: {shown}",
        hint='Add a line for it, or one with "otherwise": true.',
    )


def _completion(recording: Recording, recorded: Recorded, request: Request) -> Completion:
    calls = tuple(
        ToolCall(call.id or f"call_{request.iteration}_{request.step}_{place}", call.name, call.arguments)
        for place, call in enumerate(recorded.calls, start=1)
    )
    usage = recorded.usage or Usage(_tokens(request.size), max(1, _tokens(_size(recorded))))
    if usage.input_tokens > request.size:
        raise NoReplyError(
            f"{recording.path}:{recorded.line}: the recorded input of {usage.input_tokens} tokens is more than the "
            f"request's {request.size} bytes, so it cannot be true",
            hint='Leave "usage" out to have it computed from sizes.',
        )
    if usage.output_tokens > request.granted:
        # a provider that honours the limit would have ended the reply there
        kept = recorded.text.encode()[: request.granted * _BYTES_PER_TOKEN].decode(errors="ignore")
        usage = Usage(usage.input_tokens, request.granted, usage.cached_tokens, usage.cache_write_tokens)
        return Completion(reply=Reply(text=kept, cut=True), usage=usage, request_id=_name(recorded, request))
    reply = Reply(text=recorded.text, tool_calls=calls, cut=recorded.cut, ending=recorded.ending)
    return Completion(reply=reply, usage=usage, request_id=_name(recorded, request))


def _name(recorded: Recorded, request: Request) -> str:
    return f"replay-{request.iteration}.{request.step}-line{recorded.line}"


def _size(recorded: Recorded) -> int:
    return len(recorded.text.encode()) + sum(len(c.name) + len(c.arguments.encode()) for c in recorded.calls)


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)


def _iteration(prompt: str) -> int:
    found = _ITERATION.search(prompt)
    return int(found[1]) if found else 1


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        msg = "not a JSON object"
        raise ValueError(msg)  # noqa: TRY004  # the caller asked about a text, not about a type
    # JSON makes every key a str
    return cast("Mapping[str, object]", value)


def _text(message: Mapping[str, object]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


class ReplayModel:
    """Answers from a recording, priced as the model its header names. Sends nothing anywhere."""

    def __init__(self, recording: Recording, *, max_output: int, tools: tuple[ToolDefinition, ...] = ()) -> None:
        self._recording, self._max_output = recording, max_output
        self._tools = encode_tools(tools)

    @classmethod
    def load(cls, path: Path, *, max_output: int, tools: tuple[ToolDefinition, ...] = ()) -> ReplayModel:
        """Read the recording at `path`; raises ConfigError naming its line."""
        return cls(Recording.parse(path.read_text("utf-8"), path), max_output=max_output, tools=tools)

    @property
    def name(self) -> str:
        return self._recording.model

    @property
    def max_output(self) -> int:
        return self._max_output

    def encode(self, message: Message) -> bytes:
        return encode_message(message)

    def body(self, messages: Sequence[bytes], max_output: int) -> bytes:
        return chat_body(self.name.partition("/")[2], messages, tools=self._tools, max_output=max_output)

    def complete(
        self, call: CallId, body: bytes, *, interrupt: Interrupt, on_text: Callable[[str], None]
    ) -> Completion:
        if interrupt.fired:
            raise NeverSentError("stopped before the request left")
        request = Request.read(body, iteration=call.iteration, step=call.step)
        completion, recorded = answer(self._recording, request)
        parts = pieces(completion.reply.text)
        for part in parts:
            if interrupt.wait(recorded.delay_ms / 1000 / len(parts)):
                raise LostError(f"stopped while reply {call} was coming")
            on_text(part)
        return completion

    @property
    def can_count(self) -> bool:
        return False

    def count(self, body: bytes, *, interrupt: Interrupt) -> int | None:
        del body, interrupt
        return None


def pieces(text: str) -> list[str]:
    """A text in at most four parts, as a stream brings it; an empty text is one empty part."""
    length = max(1, -(-len(text) // _PIECES))
    return [text[start : start + length] for start in range(0, max(1, len(text)), length)]
