"""What a newcomer meets beyond slips of the keyboard: no git, a wrong server, a busy workspace, a terminal, a script."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

KEY = "sk-test-0123456789abcdef"
SOUND = "# Work\n\nDo the work.\n"


def place(runner, name: str, *, git: str = "") -> Path:
    """A folder for PATH with every program of this machine's but git, or with this script in git's place."""
    folder = runner.cwd.parent / name
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    for program in ("sh", "env", "ps", "uname"):
        if found := shutil.which(program):
            (folder / program).symlink_to(found)
    if git:
        (folder / "git").write_text(git)
        (folder / "git").chmod(0o755)
    return folder


def test_without_git_it_says_so_first(runner):
    runner.write("spec.md", SOUND)
    runner.env = {"PATH": str(place(runner, "bin")), "RUNNER_MODEL": runner.recording({"otherwise": True, "text": "x"})}
    done = runner("loop", "spec.md")
    assert (done.returncode, done.stderr) == (
        2,
        "error: git was not found, and checkpoints are kept with it\n  help: install git 2.36 or newer\n",
    )
    assert not runner.state.exists()


PAGE = (200, "text/html; charset=utf-8", b"<html><body>Welcome</body></html>")
REFUSALS = {
    "a web page": (PAGE, "answered with a web page, not", "OPENAI_BASE_URL is no address of an API"),
    "a web page that is not there": ((404, "text/html", b"<html>"), "HTTP status 404", "which usually ends in /v1"),
    "a wrong key": (
        (401, "application/json", b'{"error": {"message": "Incorrect API key.", "code": "invalid_api_key"}}'),
        "invalid_api_key: Incorrect API key.",
        "check OPENAI_API_KEY, and that it belongs to the server at OPENAI_BASE_URL",
    ),
    "no such model": (
        (404, "application/json", b'{"error": {"message": "There is none.", "code": "model_not_found"}}'),
        "model_not_found: There is none.",
        "check the model's name: --model openai/NAME",
    ),
}


@pytest.mark.parametrize(("answer", "what", "fix"), REFUSALS.values(), ids=REFUSALS)
def test_what_a_server_says_to_a_newcomer_is_said_once_with_what_helps(runner, answer, what, fix):
    runner.write("spec.md", SOUND)
    with answering(*answer) as (url, asked):
        runner.env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url}
        done = runner("loop", "spec.md", "-m", "openai/gpt-5-mini")
    said = re.search(r"^failed: provider — (.*)\n  help: (.*)$", done.stdout, re.MULTILINE)
    failed, helped = said.groups() if said else (done.stdout, "")
    assert (done.returncode, len(asked)) == (1, 1)
    assert what in failed
    assert fix in helped


@contextmanager
def answering(status: int, kind: str, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """A server that gives everybody the same answer, and the paths it was asked for."""
    asked: list[str] = []

    class Same(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output to itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Same)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def test_an_old_git_is_named(runner):
    runner.write("spec.md", SOUND)
    write = [{"name": "write_file", "arguments": {"path": "out.txt", "content": "one\n"}}]
    runner.env["RUNNER_MODEL"] = runner.recording(
        {"iteration": 1, "step": 1, "text": "", "tools": write},
        {"otherwise": True, "text": "<promise>COMPLETE</promise>"},
    )
    assert runner("loop", "spec.md").returncode == 0
    script = '#!/bin/sh\ncase "$*" in *--version) echo git version 1.8.3.1;; *) echo usage >&2; exit 129;; esac\n'
    runner.env["PATH"] = str(place(runner, "bin", git=script))
    done = runner("diff")
    assert done.returncode == 1
    assert done.stderr == (
        "error: git 1.8.3.1 is too old to keep checkpoints with\n"
        "  help: install git 2.36 or newer; `git --version` shows which one is found\n"
    )


def test_the_second_of_two_loops_is_told_who_works_there_and_how_to_watch_and_stop_it(runner):
    runner.write("spec.md", SOUND)
    wait = [{"name": "shell", "arguments": {"command": "touch begun; exec sleep 600"}}]
    runner.env["RUNNER_MODEL"] = runner.recording(
        {"iteration": 1, "step": 1, "text": "", "tools": wait}, {"otherwise": True, "text": "x"}
    )
    first = runner.start("loop", "spec.md", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not (runner.cwd / "begun").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        done = runner("loop", "spec.md")
        runner("stop", "--all")
        first.wait(30)
    finally:
        first.kill()
        first.wait()
    assert done.returncode == 75
    assert f"is held by another process (pid {first.pid})" in done.stderr
    assert all(word in done.stderr for word in ("  help: ", "`runner watch`", "`runner stop`"))


def test_on_a_terminal_errors_are_in_colour_and_a_spec_to_be_typed_is_asked_for(runner):
    said = at_a_terminal(runner, "loop", "-")
    assert "\x1b[1;36mnote\x1b[0m\x1b[1m: reading the spec from this terminal; Ctrl-D ends it\x1b[0m" in said
    assert "\x1b[1;31merror\x1b[0m\x1b[1m: the spec is empty\x1b[0m" in said
    runner.env["NO_COLOR"] = "1"
    said = at_a_terminal(runner, "lopo")
    assert (
        said == "error: there is no command 'lopo'\n  help: did you mean 'runner loop'? all commands: runner --help\n"
    )


def test_force_color_colours_what_no_terminal_shows(runner):
    runner.env = {"FORCE_COLOR": "1"}
    assert runner("lopo").stderr.startswith("\x1b[1;31merror\x1b[0m")


def at_a_terminal(runner, *args: str) -> str:
    """What a command writes to a terminal on which Ctrl-D is all that is typed."""
    ours, theirs = pty.openpty()
    process = runner.start(*args, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"\x04")
    said = b""
    # the terminal of an ended process gives an error (Linux) or an end (elsewhere)
    with suppress(OSError):
        while piece := os.read(ours, 4096):
            said += piece
    process.wait(30)
    os.close(ours)
    return said.decode().replace("\r\n", "\n").replace("^D\b\b", "")


def test_with_json_an_error_is_an_object_on_standard_output_and_text_on_standard_error(runner):
    spec = runner.write("k.md", "---\ncheks: [make]\ntarget: 95\n---\n# Work\n")
    done = runner("loop", "k.md", "--json")
    first = {"message": "unknown key 'cheks'", "path": str(spec), "line": 2, "column": 1}
    second = {"message": "target is not between 0 and 1: '95'", "path": str(spec), "line": 3, "column": 9}
    assert done.returncode == 2
    assert json.loads(done.stdout) == {
        "error": {
            **first,
            "hint": "did you mean 'checks'?",
            "exit_code": 2,
            "more": [{**second, "hint": "write 'target: 0.95'"}],
        }
    }
    assert done.stderr.startswith("error: unknown key 'cheks'\n  --> k.md:2:1\n")
    assert json.loads(runner("lopo", "--json").stdout)["error"]["exit_code"] == 2
    assert json.loads(runner("show", "nope", "--json").stdout)["error"]["path"] is None


def test_an_empty_name_of_a_spec_is_a_variable_that_was_not_set(runner):
    runner.write("spec.md", SOUND)
    done = runner("loop", "")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the name of the spec is empty" in done.stderr


def test_a_stop_where_nothing_was_ever_run_makes_nothing(runner):
    done = runner("stop", "last")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no run 'last'" in done.stderr
    assert not runner.state.exists()


def test_prices_that_are_a_folder_are_said_in_words(runner):
    runner.write("spec.md", SOUND)
    done = runner("loop", "spec.md", "--prices", ".")
    assert done.returncode == 2
    assert "cannot read the prices: Is a directory" in done.stderr
    assert "Errno" not in done.stderr


def test_a_key_in_the_environment_shows_in_no_error_of_a_command_that_needs_none(runner):
    runner.env = {"OPENAI_API_KEY": "plain-words-as-a-key"}
    done = runner("plain-words-as-a-key")
    assert done.returncode == 2
    assert "plain-words-as-a-key" not in done.stdout + done.stderr
