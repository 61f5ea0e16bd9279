"""What walls leave open, row by row: said when a run starts, documented, and tested to be exactly this.

A row is the name of an attempt of the project's own tests (`tests/sandbox`). Bubblewrap stops every one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runner.sandbox.landlock import PORTS_ABI, SERVERS, SIGNALS_ABI

LANDLOCK, SEATBELT = "landlock", "seatbelt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Attempts that succeed for one reason, and that reason.

    `own` holds only where commands run as runner's own user (not as root's `sandbox.run_as`). `since` and `before` are
    versions of Landlock's ABI: the first that is open, and the first that is not any more.
    """

    rows: tuple[str, ...]
    text: str
    own: bool = False
    since: int = 0
    before: int = 1_000


GAPS = (
    Gap(
        rows=(
            *("read-env-file", "edit-git-hook", "edit-git-config", "replace-protected", "move-protected"),
            "edit-project-policy",
        ),
        text="reading .env and changing .git/hooks or protected files inside the workspace",
    ),
    Gap(
        rows=("connect-dev-port", "connect-network-dev-port", "listen"),
        text=f"TCP with other machines on ports {SERVERS[0]}-{SERVERS[1]} and those that the kernel gives out",
        since=PORTS_ABI,
    ),
    Gap(
        rows=("ask-size", "watch-directory", "read-command-line"),
        text="looking at names, sizes and times of files, and at other processes' command lines",
    ),
    Gap(rows=("read-shared-segment", "read-shared-file"), text="shared memory of other processes of its user"),
    Gap(
        rows=("change-mode", "change-times", "slow-process"),
        text="changing modes and times of your files (chmod, touch) and the priority of your processes",
        own=True,
    ),
    Gap(
        rows=("kill-process", "stop-process", "kill-by-descriptor", "kill-by-owner-of-pipe", "outlive-keepers"),
        text="signals to your other processes, runner too",
        own=True,
        before=SIGNALS_ABI,
    ),
)


def open_here(backend: str, *, own: bool, abi: int) -> Iterator[Gap]:
    """What a backend leaves open; `own`: commands run as runner's own user. `abi` counts for Landlock alone."""
    if backend == LANDLOCK:
        for gap in GAPS:
            if (own or not gap.own) and gap.since <= abi < gap.before:
                yield gap


def said(backend: str, *, own: bool, abi: int) -> str:
    """What a backend does not stop, in one sentence; "" where that is nothing."""
    if backend == SEATBELT:
        return "its profile follows Apple's and was never tried on a Mac"
    texts = [gap.text for gap in open_here(backend, own=own, abi=abi)]
    return f"not stopped: {'; '.join(texts)}" if texts else ""
