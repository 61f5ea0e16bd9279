"""Landlock and seccomp: the walls of a Linux machine without bubblewrap. No package is needed, and less is held.

What is worked out here is carried out by `confine.py`, which becomes the host. Landlock (used from ABI 3 of kernel 6.2
on) names the directories that may be read and written and the TCP ports that may be used (ABI 4, kernel 6.7), and keeps
signals inside (ABI 6, kernel 6.12). seccomp refuses what Landlock does not know. Nothing can be hidden inside a
directory that is allowed, and a port is one on every machine: `runner.sandbox.gaps` names what that leaves open.
"""

from __future__ import annotations

import ctypes
import grp
import json
import os
import pwd
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from runner.sandbox import places, seccomp
from runner.sandbox.plan import Plan
from runner.sandbox.process import HOST, Launch

CONFINE = Path(__file__).with_name("confine.py")
LEAST_ABI, PORTS_ABI, SIGNALS_ABI = 3, 4, 6
_CREATE_RULESET, _WHICH_VERSION = 444, 1

# landlock(7); a right that is handled is refused where no rule allows it
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_FILES_OF_ABI = {3: (1 << 15) - 1, 5: (1 << 16) - 1}
_BIND, _CONNECT = 1 << 0, 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
_SIZE_OF_ABI = {3: 8, 4: 16, 6: 24}
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_EVERYTHING = (1 << 16) - 1 & ~(_MAKE_CHAR | _MAKE_BLOCK)

