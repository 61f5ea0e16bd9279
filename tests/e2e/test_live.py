"""The live view on a terminal: what it shows at three widths, and that a terminal is left as it was found."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import Runner
from tests.e2e.terminal import Terminal, runner_command
from tests.e2e.test_cli_look_json import DOCUMENTED, RUNS

GOLDEN = Path(__file__).with_name("golden")
SPEC = """\
---
checks:
  - 'true'
  - 'test -f two.txt'
budget: {usd: 2}
---
# Count

- [x] one thing
- [ ] another thing, which takes more words than a narrow terminal has room for
- [ ] the last thing
"""
USAGE = {"input": 1000, "output": 200}
SAID = "The tests fail for another reason now, so I look at them once more. "


def shell(command: str) -> dict[str, object]:
    return {"name": "shell", "arguments": {"command": command}}


SLOW = "echo one; echo two; echo three; sleep 60"


def recording(runner: Runner, *, delay_ms: int = 0, command: str = SLOW, first: str = "echo 日本語 🙂") -> str:
    """Two iterations, each with a command; the second one's first step says something in parts."""
    step = {
        "iteration": 2,
        "step": 1,
        "text": SAID * 4,
        "usage": USAGE,
        "delay_ms": delay_ms,
        "tools": [shell(command)],
    }
    return runner.recording(
        {"iteration": 1, "step": 1, "text": "First.", "usage": USAGE, "tools": [shell(first)]},
        {"iteration": 1, "step": 2, "text": "So it is.", "usage": USAGE},
        step,
        {"otherwise": True, "text": "Nothing more to do.", "usage": USAGE},
    )


Start = Callable[..., Terminal]


@pytest.fixture
def on_terminal(runner: Runner) -> Iterator[Start]:
    """Start `runner WORDS` on a terminal of its own."""
    started: list[Terminal] = []
    runner.write("spec.md", SPEC)

    def start(*words: str, width: int = 80, height: int = 24, **env: str) -> Terminal:
        environ = {**runner.environ(), "TERM": "xterm-256color", **env}
        started.append(Terminal(runner_command(*words), cwd=runner.cwd, env=environ, width=width, height=height))
        return started[-1]

    yield start
    for one in started:
        one.close()


def loop(runner: Runner, start: Start, *words: str, model: str = "", **more: object) -> Terminal:
    return start("loop", "spec.md", "-n", "2", "--model", model or recording(runner), *words, **more)


def normalised(lines: list[str]) -> str:
    """A screen without what differs from run to run; what stands beside another text is as wide as before."""
    text = "\n".join(lines).rstrip("\n") + "\n"
    text = re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}", "20260101-000000-abcdef", text)
    text = re.sub(r"(runner (?:watch|stop)) [0-9a-f]{6}", r"\1 abcdef", text)
    text = re.sub(r"pid \d+", "pid 1", text)
    return re.sub(r"\b\d:\d\d\b", "0:00", text)


