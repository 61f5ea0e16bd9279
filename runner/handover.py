"""Take the provider keys out of the environment before anything else runs.

A process shows the environment it was started with to whoever may look (`/proc/PID/environ`, `ps eww`), however much
it deletes from it later; and every child inherits it. So a command that needs keys starts itself once more without
them: they travel through a pipe only this process holds, and afterwards stand in no environment of its own. The
process then refuses to be read by others of the same user (Linux: `PR_SET_DUMPABLE`). Root, and the shell that
started runner, are out of reach.

Imports here are few on purpose: what runs before the second start is paid twice (2 ms; the second start itself costs
one interpreter start, 10 ms).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence

from runner.models.keys import is_key
from runner.secrets import Keys

FD = "RUNNER_KEYS_FD"

# The commands that may call a provider, and `spec check`, which says which key a run would use.
_NEED_KEYS = frozenset({"loop", "resume", "spec", "doctor"})

# What a pipe holds at once on Linux; where it holds less, the write falls short, and that is said.
_MOST = 65_536

_PR_SET_DUMPABLE = 4


def ensure(argv: Sequence[str]) -> Keys:
    """Return the keys of the environment, and leave none in it; call this first.

    `argv` is the command line without the program. For a command that needs keys this does not return when the
    environment holds one: the process starts itself anew (same process id, same streams) and returns there. For any
    other command it returns no keys and changes nothing.
    """
    if FD in os.environ:
        keys = Keys(_received(os.environ.pop(FD)))
        keys.add(_taken(), "environment")
    elif not _NEED_KEYS.isdisjoint(argv):
        keys = Keys(_taken())
        if keys.names:
            _start_again(keys)
            os.write(
                2, b"warning: runner cannot start itself anew here, so its first environment still shows the keys\n"
            )
    else:
        return Keys()
    if keys.names:
        shield()
    return keys


def shield() -> bool:
    """Refuse other processes of this user a look at this one; whoever holds keys calls it. False: not possible here.

    A command started from here can be looked at again, from its own start on.
    """
    if sys.platform != "linux":
        return False
    try:
        import ctypes

        refused: int = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return False
    return refused == 0


def _taken() -> dict[str, str]:
    """Take the keys out of this process's environment."""
    return {name: value for name in sorted(os.environ) if is_key(name) and (value := os.environ.pop(name, "").strip())}


def _command() -> list[str] | None:
    """Tell how this interpreter was started; None where it cannot be started like that again."""
    if not sys.executable or len(sys.orig_argv) < 2 or sys.orig_argv[1] == "-":
        return None
    # by its full path: found by name, another directory of PATH could answer
    return [sys.executable, *(["-P"] if _found_elsewhere() else []), *sys.orig_argv[1:]]


def _found_elsewhere() -> bool:
    """Whether this is a `python -m` that finds its module without the working directory, so that `-P` can leave it out.

    The interpreter itself imports before any module of ours runs; an agent may have written what it would find there.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or spec.origin is None or sys.flags.safe_path:
        return False
    root: str = spec.origin
    for _ in spec.name.split("."):
        root = os.path.dirname(root)  # noqa: PTH120 - pathlib is not imported this early
    try:
        return os.path.realpath(root) != os.getcwd()  # noqa: PTH109 - as above
    except OSError:
        return False


def _start_again(keys: Keys) -> None:
    """Put the keys in a pipe and replace this process by itself; returns only when that is not possible."""
    command = _command()
    data = _packed({name: keys.get(name) or "" for name in keys.names})
    if command is None or len(data) > _MOST:
        return
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        if os.write(writing, data) < len(data):
            return
        os.close(writing)
        writing = -1
        os.set_inheritable(reading, True)  # noqa: FBT003 - the signature is the standard library's
        # no shell is wanted: this is the same program with the same arguments
        os.execve(command[0], command, {**os.environ, FD: str(reading)})  # noqa: S606 - see above
    except OSError:
        return  # the keys are held all the same, only their first environment stays readable
    finally:
        for fd in (reading, writing):
            if fd >= 0:
                os.close(fd)


def _packed(values: Mapping[str, str]) -> bytes:
    return b"".join(os.fsencode(f"{name}={value}\0") for name, value in values.items())


def _received(number: str) -> dict[str, str]:
    """Read what the first start put in the pipe, and close it. Anything but a pipe is left alone."""
    if not number.isdecimal():
        return {}
    fd = int(number)
    if fd <= 2:
        return {}
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return {}
        os.set_blocking(fd, False)
        data = os.read(fd, _MOST)
        while more := os.read(fd, _MOST):
            data += more
        os.close(fd)
    except OSError:
        return {}
    pairs = (os.fsdecode(part).partition("=") for part in data.split(b"\0") if part)
    return {name: value for name, _, value in pairs if is_key(name)}
