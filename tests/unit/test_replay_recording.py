"""A recording answers the same request with the same reply, branches on tools, and says where it is broken."""

import json
from pathlib import Path

import pytest

from runner.errors import ConfigError, LostError, NeverSentError, NoReplyError
from runner.models.recording import Recording
from runner.models.replay import ReplayModel
from runner.ports import Answered, Completion, Interrupt, SystemText, ToolDefinition, ToolText, UserText
from runner.values import CallId, Reply, ToolCall, Usage

HEADER = '{"recording": 1, "model": "openai/gpt-5"}\n'


def model(*lines: object, max_output: int = 128_000) -> ReplayModel:
    text = HEADER + "".join(json.dumps(line) + "\n" for line in lines)
    return ReplayModel(Recording.parse(text, Path("r.jsonl")), max_output=max_output)


def ask(
    replay: ReplayModel,
    place: str = "1.1.1",
    *,
    prompt: str = "Iteration 1\nDo it.",
    tools: str | None = None,
    granted: int = 16_384,
) -> Completion:
    call = CallId(*map(int, place.split(".")))
    messages = [replay.encode(SystemText("Be good.")), replay.encode(UserText(prompt))]
    if tools is not None:
        earlier = Reply(text="", tool_calls=(ToolCall("c1", "run", "{}"),))
        messages += [replay.encode(Answered(earlier)), replay.encode(ToolText("c1", tools))]
    pieces: list[str] = []
    completion = replay.complete(call, replay.body(messages, granted), interrupt=Interrupt(), on_text=pieces.append)
    assert "".join(pieces) == completion.reply.text
    return completion


def test_replies_are_found_by_iteration_and_step_and_the_first_that_fits_wins():
    replay = model(
        {"iteration": 1, "step": 1, "text": "one"},
        {"iteration": 2, "step": 1, "text": "two"},
        {"step": 1, "text": "any iteration"},
        {"iteration": 1, "text": "any step"},
        {"otherwise": True, "text": "nothing more to do"},
    )
    got = [ask(replay, place).reply.text for place in ("1.1.1", "2.1.1", "3.1.1", "1.7.1", "4.2.9")]
    assert got == ["one", "two", "any iteration", "any step", "nothing more to do"]


def test_otherwise_comes_last_wherever_it_stands():
    replay = model({"otherwise": True, "text": "later"}, {"iteration": 1, "step": 1, "text": "now"})
    assert ask(replay).reply.text == "now"


def test_a_reply_may_depend_on_what_the_tools_answered_last():
    replay = model(
        {"step": 2, "when": {"tools": {"matches": r"^\d+ failed"}}, "text": "red"},
        {"step": 2, "when": {"tools": {"exit": 3}}, "text": "three"},
        {"step": 2, "when": {"tools": {"contains": "passed", "lacks": "warning"}}, "text": "green"},
        {"step": 2, "when": {"prompt": {"contains": "Do it"}}, "text": "asked"},
    )
    answers = ["x\n2 failed", "exit code 3", "5 passed", "5 passed, 1 warning"]
    assert [ask(replay, "1.2.1", tools=text).reply.text for text in answers] == ["red", "three", "green", "asked"]


def test_a_request_without_a_reply_is_named_with_what_the_tools_said():
    with pytest.raises(NoReplyError) as caught:
        ask(model({"iteration": 1, "step": 1, "text": "one"}), "1.2.1", tools="5 failed " + "x" * 500)
    assert str(caught.value).startswith(
        "r.jsonl has no reply for iteration 1, step 2; tools answered last: 5 failed xxx"
    )
    assert len(caught.value.message) < 350


def test_the_same_request_gets_the_same_reply_whoever_asks():
    lines = ({"step": 1, "text": "hi", "tools": [{"name": "run", "arguments": {"argv": ["ls"]}}]},)
    first, again = ask(model(*lines)), ask(model(*lines), "1.1.2")
    assert first == again
    assert first.reply.tool_calls == (ToolCall("call_1_1_1", "run", '{"argv":["ls"]}'),)