def same_as_golden(name: str, screen: str) -> None:
    """Compare with the stored screen; GOLDEN=new stores it."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "new":
        path.parent.mkdir(exist_ok=True)
        path.write_text(screen, "utf-8")
    assert screen == path.read_text("utf-8")


def echoes(terminal: Terminal) -> bool:
    return bool(termios.tcgetattr(terminal.file)[3] & termios.ECHO)


def is_as_before(terminal: Terminal) -> None:
    """The cursor shows, typing shows, and no row of the region is left."""
    assert terminal.screen.visible
    assert not terminal.screen.updating
    assert "money  " not in terminal.screen.everything
    assert "Ctrl-C ends it" not in terminal.screen.everything
    with suppress(OSError):  # a terminal whose last process has ended may be gone
        assert echoes(terminal)


# ---- what it shows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(40, 8), (40, 20), (80, 24), (120, 24)])
def test_in_the_middle_of_a_step_the_screen_is_as_stored_and_two_ctrl_c_restore_it(runner, on_terminal, width, height):
    terminal = loop(runner, on_terminal, width=width, height=height)
    terminal.sees("spent $0.0098", "shell echo one", *(["three"] if height > 8 else []))
    same_as_golden(f"live-{width}x{height}", normalised(terminal.screen.lines))
    assert not terminal.screen.visible
    assert not echoes(terminal)
    terminal.keys("\x03")
    terminal.sees("Ctrl-C again")
    terminal.keys("\x03")
    assert terminal.ends() == 130
    is_as_before(terminal)
    assert "interrupted: interrupt — Ctrl-C" in terminal.screen.everything
    assert "^C" not in terminal.screen.everything
    outside = re.sub(rb"\x1b\[\?2026h.*?\x1b\[\?2026l", b"", terminal.raw, flags=re.DOTALL)
    assert re.findall(rb"\x1b\[[0-9;?]*[^m0-9;?]", outside) == [], "the cursor moves within frames alone"


def test_streamed_text_shows_in_whole_words_and_the_first_ctrl_c_finishes_the_step(runner, on_terminal):
    terminal = loop(runner, on_terminal, model=recording(runner, delay_ms=4000, command="echo three"))
    terminal.sees("the model writes", "The tests fail for another reason")
    terminal.keys("\x03")
    terminal.sees("Ctrl-C again stops now", "the model writes")
    assert terminal.ends() == 130
    is_as_before(terminal)
    assert 'shell {"command":"echo three"} -> ok' in terminal.screen.everything


def two_more_frames(terminal: Terminal) -> None:
    """Wait; the first one may have been on its way already."""
    seen = terminal.raw.count(b"\x1b[?2026l")
    terminal.until(lambda _: terminal.raw.count(b"\x1b[?2026l") > seen + 1, "two more frames")


def test_a_terminal_that_changes_its_size_keeps_every_line_once_and_one_region(runner, on_terminal):
    terminal = loop(runner, on_terminal, width=100)
    terminal.sees("three", "spent $0.0098")
    for width, height in ((50, 24), (31, 12), (120, 30), (64, 9)):
        terminal.resize(width, height)
        two_more_frames(terminal)
        assert len(re.findall(r"^(?:money  |spent \$|\$0)", terminal.screen.text, re.MULTILINE)) == 1
    everything = terminal.screen.everything
    assert everything.count("check test -f two.txt: not passed") == 1
    assert everything.count("checkpoint 0 (as found)") == 1
    assert len(re.findall(r"^money  ", everything, re.MULTILINE)) == 1
    terminal.send(signal.SIGTERM)
    assert terminal.ends() == 143
    is_as_before(terminal)


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(runner, on_terminal):
    terminal = loop(runner, on_terminal)
    terminal.sees("three")
    terminal.keys("\x1a")
    stat = Path(f"/proc/{terminal.pid}/stat")
    terminal.until(lambda _: stat.read_text().rpartition(")")[2].split()[0] == "T", "stopped")
    terminal.until(lambda screen: screen.visible, "the cursor")
    is_as_before(terminal)
    terminal.send(signal.SIGCONT)
    terminal.sees("money  ", "three")
    assert not echoes(terminal)


@pytest.mark.parametrize(
    ("now", "then", "code", "said"),
    [
        ("0", "raise RuntimeError('broken')", 1, "said\nTraceback"),
        (
            "1 // 0",
            "screen.say('more')",
            0,
            "note: the live view broke (ZeroDivisionError('integer division or modulo by zero')); lines",
        ),
    ],
    ids=["in the run", "in the view"],
)
def test_an_error_in_the_middle_leaves_the_terminal_as_it_was(runner, now, then, code, said):
    program = (
        "from runner.cli.live.screen import LiveScreen\nfrom runner.secrets import Vault\nimport time\n"
        f"screen = LiveScreen(Vault({{}}), now=lambda: {now}, hints=('h',), colour=False)\n"
        f"with screen.shown():\n    screen.say('said')\n    time.sleep(0.5)\n    {then}\n"
    )
    env = {**runner.environ(), "TERM": "xterm"}
    terminal = Terminal([sys.executable, "-c", program], cwd=runner.cwd, env=env, width=140)
    assert terminal.ends() == code
    assert said in terminal.screen.text
    assert "said" in terminal.screen.text
    assert ("more" in terminal.screen.text) is (code == 0)
    is_as_before(terminal)
    terminal.close()


def test_whoever_takes_the_keys_and_whoever_gives_them_back_do_not_cross(runner):
    program = """
import sys, threading, time
from runner.cli.live.terminal import Terminal
sys.setswitchinterval(1e-6)
terminal, over = Terminal(), threading.Event()
def take():
    while not over.is_set():
        terminal.hush()
