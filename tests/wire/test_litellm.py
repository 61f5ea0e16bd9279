"""The real litellm against a provider that bills: what it makes up is not believed, and one call is one request."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import LostError, NeverSentError, UnbilledError
from runner.models.litellm_chat import LitellmChat, litellm_name
from runner.models.recording import Recording
from runner.ports import Answered, Completion, Interrupt, SystemText, ToolDefinition, ToolText, UserText
from runner.pricing.book import builtin
from runner.testing.bill import Listed
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from runner.values import CallId, Reply, ToolCall, Usage

pytest.importorskip("litellm")

KEY = "sk-test-0123456789abcdef"
CALL = CallId(1, 1, 1)
TOOL = ToolDefinition(name="run", description="Run a program.", parameters={"type": "object"})
REPLIES = """\
{"recording": 1, "model": "openai/gpt-5-mini"}
{"iteration": 1, "step": 1, "text": "Let me look – now.", "tools": [{"name": "run", "arguments": {"argv": ["ls", "ä"]}}, {"name": "list_files"}], "usage": {"input": 40, "output": 12, "cached": 30}}
{"iteration": 1, "step": 2, "text": "cut here", "cut": true}
{"otherwise": true, "text": "Done."}
"""
RECORDING = Recording.parse(REPLIES, Path("r"))
ROADS = {"openai": "openai/gpt-5-mini", "anthropic": "anthropic/claude-opus-5"}
"""litellm calls the first through the openai SDK, the second through a client of its own."""


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(Script(recording=RECORDING, key=KEY)) as running:
        yield running


def model(
    provider: ScriptedProvider, road: str = "openai", *, url: str = "", timeout_s: float = 20, idle_s: float = 10
) -> LitellmChat:
    return LitellmChat(
        ROADS[road],
        api_key=KEY,
        max_output=128_000,
        base_url=url or (provider.url if road == "openai" else provider.root),
        tools=(TOOL,),
        timeout_s=timeout_s,
        idle_s=idle_s,
        entry=builtin()[ROADS[road]],
    )


def send(chat: LitellmChat, *, interrupt: Interrupt | None = None, pieces: list[str] | None = None) -> Completion:
    body = chat.body([chat.encode(SystemText("Be good.")), chat.encode(UserText("Iteration 1\nDo it."))], 500)
    on_text = ([] if pieces is None else pieces).append
    return chat.complete(CALL, body, interrupt=interrupt or Interrupt(), on_text=on_text)


@pytest.mark.parametrize("road", ROADS)
def test_a_reply_comes_whole_and_in_pieces_with_its_true_usage(provider: ScriptedProvider, road: str):
    pieces: list[str] = []
    done = send(model(provider, road), pieces=pieces)
    assert done == Completion(
        reply=Reply(
            text="Let me look – now.",
            tool_calls=(
                ToolCall("call_1_1_1", "run", '{"argv":["ls","ä"]}'),
                ToolCall("call_1_1_2", "list_files", "{}"),
            ),
        ),
        usage=Usage(40, 12, 30),
        request_id="req_1",
    )
    assert "".join(pieces) == done.reply.text
    assert len(pieces) > 1
    assert len(provider.billed) == 1


@pytest.mark.parametrize("road", ROADS)
def test_a_conversation_goes_on_with_the_reply_put_back(provider: ScriptedProvider, road: str):
    chat = model(provider, road)
    first = send(chat)
    answered = [chat.encode(ToolText(call.id, "ok")) for call in first.reply.tool_calls]
    body = chat.body([chat.encode(UserText("Iteration 1")), chat.encode(Answered(first.reply)), *answered], 100)
    done = chat.complete(CALL, body, interrupt=Interrupt(), on_text=lambda _: None)
    assert (done.reply.text, done.reply.cut) == ("cut here", True)
    limits = [
        asked.get("max_tokens") or asked.get("max_completion_tokens") for asked in map(json.loads, provider.bodies)
    ]
    assert limits == [500, 100]


@pytest.mark.parametrize("name", ["openai/gpt-5-mini", "deepseek/m", "groq/m"])
@pytest.mark.parametrize("calls", [0, 1, 30])
def test_no_more_bytes_leave_than_the_input_was_bounded_by(provider: ScriptedProvider, name: str, calls: int):
    provider.script = Script(recording=RECORDING, key=KEY, provider=name.partition("/")[0])
    provider.sell(name, Listed.of(input="1", output="2", cached="1"))
    tools = tuple(ToolDefinition(name=f"t{n}", description="A, b: c.", parameters=TOOL.parameters) for n in range(9))
    chat = LitellmChat(name, api_key=KEY, max_output=1_000, base_url=provider.url, tools=tools)
    asked = tuple(ToolCall(f"c{n}", "run", '{"argv":["ls","漢字"]}') for n in range(calls))
    parts = [chat.encode(SystemText("é 漢字 \x7f")), chat.encode(UserText("Iteration 1"))]
    if asked:
        parts.append(chat.encode(Answered(Reply(text="", tool_calls=asked))))
        parts += [chat.encode(ToolText(call.id, "a, b: ü")) for call in asked]
    body = chat.body(parts, 500)
    chat.complete(CALL, body, interrupt=Interrupt(), on_text=lambda _: None)
    assert len(provider.bodies[-1]) <= len(body)
    # what is new since a count is bounded by its own bytes, and the mark between two of them
    assert len(body) - len(chat.body(parts[:1], 500)) <= sum(len(part) + 2 for part in parts[1:])


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.is_free])
def test_a_structured_refusal_is_unbilled_and_never_tried_again_inside(
    provider: ScriptedProvider, road: str, fault: Fault
):
    provider.script = Script(recording=RECORDING, faults=(fault,), key=KEY)
    with pytest.raises(UnbilledError, match=f"HTTP status {fault.status}") as caught:
        send(model(provider, road))
    assert caught.value.retryable == (fault.status in {429, 503, 529})
    assert len(provider.billed) == 1
    assert KEY not in str(caught.value)


MAYBE_BILLED = [
    Fault.ERROR_500, Fault.BARE_502, Fault.BARE_503, Fault.BARE_429, Fault.DROP_BEFORE, Fault.DROP,
    Fault.DROP_MIDSTREAM, Fault.GARBAGE, Fault.NO_USAGE, Fault.ZERO_USAGE, Fault.BAD_USAGE, Fault.ERROR_IN_STREAM,
]  # fmt: skip


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("fault", MAYBE_BILLED)
def test_what_brings_no_whole_reply_is_lost_whatever_litellm_makes_of_it(
    provider: ScriptedProvider, road: str, fault: Fault
):
    provider.script = Script(recording=RECORDING, faults=(fault,), key=KEY)
    with pytest.raises(LostError) as caught:
        send(model(provider, road))
    assert len(provider.billed) == 1
    assert "Do it." not in str(caught.value)


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("fault", [Fault.STALL, Fault.STALL_MIDSTREAM])
def test_silence_ends_a_call_and_keeps_its_hold(provider: ScriptedProvider, road: str, fault: Fault):
    provider.script = Script(recording=RECORDING, faults=(fault, fault), key=KEY)
    with pytest.raises(LostError, match="silent for too long"):
        send(model(provider, road, idle_s=0.3))
    with pytest.raises(LostError, match=r"took longer than 0\.3 s"):
        send(model(provider, road, timeout_s=0.3))


@pytest.mark.parametrize("road", ROADS)
def test_a_stop_from_another_thread_ends_a_silent_call(provider: ScriptedProvider, road: str):
    provider.script = Script(recording=RECORDING, faults=(Fault.STALL_MIDSTREAM,), key=KEY)
    chat, interrupt = model(provider, road), Interrupt()
    pieces: list[str] = []

    class Heard(list[str]):
        def append(self, piece: str) -> None:
            pieces.append(piece)
            threading.Thread(target=interrupt.fire).start()

    with pytest.raises(LostError, match="stopped") as caught:
        send(chat, interrupt=interrupt, pieces=Heard())
    assert pieces
    assert not caught.value.retryable


@pytest.mark.parametrize("road", ROADS)
def test_where_nobody_listens_nothing_was_sent(provider: ScriptedProvider, road: str):
    with pytest.raises(NeverSentError, match="no connection to"):
        send(model(provider, road, url="http://127.0.0.1:9/v1"))


def test_shown_thoughts_that_led_to_a_call_are_sent_back_as_they_came_to_who_insists_on_them():
    script = Script(recording=RECORDING, faults=(Fault.THINKING,), key=KEY, provider="deepseek")
    with ScriptedProvider(script, prices={"deepseek/m": Listed.of(input="1", output="2", cached="1")}) as provider:
        chat = LitellmChat("deepseek/m", api_key=KEY, max_output=100, base_url=provider.url, tools=(TOOL,))
        first = send(chat)
    (thought,) = first.reply.opaque
    said = json.loads(thought.data)["reasoning_content"]
    assert said
    assert json.loads(chat.encode(Answered(first.reply)))["reasoning_content"] == said
    other = LitellmChat("groq/llama", api_key=None, max_output=100)
    assert b"reasoning_content" not in other.encode(Answered(first.reply))


def test_what_litellm_refuses_by_itself_keeps_its_hold_since_nothing_proves_that_nothing_left():
    chat = LitellmChat("nobody/knows", api_key=KEY, max_output=100)
    with pytest.raises(LostError, match="litellm failed"):
        send(chat)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("google/gemini-3-pro", "gemini/gemini-3-pro"),
        ("together/a/b", "together_ai/a/b"),
        ("groq/llama", "groq/llama"),
        ("fireworks/x", "fireworks_ai/x"),
    ],
)
def test_a_provider_goes_by_litellms_name(name: str, theirs: str):
    assert litellm_name(name) == theirs


def test_loading_it_asks_nobody_tells_nobody_and_reads_no_env_file_of_the_workspace(tmp_path: Path):
    (tmp_path / ".env").write_text("PLANTED=1\nGROQ_API_BASE=http://127.0.0.1:9\n")
    code = (
        "import os, socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        "from runner.models.litellm_client import load\n"
        "m = load()\n"
        "lists = [m.callbacks, m.input_callback, m.success_callback, m.failure_callback, m.service_callback]\n"
        "print(lists, os.environ['LITELLM_LOCAL_MODEL_COST_MAP'], 'PLANTED' in os.environ, 'GROQ_API_BASE' in os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "[[], [], [], [], []] True False False\n"
    assert done.stderr == ""
