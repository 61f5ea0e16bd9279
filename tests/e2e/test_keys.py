"""No process of runner shows a key: not in its environment, not on its command line, not to another user's eyes."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-planted-0123456789-abcdefghijklmnop"
OTHER = "planted-other-key-9876543210"
NOBODY = 65_534

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# What runner's own entry point does, then a stop to be looked at. With `drop` it gives up root first, as the only
# way to be an ordinary user where the interpreter is root's; `open` is the control: the same without the shield.
DRIVER = """\
import ctypes, json, os, subprocess, sys
from runner import handover
keys = handover.ensure(sys.argv[1:])
if "drop" in sys.argv:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
if "open" in sys.argv:
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
elif "drop" in sys.argv:
    handover.shield()
child = subprocess.run(["env"], capture_output=True, text=True).stdout
print(json.dumps({
    "names": keys.names, "good": keys.get("OPENAI_API_KEY") == sys.stdin.readline().strip(),
    "environ": sorted(os.environ), "child": child, "argv": sys.argv[1:], "orig": sys.orig_argv[1:],
    "flags": [sys.flags.utf8_mode, sys.warnoptions], "fds": sorted(os.listdir("/proc/self/fd")) if os.geteuid() == 0 else [],
}), flush=True)
sys.stdin.readline()
"""


@dataclass
class Driver:
    process: subprocess.Popen[str]
    said: dict[str, object] = field(default_factory=dict)

    def look(self, name: str) -> bytes:
        return Path(f"/proc/{self.process.pid}/{name}").read_bytes()


@contextlib.contextmanager
def driver(
    tmp_path: Path, *arguments: str, options: Sequence[str] = (), environ: dict[str, str] | None = None
) -> Iterator[Driver]:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    process = subprocess.Popen(
        [sys.executable, *options, str(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environ or {})},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            process.stdin.write(f"{KEY}\n")
            process.stdin.flush()
            yield Driver(process, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(30)
    assert process.returncode == 0


PLANTED = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": OTHER, "RUNNER_KEY_DESK": OTHER, "EDITOR": "vi"}


@linux
@pytest.mark.parametrize("command", ["loop", "resume", "spec", "doctor"])
def test_a_command_that_needs_keys_holds_them_and_shows_none(tmp_path: Path, command: str) -> None:
    with driver(tmp_path, "--quiet", command, "s.md", environ=PLANTED) as one:
        assert one.said["names"] == ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "RUNNER_KEY_DESK"]
        assert one.said["good"] is True
        assert one.said["argv"] == ["--quiet", command, "s.md"]
        shown = [str(one.said["environ"]), str(one.said["child"]), one.look("cmdline").decode()]
        if os.geteuid() == 0:
            environ = one.look("environ").decode()
            assert "EDITOR=vi" in environ, "the look itself works"
            shown.append(environ)
            assert one.said["fds"] == ["0", "1", "2", "3"], "3 lists the directory: the pipe is closed"
        else:
            with pytest.raises(PermissionError):
                one.look("environ")
        assert not [text for text in shown if KEY in text or OTHER in text]
        assert "EDITOR" in str(one.said["environ"])
        assert "RUNNER_KEYS_FD" not in str(one.said["environ"])


@linux
def test_without_the_handover_the_key_would_be_seen(tmp_path: Path) -> None:
    with driver(tmp_path, "runs", environ=PLANTED) as one:
        assert one.said["names"] == []
        assert KEY in one.look("environ").decode()


def test_the_interpreters_own_options_survive(tmp_path: Path) -> None:
    with driver(tmp_path, "loop", options=["-X", "utf8", "-W", "ignore"], environ=PLANTED) as one:
        assert one.said["flags"] == [1, ["ignore"]]
        assert one.said["orig"] == ["-X", "utf8", "-W", "ignore", str(tmp_path / "driver.py"), "loop"]
        assert one.said["good"] is True


def test_a_command_without_a_key_starts_once(tmp_path: Path) -> None:
    with driver(tmp_path, "loop", environ={"RUNNER_KEYS_FD": "0", "EDITOR": "vi"}) as one:
        assert one.said["names"] == []
        assert "RUNNER_KEYS_FD" not in str(one.said["environ"])


def test_as_a_module_and_with_c_the_same_program_starts_again(tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text(
        "import sys\nfrom runner.handover import ensure\nprint(ensure(sys.argv[1:]).names)"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{tmp_path}", **PLANTED}
    for how in (["-m", "mod"], ["-c", (tmp_path / "mod.py").read_text()]):
        done = subprocess.run(
            [sys.executable, *how, "loop"], env=environ, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        assert (done.stdout, done.stderr) == ("('ANTHROPIC_API_KEY', 'OPENAI_API_KEY', 'RUNNER_KEY_DESK')\n", "")


@linux
def test_more_keys_than_one_page_holds_are_handed_over_whole(tmp_path: Path) -> None:
    many = {f"SERVICE_{number}_ACCESS_TOKEN": f"{number:03}" * 600 for number in range(12)}
    with driver(tmp_path, "loop", environ={**PLANTED, **many}) as one:
        assert len(str(one.said["names"]).split()) == 15
        assert one.said["good"] is True
        assert "ACCESS_TOKEN" not in str(one.said["environ"])
        if os.geteuid() == 0:
            assert b"ACCESS_TOKEN" not in one.look("environ")


def test_as_a_module_it_imports_nothing_of_the_directory_it_works_in(tmp_path: Path) -> None:
    keys = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), **PLANTED}
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "home").mkdir()
    script = "import pathlib; pathlib.Path(__file__ + '.ran').touch(); raise ImportError\n"
    # of the standard library, and of what is installed beside runner: all are imported in the course of these commands
    for name in ("__future__", "tenacity", "typer", "msgspec", "httpx", "sqlite3", "json", "tomllib", "ctypes"):
        (work / f"{name}.py").write_text(script)
    (work / "spec.md").write_text("# Do it\n")
    for environ in (keys, {name: value for name, value in keys.items() if "_KEY" not in name}):
        for args in (["spec", "check", "--model", "openai/gpt-5"], ["models"], ["doctor"]):
            command = [sys.executable, "-m", "runner", *args]
            done = subprocess.run(
                command, env=environ, cwd=work, capture_output=True, text=True, timeout=60, check=False
            )
            assert "Traceback" not in done.stderr
            assert len(done.stdout.splitlines()) > 3, done.stderr
    assert [path.name for path in work.glob("*.ran")] == []


def test_started_anew_as_a_module_it_leaves_the_directory_out_from_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "mod.py").write_text(
        "import sys\nfrom runner.handover import ensure\nensure(sys.argv[1:])\nprint(sys.flags.safe_path)"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{tmp_path / 'lib'}", **PLANTED}
    said = [
        subprocess.run(
            [sys.executable, "-m", "mod", "loop"], env=environ, capture_output=True, text=True, check=True, cwd=cwd
        ).stdout
        for cwd in (tmp_path, tmp_path / "lib")
    ]
    assert said == ["True\n", "False\n"], "except where it is only found there"


def test_where_it_cannot_start_again_the_keys_are_held_and_that_is_said() -> None:
    script = "import sys, os; from runner.handover import ensure; print(ensure(['loop']).names, 'OPENAI_API_KEY' in os.environ)"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **PLANTED}
    done = subprocess.run([sys.executable, "-"], input=script, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == "('ANTHROPIC_API_KEY', 'OPENAI_API_KEY', 'RUNNER_KEY_DESK') False\n"
    assert "still shows the keys" in done.stderr
    assert KEY not in done.stderr


def memory_opens(pid: int) -> bool:
    """Whether another process of the same ordinary user may open the memory of `pid`."""
    script = f"exec 3</proc/{pid}/mem"
    user = NOBODY if os.geteuid() == 0 else None
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


@linux
def test_another_process_of_the_same_user_cannot_read_its_memory(tmp_path: Path) -> None:
    drop = ["drop"] if os.geteuid() == 0 else []
    with driver(tmp_path, "loop", *drop, "open", environ=PLANTED) as control:
        if not memory_opens(control.process.pid):
            pytest.skip("this machine lets no process read another one's memory anyway")
    with driver(tmp_path, "loop", *drop, environ=PLANTED) as one:
        assert one.said["good"] is True
        assert not memory_opens(one.process.pid)


def test_the_second_start_is_cheap_and_imports_little(tmp_path: Path) -> None:
    script = "import sys; from runner.handover import ensure; ensure(['loop']); print(' '.join(sys.modules))"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    modules = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "runner.handover" in modules
    dear = {
        "anthropic",
        "base64",
        "ctypes",
        "json",
        "msgspec",
        "openai",
        "platformdirs",
        "structlog",
        "subprocess",
        "typer",
    }
    assert dear & set(modules) == set()


def cpu(environ: dict[str, str], script: Path) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, str(script), "loop"], env=environ, check=True)
        best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "p.py"
        program.write_text("import sys\nfrom runner.handover import ensure\nensure(sys.argv[1:])\n")
        plain = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        print(
            f"without a key {cpu(plain, program) * 1000:.1f} ms, with one {cpu({**plain, **PLANTED}, program) * 1000:.1f} ms"
        )