thread = threading.Thread(target=take)
thread.start()
end = time.monotonic() + 0.5
while time.monotonic() < end:
    terminal.unhush()
over.set()
thread.join()
terminal.unhush()
print("over")
input()
"""
    terminal = Terminal([sys.executable, "-c", program], cwd=runner.cwd, env=runner.environ())
    terminal.until(lambda screen: "over" in screen.text, "its end")
    assert echoes(terminal)
    terminal.close()


# ---- colours, and no live view at all --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "colours"), [({"NO_COLOR": "1"}, False), ({}, True), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True)]
)
def test_no_color_is_a_live_view_without_a_single_colour(runner, on_terminal, env, colours):
    terminal = loop(runner, on_terminal, model=recording(runner, command="true"), **env)
    assert terminal.ends() == 4
    assert b"money  " in terminal.raw
    assert bool(re.search(rb"\x1b\[[0-9;]*m", terminal.raw)) is colours
    is_as_before(terminal)


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (("--plain",), {}),
        ((), {"TERM": "dumb"}),
        ((), {"RUNNER_PLAIN": "1"}),
        ((), {"CI": "true"}),
        (("-q",), {}),
        (("--json",), {}),
    ],
)
def test_whoever_does_not_want_or_cannot_take_it_gets_lines(runner, on_terminal, words, env):
    terminal = loop(runner, on_terminal, *words, model=recording(runner, command="true"), **env)
    assert terminal.ends() == 4
    assert b"\x1b" not in terminal.raw
    said = terminal.screen.everything
    assert ("check test -f two.txt: not passed" in said) is (not words or words == ("--plain",))
    if words == ("-q",):
        assert "limits" not in said
        assert said.startswith("note: tools")
        assert "stopped by a limit: budget.iterations" in said


def test_lines_of_a_step_are_cut_to_the_terminal_and_whole_in_a_pipe(runner, on_terminal):
    model = recording(runner, first=f"echo {'long ' * 30}", command="true")
    terminal = loop(runner, on_terminal, "--plain", model=model, width=50)
    assert terminal.ends() == 4
    assert sum(line.startswith(("  step", "    shell")) for line in terminal.screen.everything.splitlines()) >= 4
    assert "long long long" in terminal.screen.everything
    assert "long long long long long long" not in terminal.screen.everything.replace("\n", "")
    piped = runner("loop", "spec.md", "-n", "1", "--new", "--model", model).stdout
    assert "long long long long long long" in piped


def test_a_pipe_gets_lines_and_quiet_says_no_more_than_warnings_and_the_end(runner):
    runner.write("spec.md", SPEC)
    words = ("loop", "spec.md", "-n", "1", "--model", recording(runner))
    done = runner(*words)
    assert "\x1b" not in done.stdout + done.stderr
    assert (
        "iteration 1 of 1\n  step 1: $0.0033 (1000 tokens in, 200 out), spent $0.0033 of $2.0000 — First.\n"
        in done.stdout
    )
    quiet = runner(*words, "--new", "--quiet")
    assert quiet.stderr == ""
    assert re.fullmatch(r"note: .*\n\nstopped by a limit: .*\n(  .*\n){4}", quiet.stdout), quiet.stdout
    run = runner.last()["run"]
    spent, _, *commands = quiet.stdout.splitlines()[3:]
    assert re.fullmatch(r"  spent \$0\.\d+, limit \$2\.0000", spent)
    assert (commands[0].startswith(f"  go on  runner resume {run}"), commands[1:]) == (
        True,
        [f"  look   runner show {run}"],
    )


# ---- what must not reach a terminal ----------------------------------------------------------------------

EVIL = "\x1b[2J\x1b[10;10Hgotcha\x1b]0;title\x07\x9b5n\r\x08"


@pytest.mark.parametrize("plain", [False, True])
def test_orders_in_what_the_model_and_its_tools_say_are_not_obeyed(runner, on_terminal, plain):
    # the terminal of these tests fails at any order that the live view does not use itself
    name = f"a{EVIL[:4]}.txt"
    write = {"name": "write_file", "arguments": {"path": name, "content": "x\n"}}
    printed = "printf '\\033[2J\\033]0;title\\007gotcha\\033[5n\\r\\n'; sleep 1; printf '\\033[3mlast'; sleep 1"
    model = runner.recording(
        {"iteration": 1, "step": 1, "text": f"{EVIL} said " * 3, "usage": USAGE, "delay_ms": 1500, "tools": [write]},
        {"iteration": 1, "step": 2, "text": EVIL, "usage": USAGE, "tools": [shell(printed)]},
        {"iteration": 1, "step": 3, "text": "", "usage": USAGE, "tools": [{"name": EVIL, "arguments": EVIL}]},
        {"otherwise": True, "text": EVIL, "usage": USAGE},
    )
    terminal = loop(runner, on_terminal, *(["--plain"] if plain else []), model=model)
    assert terminal.ends() == 4
    assert "␛[2J" in terminal.screen.everything
    assert "gotcha" in terminal.screen.everything
    is_as_before(terminal)


def test_a_secret_that_comes_in_pieces_never_shows(runner, on_terminal):
    secret = "sk-live-0123456789abcdefghijklmnopqrstuvwxyz"
    said = f"it begins with a few words and then {secret} stands in the middle of it, with some words behind it "
    model = runner.recording(
        {
            "iteration": 1,
            "step": 1,
            "text": said,
            "usage": USAGE,
            "delay_ms": 1600,
            "tools": [shell("sh leak.sh")],
        },
        {"otherwise": True, "text": "Done.", "usage": USAGE},
    )
    runner.write("leak.sh", f"printf 'it is {secret[:20]}'; sleep 0.7; echo '{secret[20:]} and more'; sleep 0.7")
    terminal = loop(runner, on_terminal, model=model, OPENAI_API_KEY=secret)
    terminal.sees("with a few words")
    assert terminal.ends() == 4
    assert b"it is [secret:OPENAI_API_KEY]" in terminal.raw
    assert not [size for size in range(9, len(secret)) if secret[:size].encode() in terminal.raw]


@pytest.mark.parametrize("words", [("loop", "--dry-run"), ("spec", "check")])
def test_a_spec_gives_a_terminal_no_orders_and_shows_no_key_before_it_is_run(runner, on_terminal, words):
    secret = "plain-words-0123456789"
    runner.write("spec.md", f"# Do {secret} {EVIL}\n\n- [ ] {secret} {EVIL}\n")
    runner.env["OPENAI_API_KEY"] = secret
    told = [runner(*words, "spec.md", "-m", recording(runner), *more) for more in ((), ("--json",))]
    for one in told:
        assert secret not in one.stdout
        assert "[secret:OPENAI_API_KEY]" in one.stdout
    terminal = on_terminal(*words, "spec.md", "-m", recording(runner))
    assert terminal.ends() == 0
    assert "␛[2J" in terminal.screen.everything
    assert b"\x1b[2J" not in terminal.raw


def test_whoever_hammers_on_ctrl_c_gets_the_terminal_back(runner, on_terminal):
    for _ in range(5):
        terminal = loop(runner, on_terminal, "--new", width=100)
        # once runner has left, the kernel throws away what the terminal has not read yet with every Ctrl-C
        modes = termios.tcgetattr(terminal.file)
        modes[3] |= termios.NOFLSH
        termios.tcsetattr(terminal.file, termios.TCSANOW, modes)
        terminal.sees("three")
        for _ in range(150):
            with suppress(OSError):
                os.write(terminal.file, b"\x03")
            time.sleep(0.002)
        # one may come when Python is about to leave and takes no more of them
        assert terminal.ends() in {130, -signal.SIGINT}
        is_as_before(terminal)


# ---- looking on ------------------------------------------------------------------------------------------


def started(runner: Runner, *words: str) -> subprocess.Popen[str]:
    return runner.start("loop", "spec.md", "-n", "2", *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_watch_shows_a_run_of_another_process_to_its_end_and_leaves_it_alone(runner, on_terminal):
    flag = runner.cwd.parent / "go"
    begin, command = (f"echo one; echo three; until [ -e ../{name} ]; do sleep 0.1; done" for name in ("begin", "go"))
    process = started(runner, "--model", recording(runner, delay_ms=2000, command=command, first=begin))
    until_there(runner, 1)
    leaving, staying = (on_terminal("watch", "last", NO_COLOR="1") for _ in range(2))
    for one in (leaving, staying):
        one.sees("watching run", "\n  three")
    (runner.cwd.parent / "begin").touch()
    leaving.sees("the model writes", "The tests fail for another reason", "held $0.1")
    leaving.sees(
        "\n  three", "iteration 2 of 2 · step 1", "list   1 of 3 ticked", "score  ▅  0.50 (best 0.50, target 1.00)"
    )
    now = next(runner.state.glob("runs/*/now.json"))
    assert now.stat().st_mode & 0o777 == 0o600
    leaving.keys("q")
    assert leaving.ends() == 0
    assert "the run goes on. Back: runner watch" in leaving.screen.text
    is_as_before(leaving)
    staying.sees("\n  three", "iteration 2 of 2 · step 1")
    same_as_golden("watch-80x24", normalised(staying.screen.lines))
    staying.keys("\x03")
    assert staying.ends() == 0
    assert process.poll() is None
    lines = runner.start("watch", "last")
    assert lines.stdout.readline().startswith("watching run")
    last = on_terminal("watch", "last", "--plain")
    last.sees("watching run")
    flag.touch()
    assert process.wait(60) == 4
    for said, code in (
        (lines.communicate(timeout=60)[0], lines.wait(60)),
        (last.screen.everything if last.ends() == 0 else "", 0),
    ):
        assert code == 0
        assert "\n  check test -f two.txt: not passed\n" in said
        assert "\nstopped by a limit: budget.iterations" in said
        assert "\x1b" not in said
    assert not now.exists()
    again = runner("watch", "last")
    assert (again.returncode, again.stdout.splitlines()[1][:18]) == (0, "stopped by a limit")


def until_there(runner: Runner, count: int) -> None:
    """Wait until so many runs have a log."""
    end = time.monotonic() + 60
    while len(list(runner.state.glob("runs/*/log.jsonl"))) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_watch_says_that_a_driver_was_killed_and_follows_whoever_goes_on(runner, on_terminal):
    process = started(runner, "--model", recording(runner))
    until_there(runner, 1)
    watching = on_terminal("watch", "last", width=120)
    watching.sees("three")
    process.kill()
    process.wait(60)
    watching.sees("is not being driven: its driver is gone (it crashed)", "nobody drives it (it crashed)")
    assert f"q leaves · go on: runner resume {runner.last()['run'][-6:]}" in watching.screen.text
    once = runner("watch", "last").stdout.splitlines()
    assert ["its driver is gone" in line for line in once] == [True]
    assert runner("loop", "spec.md", "-q", "--model", recording(runner, command="true")).returncode == 4
    assert watching.ends() == 0
    assert "stopped by a limit: budget.iterations" in watching.screen.everything
    is_as_before(watching)


def test_top_shows_two_runs_and_says_so_when_there_is_none(runner, on_terminal):
    assert "runner runs" in runner("top").stdout
    assert runner("top", "--json").stdout == "[]\n"
    runner.write("spec.md", SPEC)
    elsewhere = replace(runner, cwd=runner.cwd.parent / "elsewhere")
    elsewhere.write("other.md", "# Another\n")
    model = recording(runner, command="echo three; sleep 60")
    runs = [
        started(runner, "--model", model),
        elsewhere.start("loop", "other.md", "--model", model, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
    ]
    until_there(runner, 2)
    terminal = on_terminal("top", width=120)
    terminal.until(lambda screen: len(re.findall("running .*shell echo", screen.text)) == 2, "two runs", 60)
    assert {"spec.md", "../elsewhere/other.md"} <= set(terminal.screen.text.split())
    other = on_terminal("top", width=60)
    other.sees("running")
    other.send(signal.SIGTERM)
    assert other.ends() == 0
    is_as_before(other)
    listed = json.loads(runner("top", "--json").stdout)
    assert all(set(one) == RUNS | DOCUMENTED["runner top --json"] for one in listed)
    assert [(one["status"], one["doing"]) for one in listed] == [("running", "shell echo three; sleep 60")] * 2
    once = runner("top", "--once")
    assert once.stdout.splitlines()[0].split()[:2] == ["RUN", "STATUS"]
    assert len(once.stdout.splitlines()) == 3
    for one in runs:
        one.terminate()
        one.wait(60)
    terminal.until(lambda screen: screen.text.count("stopped: terminate") == 2, "stopped")
    terminal.keys("q")
    assert terminal.ends() == 0
    is_as_before(terminal)