def test_usage_left_out_is_computed_from_sizes_and_stays_within_the_bounds():
    replay = model({"text": "x" * 400})
    body = replay.body([replay.encode(UserText("Iteration 1"))], 1000)
    done = replay.complete(CallId(1, 1, 1), body, interrupt=Interrupt(), on_text=lambda _: None)
    assert done.usage == Usage(-(-len(body) // 4), 100)


def test_a_recorded_usage_is_taken_as_it_is():
    usage = {"input": 100, "output": 7, "cached": 60, "cache_write": 5}
    assert ask(model({"text": "x", "usage": usage})).usage == Usage(100, 7, 60, 5)


def test_an_output_above_the_limit_that_was_sent_is_cut_there_and_its_calls_with_it():
    long = {"text": "word " * 1000, "tools": [{"name": "run"}], "usage": {"input": 10, "output": 1_000_000}}
    done = ask(model(long), granted=50)
    assert (done.reply.cut, done.reply.tool_calls, done.usage.output_tokens) == (True, (), 50)
    assert len(done.reply.text) == 200


def test_an_input_no_request_of_that_size_can_have_is_a_broken_recording():
    with pytest.raises(NoReplyError, match=r"r\.jsonl:2: the recorded input of 9000 tokens is more than"):
        ask(model({"text": "x", "usage": {"input": 9000, "output": 1}}))


def test_a_stop_while_a_reply_is_coming_loses_it_and_one_before_sends_nothing():
    replay = model({"text": "slow " * 10, "delay_ms": 60_000})
    body = replay.body([replay.encode(UserText("x"))], 100)
    interrupt = Interrupt()

    with pytest.raises(LostError):
        # the stop comes with the first waiting: no clock has to pass
        replay.complete(CallId(1, 1, 1), body, interrupt=_firing(interrupt), on_text=lambda _: None)
    interrupt.fire()
    with pytest.raises(NeverSentError):
        replay.complete(CallId(1, 1, 1), body, interrupt=interrupt, on_text=lambda _: None)


def _firing(interrupt: Interrupt) -> Interrupt:
    class Firing(Interrupt):
        def wait(self, seconds: float) -> bool:
            assert seconds == 15.0
            interrupt.fire()
            return interrupt.wait(seconds)

    return Firing()


def test_the_body_is_chat_completions_with_the_granted_output_and_the_tools():
    tool = ToolDefinition(name="run", description="Run it.", parameters={"type": "object"})
    recording = Recording.parse(HEADER, Path("r"))
    replay = ReplayModel(recording, max_output=5, tools=(tool,))
    body = replay.body([replay.encode(UserText("ä"))], 77)
    assert json.loads(body) == {
        "model": "gpt-5",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 77,
        "tools": [
            {
                "type": "function",
                "function": {"name": "run", "description": "Run it.", "parameters": {"type": "object"}},
            }
        ],
        "messages": [{"role": "user", "content": "ä"}],
    }
    assert (replay.name, replay.max_output) == ("openai/gpt-5", 5)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "r:1", "an empty recording"),
        ('{"text": "hi"}\n', "r:1", "not a recording's header"),
        ('{"recording": 2, "model": "a/b"}\n', "r:1", "format 2"),
        ('{"recording": 1, "model": "gpt-5"}\n', "r:1", "`model` is not PROVIDER/NAME"),
        (HEADER + '\n{"text": "hi"\n', "r:3:14", "not JSON"),
        (HEADER + "[1]\n", "r:2", "the line is not a JSON object"),
        (HEADER + '{"txt": "hi"}\n', "r:2", "unknown key `txt`"),
        (HEADER + '{"text": 5}\n', "r:2", "`text` is not a text"),
        (HEADER + '{"step": 0}\n', "r:2", "`step` is not a whole number from 1 on"),
        (HEADER + '{"step": true}\n', "r:2", "`step` is not a whole number from 1 on"),
        (HEADER + '{"tools": {"name": "run"}}\n', "r:2", "`tools` is not a list"),
        (HEADER + '{"tools": [{"arguments": {}}]}\n', "r:2", "`name` is not a text"),
        (HEADER + '{"usage": {"input": 5}}\n', "r:2", "`usage` needs"),
        (HEADER + '{"usage": {"input": 5, "output": 1, "cached": 6}}\n', "r:2", "larger than it"),
        (HEADER + '{"usage": {"input": -5, "output": 1}}\n', "r:2", "`input` is not a whole number"),
        (HEADER + '{"when": {"tools": {"matches": "("}}}\n', "r:2", "not a regular expression"),
        (HEADER + '{"otherwise": true, "step": 2}\n', "r:2", "goes without"),
    ],
)
def test_a_broken_recording_is_refused_with_its_line(text: str, where: str, what: str):
    with pytest.raises(ConfigError) as caught:
        Recording.parse(text, Path("r"))
    assert str(caught.value).startswith(f"{where}: ")
    assert what in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("ending", ["paused", "refused", "filtered", "window", "withheld"])
def test_a_reply_ends_as_it_was_recorded(ending: str):
    assert ask(model({"text": "no", "ending": ending})).reply.ending == ending


def test_an_ending_that_no_reply_has_is_refused_with_its_line():
    with pytest.raises(ConfigError, match=r"r\.jsonl:2: no reply ends 'tired'"):
        model({"text": "no", "ending": "tired"})
