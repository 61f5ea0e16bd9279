"""Gives up rights for good, then becomes the host: the walls of a machine that has no bubblewrap.

Run as a script by `runner.sandbox.landlock`, never imported by it, with its orders as JSON in the first argument.
Nothing is decided here: which paths, ports and system calls, and as whom, was worked out in runner.

Two processes: the *guard* stays outside and the host lives behind the walls, where nothing can signal the guard (from
Landlock ABI 6 on). The guard has no work but to end everything below it when runner closes the socket, when runner
dies and when the host ends, and then to remove the private directory. It is the subreaper of it all, so a process that
killed its keeper, left its session and cleared its environment becomes the guard's child and is ended, too.

The host itself sets the filter of system calls that it is given, last. A step that fails ends everything before a
command could run: no walls, no host.
"""

# Every command of an iteration waits for it: it imports as little as it can, and works with descriptors.
# ruff: noqa: PTH102, PTH106, PTH112, PTH118, PTH120, PTH211, SIM105

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # as mypy and others read it: importing `typing` would take longer than the rest
if TYPE_CHECKING:
    from typing import TypedDict

    from runner.sandbox import host

    class Orders(TypedDict):
        """What to do, worked out by runner.

        `words` are the host's arguments. `handled` are the rights of files, ports and scopes that are refused where no
        rule allows them; `size` is the size of that record in this kernel's ABI. `paths` are path and right, `ports`
        first and last port and right. `scratch` is where the private directory is made; `home` is HOME where that is
        elsewhere; `links` are put into HOME. `user` is number, group and groups.
        """

        words: list[str]
        scratch: str
        home: str
        links: list[tuple[str, str]]
        user: tuple[int, int, list[int]] | None
        handled: tuple[int, int, int]
        size: int
        paths: list[tuple[str, int]]
        ports: list[tuple[int, int, int]]
        scratch_rights: int

else:
    # No package can be imported in the walls: only the directory of this file is.
    sys.path.append(os.path.dirname(__file__))
    import host

_CONTROL = 0
_END_S = 1.5
"""Seconds that the guard takes at most to end everything; runner kills it after two."""

# prctl(2), landlock(7): the three numbers of the latter are the same on every architecture
_SET_SUBREAPER, _SET_NO_NEW_PRIVS = 36, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _NET_PORT = 1, 2
_FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
"""What can be allowed on something that is not a directory: execute, write, read, truncate, control a device."""

_libc = ctypes.CDLL(None, use_errno=True)


class Attributes(ctypes.Structure):
    """struct landlock_ruleset_attr."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class Beneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class Port(ctypes.Structure):
    """struct landlock_net_port_attr."""

    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


def _must(returned: int, what: str) -> int:
    if returned < 0:
        raise OSError(ctypes.get_errno(), what)
    return returned


# ---- the walls -------------------------------------------------------------------------------------------


def ruleset(orders: Orders) -> int:
    """A Landlock rule set that allows what the orders allow. Paths that do not exist are passed over."""
    attributes = Attributes(*orders["handled"])
    rules = _must(
        _libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(orders["size"]), 0), "rule set"
    )
    for path, right in orders["paths"]:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = right if os.path.isdir(path) else right & _FILE_RIGHTS
        rule = Beneath(allowed, parent)
        _must(_libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0), path)
        os.close(parent)
    for first, last, right in orders["ports"]:
        port = Port(right, 0)
        where = ctypes.byref(port)
        for number in range(first, last + 1):
            port.port = number
            _must(_libc.syscall(_ADD_RULE, rules, _NET_PORT, where, 0), "port")
    return rules


def confine(orders: Orders, rules: int) -> None:
    """Give up every right beyond the orders, for this process and all it will start."""
    if orders["user"] is not None:
        uid, gid, groups = orders["user"]
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if os.geteuid() == 0:
        raise PermissionError("root keeps rights that these walls do not stop")
    _must(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    _must(_libc.syscall(_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)


# ---- the private directory -------------------------------------------------------------------------------


def furnish(orders: Orders) -> tuple[str, str]:
    """Make the private directory, and HOME in it with links to what is read from the user's own; both paths."""
    scratch = os.path.join(orders["scratch"], f"runner-walls-{os.urandom(8).hex()}")
    home = orders["home"] or os.path.join(scratch, "home")
    made: list[str] = []
    for directory in (scratch, os.path.join(scratch, "tmp"), home):
        make(directory, made)
    for name, target in orders["links"]:
        place = os.path.join(home, name)
        make(os.path.dirname(place), made)
        try:
            os.symlink(target, place)
        except FileExistsError:
            pass
    if orders["user"] is not None:
        uid, gid, _ = orders["user"]
        for directory in made:
            os.chown(directory, uid, gid)
    return scratch, home


def make(directory: str, made: list[str]) -> None:
    """Make a directory and those above it, noting which were not there before."""
    if not os.path.isdir(directory):
        make(os.path.dirname(directory), made)
        os.mkdir(directory, 0o700)
        made.append(directory)


def clear(directory: int, end: float) -> None:
    """Remove what is in an open directory, by descriptor: a link in it leads nowhere. Gives up when time is over."""
    for name in os.listdir(directory):
        if time.monotonic() > end:
            return
        try:
            os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            pass
        except OSError:
            continue
        else:
            continue
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            continue
        try:
            clear(inner, end)
        except RecursionError:
            return
        finally:
            os.close(inner)
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError:
            pass


def remove(scratch: str, end: float) -> None:
    """Remove the private directory, as far as that goes."""
    try:
        top = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            clear(top, end)
        finally:
            os.close(top)
        os.rmdir(scratch)
    except OSError:
        pass


# ---- the two processes -----------------------------------------------------------------------------------


def reap() -> bool:
    """Collect what has ended; False when no child is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def guard(walled: int) -> None:
    """Wait until runner or the host is gone, then end everything below this process."""
    ended = os.pidfd_open(walled)
    waiting = select.poll()
    waiting.register(_CONTROL, 0)  # its hang-up only: what is said there is the host's to read
    waiting.register(ended, select.POLLIN)
    while not (news := waiting.poll(1000)):
        reap()
    gone = time.monotonic() + _END_S
    if any(file == _CONTROL for file, _ in news):
        os.kill(walled, signal.SIGCONT)
    while reap() and time.monotonic() < gone:
        for pid in host.children_of(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.005)


def main() -> None:
    """Build the walls around a child that becomes the host; be its guard."""
    orders: Orders = json.loads(sys.argv[1])
    _must(_libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0), "subreaper")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    scratch, home = furnish(orders)
    child = os.fork()
    if child == 0:
        enter(orders, scratch, home)
    guard(child)
    remove(scratch, time.monotonic() + 0.4)


def enter(orders: Orders, scratch: str, home: str) -> None:
    """In the child: give up rights, then be the host until runner closes the socket. Does not return."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        orders["paths"] += [(scratch, orders["scratch_rights"]), (home, orders["scratch_rights"])]
        confine(orders, ruleset(orders))
        temporary = os.path.join(scratch, "tmp")
        places = {"HOME": home, "TMPDIR": temporary, "TMP": temporary, "TEMP": temporary}
        sys.argv = [__file__, *orders["words"], *(f"set={name}={place}" for name, place in places.items())]
        host.main()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
