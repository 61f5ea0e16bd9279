"""A recording of a real run, played on a fresh copy of the same workspace, does the same work for the same money."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Fault, Script
from tests.e2e.conftest import Runner

SPEC = "---\nchecks: ['grep -q two out.txt']\nbudget: {usd: 2}\n---\n# Count\n\nUp.\n\n- [ ] it counts\n"
KEY = "sk-proj-REDACTED0123456789abcdef"


def asks(name: str, **arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments}


DEEP = "[" * 20_000 + "]" * 20_000
# Two iterations: the first says it is done and is not; odd words on the way, which a file of lines has to survive.
WORK = [
    {"iteration": 1, "step": 1, "text": "Ein Anfang — \u2028 zwei\u0085Zeilen.", "tools": [
        asks("write_file", path="out.txt", content="one\u2029\n"), asks("run", argv=["sh", "-c", "echo b > b.txt"])]},
    {"iteration": 1, "step": 2, "text": "", "tools": [{"name": "read_file", "arguments": '{"path": "out.txt"}'}]},
    {"iteration": 1, "step": 3, "text": "Done, I think.", "tools": [asks("tick", item="it counts")]},
    {"iteration": 1, "step": 4, "text": "It counts."},
    {"iteration": 2, "step": 1, "text": "", "tools": [asks("write_file", path="out.txt", content="two\n")]},
    {"iteration": 2, "step": 2, "text": "", "tools": [
        {"name": "no_such_tool", "arguments": "{broken"}, {"name": "deep", "arguments": DEEP},
        {"name": "odd", "arguments": '{"a":NaN}'}, {"name": "odd", "arguments": '{"a":1,"a":1e2}'}]},
    {"iteration": 2, "step": 3, "text": "It does now.", "usage": {"input": 900, "output": 70, "cached": 512}},
]  # fmt: skip


def script(tmp_path: Path, *replies: dict[str, object], faults: tuple[Fault | None, ...] = ()) -> Script:
    lines = [{"recording": 1, "model": "openai/gpt-5-mini"}, *replies]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return Script(recording=Recording.parse(text, tmp_path / "script.jsonl"), faults=faults)


def machine(tmp_path: Path, name: str, spec: str = SPEC) -> Runner:
    """A workspace and a state directory of their own; the same files in each."""
    (tmp_path / name / "workspace").mkdir(parents=True)
    made = Runner(cwd=tmp_path / name / "workspace", state=tmp_path / name / "state")
    made.write("spec.md", spec)
    made.write("src/kept.txt", "kept\n")
    return made


def worked(tmp_path: Path, told: Script, *flags: str, code: int = 0) -> Runner:
    """A run on the real SDK against a provider on loopback."""
    real = machine(tmp_path, "real")
    with ScriptedProvider(told) as provider:
        real.env["OPENAI_BASE_URL"] = provider.url
        done = real("loop", "spec.md", "--model", "openai/gpt-5-mini", *flags)
    assert done.returncode == code, done.stdout + done.stderr
    return real


def outcome(runner: Runner) -> dict[str, object]:
    """What a run came to: its verdict, its money and its trees."""
    shown = runner.json("show", "--json")
    points = json.loads(runner("checkpoints", "--json").stdout)
    checks = [(one["name"], one["score"]) for one in shown["checks"]]
    money = {name: shown[name] for name in ("spent_nano_usd", "calls", "iterations", "steps")}
    verdict = {name: shown[name] for name in ("stop_reason", "verified", "score")}
    last = points[-1]["tree"]
    # the first checkpoint of each iteration, not how often a tool made one
    return {"verdict": verdict, "checks": checks, "money": money, "tree": last, "first": points[0]["tree"]}


def replayed(tmp_path: Path, recording: Path, *flags: str, name: str = "replay") -> Runner:
    fresh = machine(tmp_path, name)
    fresh("loop", "spec.md", "--model", f"replay:{recording}", *flags)
    return fresh


def test_a_recorded_run_of_two_iterations_plays_to_the_same_tree_verdict_and_money(tmp_path):
    real = worked(tmp_path, script(tmp_path, *WORK))
    done = real("record", "last")
    assert done.returncode == 0, done.stderr
    assert "recorded 7 replies" in done.stderr
    assert "note:" not in done.stderr
    recording = tmp_path / "demo.jsonl"
    recording.write_text(done.stdout)
    again = replayed(tmp_path, recording)
    assert outcome(again) == outcome(real)
    assert outcome(real)["verdict"] == {"stop_reason": "done", "verified": True, "score": 1.0}
    assert real.last()["iterations"] == 2

    header, *lines = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert header["model"] == "openai/gpt-5-mini"
    assert [(line["iteration"], line["step"]) for line in lines] == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3)]  # fmt: skip
    assert lines[0]["text"] == WORK[0]["text"]
    assert lines[0]["tools"][1]["arguments"] == {"argv": ["sh", "-c", "echo b > b.txt"]}
    assert lines[1]["tools"][0]["arguments"] == '{"path": "out.txt"}', "spaces a model wrote are kept"
    assert [tool["arguments"] for tool in lines[5]["tools"]] == ["{broken", DEEP, '{"a":NaN}', '{"a":1,"a":1e2}']
    assert lines[0]["usage"]["input"] > 0
    assert str(tmp_path) not in done.stdout, "nothing tells where the run's machine keeps its files"
    assert lines[6]["usage"] == {"input": 900, "output": 70, "cached": 512}

    once_more, *same = again("record", "last").stdout.split("\n")
    assert same == done.stdout.split("\n")[1:], "a recording of a replay says the same"
    assert json.loads(once_more)["model"] == "openai/gpt-5-mini"


def test_a_run_killed_on_the_way_and_resumed_is_recorded_whole(tmp_path):
    real = machine(tmp_path, "real")
    with ScriptedProvider(script(tmp_path, *WORK, faults=(None, None, Fault.STALL))) as provider:
        real.env["OPENAI_BASE_URL"] = provider.url
        going = real.start("loop", "spec.md", "--model", "openai/gpt-5-mini")
        assert provider.wait_for(3)
        under_way = real("record", "last")
        assert "the run is going on: the recording ends with step 2 of iteration 1" in under_way.stderr
        going.kill()
        going.communicate()
    assert len(under_way.stdout.splitlines()) == 3
    with ScriptedProvider(script(tmp_path, *WORK)) as provider:
        real.env["OPENAI_BASE_URL"] = provider.url
        done = real("resume", "last")
        assert done.returncode == 0, done.stdout + done.stderr
    recording = tmp_path / "killed.jsonl"
    recorded = real("record", "-o", str(recording))
    assert "1 call was tried again" in recorded.stderr
    assert "counted for calls of unknown outcome" in recorded.stderr
    found, expected = outcome(replayed(tmp_path, recording)), outcome(real)
    assert expected["money"].pop("calls") == found["money"].pop("calls") + 1  # type: ignore[attr-defined]  # the lost one
    assert found == expected


def test_a_call_that_was_refused_and_tried_again_is_one_reply_and_is_told(tmp_path):
    real = worked(tmp_path, script(tmp_path, *WORK, faults=(None, Fault.REFUSE_503)))
    recorded = real("record", "-o", str(tmp_path / "again.jsonl"))
    assert "1 call was tried again" in recorded.stderr
    found, expected = outcome(replayed(tmp_path, tmp_path / "again.jsonl")), outcome(real)
    assert found["money"] == expected["money"] | {"calls": found["money"]["calls"]}  # type: ignore[index,operator]  # JSON
    assert (found["verdict"], found["tree"]) == (expected["verdict"], expected["tree"])


def test_a_run_stopped_by_a_flag_plays_to_the_same_end_under_the_same_flag(tmp_path):
    real = worked(tmp_path, script(tmp_path, *WORK), "-n", "1", code=4)
    recorded = real("record", "-o", str(tmp_path / "short.jsonl"))
    assert "limits given on the command line (iterations): give them to the replay too" in recorded.stderr
    assert outcome(replayed(tmp_path, tmp_path / "short.jsonl", "-n", "1")) == outcome(real)


def test_an_iteration_that_was_interrupted_is_named(tmp_path):
    real = worked(tmp_path, script(tmp_path, *WORK[:2]), code=1)
    recorded = real("record", "-o", str(tmp_path / "cut.jsonl"))
    assert "iteration 1 was interrupted after step 2: a replay asks for step 3" in recorded.stderr
    again = replayed(tmp_path, tmp_path / "cut.jsonl")
    assert again.last()["stop_reason"] == "failed"
    assert again.last()["spent_nano_usd"] == real.last()["spent_nano_usd"]


def test_a_reply_billed_above_its_hold_still_plays_and_is_told(tmp_path):
    real = worked(tmp_path, script(tmp_path, *WORK, faults=(None, Fault.OVER)), code=8)
    recorded = real("record", "-o", str(tmp_path / "over.jsonl"))
    assert "1 reply was billed above what was held" in recorded.stderr
    assert "usage" not in json.loads((tmp_path / "over.jsonl").read_text().splitlines()[2])
    again = replayed(tmp_path, tmp_path / "over.jsonl")
    assert again.last()["steps"] == real.last()["steps"]


def test_a_reply_cut_by_its_limit_is_cut_again(tmp_path):
    real = worked(tmp_path, script(tmp_path, {**WORK[0], "cut": True}, *WORK[1:]))
    recorded = real("record", "last")
    assert "1 reply was cut by the output limit" in recorded.stderr
    assert json.loads(recorded.stdout.splitlines()[1])["cut"] is True
    (tmp_path / "cut.jsonl").write_text(recorded.stdout)
    assert outcome(replayed(tmp_path, tmp_path / "cut.jsonl")) == outcome(real)


def test_what_looks_like_a_key_is_masked_and_counted(tmp_path):
    first = {**WORK[0], "text": f"The key is {KEY}.", "tools": [
        asks("write_file", path="out.txt", content=f"a {KEY}\nb {KEY}\n"),
        {**asks(KEY), "id": f"of {KEY}"}]}  # fmt: skip
    real = worked(tmp_path, script(tmp_path, first, *WORK[1:]))
    recorded = real("record", "last")
    assert KEY not in recorded.stdout
    assert "5 texts that look like a key: masked" in recorded.stderr
    content = json.loads(recorded.stdout.splitlines()[1])["tools"][0]["arguments"]["content"]
    assert content == "a [masked:key]\nb [masked:key]\n"


def test_a_key_that_was_held_is_not_in_the_recording(tmp_path):
    held = "plain-and-simple-words"
    real = machine(tmp_path, "real")
    real.env["OPENAI_API_KEY"] = held
    first = {**WORK[0], "text": f"It is {held}!", "tools": [asks("write_file", path="out.txt", content=held)]}
    with ScriptedProvider(script(tmp_path, first, *WORK[1:])) as provider:
        real.env["OPENAI_BASE_URL"] = provider.url
        assert real("loop", "spec.md", "--model", "openai/gpt-5-mini").returncode == 0
    recorded = real("record", "last").stdout
    assert held not in recorded
    assert "[withheld:OPENAI_API_KEY]" in recorded
    (tmp_path / "held.jsonl").write_text(recorded)
    assert outcome(replayed(tmp_path, tmp_path / "held.jsonl")) == outcome(real), "what was refused is refused again"
    assert "It is [secret:OPENAI_API_KEY]!" in recorded


def test_a_file_is_written_whole_or_not_at_all_and_never_over_another(ran: Runner, tmp_path):
    target = tmp_path / "out.jsonl"
    assert ran("record", "last", "-o", str(target)).returncode == 0
    assert target.read_text() == ran("record", "last").stdout == ran("record", "-o", "-").stdout
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    target.write_text("mine")
    refused = ran("record", "last", "-o", str(target))
    assert refused.returncode == 1
    assert "is there already" in refused.stderr
    assert target.read_text() == "mine"
    assert ran("record", "last", "-o", str(target), "--force").returncode == 0
    assert Recording.parse(target.read_text(), target).model == "openai/gpt-5"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"], "no draft is left behind"
    nowhere = ran("record", "last", "-o", str(tmp_path / "no" / "where.jsonl"))
    assert nowhere.returncode == 2
    assert "cannot be written" in nowhere.stderr


@pytest.mark.parametrize(
    ("run", "code", "said"), [("nothing", 2, "there is no run"), ("last", 1, "no reply to record")]
)
def test_a_run_without_replies_is_refused_and_named(runner: Runner, run, code, said):
    runner.write("spec.md", SPEC)
    assert runner("loop", "spec.md", "--model", runner.recording()).returncode == 1
    done = runner("record", run)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_a_reply_the_model_refused_is_refused_again(tmp_path):
    real = worked(tmp_path, script(tmp_path, *WORK, faults=(None, Fault.REFUSAL)), "-n", "1", code=4)
    assert [event["body"]["ending"] for event in real.events("IterationFinished")] == ["refused"]
    recorded = real("record", "-o", str(tmp_path / "no.jsonl"))
    assert recorded.returncode == 0, recorded.stderr
    again = replayed(tmp_path, tmp_path / "no.jsonl", "-n", "1")
    assert [event["body"]["ending"] for event in again.events("IterationFinished")] == ["refused"]
    assert outcome(again) == outcome(real)
