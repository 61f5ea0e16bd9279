"""Ordinary work behind Landlock: `held.py DIRECTORY STORY` runs a story as whoever runs this, and prints what came out.

Needs the standard library alone, so that any user's Python will do.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from runner.sandbox import landlock
from runner.sandbox.plan import Limits, Plan
from runner.sandbox.process import Commands, Ended, Pace
from runner.sandbox.proxy import Destination, Proxy

STORIES: dict[str, Callable[[Path], object]] = {}
MARK = "8642.25"


def story(run: Callable[[Path], object]) -> Callable[[Path], object]:
    """Enter a story by its name."""
    STORIES[run.__name__] = run
    return run


class Behind:
    """Walls around a workspace."""

    def __init__(self, root: Path, **more: object) -> None:
        self.workspace, home = root / "workspace", root / "user"
        for place in (self.workspace, home):
            place.mkdir()
        (home / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
        # mypy cannot tell which keyword each is
        given = {"workspace": self.workspace, "user_home": home, "read_only": (home / ".gitconfig",), **more}
        plan = Plan(**given)  # type: ignore[arg-type]
        path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.commands = Commands(path, f"held-{secrets.token_hex(4)}", launch=lambda env: landlock.launch(plan, env))

    def run(self, text: str, *, background: bool = False) -> str:
        command = self.commands.prepare(["/bin/sh", "-c", text], self.workspace)
        said: list[bytes] = []
        command.go()
        if background:
            return ""
        self.ended: Ended = command.run(said.append, Pace(20))
        return b"".join(said).decode("utf-8", "replace")


def _scratch() -> list[str]:
    return [path.name for path in Path(tempfile.gettempdir()).glob("runner-walls-*")]


@story
def own_home_and_temporary_files(root: Path) -> object:
    behind = Behind(root)
    said = behind.run('echo kept > "$TMPDIR/note"; echo mine > ~/note; echo "$HOME"; git config user.name')
    again = behind.run('cat "$TMPDIR/note" ~/note; mktemp >/dev/null && echo made; ls /tmp 2>&1')
    mode = oct(Path(said.split()[0]).parent.stat().st_mode & 0o777)
    behind.commands.host.close()
    return {"said": said.split(), "again": again, "mode": mode, "left": _scratch(), "home": os.listdir(root / "user")}  # noqa: PTH208


@story
def git_and_programs(root: Path) -> object:
    behind = Behind(root)
    said = behind.run("git init -q && echo a > a && git add a && git commit -qm first && git log --format=%an:%s")
    return said + behind.run(
        "printf '#!/bin/sh\\necho ran\\n' > it && chmod +x it && ./it; cat /etc/hostname >/dev/null && echo etc"
    )


@story
def a_server_of_one_call_answers_the_next(root: Path) -> object:
    behind = Behind(root)
    (behind.workspace / "page").write_text("hello\n")
    behind.run(f"{sys.executable} -m http.server 8765 --bind 127.0.0.1", background=True)
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8765/page', timeout=1).read().decode())"
    said = ""
    end = time.monotonic() + 10
    while "hello" not in said and time.monotonic() < end:
        said = behind.run(f'{sys.executable} -c "{ask}" 2>&1')
    behind.commands.host.close()
    return said


@story
def commands_signal_each_other(root: Path) -> object:
    behind = Behind(root)
    behind.run(f"exec sleep {MARK}", background=True)
    return behind.run("sleep 0.2; pkill -x sleep 2>/dev/null && echo ended")


@story
def a_killed_host_is_replaced(root: Path) -> object:
    behind = Behind(root)
    behind.run("kill -9 -1")
    why = behind.ended.why
    said = [behind.run("echo works") for _ in range(3)]
    behind.commands.host.close()
    return {"why": why, "said": said, "left": _scratch()}


@story
def limits(root: Path) -> object:
    behind = Behind(root, limits=Limits(file_size=1 << 20))
    behind.run("head -c 3000000 /dev/zero > big 2>/dev/null")
    size = (behind.workspace / "big").stat().st_size
    behind.commands.host.close()
    return size


@story
def many_protected_files(root: Path) -> object:
    inside = tuple(root / "workspace" / "tests" / f"test_{number}.py" for number in range(20_000))
    behind = Behind(root, read_only=inside)
    return behind.run("echo works")


@story
def others_do_not_count(root: Path) -> object:
    """How many processes a command can start, while its user has more than the limit elsewhere."""
    others = [subprocess.Popen(["/bin/sleep", "60"]) for _ in range(40)]
    behind = Behind(root, limits=Limits(processes=30))
    said = behind.run("for i in 1 2 3 4 5; do sleep 0.3 & done; wait; echo all")
    for other in others:
        other.kill()
    behind.commands.host.close()
    return said


@story
def the_way_out(root: Path) -> object:
    """Through the proxy to one host that is listed; nobody else."""
    (root / "proxy").mkdir()
    with Proxy(frozenset({Destination("127.0.0.1", 1)}), root / "proxy") as proxy:
        behind = Behind(root, network="proxy", proxy=proxy.path, proxy_port=proxy.port)
        ask = (
            f"import socket; s = socket.create_connection(('127.0.0.1', {proxy.port}), 2);"
            " s.sendall(b'CONNECT example.invalid:443 HTTP/1.1\\r\\n\\r\\n'); print(s.recv(100))"
        )
        said = behind.run(f'echo "$HTTPS_PROXY"; {sys.executable} -c "{ask}"')
        behind.commands.host.close()
        return said


@story
def runner_is_killed(root: Path) -> object:
    """With a process of its own session and no environment running; what is left of it all after a moment."""
    child = os.fork()
    if child == 0:
        behind = Behind(root)
        behind.run(f"setsid env -i sleep {MARK} & sleep {MARK}", background=True)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    end = time.monotonic() + 6
    while (_scratch() or _asleep()) and time.monotonic() < end:
        time.sleep(0.05)
    return {"left": _scratch(), "asleep": _asleep(), "in time": time.monotonic() < end}


def _asleep() -> int:
    found = 0
    for entry in Path("/proc").iterdir():
        try:
            found += entry.name.isdigit() and f"sleep\0{MARK}".encode() in (entry / "cmdline").read_bytes()
        except OSError:
            continue
    return found


if __name__ == "__main__":
    print(json.dumps(STORIES[sys.argv[2]](Path(sys.argv[1]))))
