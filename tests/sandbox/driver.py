"""Makes every attempt against one backend, as whoever runs this, and prints which succeeded, as JSON.

`driver.py DIRECTORY BACKEND RUN_AS ABI [NAME...]`: a directory of its user's, a backend (or `none`), "" or the user that
root's commands run as, 0 or the version of Landlock to go by. Needs the standard library alone, so that any user's
Python will do.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from runner.sandbox import bubblewrap, landlock
from runner.sandbox.plan import Limits, Plan
from runner.sandbox.process import Commands, Launch, Pace, unwalled
from tests.sandbox import files, network, processes
from tests.sandbox.scene import ATTEMPTS, Attempt, Scene

CODE = Path(__file__).resolve().parents[2]
LIMITS = {
    "fill-disk": Limits(max_disk=16 << 20),
    "take-memory": Limits(memory=32 << 20),
    "bomb": Limits(processes=150),
    "huge-file": Limits(file_size=16 << 20),
    "outlive-command": Limits(),
    "outlive-keepers": Limits(),
}
"""Attempts that end the host, or need another: each has its own, and is judged when that has ended."""
OWN_FILES = (
    *("overwritten", "appended", "truncated", "deleted", "renamed", "linked", "second-name", "by-proc", "by-parent"),
    *("mode", "times"),
)
_INSIDE = """import sys
sys.path.insert(0, sys.argv[1])
from tests.sandbox import files, network, processes
from tests.sandbox.scene import ATTEMPTS, Scene
said = ATTEMPTS[sys.argv[2]].inside(Scene.read(sys.argv[3]))
print('' if said is None else said)
"""
_VICTIM = """import sys, time
key = open(sys.argv[1])
kept = [sys.argv[2] + '!']
print('ready', flush=True)
while True:
    end = time.process_time() + 0.002
    while time.process_time() < end:
        pass
    time.sleep(0.02)
"""


def plan_of(scene: Scene, run_as: str, limits: Limits) -> Plan:
    """What a run with this scene's workspace would allow."""
    inside = (".git/hooks", ".git/config", "tests/test_it.py", "kept/file", "policies/project.yaml")
    return Plan(
        workspace=scene.workspace,
        user_home=scene.home,
        read_only=tuple(scene.workspace / name for name in inside),
        hidden=(scene.workspace / ".env",),
        prefixes=(CODE,),
        limits=limits,
        run_as=run_as,
    )


def furnish(scene: Scene, run_as: str) -> None:
    """Make the files."""
    for name in (
        *("workspace/.git/hooks", "workspace/tests", "workspace/kept", "workspace/policies"),
        "state/approvals",
    ):
        Path(scene.root, name).mkdir(parents=True)
    for name in ("home/.ssh", "home/.config/runner", "outside/org", "outside/empty-directory", "outside/listed-name"):
        Path(scene.root, name).mkdir(parents=True)
    for name in (".git/hooks/pre-commit", ".git/config", "tests/test_it.py", "kept/file", "policies/project.yaml"):
        (scene.workspace / name).write_text("theirs\n")
    for path in (scene.workspace / ".env", scene.home / ".ssh/id_ed25519", scene.home / ".ssh/id_moved"):
        path.write_text(f"{scene.secret}\n")
        path.chmod(0o600)
    (scene.home / ".bashrc").write_text("theirs\n")
    (scene.home / ".config/runner/policy.yaml").write_text("theirs\n")
    for name in OWN_FILES:
        (scene.outside / name).write_text(f"{scene.secret}\n")
    (scene.outside / "sized").write_bytes(bytes(12345))
    with closing(sqlite3.connect(scene.state / "runner.db")) as database:
        database.executescript(f"CREATE TABLE inbox (body TEXT); CREATE TABLE secret AS SELECT '{scene.secret}' AS it;")
    if run_as:
        for path in (scene.workspace, *scene.workspace.rglob("*")):
            shutil.chown(path, run_as)


