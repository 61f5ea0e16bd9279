"""No walls, bubblewrap, Landlock: what gets out of each, as root and as an ordinary user."""

from __future__ import annotations

import pytest

from runner.sandbox import landlock
from runner.sandbox.gaps import GAPS, open_here
from tests.sandbox.machine import needs, results

USERS = pytest.mark.parametrize("root", [True, False], ids=["root", "user"])
LEAST = 40
_OLDER = (
    *("connect-loopback", "connect-dev-port", "connect-fast-open", "send-datagram", "connect-unix", "create-file"),
    *("kill-process", "stop-process", "kill-by-descriptor", "kill-by-owner-of-pipe", "outlive-keepers", "listen"),
    *("read-environment", "truncate-file", "trace-process"),
)


def succeeded(backend: str, *, root: bool, abi: int = 0, names: tuple[str, ...] = ()) -> set[str]:
    needs(backend, root=root)
    found = results(backend, root=root, abi=abi, names=names)
    assert len(found) >= (len(names) or LEAST)
    # what pytest shows when a comparison below fails
    for name, (success, said) in found.items():
        print(name, success, said)
    return {name for name, (success, _) in found.items() if success}


@USERS
def test_every_attempt_but_one_succeeds_without_walls(root: bool) -> None:
    """Or the tests below would show nothing. A command's own processes are ended without walls, too."""
    needs("none", root=root)
    found = results("none", root=root)
    assert len(found) >= LEAST
    assert {name: said for name, (success, said) in found.items() if not success}.keys() <= {"outlive-command"}


@USERS
def test_no_attempt_succeeds_behind_bubblewrap(root: bool) -> None:
    assert succeeded("bubblewrap", root=root) == set()


@USERS
def test_behind_landlock_exactly_the_documented_attempts_succeed(root: bool) -> None:
    gaps = open_here("landlock", own=not root, abi=landlock.abi())
    assert succeeded("landlock", root=root) == {row for gap in gaps for row in gap.rows}


@pytest.mark.parametrize("abi", [3, 4, 5])
def test_on_an_older_kernel_exactly_the_attempts_documented_for_it_succeed(abi: int) -> None:
    rows = {row for gap in open_here("landlock", own=True, abi=abi) for row in gap.rows}
    assert succeeded("landlock", root=False, abi=abi, names=_OLDER) == rows & set(_OLDER)


def test_every_documented_row_is_an_attempt() -> None:
    from tests.sandbox import files, network, processes
    from tests.sandbox.scene import ATTEMPTS

    assert all((files, network, processes))
    assert {row for gap in GAPS for row in gap.rows} <= ATTEMPTS.keys()
