"""Finds and ends what commands of an earlier process of this run left on the machine.

Every command carries `RUNNER_TOOL=<tag>.<number>` in its environment and every keeper `RUNNER_KEEPER=<tag>`; the tag
names the run. A process that wiped its environment is still its keeper's to end, so keepers are waited for first.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
KEEPER_S = 4.0
"""Seconds a keeper whose runner has died gets to finish its own ending before it is killed."""
GIVE_UP_S = 5.0


@cache
def boot_id() -> str:
    """Names this boot of the machine; "" where the system does not say."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); 0 when there is none."""
    try:
        # asked once a command: an open file object would cost as much as the command's own start
        file = os.open(f"{_PROC}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fields = os.read(file, 4096).rpartition(b")")[2].split()
    except OSError:
        return 0
    finally:
        os.close(file)
    return 0 if fields[0] in {b"Z", b"X"} else int(fields[19])


def command_line(pid: int) -> str:
    """What a process was started as, in one line of at most 200 characters."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    except OSError:
        words = b""
    return words.decode("utf-8", "replace").replace("\n", " ")[:200] or f"process {pid}"


def _processes() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()] if _PROC.is_dir() else []


def carriers(marker: str) -> Iterator[int]:
    """Living processes with an environment variable that begins like `marker` (`NAME=value`, or a part of it)."""
    wanted = marker.encode()
    for pid in _processes():
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue
        if environment.startswith(wanted) or b"\0" + wanted in environment:
            yield pid


def group(pgid: int) -> list[int]:
    """Living members of a process group."""
    found: list[int] = []
    for pid in _processes():
        try:
            fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] not in {b"Z", b"X"}:
            found.append(pid)
    return found


def tag(what: str, path: Path) -> str:
    """The tag of what is started for `what` (`tools`, `setup`, `checks`) where `path` is the run's own."""
    return hashlib.sha256(os.fsencode(f"{what} {path}")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Tagged:
    """What lives of some tags: commands with all they started, and what keeps them."""

    commands: frozenset[int]
    keepers: frozenset[int]

    def kill(self) -> None:
        """Kill as far as it was seen; keepers only once they keep nothing: orphans come to them."""
        for pid in self.commands or self.keepers:
            _kill(pid)


_MARK = re.compile(rb"\0RUNNER_(?:(KEEPER)|TOOL)=([0-9a-f]{16})(?=[.\0])")


def tagged() -> dict[str, Tagged]:
    """What lives of any tag, by tag, in one look at all processes."""
    found: dict[str, tuple[set[int], set[int]]] = {}
    for pid in _processes():
        try:
            environment = b"\0" + (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue
        if (mark := _MARK.search(environment)) is not None:
            commands, keepers = found.setdefault(mark[2].decode(), (set(), set()))
            (keepers if mark[1] else commands).add(pid)
    return {
        name: Tagged(frozenset(commands.union(*map(descendants, keepers)) - keepers), frozenset(keepers))
        for name, (commands, keepers) in found.items()
    }


def descendants(ancestor: int) -> list[int]:
    """Living processes below one, whatever session or environment they chose."""
    parents: dict[int, int] = {}
    alive: set[int] = set()
    for pid in _processes():
        try:
            state, parent = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[:2]
        except OSError:
            continue
        parents[pid] = int(parent)
        if state not in {b"Z", b"X"}:
            alive.add(pid)
    found: set[int] = set()
    wanted = {ancestor}
    while wanted:
        wanted = {pid for pid, parent in parents.items() if parent in wanted and pid not in found}
        found |= wanted
    return sorted(found & alive)


def end_keepers(marker: str, own: Collection[int]) -> None:
    """Wait until keepers of an earlier process have done their work; kill one that does not."""
    end = time.monotonic() + KEEPER_S
    while keepers := [pid for pid in carriers(marker) if pid not in own]:
        if time.monotonic() >= end:
            for pid in keepers:
                _kill(pid)
        if time.monotonic() >= end + GIVE_UP_S:
            return
        time.sleep(0.01)


def end_all(find: Callable[[], Collection[int]]) -> tuple[str, ...]:
    """Kill what `find` finds until it finds nothing; command lines of what was killed."""
    named: dict[int, str] = {}
    end = time.monotonic() + GIVE_UP_S
    while (found := find()) and time.monotonic() < end:
        for pid in found:
            named.setdefault(pid, command_line(pid))
            _kill(pid)
        time.sleep(0.005)
    return tuple(named.values())


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        # Gone already, or not ours to end: the next look decides.
        return