_MACHINE = ("/proc", "/sys", "/etc")
"""Readable whole: a file that is there and cannot be read ends programs, one that is absent does not."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - semaphores of most languages are files here
SERVERS = (3000, 9999)
"""Ports of development servers, beside those that the kernel gives out."""
_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def abi() -> int:
    """The version of Landlock that this kernel offers; 0 where it offers none."""
    if sys.platform != "linux":
        return 0
    version: int = ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, 0, _WHICH_VERSION)
    return max(0, version)


def available(plan: Plan) -> str:
    """Why these walls cannot be built here, and what to do, in one sentence; "" where they can be."""
    found = abi()
    if not found:
        return "this kernel offers no Landlock (CONFIG_SECURITY_LANDLOCK, and landlock in lsm=)"
    if found < LEAST_ABI:
        return f"this kernel's Landlock is too old: ABI {found}, and {LEAST_ABI} of kernel 6.2 is needed"
    if not seccomp.supported():
        return f"no filter of system calls for {os.uname().machine}"
    if os.geteuid() != 0:
        return ""
    if not plan.run_as:
        return "Landlock does not hold root: name a user that tools run as (sandbox.run_as), or run as an ordinary user"
    return _unreachable(plan)


def _unreachable(plan: Plan) -> str:
    """What `run_as` cannot reach of what commands need; "" when it reaches all."""
    try:
        uid, gid, groups = _user(plan.run_as)
    except KeyError:
        return f"sandbox.run_as: there is no user {plan.run_as}"
    if uid == 0:
        return "sandbox.run_as must not be root"
    wanted = [(plan.workspace, os.R_OK | os.W_OK | os.X_OK), (HOST, os.R_OK), (_interpreter(), os.R_OK | os.X_OK)]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            for number, (path, mode) in enumerate(wanted):
                if not os.access(path, mode):
                    os.write(write, bytes([number]))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        refused = answers.read()
    os.waitpid(child, 0)
    if not refused:
        return ""
    path, mode = wanted[refused[0]]
    what = "write to" if mode & os.W_OK else "read"
    return f"sandbox.run_as: {plan.run_as} cannot {what} {path}: give that user the right, or install bubblewrap"


def _user(name: str) -> tuple[int, int, list[int]]:
    """Number, group and all groups of a user. Raises KeyError."""
    user = pwd.getpwnam(name)
    groups = {user.pw_gid, *(group.gr_gid for group in grp.getgrall() if name in group.gr_mem)}
    return user.pw_uid, user.pw_gid, sorted(groups)


def _interpreter() -> Path:
    return Path(sys.executable).resolve()


def launch(plan: Plan, env: Mapping[str, str], *, version: int | None = None) -> Launch:
    """How the host is started behind these walls. Only where they are `available`.

    `version` stands for an older kernel: what that one does not know is not used.
    """
    found = min(abi(), version or abi())
    scratch = tempfile.gettempdir()
    user = _user(plan.run_as) if os.geteuid() == 0 else None
    write = [str(path) for path in plan.writes]
    read = [*_MACHINE, *map(str, _readable(plan))]
    network = plan.network == "open"
    by_port = found >= PORTS_ABI and not network
    files = _newest(_FILES_OF_ABI, found)
    orders: dict[str, object] = {
        "words": [
            f"filter={seccomp.program('any' if network else 'tcp' if by_port else 'none').hex()}",
            *plan.limits.orders((*plan.writes, Path(scratch))),
            *_tasks(plan, user),
            *(f"set={name}={value}" for name, value in plan.variables.items()),
        ],
        "scratch": scratch,
        "home": str(plan.home or ""),
        "links": [(str(path.relative_to(plan.user_home)), str(path)) for path in _linked(plan)],
        "user": user,
        "handled": (
            files,
            _BIND | _CONNECT if by_port else 0,
            _ABSTRACT_SOCKETS | _SIGNALS if found >= SIGNALS_ABI else 0,
        ),
        "size": _newest(_SIZE_OF_ABI, found),
        "paths": [
            *((path, _READ) for path in read),
            *((path, files & ~_EXECUTE & ~_MAKE_CHAR & ~_MAKE_BLOCK) for path in (*_DEVICES, _SHARED_MEMORY)),
            *((path, files & _EVERYTHING) for path in write),
        ],
        "ports": list(_ports(plan.proxy_port)) if by_port else [],
        "scratch_rights": files & _EVERYTHING,
    }
    # The way out begins before the walls: nothing behind them can make a unix socket.
    words = (os.path.realpath(sys.executable), "-I", "-S", *plan.forwarder, str(CONFINE), json.dumps(orders))
    return Launch(argv=words, env=env)


def _tasks(plan: Plan, user: tuple[int, int, list[int]] | None) -> Iterator[str]:
    """How many processes and threads the user may have in all: the kernel counts those outside, too."""
    if plan.limits.processes is not None:
        uid = os.geteuid() if user is None else user[0]
        yield f"tasks={plan.limits.processes + sum(_threads(Path(entry)) for entry in _processes(uid))}"


def _processes(uid: int) -> Iterator[str]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.isdecimal() and entry.stat().st_uid == uid:
                    yield entry.path


def _threads(process: Path) -> int:
    """How many threads a process has; 0 for one that has ended."""
    try:
        return int((process / "stat").read_bytes().rpartition(b")")[2].split()[17])
    except OSError:
        return 0


def _readable(plan: Plan) -> Iterator[Path]:
    """What may be read beside the system's own directories."""
    yield from places.base()
    yield from places.interpreter()
    yield HOST.parent
    yield from plan.prefixes
    yield from plan.caches
    # inside what can be written they would change nothing, and thousands do not fit on a command line
    writable = tuple(plan.writes)
    yield from (path for path in plan.read_only if not any(path.is_relative_to(each) for each in writable))


def _linked(plan: Plan) -> Iterator[Path]:
    """What of the user's home is readable, and must be found in another HOME by the same name."""
    for path in (*plan.caches, *plan.read_only):
        if path.is_relative_to(plan.user_home) and not path.is_relative_to(plan.workspace):
            yield path


def _ports(proxy: int) -> Iterator[tuple[int, int, int]]:
    """First and last of the ports that servers of a workspace use, and the way out; what is allowed with each."""
    yield 0, 0, _BIND
    if proxy:
        yield proxy, proxy, _CONNECT
    yield *SERVERS, _BIND | _CONNECT
    try:
        first, last = map(int, _GIVEN_OUT.read_text("ascii").split())
    except (OSError, ValueError):
        first, last = 32768, 60999
    yield first, last, _BIND | _CONNECT


def _newest(table: Mapping[int, int], version: int) -> int:
    return table[max(one for one in table if one <= version)]
