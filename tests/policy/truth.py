"""What shell texts really do: run by bash and sh inside bubblewrap, where every program but a few wrappers is a stub.

The only place that runs texts of a fuzz. The sandbox has no file of this machine but the shells, their libraries and
the wrappers, all read-only; it has no network, no home, no other user's processes; what is written goes to a scratch
directory. Without bubblewrap nothing is run at all.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MISSING = "bubblewrap is not installed: apt install bubblewrap"
SHELLS = ("bash", "dash")
STUBS = ("git", "ls", "cat", "grep", "rm", "curl", "evil", "sudo", "python3", "make", "if", "fi", "do", "a", "2", "-r")
"""Programs that only write down that they ran. Some are named like words of the shell's grammar."""
WRAPPERS = ("env", "timeout", "nice", "nohup", "xargs", "stdbuf")
FILES = ("a", "b", "a.py", "-r", "x y")
"""Files in the directory each text runs in, for patterns to come to."""
_LIBRARIES = ("/lib", "/lib64", "/lib32", "/usr/lib", "/usr/lib64", "/usr/lib32", "/etc/ld.so.cache")
# one write, so that what runs at the same time does not come between
_STUB = """#!/x/dash
said=$RUN
for word in "${0##*/}" "$@"; do said="$said\x1f$word"; done
printf '%s\x1e' "$said" >> /out/log
"""
_DRIVER = """
ulimit -f 20000 -u 400 -v 4000000 -c 0 2>/dev/null
for text in /in/*; do
  export RUN="${text##*/}"
  cd "/out/w/$RUN" || exit 9
  IFS= read -r -d '' body < "$text"
  # CPU time is what ends a text: no program that waits is there
  ( ulimit -t 2; exec "/x/$1" -c "$body" < /dev/null > /dev/null 2>&1 )
done
printf 'done' > /out/done
"""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a text ran, in no order, and which files of its directory came to be or changed."""

    ran: tuple[tuple[str, ...], ...]
    wrote: tuple[str, ...]


def missing() -> str:
    """Why texts cannot be run here; "" when they can."""
    wanted = ("bwrap", *SHELLS, *WRAPPERS, "timeout")
    absent = [name for name in wanted if shutil.which(name) is None]
    return MISSING if "bwrap" in absent else f"not installed: {', '.join(absent)}" if absent else ""


def truths(texts: Sequence[str], shell: str) -> list[Truth]:
    """Run texts, each in a directory of its own, and say what ran. `shell` is bash or dash."""
    if any("\0" in text for text in texts):
        raise ValueError("a text cannot hold NUL")
    with tempfile.TemporaryDirectory(prefix="truth-") as scratch:
        place = Path(scratch)
        _prepare(place, texts)
        subprocess.run(_walled(place, shell), check=True, timeout=600, stdin=subprocess.DEVNULL, cwd=place)
        if not (place / "out" / "done").exists():
            raise RuntimeError("the texts did not all run")
        return _told(place, len(texts))


def _prepare(place: Path, texts: Sequence[str]) -> None:
    for name in ("in", "out", "out/w", "stubs", "x"):
        (place / name).mkdir()
    for name in STUBS:
        (place / "stubs" / name).write_text(_STUB)
        (place / "stubs" / name).chmod(0o755)
    (place / "x" / "driver").write_text(_DRIVER)
    (place / "out" / "log").touch()
    for at, text in enumerate(texts):
        (place / "in" / f"{at:06}").write_text(text, encoding="utf-8")
        home = place / "out" / "w" / f"{at:06}"
        home.mkdir()
        for name in FILES:
            (home / name).touch()


def _walled(place: Path, shell: str) -> list[str]:
    found = [(which, shutil.which(which) or "") for which in (*SHELLS, *WRAPPERS)]
    binds = [("--ro-bind-try", library, library) for library in _LIBRARIES]
    binds += [("--ro-bind", str(place / "stubs"), "/stubs"), ("--ro-bind", str(place / "x"), "/x.files")]
    binds += [("--ro-bind", path, f"/x/{name}") for name, path in found]
    binds += [("--ro-bind", path, f"/wrappers/{name}") for name, path in found if name in WRAPPERS]
    binds += [
        ("--ro-bind", path, f"/wrappers/{name}")
        for name, path in (*found, ("sh", dict(found)["dash"]))
        if name in ("bash", "sh")
    ]
    binds += [("--ro-bind", str(place / "in"), "/in"), ("--bind", str(place / "out"), "/out")]
    return [
        *("bwrap", "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"),
        *("--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/stubs:/wrappers"),
        *("--setenv", "HOME", "/home/agent", "--dev", "/dev"),
        *(word for bind in binds for word in bind),
        *("--remount-ro", "/", "--chdir", "/out", "/x/bash", "/x.files/driver", shell),
    ]


def _told(place: Path, count: int) -> list[Truth]:
    ran: list[list[tuple[str, ...]]] = [[] for _ in range(count)]
    for record in (place / "out" / "log").read_bytes().decode("utf-8", "surrogateescape").split("\x1e"):
        run, _, words = record.partition("\x1f")
        if words and run.isdigit():
            ran[int(run)].append(tuple(words.split("\x1f")))
    return [Truth(tuple(ran[at]), _written(place / "out" / "w" / f"{at:06}")) for at in range(count)]


def _written(home: Path) -> tuple[str, ...]:
    return tuple(sorted(_changed(home.iterdir())))


def _changed(files: Iterable[Path]) -> Iterable[str]:
    for file in files:
        if file.name not in FILES or file.stat().st_size > 0:
            yield file.name