@contextmanager
def victims(root: Path, secret: str) -> Generator[tuple[int, dict[str, int]]]:
    """Processes of this user: one that knows the secret, and one for each attempt that hurts one."""
    with ExitStack() as stack:

        def begin(words: list[str], env: Mapping[str, str]) -> int:
            process = stack.enter_context(
                subprocess.Popen(words, env=env, cwd=root / "outside", stdout=subprocess.PIPE)
            )
            stack.callback(process.kill)
            if process.stdout is not None and words[0] == sys.executable:
                process.stdout.readline()
            return process.pid

        (root / "key").write_text(secret)
        loop = [sys.executable, "-I", "-S", "-c", _VICTIM, str(root / "key"), secret]
        known = begin(loop, {"SECRET": secret})
        names = ("kill", "stop", "descriptor", "owner", "priority", "traced")
        others = {name: begin(["/bin/sleep", "600"], {}) for name in names}
        others["limits"] = begin([*loop[:-1], "-"], {})
        yield known, others


class Outside:
    """Servers that tell the secret to whoever asks, and callers of what listens inside."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._open: list[socket.socket] = []

    def close(self) -> None:
        for each in self._open:
            each.close()

    def tcp(self, ports: range) -> int:
        server = socket.socket()
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        port = _bind(server, ports)
        return self._serve(server, port)

    def unix(self, address: str) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(address)
        self._serve(server, 0)

    def udp(self) -> int:
        server = socket.socket(type=socket.SOCK_DGRAM)
        self._open.append(server)
        server.bind(("0.0.0.0", 0))
        self._start(lambda: server.sendto(self._secret, server.recvfrom(100)[1]))
        return int(server.getsockname()[1])

    def call(self, address: str, port: int) -> None:
        """Try to connect, all the time."""

        def once() -> None:
            threading.Event().wait(0.02)
            with suppress(ConnectionError, TimeoutError):
                socket.create_connection((address or "127.0.0.1", port), timeout=1).close()

        self._start(once)

    def _serve(self, server: socket.socket, port: int) -> int:
        self._open.append(server)
        server.listen()

        def once() -> None:
            caller, _ = server.accept()
            with caller, suppress(OSError):
                caller.settimeout(1)
                caller.recv(10)
                caller.sendall(self._secret)

        self._start(once)
        return port

    def _start(self, once: Callable[[], object]) -> None:
        def for_ever() -> None:
            with suppress(OSError):
                while True:
                    once()

        threading.Thread(target=for_ever, daemon=True).start()


def _bind(server: socket.socket, ports: range) -> int:
    while True:
        port = secrets.choice(ports)
        with suppress(OSError):
            server.bind(("0.0.0.0", port))
            return port


def _free(ports: range) -> int:
    with socket.socket() as probe:
        return _bind(probe, ports)


def _address() -> str:
    """An address of this machine that others would use; nothing is sent to learn it."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return ""


def _shared(secret: str) -> int:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    segment = int(libc.shmget(0, 4096, 0o1666))
    if segment >= 0:
        place = libc.shmat(segment, None, 0)
        ctypes.memmove(place, secret.encode() + b"\0", len(secret) + 1)
    return segment


def _key(secret: str) -> int:
    """A key in the keyring of the user, for all processes of that user; -1 where the kernel keeps none for us."""
    add, control = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
    libc = ctypes.CDLL(None)
    key = int(libc.syscall(add, b"user", secret.encode(), secret.encode(), len(secret), -4))
    return key if key >= 0 and libc.syscall(control, 5, key, 0x3F3F0000) == 0 else -1


