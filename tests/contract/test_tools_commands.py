"""Commands: bounded, told apart, ended with everything they started. Real processes throughout."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from runner.events.facts import ToolStarted
from runner.ports import Interrupt, ToolOutcome
from runner.sandbox import leftovers
from runner.sandbox.leftovers import boot_id, carriers, start_ticks
from runner.secrets import Vault
from runner.tools import BuiltinTools
from runner.values import Effect, ToolCall

SECRET = "kQ7rT2vX9bN4mZ1pL8sD"
PATH = os.environ["PATH"]


class Hands:
    """Built-in tools on a real directory, driven as the loop drives them."""

    def __init__(self, tmp_path: Path, **settings) -> None:
        self.root = tmp_path / "work"
        self.root.mkdir(exist_ok=True)
        self.artefacts = tmp_path / "artefacts"
        self.tools = BuiltinTools(
            self.root, env={"PATH": PATH, "LANG": "C.UTF-8"}, artefacts=self.artefacts,
            vault=Vault({"API_KEY": SECRET}), spec_path=None, tick=lambda *_: None,
            on_tick=lambda _: None, **settings,
        )  # fmt: skip

    def prepare(self, name: str, **arguments):
        return self.tools.prepare(ToolCall("call_1", name, json.dumps(arguments)))

    def do(self, name: str, **arguments) -> ToolOutcome:
        prepared = self.prepare(name, **arguments)
        assert not isinstance(prepared, str), prepared
        return prepared.act(Interrupt())

    def sh(self, command: str, **arguments) -> ToolOutcome:
        return self.do("shell", command=command, **arguments)


@pytest.fixture
def hands(tmp_path: Path):
    made = Hands(tmp_path)
    yield made
    made.tools.end_iteration()
    mark = made.tools._commands.command_marker
    assert list(carriers(mark)) == [], "a process survived its command"


def gone(pid: int) -> bool:
    return start_ticks(pid) == 0


def eventually(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


# ---- what is said ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "text", "ok"),
    [
        ("echo a; echo b >&2; echo c", "a\nb\nc\n[exit code 0]", True),
        ("printf x", "x\n[exit code 0]", True),
        ("exit 3", "[exit code 3]", False),
        ("kill -SEGV $$", "[ended by SIGSEGV]", False),
        ("cat", "[exit code 0]", True),
        ("printf 'a\\0b\\377\\n'", "ab\ufffd\n[exit code 0]", True),
        ("pwd", "WORK\n[exit code 0]", True),
        ("yes | head -1", "y\n[exit code 0]", True),
    ],
)
def test_the_last_line_says_how_it_ended(hands, command, text, ok):
    outcome = hands.sh(command)
    assert (outcome.text.replace(str(hands.root), "WORK"), outcome.ok, outcome.left_behind) == (text, ok, ())


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["no-such-program"], "no-such-program: was not found on PATH\n[exit code 127]"),
        (["./gone"], "./gone: does not exist\n[exit code 127]"),
        (["./plain"], "./plain: cannot be executed: Permission denied\n[exit code 126]"),
        (["./orphan"], "./orphan: names an interpreter that does not exist\n[exit code 127]"),
    ],
)
def test_a_program_that_cannot_start_says_why(hands, argv, text):
    (hands.root / "plain").write_text("echo hi")
    (hands.root / "orphan").write_text("#!/no/such/interpreter\n")
    (hands.root / "orphan").chmod(0o755)
    assert hands.do("run", argv=argv).text == text


def test_argv_is_no_shell_and_arguments_arrive_exactly(hands):
    words = ["*", "$HOME", "a b", "", "ü\n", "'"]
    assert (
        hands.do("run", argv=["printf", "[%s]", *words]).text
        == "".join(f"[{word}]" for word in words) + "\n[exit code 0]"
    )


def test_it_gets_its_directory_and_its_input(hands):
    (hands.root / "sub").mkdir()
    assert hands.sh("pwd", cwd="sub").text == f"{hands.root}/sub\n[exit code 0]"
    long = "line\n" * 50_000
    assert hands.do("run", argv=["wc", "-c"], stdin=long).text.strip().startswith("250000\n")


def test_it_gets_exactly_the_environment_given_and_no_file_of_runners(hands):
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    names = hands.sh("env | sed 's/=.*//' | sort").text.split()
    assert [name for name in names if name not in {"PWD", "SHLVL", "_"}][:3] == ["LANG", "PATH", "RUNNER_TOOL"]
    listed = hands.do("run", argv=["ls", "/proc/self/fd"]).text
    assert listed == "0\n1\n2\n3\n[exit code 0]"
    os.close(reader)
    os.close(writer)


def test_it_has_a_session_of_its_own_and_heeds_signals(hands):
    prepared = hands.prepare("shell", command="ps -o pid=,pgid=,sid= -p $$; grep SigIgn /proc/$$/status")
    words = prepared.act(Interrupt()).text.split()
    assert set(words[:3]) == {str(prepared.started.pgid)}
    assert int(words[4], 16) & 0x7FFF_FFFF == 0  # the real-time signals above are not ours


def test_long_output_keeps_head_and_tail_and_the_whole_in_an_artefact(tmp_path):
    hands = Hands(tmp_path, output_limit=400)
    outcome = hands.sh("seq 1 1000")
    lines = outcome.text.splitlines()
    note = next(line for line in lines if line.startswith("[…"))
    assert (lines[0], lines[-2], lines[-1]) == ("1", "1000", "[exit code 0]")
    left_out = 1000 - (len(lines) - 2)
    assert note == f"[… {left_out} lines left out; whole output: artefact out1.txt]"
    assert outcome.artefact == "out1.txt"
    assert (hands.artefacts / "out1.txt").read_text() == "".join(f"{n}\n" for n in range(1, 1001))
    assert (hands.artefacts / "out1.txt").stat().st_mode & 0o777 == 0o600
    assert hands.do("read_file", path="artefact:out1.txt", start_line=1000).text == "1000\n"
    assert "no such artefact" in hands.do("read_file", path="artefact:../out1.txt").text
    assert Hands(tmp_path, output_limit=400).sh("seq 1 1000").artefact == "out2.txt"


def test_a_secret_reaches_neither_the_model_nor_the_artefact(tmp_path):
    hands = Hands(tmp_path, output_limit=300)
    (hands.root / "half").write_text(SECRET[:9])
    (hands.root / "rest").write_text(SECRET[9:])
    outcome = hands.sh("seq 1 100; cat half; sleep 0.2; cat rest; echo; seq 1 100; cat half rest")
    kept = (hands.artefacts / outcome.artefact).read_text()
    for text in (outcome.text, kept):
        assert SECRET[:9] not in text
        assert SECRET[9:] not in text
    assert kept.count("[secret:API_KEY]") == 2
    assert "[secret:API_KEY]\n[exit code 0]" in outcome.text


# ---- bounds ----------------------------------------------------------------------------------------------


def test_it_is_ended_when_its_time_is_up_with_all_it_started(hands):
    began = time.monotonic()
    outcome = hands.sh("echo begun; sleep 60 & (setsid sleep 61 &) ; wait", timeout_s=1)
    assert (outcome.text, outcome.ok) == ("begun\n[timed out after 1 s; ended]", False)
    assert time.monotonic() - began < 2.5


def test_it_is_ended_when_it_is_silent(tmp_path):
    hands = Hands(tmp_path, idle_timeout_s=1)
    outcome = hands.sh("for i in 1 2 3; do echo $i; sleep 0.4; done; sleep 60")
    assert outcome.text == "1\n2\n3\n[no output for 1 s; ended]"


def test_a_command_deaf_to_sigterm_is_killed(hands):
    began = time.monotonic()
    outcome = hands.do("run", argv=["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"], timeout_s=1)
    assert outcome.text == "deaf\n[timed out after 1 s; ended]"
    assert 2.5 < time.monotonic() - began < 5


def test_an_interrupt_ends_it_promptly(hands):
    interrupt = Interrupt()
    prepared = hands.prepare("shell", command="echo begun; sleep 60")
    threading.Timer(0.2, interrupt.fire).start()
    began = time.monotonic()
    outcome = prepared.act(interrupt)
    assert time.monotonic() - began < 1.5
    assert (outcome.text, outcome.interrupted, outcome.ok) == ("begun\n[interrupted; ended]", True, False)
    assert hands.prepare("shell", command="echo x > f").act(interrupt).interrupted
    assert not (hands.root / "f").exists()


# ---- what is left ----------------------------------------------------------------------------------------

# A length nobody else on this machine sleeps.
SLEEP = f"70.{os.getpid()}"
DAEMONS = {
    "background": f"sleep {SLEEP} &",
    "own session": f"setsid sleep {SLEEP} &",
    "orphan": f"(sleep {SLEEP} &)",
    "no environment": f"(env -i setsid sleep {SLEEP} &)",
    "deaf": f"(trap '' TERM HUP; exec sleep {SLEEP}) & sleep 0.1",
    "double fork": 'python3 -c \'import os\nif os.fork()==0:\n os.setsid()\n if os.fork()==0: os.execv("/bin/sleep",["sleep","SLEEP"])\''.replace(
        "SLEEP", SLEEP
    ),
}


@pytest.mark.parametrize("how", DAEMONS)
def test_what_a_command_leaves_behind_is_ended_and_named(hands, how):
    outcome = hands.sh(f"{DAEMONS[how]}\necho done")
    assert outcome.left_behind == (f"sleep {SLEEP}",)
    assert outcome.text == f"done\n[exit code 0; left behind and ended: sleep {SLEEP}]"
    assert f"sleep\0{SLEEP}\0" not in cmdlines()


def cmdlines():
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_text()
            except OSError:
                continue


def test_a_keeper_that_is_killed_takes_its_command_along(hands):
    prepared = hands.prepare("shell", command="(setsid sleep 60 &) ; kill -9 $PPID; sleep 60")
    outcome = prepared.act(Interrupt())
    assert "its keeper was killed" in outcome.text
    assert eventually(lambda: gone(prepared.started.pgid))


# ---- at the door -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "kill -STOP $PPID; exec sleep 60",
        "trap '' TERM; env -i setsid /bin/sh -c '/bin/sleep 60' & while :; do kill -STOP $PPID; done",
    ],
    ids=["once", "again and again"],
)
def test_a_keeper_that_its_command_stops_does_not_hold_up_runner(hands, command):
    began = time.monotonic()
    outcome = hands.sh(command, timeout_s=1)
    assert outcome.text.splitlines()[-1].startswith("[timed out after 1 s; ended")
    assert time.monotonic() - began < 20
    hosts = [pid for pid in leftovers.descendants(os.getpid()) if "host.py" in leftovers.command_line(pid)]
    assert leftovers.descendants(os.getpid()) == hosts


def test_a_command_waits_at_the_door_with_its_identity(hands):
    prepared = hands.prepare("shell", command="echo x > written")
    started = prepared.started
    assert (started.effect, started.boot_id) == (Effect.COMMANDS, boot_id())
    assert started.started_ticks == start_ticks(started.pgid) != 0
    time.sleep(0.1)
    assert not (hands.root / "written").exists()
    prepared.abandon()
    assert gone(started.pgid)
    assert not (hands.root / "written").exists()


# ---- in the background -----------------------------------------------------------------------------------


def test_a_background_command_is_asked_and_stopped(hands):
    started = hands.sh("echo one; read line < fifo; echo two; sleep 60 & wait", background=True)
    assert started.text == "[started in the background as bg1; ask with output, end with stop]"
    assert eventually(
        lambda: (
            "one" in (hands.artefacts / "bg1.txt").read_text()
            or hands.do("output", handle="bg1").text == "one\n[still running]"
        )
    )
    stopped = hands.do("stop", handle="bg1")
    assert stopped.text.endswith("[stopped; ended]")
    assert "no running command 'bg1'" in hands.do("output", handle="bg1").text


def test_output_gives_only_what_is_new_and_how_it_ended(hands):
    hands.sh("echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; exit 4", background=True)
    seen = ""
    while "one" not in seen:
        seen = hands.do("output", handle="bg1").text
    assert seen == "one\n[still running]"
    (hands.root / "go").touch()
    seen = "[still running]"
    while seen == "[still running]":
        seen = hands.do("output", handle="bg1").text
    last = hands.do("output", handle="bg1").text
    assert (seen, last) in {("two\n[exit code 4]", "[exit code 4]"), ("two\n[still running]", "[exit code 4]")}
    assert (hands.artefacts / "bg1.txt").read_text() == "one\ntwo\n"


def test_a_foreground_command_leaves_background_ones_alone_and_the_iteration_ends_them(hands):
    hands.do("run", argv=["sleep", "60"], background=True)
    hands.sh("(setsid sleep 80 &)", background=True)
    assert hands.sh("echo hi").left_behind == ()
    assert hands.tools.end_iteration()[0] == "bg1: sleep 60"
    assert hands.tools.end_iteration() == ()
    assert "no running command" in hands.do("stop", handle="bg1").text


# ---- resume without a crash ------------------------------------------------------------------------------


def test_recover_never_kills_a_process_that_took_over_the_number(hands):
    innocent = os.posix_spawn("/bin/sleep", ["sleep", "60"], {}, setpgroup=0)
    try:
        call = ToolCall("c", "run", '{"argv": ["sleep", "60"]}')
        for ticks, boot in ((start_ticks(innocent) - 1, boot_id()), (start_ticks(innocent), "another boot")):
            outcome = hands.tools.recover(
                ToolStarted(call=call, effect=Effect.COMMANDS, pgid=innocent, started_ticks=ticks, boot_id=boot)
            )
            assert outcome is not None
            assert outcome.interrupted
            assert not gone(innocent)
        hands.tools.recover(
            ToolStarted(
                call=call, effect=Effect.COMMANDS, pgid=innocent, started_ticks=start_ticks(innocent), boot_id=boot_id()
            )
        )
        assert os.waitstatus_to_exitcode(os.waitpid(innocent, 0)[1]) == -signal.SIGKILL
    finally:
        if not gone(innocent):
            os.kill(innocent, signal.SIGKILL)


def test_a_crashed_stop_is_run_again_and_says_there_is_nothing(hands):
    started = ToolStarted(call=ToolCall("c", "stop", '{"handle": "bg1"}'), effect=Effect.COMMANDS)
    assert hands.tools.recover(started) is None
    assert "no running command" in hands.do("stop", handle="bg1").text
