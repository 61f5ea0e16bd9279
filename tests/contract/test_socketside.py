"""The socket of approvals: the kernel says who asks, whatever the caller says of himself."""

import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runner.app.serving import Place, serving
from runner.app.socketside import through
from runner.errors import BusyError, ConfigError, RefusedError, StateError
from tests.contract.serving_parts import ROOT, SECRET, Waiting, waiting

__all__ = ["waiting"]

ME = pwd.getpwuid(os.getuid()).pw_name
YES = {"want": "answer", "approval": "a-1", "approve": True}


# Any: what is inside is JSON, and the test that reads it says what it expects there
def as_nobody(path: Path, request: dict[str, object]) -> dict[str, Any]:
    """What the server tells the OS user `nobody`."""
    code = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.fromfd(int(sys.argv[1]), socket.AF_UNIX, socket.SOCK_STREAM)\n"
        "s.connect(sys.argv[2]); s.sendall(sys.argv[3].encode() + b'\\n'); print(s.makefile().readline())\n"
    )
    with socket.socket(socket.AF_UNIX) as made:
        made.set_inheritable(True)
        argv = [sys.executable, "-c", code, str(made.fileno()), str(path), json.dumps(request)]
        done = subprocess.run(argv, pass_fds=(made.fileno(),), capture_output=True, text=True, timeout=30, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def open_path(waiting: Waiting) -> Iterator[Path]:
    """A socket that others can reach, as in a directory like /run/runner."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        waiting.socket = Path(folder) / "socket"
        yield waiting.socket


@pytest.mark.skipif(not ROOT, reason="needs root, to speak as another user")
def test_another_user_is_known_by_his_user_id_and_his_yes_counts(waiting: Waiting, open_path: Path):
    with waiting.served():
        listed = as_nobody(open_path, {"want": "list"})
        assert [one["approval"] for one in listed["approvals"]] == ["a-1"]
        assert SECRET not in json.dumps(listed)
        told = as_nobody(open_path, {**YES, "by": "alice", "uid": 0, "identity": "link"})
    assert told == {"ok": True, "text": "approved by nobody (peercred)", "by": "nobody"}
    (vote,) = waiting.votes()
    assert (vote.by, vote.identity, vote.uid, vote.own) == ("nobody", "peercred", 65534, False)


@pytest.mark.skipif(not ROOT, reason="needs root, to speak as another user")
def test_who_is_in_no_group_sees_and_says_nothing(waiting: Waiting, open_path: Path):
    waiting.ask("a-2", owner="nobody (uid 65534)")
    with waiting.served():
        told = as_nobody(open_path, {**YES, "approval": "a-2"})
        assert (told["ok"], "nobody approves his own" in str(told["error"])) == (False, True)
        assert through(open_path, {"want": "list"}) == {"ok": True, "approvals": [], "text": f"no call waits for {ME}"}
        for want in ("show", "answer"):
            with pytest.raises(RefusedError, match="no open approval"):
                through(open_path, {**YES, "want": want})
    assert (waiting.votes(), waiting.votes("a-2")) == ([], [])


def test_the_runs_owner_says_no_to_his_own_and_never_yes(waiting: Waiting):
    waiting.ask("a-2", owner=f"{ME} (uid {os.getuid()})")
    with waiting.served() as served:
        assert served.socket is not None
        with pytest.raises(RefusedError, match="nobody approves his own"):
            through(served.socket, {**YES, "approval": "a-2"})
        told = through(served.socket, {**YES, "approval": "a-2", "approve": False, "note": "no"})
    assert told is not None
    assert "denied by" in str(told["text"])
    (vote,) = waiting.votes("a-2")
    assert (vote.approve, vote.own, vote.identity) == (False, True, "peercred")


@pytest.mark.parametrize(
    "line",
    [b"\n", b"[]\n", b"{\n", b"[" * 100_000 + b"\n", b'{"want":"answer","approval":"a-1","approve":"yes"}\n',
     b'{"want":"answer","approval":"","approve":true}\n', b"\xff\xfe\n"],
)  # fmt: skip
def test_what_is_no_request_is_refused(waiting: Waiting, line: bytes):
    with waiting.served() as served, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(served.socket))
        caller.sendall(line)
        assert json.loads(caller.makefile().readline())["ok"] is False
    assert waiting.votes() == []


def test_callers_that_say_nothing_keep_no_room_for_ever(waiting: Waiting):
    """More than there is room for are hung up on; those that are in have ten seconds."""
    with waiting.served() as served:
        callers = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for one in callers:
            one.connect(str(served.socket))
        callers[-1].settimeout(5)
        assert callers[-1].recv(1) == b""
        for one in callers:
            one.close()
        end, listed = time.monotonic() + 10, None
        while listed is None and time.monotonic() < end:
            with suppress(StateError, RefusedError):
                listed = through(served.socket or Path(), {"want": "list"})
    assert listed is not None


def test_a_directory_with_a_long_name_has_a_socket_too(waiting: Waiting, tmp_path: Path):
    deep = tmp_path / ("d" * 200)
    deep.mkdir()
    place = Place(socket=deep / "approvals.sock", port=0)
    assert through(place.socket, {"want": "list"}) is None
    with serving(waiting.access, place):
        listed = through(place.socket, {"want": "list"})
    assert listed is not None
    assert listed["ok"] is True


def test_one_server_at_a_time_and_nobody_where_none_is(waiting: Waiting, tmp_path: Path):
    assert through(tmp_path / "nothing", {"want": "list"}) is None
    with waiting.served() as served:
        assert served.socket is not None
        with pytest.raises(BusyError), waiting.served():
            pass
    assert not served.socket.exists()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(served.socket))
    left.close()
    assert through(served.socket, {"want": "list"}) is None
    with waiting.served():
        pass
    served.socket.write_text("mine")
    with pytest.raises(ConfigError, match="no socket"), waiting.served():
        pass
    assert served.socket.read_text() == "mine"
