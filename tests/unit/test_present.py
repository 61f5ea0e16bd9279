"""What may be shown of a stream: whole words, masked; and words for what a run does."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from runner.app import present
from runner.app.present import NOTHING, Streamed, Streams, asked, doing, read, shown, step
from runner.events import facts
from runner.secrets import Vault
from runner.state import State, evolve
from runner.values import CallId, Effect, Limits, Reply, Scope, ScopeKind, StopKind, ToolCall, Usage

KEY = "hunter2-and-more-0123456789"
PHRASE = "correct horse battery staple"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"
VAULT = Vault({"DB_PASSWORD": KEY, "PHRASE": PHRASE})
CALL = CallId(1, 1, 1)
RUN = facts.ToolStarted(call=ToolCall("call_1", "run", '{"argv": ["make", "all tests"]}'), effect=Effect.COMMANDS)


def dispatched(call: CallId = CALL) -> facts.CallDispatched:
    return facts.CallDispatched(call=call, model="m", input_bound=10, granted_output=10, hold=5)


# ---- masking ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [KEY, PHRASE, json.dumps(PHRASE), "sk-proj-abcdefghij0123456789abcd"])
def test_no_part_of_a_secret_shows_wherever_the_stream_is_cut(secret):
    text = f"The word is {secret} and that was all. "
    for end in range(len(text) + 1):
        said = shown(text[:end], VAULT)
        assert not said.endswith(tuple(secret[:size] for size in range(6, len(secret)))), said
        assert secret not in said
    assert "and that was all." in shown(text, VAULT)


def test_of_a_private_key_nothing_but_its_first_line_shows():
    text = f"here: {PEM} and that was all. "
    for end in range(len(text) + 1):
        assert "MII" not in shown(text[:end], VAULT)


@pytest.mark.parametrize("size", [3_000, 20_000])
@pytest.mark.parametrize("glue", ["k", "k k"])
def test_no_part_of_a_long_secret_shows_while_much_of_it_streams_by(size, glue):
    long = (glue * size)[:size] + "0123456789"
    streams = Streams(Vault({"LONG": long}))
    streams.event(dispatched())
    text = f"{long} then " * 5
    for start in range(0, len(text), 997):
        streams.text(text[start : start + 997])
        assert "kk" not in streams.now().text.replace(" ", "")
    streams.event(RUN)
    for start in range(0, len(text), 997):
        streams.output(text[start : start + 997].encode())
        assert "kk" not in streams.now().output.replace(" ", "")
    assert streams.now().output.endswith("[secret:LONG] then ")


def test_a_secret_that_escape_sequences_part_is_masked():
    assert KEY not in shown(f"{KEY[:9]}\x1b[31m{KEY[9:]} ok ", VAULT)
    assert shown(f"{KEY[:9]}\x1b[0m{KEY[9:]} ok ", VAULT) == "[secret:DB_PASSWORD] ok "


def test_orders_to_a_terminal_are_left_out_also_one_that_is_not_over():
    assert shown("\x1b[1;31mred\x1b[0m \x1b]0;title\x07ok ", Vault({})) == "red ok "
    assert shown("so far \x1b[3", Vault({})) == "so far "
    assert shown("so far \x1b]0;half a ti", Vault({})) == "so far "


def test_only_whole_words_show():
    assert shown("three words he", Vault({})) == "three words "
    assert shown("日本", Vault({})) == "日本"


@given(st.lists(st.text(st.sampled_from("ab 日\n"), max_size=20), max_size=20))
def test_pieces_come_to_the_same_as_the_whole(pieces):
    streams = Streams(VAULT)
    streams.event(dispatched())
    for piece in pieces:
        streams.text(piece)
        streams.now()
    whole = shown("".join(pieces), VAULT)
    assert streams.now() == (Streamed(of="1.1.1", text=whole) if "".join(pieces) else NOTHING)


def test_each_call_and_each_tool_begins_anew():
    streams = Streams(VAULT)
    streams.event(dispatched())
    streams.text("what it said ")
    streams.event(RUN)
    assert streams.now() == NOTHING
    streams.output(b"made\n\xff\xe6\x97")
    streams.output(b"\xa5 done\n")
    assert streams.now() == Streamed(of="call_1", output="made\n\ufffd日 done\n")
    streams.event(dispatched(CallId(1, 2, 1)))
    assert streams.now() == NOTHING


# ---- the file --------------------------------------------------------------------------------------------


def test_what_a_driver_leaves_is_read_back_and_gone_afterwards(tmp_path):
    path, streams = tmp_path / "now.json", Streams(VAULT)
    streams.event(dispatched())
    with present.published(streams, path):
        streams.text(f"the key is {KEY} and more ")
        while read(path) == NOTHING:
            pass
        assert read(path) == Streamed(of="1.1.1", text="the key is [secret:DB_PASSWORD] and more ")
        assert path.stat().st_mode & 0o777 == 0o600
        assert KEY not in path.read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", "{", '{"of": "1.1.1", "text": "half', "[]", "3", '{"of": 1, "text": "", "output": ""}', "\udcff"]
)
def test_a_torn_or_strange_file_says_nothing(tmp_path, content):
    path = tmp_path / "now.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert read(path) == NOTHING


def test_where_nothing_can_be_written_nobody_notices(tmp_path):
    streams = Streams(VAULT)
    with present.published(streams, tmp_path / "no such folder" / "now.json"):
        streams.text("a word ")
    assert read(tmp_path / "no such folder" / "now.json") == NOTHING


# ---- words for it ----------------------------------------------------------------------------------------


def folded(*events: facts.Event) -> State:
    state = State()
    for seq, event in enumerate(events, start=1):
        state = evolve(state, event, 1000 * seq, seq)
    return state


BEGUN = (
    facts.RunCreated(
        run="r", spec_path="spec.md", spec_key="k", spec_text="# A\n", workspace="/w", origin="/w", worktree=False,
        model="m", prices_digest="p", scopes=(Scope(ScopeKind.RUN, "r"),), limits=Limits(),
    ),
    facts.RunResumed(epoch=1, pid=1, boot_id="b"),
    facts.IterationStarted(iteration=1, system="", prompt=""),
)  # fmt: skip
SETTLED = facts.CallSettled(call=CALL, usage=Usage(1, 1), cost=1, reply=Reply(text="", tool_calls=(RUN.call,)))
OVER = facts.ToolFinished(call_id="call_1", name="run", text="", ok=True, effect=Effect.COMMANDS)
REFUSED = facts.CallRefused(call=CALL, scope="user:me", need=5, headroom=1, others=True)


@pytest.mark.parametrize(
    ("events", "what", "number"),
    [
        (BEGUN[:2], "getting ready", None),
        (BEGUN, "working", 1),
        ((*BEGUN, dispatched()), "waiting for the model", 1),
        ((*BEGUN, dispatched(), SETTLED), "working", 1),
        ((*BEGUN, dispatched(), SETTLED, RUN), "run make 'all tests'", 1),
        ((*BEGUN, dispatched(), SETTLED, RUN, OVER), "working", 2),
        ((*BEGUN, facts.IterationFinished(iteration=1, ending="answered")), "running the checks", None),
        (
            (*BEGUN, dispatched(), facts.CallReleased(call=CALL, reason="429", retry_after_ms=9000)),
            "trying again: 429",
            1,
        ),
        ((*BEGUN, REFUSED), "waiting: other calls hold what is left of user:me", 1),
        ((*BEGUN, facts.RunStopped(kind=StopKind.PARKED, rule="budget.wait")), "stopped: budget.wait", 1),
    ],
)
def test_what_a_run_does_is_told_from_its_journal(events, what, number):
    state = folded(*events)
    assert (doing(state).what, step(state)) == (what, number)


def test_a_countdown_runs_to_the_next_attempt():
    state = folded(*BEGUN, dispatched(), facts.CallReleased(call=CALL, reason="429", retry_after_ms=9000))
    assert doing(state).until == state.at + 9000


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("shell", '{"command": "make\\n all"}', "shell make all"),
        ("read_file", '{"path": "src/a.py", "from": 3}', "read_file src/a.py"),
        ("search_text", '{"pattern": "def "}', "search_text def"),
        ("list_files", "{}", "list_files"),
        ("run", "not json", "run not json"),
        ("run", "[1]", "run [1]"),
        ("shell", '{"command": "echo sk-proj-abcdefghij0123456789abcd"}', "shell echo [masked:key]"),
    ],
)
def test_a_tool_call_is_told_in_words(name, arguments, words):
    assert asked(ToolCall("1", name, arguments)) == words


def test_ticks_are_those_of_the_file_as_long_as_it_is_the_same_list(tmp_path):
    text = "# A\n\n- [ ] one\n- [ ] two\n"
    (tmp_path / "spec.md").write_text(text)
    created = replace(
        BEGUN[0], spec_path=str(tmp_path / "spec.md"), spec_text=text, workspace=str(tmp_path), origin=str(tmp_path)
    )
    state, ticks = folded(created), present.Ticks()
    assert [one.ticked for one in ticks.items(state)] == [False, False]
    (tmp_path / "spec.md").write_text(text.replace("[ ] two", "[x] two!"))
    assert [(one.text, one.ticked) for one in ticks.items(state)] == [("one", False), ("two", True)]
    (tmp_path / "spec.md").write_text("# Something else\n")
    assert [one.ticked for one in ticks.items(state)] == [False, False]
    (tmp_path / "spec.md").unlink()
    assert [one.ticked for one in ticks.items(structs.replace(state, ticked=("one",)))] == [True, False]
