"""Tries walls before anything relies on them: one command behind them attempts what they are there to stop.

Judged from outside: by the file that was written, the secret that came out, the connection that arrived.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.errors import WorkspaceError
from runner.sandbox.landlock import SIGNALS_ABI, abi
from runner.sandbox.plan import Plan
from runner.sandbox.process import Commands, Pace
from runner.sandbox.walls import LANDLOCK, Backend

_TOTAL_S = 20
_PORTS = range(10_000, 30_000)
"""Where no walls let a command connect to; what the kernel gives out begins above."""
_MODE = 0o755
_SCRIPT = """
import json, os, socket, sys
asked = json.loads(sys.argv[1])
print(asked["works"])
def attempt(what):
    try:
        print(what() or "")
    except OSError:
        pass
def connect(kind):
    with socket.socket(socket.AF_INET, kind) as caller:
        caller.settimeout(0.5)
        caller.connect(("127.0.0.1", asked["port"]))
        caller.send(b"x")
def write():
    with open(asked["directory"] + "/written", "w") as file:
        file.write("x")
attempt(write)
attempt(lambda: open(asked["directory"] + "/secret").read())
attempt(lambda: connect(socket.SOCK_STREAM))
attempt(lambda: connect(socket.SOCK_DGRAM))
attempt(lambda: os.kill(asked["pid"], 0) or asked["killed"])
"""


def attempt(backend: Backend, plan: Plan) -> tuple[str, ...]:
    """What these walls should have stopped and did not, in words; empty: they hold. One command, some 50 ms."""
    with _directory(plan) as name, _listening() as (stream, datagram, port):
        directory = Path(name)
        # Whoever commands run as could come here, were it not for the walls.
        directory.chmod(_MODE)
        secret, works, killed = (secrets.token_hex(8) for _ in range(3))
        (directory / "secret").write_text(secret, "ascii")
        asked = {"directory": name, "port": port, "pid": os.getpid(), "works": works, "killed": killed}
        printed = _run(backend, plan, json.dumps(asked))
        if works not in printed:
            return (f"a command cannot be run behind {backend.name}: {printed.strip()[-200:] or 'it said nothing'}",)
        stopped_signals = backend.name != LANDLOCK or abi() >= SIGNALS_ABI
        found = {
            "write outside the workspace": (directory / "written").exists(),
            "read a file outside the workspace": secret in printed,
            "connect to a server of this machine": _arrived(stream) or _arrived(datagram),
            "signal runner": stopped_signals and killed in printed,
        }
        return tuple(f"a command behind {backend.name} could {what}" for what, happened in found.items() if happened)


def _directory(plan: Plan) -> tempfile.TemporaryDirectory[str]:
    """Where commands must not come: below the directory for temporary files, unless that is in the workspace."""
    usual = Path(tempfile.gettempdir()).resolve()
    inside = any(usual.is_relative_to(path) for path in plan.writes)
    return tempfile.TemporaryDirectory(prefix="runner-selftest-", dir=plan.workspace.parent if inside else usual)


def _run(backend: Backend, plan: Plan, asked: str) -> str:
    """What the attempts printed, or why they could not be made."""
    path = {"PATH": os.environ.get("PATH", os.defpath)}
    commands = Commands(path, f"selftest-{secrets.token_hex(4)}", launch=lambda env: backend.launch(plan, env))
    said: list[bytes] = []
    try:
        interpreter = os.path.realpath(sys.executable)
        command = commands.prepare([interpreter, "-I", "-S", "-c", _SCRIPT, asked], plan.workspace)
        command.go()
        ended = command.run(said.append, Pace(_TOTAL_S))
    except WorkspaceError as error:
        return error.message
    finally:
        commands.host.close()
    return b"".join(said).decode("utf-8", "replace") or ended.why


@contextmanager
def _listening() -> Generator[tuple[socket.socket, socket.socket, int]]:
    """A TCP and a UDP server of this machine at one port."""
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        while True:
            port = secrets.choice(_PORTS)
            with suppress(OSError):
                stream.bind(("127.0.0.1", port))
                break
        with suppress(OSError):  # taken: then TCP alone is tried
            datagram.bind(("127.0.0.1", port))
        stream.listen()
        for server in (stream, datagram):
            server.setblocking(False)  # noqa: FBT003 - positional only
        yield stream, datagram, port


def _arrived(server: socket.socket) -> bool:
    with suppress(OSError):
        if server.type == socket.SOCK_STREAM:
            server.accept()[0].close()
        else:
            server.recv(1)
        return True
    return False
