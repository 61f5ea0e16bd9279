"""The scripted provider speaks as the real ones do: their own SDKs read it, and it refuses what they refuse."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import anthropic
import openai
import pytest
from anthropic.types import (
    MessageParam,
    RedactedThinkingBlock,
    TextBlock,
    TextBlockParam,
    ThinkingBlock,
    ThinkingConfigParam,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlock,
)
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from openai.types.responses import (
    EasyInputMessageParam,
    ResponseFunctionToolCall,
    ResponseIncompleteEvent,
    ResponseOutputMessage,
)

from runner.models.recording import Recording
from runner.testing.bill import Listed, NotSoldError, charge, in_nano
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import Usage

RECORDING = Recording.parse(
    """\
{"recording": 1, "model": "openai/gpt-5-mini"}
{"iteration": 1, "step": 1, "text": "Let me look.", "tools": [{"name": "run", "arguments": {"argv": ["ls", "ä"]}}]}
{"iteration": 1, "step": 2, "text": "Done."}
""",
    Path("r"),
)
PRICES = {
    "anthropic/m": Listed.of(input="5", output="25", cached="0.5", write="6.25", write_1h="10"),
    "openai/m": Listed.of(input="5", output="25", cached="0.5", write="6.25"),
}
TOOL: ToolParam = {"name": "run", "description": "Run.", "input_schema": {"type": "object"}}


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(Script(recording=RECORDING), prices=PRICES) as running:
        yield running


def messages(
    provider: ScriptedProvider,
    given: list[MessageParam],
    *,
    thinking: ThinkingConfigParam | anthropic.Omit = anthropic.omit,
    system: list[TextBlockParam] | anthropic.Omit = anthropic.omit,
) -> anthropic.types.Message:
    client = anthropic.Anthropic(api_key="k", base_url=provider.root, max_retries=0)
    with client.messages.stream(
        model="m", max_tokens=9000, tools=[TOOL], messages=given, thinking=thinking, system=system
    ) as stream:
        return stream.get_final_message()


def responses(provider: ScriptedProvider, given: list, **more) -> openai.types.responses.Response:
    client = openai.OpenAI(api_key="k", base_url=provider.url, max_retries=0)
    with client.responses.stream(model="m", max_output_tokens=900, input=given, **more) as stream:
        return stream.get_final_response()


GO = "Iteration 1\nGo."
ASK: MessageParam = {"role": "user", "content": GO}
GIVEN: EasyInputMessageParam = {"role": "user", "content": GO}


def test_messages_come_with_signed_thinking_and_go_on_only_when_it_comes_back_unchanged(provider: ScriptedProvider):
    thinking: ThinkingConfigParam = {"type": "enabled", "budget_tokens": 2000}
    first = messages(provider, [ASK], thinking=thinking)
    thought, hidden, text, call = first.content
    assert isinstance(thought, ThinkingBlock)
    assert isinstance(hidden, RedactedThinkingBlock)
    assert isinstance(text, TextBlock)
    assert isinstance(call, ToolUseBlock)
    assert (first.stop_reason, call.input) == ("tool_use", {"argv": ["ls", "ä"]})
    result: ToolResultBlockParam = {"type": "tool_result", "tool_use_id": call.id, "content": "ok"}
    said: MessageParam = {"role": "assistant", "content": first.content}
    done: MessageParam = {"role": "user", "content": [result]}
    assert messages(provider, [ASK, said, done], thinking=thinking).stop_reason == "end_turn"
    other = thought.model_copy(update={"thinking": "x"})
    altered: MessageParam = {"role": "assistant", "content": [other, hidden, text, call]}
    blank: MessageParam = {"role": "user", "content": [{"type": "text", "text": " "}]}
    for changed in ([ASK, altered, done], [ASK, said], [ASK, blank]):
        with pytest.raises(anthropic.BadRequestError):
            messages(provider, changed, thinking=thinking)
    with pytest.raises(anthropic.BadRequestError, match="less than"):
        messages(provider, [ASK], thinking={"type": "enabled", "budget_tokens": 9000})
    assert len(provider.billed) == 2


@pytest.mark.parametrize(
    ("fault", "stop"), [(Fault.REFUSAL, "refusal"), (Fault.PAUSED, "pause_turn"), (Fault.TRUNCATED, "max_tokens")]
)
def test_messages_end_in_every_way(provider: ScriptedProvider, fault: Fault, stop: str):
    provider.script = Script(recording=RECORDING, faults=(fault,))
    assert messages(provider, [ASK]).stop_reason == stop


def test_responses_seal_their_reasoning(provider: ScriptedProvider):
    first = responses(provider, [GIVEN], reasoning={"effort": "low"})
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call"]
    assert first.status == "completed"
    said = [item.model_dump(exclude_none=True) for item in first.output]
    call = first.output[2]
    assert isinstance(call, ResponseFunctionToolCall)
    done = {"type": "function_call_output", "call_id": call.call_id, "output": "ok"}
    assert responses(provider, [GIVEN, *said, done]).output_text == "Done."
    for changed in ([GIVEN, {**said[0], "encrypted_content": "x"}, *said[1:], done], [GIVEN, *said], [GIVEN, done]):
        with pytest.raises(openai.BadRequestError):
            responses(provider, changed)
    assert [entry.step for entry in provider.billed] == [1, 2]


def test_a_cut_response_is_incomplete_and_a_refusal_is_one(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, faults=(Fault.TRUNCATED, Fault.REFUSAL))
    client = openai.OpenAI(api_key="k", base_url=provider.url, max_retries=0)
    *_, last = client.responses.create(model="m", max_output_tokens=900, input=[GIVEN], stream=True)
    assert isinstance(last, ResponseIncompleteEvent)
    assert last.type == "response.incomplete"
    details, usage = last.response.incomplete_details, last.response.usage
    assert details is not None
    assert usage is not None
    assert (details.reason, usage.output_tokens) == ("max_output_tokens", 900)
    message = responses(provider, [GIVEN]).output[0]
    assert isinstance(message, ResponseOutputMessage)
    assert message.content[0].type == "refusal"


def test_counting_is_free_and_agrees_with_what_is_billed(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, count_ratio=0.3)
    client = anthropic.Anthropic(api_key="k", base_url=provider.root, max_retries=0)
    counted = client.messages.count_tokens(model="m", messages=[ASK], tools=[TOOL]).input_tokens
    billed = messages(provider, [ASK]).usage.input_tokens
    assert counted < billed < counted + 40  # it also has a limit and wants a stream
    other = openai.OpenAI(api_key="k", base_url=provider.url, max_retries=0)
    assert other.responses.input_tokens.count(model="m", input=[GIVEN]).input_tokens > 10
    assert (len(provider.counted), len(provider.billed)) == (2, 1)


@pytest.mark.parametrize(("ttl", "write"), [("5m", "6.25"), ("1h", "10")])
def test_a_marked_prefix_is_written_once_and_read_afterwards_at_its_own_prices(provider: ScriptedProvider, ttl, write):
    provider.script = Script(recording=RECORDING, cache=True, count_ratio=0.25)
    system: list[TextBlockParam] = [
        {"type": "text", "text": "Be good. " * 1000, "cache_control": {"type": "ephemeral", "ttl": ttl}}
    ]
    first, second = (messages(provider, [ASK], system=system).usage for _ in range(2))
    assert first.cache_read_input_tokens == 0
    written, lives, usage = first.cache_creation_input_tokens, first.cache_creation, provider.billed[0].usage
    assert written is not None
    assert written > 2000
    assert (second.cache_read_input_tokens, second.cache_creation_input_tokens) == (written, 0)
    assert lives is not None
    assert lives.model_dump()[f"ephemeral_{ttl}_input_tokens"] == written
    assert usage is not None
    tokens = {"5": first.input_tokens, write: written, "25": usage.output_tokens}
    exact = sum((Fraction(price) * count for price, count in tokens.items()), Fraction()) / 1_000_000
    assert provider.billed[0].billed_nano_usd == in_nano(exact)


def test_what_openai_kept_of_an_earlier_request_is_read(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, cache=True, count_ratio=0.25)
    given = [{"role": "system", "content": "Be good. " * 1000}, GIVEN]
    first, second = (responses(provider, given).usage for _ in range(2))
    assert first is not None
    assert second is not None
    written = first.input_tokens_details.cache_write_tokens
    assert first.input_tokens_details.cached_tokens == 0 < written
    assert second.input_tokens_details.cached_tokens == written


def test_every_class_of_a_bill_has_its_own_price():
    page = Listed.of(input="2", output="10", cached="0.1", write="2.5", write_1h="4", reasoning="12")
    dear = Listed.of(input="4", output="20", cached="0.2", write="5", write_1h="8", reasoning="24")
    listed = Listed(
        usd=page.usd, above={200_000: dear}, services={"flex": Listed.of(input="1", output="5")},
        geo={"us": Fraction("1.1")}, fees={"web_search": Fraction("0.01")},
    )  # fmt: skip
    usage = Usage(1000, 100, 300, 200, 150, 0, 40, "", "us", (("web_search", 2),))
    per_million = 500 * 2 + 300 * Fraction("0.1") + 50 * Fraction("2.5") + 150 * 4 + 60 * 10 + 40 * 12
    assert charge(listed, usage) == per_million * Fraction("1.1") / 1_000_000 + Fraction("0.02")
    assert charge(listed, Usage(200_000, 1)) == Fraction(200_000 * 2 + 10, 1_000_000)
    assert charge(listed, Usage(200_001, 1)) == Fraction(200_001 * 4 + 20, 1_000_000)
    assert charge(listed, Usage(10, 1, service="flex")) == Fraction(15, 1_000_000)
    for unsold in (Usage(10, 1, service="batch"), Usage(10, 1, geo="eu"), Usage(10, 1, 0, 5, 0, 5)):
        with pytest.raises(NotSoldError):
            charge(listed, unsold)
    assert in_nano(Fraction(1, 3_000_000_000)) == 1


def test_a_whole_reply_needs_no_stream(provider: ScriptedProvider):
    client = openai.OpenAI(api_key="k", base_url=provider.url, max_retries=0)
    chat = client.chat.completions.create(model="m", max_tokens=500, messages=[{"role": "user", "content": GO}])
    calls = chat.choices[0].message.tool_calls
    assert calls
    assert isinstance(calls[0], ChatCompletionMessageFunctionToolCall)
    assert json.loads(calls[0].function.arguments) == {"argv": ["ls", "ä"]}
    done = client.responses.create(model="m", max_output_tokens=500, input=GO)
    assert done.output_text == "Let me look."
    other = anthropic.Anthropic(api_key="k", base_url=provider.root, max_retries=0)
    block = other.messages.create(model="m", max_tokens=500, messages=[ASK]).content[0]
    assert isinstance(block, TextBlock)
    assert block.text == "Let me look."