@contextmanager
def built(root: Path, run_as: str) -> Generator[Scene]:
    """The scene, with its processes and servers."""
    secret = f"secret-{secrets.token_hex(8)}"
    furnish(Scene(root=str(root), secret=secret, address="", victim=0), run_as)
    outside = Outside(secret)
    shared, key = _shared(secret), _key(secret)
    master, terminal = os.openpty()
    in_memory = Path("/dev/shm") / secret.partition("-")[2]
    in_memory.write_text(secret)
    try:
        with victims(root, secret) as (victim, others):
            odd = range(10_000, 30_000)
            ports = {
                "odd": outside.tcp(odd),
                "dev": outside.tcp(range(3_000, 9_999)),
                "udp": outside.udp(),
                "listen": _free(range(3_000, 9_999)),
                "listen-odd": _free(odd),
            }
            scene = Scene(
                root=str(root), secret=secret, address=_address(), victim=victim, others=others, ports=ports,
                terminal=os.ttyname(terminal), shared=shared, key=key,
            )  # fmt: skip
            outside.unix(f"\0{in_memory.name}")
            outside.unix(str(scene.outside / "socket"))
            outside.unix(str(scene.state / "approvals" / "socket"))
            outside.call(scene.address, ports["listen"])
            outside.call(scene.address, ports["listen-odd"])
            yield scene
    finally:
        outside.close()
        in_memory.unlink(missing_ok=True)
        ctypes.CDLL(None).shmctl(shared, 0, None)
        os.close(master)
        os.close(terminal)


def launcher(backend: str, plan: Plan, abi: int) -> Callable[[Mapping[str, str]], Launch]:
    """How hosts are started."""
    if backend == "bubblewrap":
        return lambda env: bubblewrap.launch(plan, Path(shutil.which("bwrap") or "bwrap"), env)
    if backend == "landlock":
        return lambda env: landlock.launch(plan, env, version=abi or None)
    return unwalled


def possible(scene: Scene) -> list[str]:
    """The attempts for which this machine, and this user, have what they are made against."""
    without: set[str] = set()
    if not scene.address:
        without |= {name for name in ATTEMPTS if "network" in name or "listen" in name}
    if scene.key < 0:
        without.add("read-kernel-key")
    if not os.access(processes.SETTING, os.W_OK):
        without.add("change-kernel")
    if scene.shared < 0:
        without.add("read-shared-segment")
    return [name for name in ATTEMPTS if name not in without]


def tried(one: Attempt, scene: Scene, commands: Commands, *, last: bool) -> tuple[bool, str]:
    """Make one attempt, perhaps the last of its host; whether it succeeded, and what it printed."""
    words = [sys.executable, "-I", "-S", "-c", _INSIDE, str(CODE), one.name, scene.text()]
    command = commands.prepare(words, scene.workspace)
    said: list[bytes] = []
    command.go()
    ended = command.run(said.append, Pace(20))
    if last:
        commands.host.close()
    printed = b"".join(said).decode("utf-8", "replace")
    try:
        succeeded = one.succeeded(scene, printed)
    except OSError as error:
        succeeded, printed = True, f"{printed}\n{error}"  # what is looked for is gone
    return succeeded, f"{printed.strip()[-300:]} {ended}"


def main(directory: str, backend: str, run_as: str, abi: str, *names: str) -> None:
    """Make the attempts."""
    _ = (files, network, processes)  # importing them enters their attempts
    with built(Path(directory).resolve(), run_as) as scene:
        env = {"PATH": os.environ.get("PATH", os.defpath)}

        def commands(limits: Limits) -> Commands:
            plan = plan_of(scene, run_as, limits)
            return Commands(env, f"attempts-{secrets.token_hex(4)}", launch=launcher(backend, plan, int(abi)))

        wanted = names or tuple(possible(scene))
        together = [name for name in wanted if name not in LIMITS]
        shared = commands(Limits())
        # by the main thread: the host must not end with one of those below
        shared.prepare(["true"], scene.workspace).abandon()
        with ThreadPoolExecutor(3) as threads:
            pending = {name: threads.submit(tried, ATTEMPTS[name], scene, shared, last=False) for name in together}
            found = {name: done.result() for name, done in pending.items()}
        shared.host.close()
        for name in wanted:
            if name in LIMITS:
                found[name] = tried(ATTEMPTS[name], scene, commands(LIMITS[name]), last=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
