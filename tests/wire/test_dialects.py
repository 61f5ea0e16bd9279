"""The scripted provider speaks as the real ones do: their own SDKs read it, and it refuses what they refuse."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import anthropic
import openai
import pytest

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
TOOL = {"name": "run", "description": "Run.", "input_schema": {"type": "object"}}


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(Script(recording=RECORDING), prices=PRICES) as running:
        yield running


def messages(provider: ScriptedProvider, given: list[dict], **more) -> anthropic.types.Message:
    client = anthropic.Anthropic(api_key="k", base_url=provider.root, max_retries=0)
    asked = {"model": "m", "max_tokens": 9000, "tools": [TOOL], "messages": given, **more}
    with client.messages.stream(**asked) as stream:
        return stream.get_final_message()


def responses(provider: ScriptedProvider, given: list, **more) -> openai.types.responses.Response:
    client = openai.OpenAI(api_key="k", base_url=provider.url, max_retries=0)
    with client.responses.stream(model="m", max_output_tokens=900, input=given, **more) as stream:
        return stream.get_final_response()


ASK = {"role": "user", "content": "Iteration 1\nGo."}


def test_messages_come_with_signed_thinking_and_go_on_only_when_it_comes_back_unchanged(provider: ScriptedProvider):
    thinking = {"type": "enabled", "budget_tokens": 2000}
    first = messages(provider, [ASK], thinking=thinking)
    assert [block.type for block in first.content] == ["thinking", "redacted_thinking", "text", "tool_use"]
    assert (first.stop_reason, first.content[3].input) == ("tool_use", {"argv": ["ls", "ä"]})
    said = [block.model_dump(exclude_none=True, include={"type", "thinking", "signature", "data", "text", "id", "name", "input"})
            for block in first.content]  # fmt: skip
    result = {"type": "tool_result", "tool_use_id": first.content[3].id, "content": "ok"}
    whole = [ASK, {"role": "assistant", "content": said}, {"role": "user", "content": [result]}]
    assert messages(provider, whole, thinking=thinking).stop_reason == "end_turn"
    for changed in (
        [ASK, {"role": "assistant", "content": [{**said[0], "thinking": "x"}, *said[1:]]}, whole[2]],
        whole[:2],
        [ASK, {"role": "user", "content": [{"type": "text", "text": " "}]}],
    ):
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
    first = responses(provider, [ASK], reasoning={"effort": "low"})
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call"]
    assert first.status == "completed"
    said = [item.model_dump(exclude_none=True) for item in first.output]
    done = {"type": "function_call_output", "call_id": first.output[2].call_id, "output": "ok"}
    assert responses(provider, [ASK, *said, done]).output_text == "Done."
    for changed in ([ASK, {**said[0], "encrypted_content": "x"}, *said[1:], done], [ASK, *said], [ASK, done]):
        with pytest.raises(openai.BadRequestError):
            responses(provider, changed)
    assert [entry.step for entry in provider.billed] == [1, 2]


def test_a_cut_response_is_incomplete_and_a_refusal_is_one(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, faults=(Fault.TRUNCATED, Fault.REFUSAL))
    client = openai.OpenAI(api_key="k", base_url=provider.url, max_retries=0)
    *_, last = client.responses.create(model="m", max_output_tokens=900, input=[ASK], stream=True)
    assert last.type == "response.incomplete"
    assert (last.response.incomplete_details.reason, last.response.usage.output_tokens) == ("max_output_tokens", 900)
    assert responses(provider, [ASK]).output[0].content[0].type == "refusal"


def test_counting_is_free_and_agrees_with_what_is_billed(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, count_ratio=0.3)
    client = anthropic.Anthropic(api_key="k", base_url=provider.root, max_retries=0)
    counted = client.messages.count_tokens(model="m", messages=[ASK], tools=[TOOL]).input_tokens
    billed = messages(provider, [ASK]).usage.input_tokens
    assert counted < billed < counted + 40  # it also has a limit and wants a stream
    other = openai.OpenAI(api_key="k", base_url=provider.url, max_retries=0)
    assert other.responses.input_tokens.count(model="m", input=[ASK]).input_tokens > 10
    assert (len(provider.counted), len(provider.billed)) == (2, 1)


@pytest.mark.parametrize(("ttl", "write"), [("5m", "6.25"), ("1h", "10")])
def test_a_marked_prefix_is_written_once_and_read_afterwards_at_its_own_prices(provider: ScriptedProvider, ttl, write):
    provider.script = Script(recording=RECORDING, cache=True, count_ratio=0.25)
    mark = {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    system = [{"type": "text", "text": "Be good. " * 1000, **mark}]
    first, second = (messages(provider, [ASK], system=system).usage for _ in range(2))
    assert first.cache_read_input_tokens == 0
    assert first.cache_creation_input_tokens > 2000
    assert (second.cache_read_input_tokens, second.cache_creation_input_tokens) == (
        first.cache_creation_input_tokens,
        0,
    )
    assert first.cache_creation.model_dump()[f"ephemeral_{ttl}_input_tokens"] == first.cache_creation_input_tokens
    usage = provider.billed[0].usage
    tokens = {"5": first.input_tokens, write: first.cache_creation_input_tokens, "25": usage.output_tokens}
    exact = sum(Fraction(price) * count for price, count in tokens.items()) / 1_000_000
    assert provider.billed[0].billed_nano_usd == in_nano(exact)


def test_what_openai_kept_of_an_earlier_request_is_read(provider: ScriptedProvider):
    provider.script = Script(recording=RECORDING, cache=True, count_ratio=0.25)
    given = [{"role": "system", "content": "Be good. " * 1000}, ASK]
    first, second = (responses(provider, given).usage.input_tokens_details for _ in range(2))
    assert first.cached_tokens == 0 < first.cache_write_tokens
    assert second.cached_tokens == first.cache_write_tokens


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
    chat = client.chat.completions.create(model="m", max_tokens=500, messages=[ASK])
    assert json.loads(chat.choices[0].message.tool_calls[0].function.arguments) == {"argv": ["ls", "ä"]}
    done = client.responses.create(model="m", max_output_tokens=500, input="Iteration 1\nGo.")
    assert done.output_text == "Let me look."
    other = anthropic.Anthropic(api_key="k", base_url=provider.root, max_retries=0)
    assert other.messages.create(model="m", max_tokens=500, messages=[ASK]).content[0].text == "Let me look."
