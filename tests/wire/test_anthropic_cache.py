"""Prompt caching: what was sent once is sent again unchanged, and so is read from the provider's cache."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from runner.agent.conversation import Conversation
from runner.agent.prompt import SYSTEM
from runner.events.facts import CallDispatched, CallSettled, IterationStarted, ToolFinished
from runner.models.anthropic_messages import AnthropicMessages
from runner.models.recording import Recording
from runner.ports import Interrupt
from runner.pricing.book import Book
from runner.pricing.cost import Asks
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script
from runner.tools.arguments import DEFINITIONS
from runner.values import CallId, Effect, Usage

NAME = "anthropic/claude-haiku-4-5"
ENTRY = replace(Book.load().lookup(NAME), thinking="budget")
STEPS = 30
TOKENS_PER_BYTE = 0.3
PROMPT = "Iteration {}\n\n" + "Make every test of the parser pass, and keep the public names. " * 40


def recorded() -> Recording:
    """Thirty replies as an agent gives them: some words, one to three calls, sometimes none of the words."""
    lines = ['{"recording": 1, "model": "anthropic/claude-haiku-4-5"}']
    for step in range(1, STEPS + 1):
        calls = [
            {"name": "read_file", "arguments": {"path": f"src/part_{step}_{n}.py", "from": 1, "ä": "€"}}
            for n in range(step % 3 + 1)
        ]
        text = "" if step % 7 == 0 else f"Step {step}: the next file – it may hold the cause."
        lines.append(json.dumps({"step": step, "text": text, "tools": calls}))
    return Recording.parse("\n".join(lines), Path("thirty"))


def output(call: str, step: int) -> str:
    """What a tool says: nothing now and then, and text that JSON has to escape."""
    return "" if step % 11 == 0 else f'\t{call}: "caf\u00e9" \\ 漢字 \u2028\n' * (20 + step * 3 % 40)


class Played:
    """A conversation of `iterations`, played against a provider that caches. Output limits change as money does."""

    def __init__(self, provider: ScriptedProvider, asks: Asks, thinking: str, iterations: int = 1) -> None:
        self.model = AnthropicMessages(
            NAME,
            api_key="k",
            max_output=64_000,
            base_url=provider.root,
            tools=DEFINITIONS,
            entry=ENTRY,
            asks=asks,
            thinking=thinking,
        )
        self.usages: list[list[Usage]] = []
        talk = Conversation((self.model,), (ENTRY,))
        for iteration in range(1, iterations + 1):
            talk.apply(IterationStarted(iteration=iteration, system=SYSTEM, prompt=PROMPT.format(iteration)))
            self.usages.append([self._step(talk, CallId(iteration, step, 1)) for step in range(1, STEPS + 1)])

    def _step(self, talk: Conversation, call: CallId) -> Usage:
        body = talk.body(20_000 - 100 * call.step)
        done = self.model.complete(call, body, interrupt=Interrupt(), on_text=lambda _: None)
        talk.apply(CallDispatched(call=call, model=NAME, input_bound=len(body), granted_output=1, hold=0))
        talk.apply(CallSettled(call=call, usage=done.usage, cost=0, reply=done.reply))
        for one in done.reply.tool_calls:
            text = output(one.id, call.step)
            talk.apply(ToolFinished(call_id=one.id, name=one.name, text=text, ok=True, effect=Effect.READS))
        return done.usage


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(Script(recording=recorded(), cache=True, count_ratio=TOKENS_PER_BYTE)) as running:
        yield running


def share_read(usages: list[Usage]) -> float:
    return sum(usage.cached_tokens for usage in usages) / sum(usage.input_tokens for usage in usages)


@pytest.mark.parametrize("thinking", ["off", "4000"])
@pytest.mark.parametrize("life", ["5m", "1h"])
def test_thirty_steps_read_most_of_their_input_from_the_cache(provider: ScriptedProvider, life: str, thinking: str):
    [usages] = Played(provider, Asks(cache=life), thinking).usages
    assert len(provider.bodies) == STEPS
    assert share_read(usages[2:]) >= 0.85
    # nothing was paid for as plain input but what came after the last mark, and no write was made twice
    assert sum(usage.cache_write_tokens for usage in usages) <= max(usage.input_tokens for usage in usages) * 1.05
    longer = sum(usage.cache_write_1h_tokens for usage in usages)
    assert longer == (sum(usage.cache_write_tokens for usage in usages) if life == "1h" else 0)
    # what the adapter reported is what was billed
    assert usages == [entry.usage for entry in provider.billed]


@pytest.mark.parametrize("thinking", ["off", "4000"])
def test_each_request_begins_with_the_one_before_byte_for_byte(provider: ScriptedProvider, thinking: str):
    Played(provider, Asks(cache="5m"), thinking)
    prefixes = [sent[sent.index(b'"tools":') :] for sent in provider.bodies]
    for before, after in pairwise(prefixes):
        assert before.endswith(b"]}")
        assert after.startswith(before[:-2] + b",")
    # what may change the meaning of a prefix stands before it, and does not change either
    settings = [json.loads(sent) for sent in provider.bodies]
    for key in ("model", "cache_control", "thinking", "tools", "system", "service_tier"):
        assert len({json.dumps(top.get(key)) for top in settings}) == 1
    assert len({top["max_tokens"] for top in settings}) == STEPS


def test_a_fresh_iteration_reads_tools_and_instructions_from_the_cache(provider: ScriptedProvider):
    first, second = Played(provider, Asks(cache="1h"), "off", iterations=2).usages
    assert first[0].cached_tokens == 0
    begin = provider.bodies[0].index(b'"tools":')
    instructions = provider.bodies[0].index(b'"messages":') - begin
    assert second[0].cached_tokens > instructions * TOKENS_PER_BYTE * 0.9


def test_without_marks_nothing_is_cached(provider: ScriptedProvider):
    [usages] = Played(provider, Asks(), "off").usages
    assert share_read(usages) == 0
    assert sum(usage.cache_write_tokens for usage in usages) == 0
    assert all(b"cache_control" not in sent for sent in provider.bodies)


def test_a_step_of_many_calls_still_reads_what_was_sent_before_it():
    """Anthropic looks twenty blocks back from a mark, and forty calls with their answers are eighty."""
    calls = [{"name": "read_file", "arguments": {"path": f"part_{n}.py"}} for n in range(40)]
    replies = [{"recording": 1, "model": NAME}, {"step": 20, "tools": calls}, {"step": 25, "tools": calls[:8]}]
    few = {"otherwise": True, "text": "One.", "tools": calls[:1]}
    many = Recording.parse("\n".join(json.dumps(line) for line in [*replies, few]), Path("many"))
    with ScriptedProvider(Script(recording=many, cache=True, count_ratio=TOKENS_PER_BYTE)) as provider:
        [usages] = Played(provider, Asks(cache="5m"), "4000").usages
    for before, after in pairwise(usages):
        # the provider shares a request's tokens out by bytes, so that they are not exactly the same for the same bytes
        assert after.cached_tokens >= before.input_tokens * 0.85
    # the mark is all that is added, for that one request: nothing of what is cached changes
    prefixes = [
        sent[sent.index(b'"tools":') :].replace(b',"cache_control":{"type":"ephemeral"}', b"")
        for sent in provider.bodies
    ]
    for shorter, longer in pairwise(prefixes):
        assert longer.startswith(shorter[:-2] + b",")
    marks = [sent.count(b'"cache_control"') for sent in provider.bodies]
    assert marks == [3 if step in {21, 26} else 2 for step in range(1, STEPS + 1)]
