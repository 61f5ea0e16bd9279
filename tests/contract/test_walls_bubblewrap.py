"""bubblewrap: what commands see, what they may write, and what they use. Real walls, real commands."""

import os
import signal
import socket
from pathlib import Path

import pytest

from runner.sandbox import leftovers, places
from runner.sandbox.plan import Limits
from runner.sandbox.process import Pace
from tests.contract.walled import PATH, Scene, eventually, needs_bubblewrap

pytestmark = needs_bubblewrap


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_workspace_is_written_and_nothing_else_is_there(scene):
    with scene.walls(scene.plan()) as walled:
        assert walled.sh("echo made > new && pwd") == f"{scene.workspace}\n"
        assert walled.sh("cat ~/.ssh/id").endswith("No such file or directory\n")
        assert walled.sh(f"ls {scene.root / 'user'}") == "src\n"
        assert walled.sh("cat /etc/shadow").endswith("No such file or directory\n")
        for place in ("/etc/new", "/usr/new", "/new", "/dev/new"):
            assert "done" not in walled.sh(f"echo x > {place} && echo done"), place
        for setting in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness", "/proc/sys/net/ipv4/ip_forward"):
            assert "done" not in walled.sh(f"was=$(cat {setting}) && echo $was > {setting} && echo done"), setting
        assert "done" not in walled.sh(": >> /proc/sysrq-trigger && echo done")
        walled.sh(f"echo x > {scene.root}/new; mkdir {scene.home}/.ssh; echo x > {scene.home}/.ssh/new")
    assert not (scene.root / "new").exists()
    assert not (scene.home / ".ssh" / "new").exists()
    assert (scene.workspace / "new").read_text() == "made\n"


def test_protected_files_stay_and_so_do_the_directories_above_them(scene):
    deep = scene.workspace / "tests" / "unit"
    deep.mkdir(parents=True)
    (deep / "test_it.py").write_text("assert True\n")
    with scene.walls(scene.plan(read_only=(deep / "test_it.py",))) as walled:
        for attempt in (
            "echo x > tests/unit/test_it.py",
            "rm -f tests/unit/test_it.py",
            "mv tests/unit/test_it.py x",
            "echo x > y && mv y tests/unit/test_it.py",
            "mv tests/unit tests/other",
            "mv tests other",
            "ln -f y tests/unit/test_it.py",
            "chmod 777 tests/unit/test_it.py",
            "umount tests/unit/test_it.py",
            "umount -l tests/unit/test_it.py",
            "mount -o remount,bind,rw tests/unit/test_it.py",
            "mount -t tmpfs none tests",
            "unshare -rm sh -c 'umount tests/unit/test_it.py'",
            "unshare -rm sh -c 'mount -o remount,bind,rw tests/unit/test_it.py'",
        ):
            assert "done" not in walled.sh(f"{attempt} && echo done"), attempt
        assert walled.sh("echo new > tests/unit/test_new.py && cat tests/unit/*") == "assert True\nnew\n"
    assert (deep / "test_it.py").read_text() == "assert True\n"
    assert (deep / "test_it.py").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be in somebody else's workspace and write there")
def test_root_writes_in_somebody_elses_workspace_and_nowhere_else(scene):
    (scene.workspace / "theirs").write_text("as it was\n")
    for path in (scene.workspace, scene.workspace / "theirs", scene.home / ".ssh" / "id"):
        os.chown(path, 12_345, 12_345)
    kept = scene.workspace / "kept"
    kept.write_text("as it was\n")
    with scene.walls(scene.plan(read_only=(kept,))) as walled:
        assert walled.sh("echo changed > theirs; echo made > new; cat theirs new") == "changed\nmade\n"
        for attempt in (
            "echo x > kept",
            "cat ~/.ssh/id",
            "mknod /tmp/disk b 8 0",
            "mount -t tmpfs none /mnt",
            "mount -o remount,rw /proc",
            "umount kept",
            "was=$(cat /proc/sys/vm/swappiness) && echo $was > /proc/sys/vm/swappiness",
            "cat /proc/kcore",
            "chroot /proc/1/root true",
        ):
            assert "done" not in walled.sh(f"{attempt} && echo done"), attempt
    assert kept.read_text() == "as it was\n"


def test_a_workspace_can_be_read_only_as_a_whole(scene):
    (scene.workspace / "file").write_text("as it was")
    with scene.walls(scene.plan(read_only=(scene.workspace,))) as walled:
        assert walled.sh("cat file; echo x > file; echo x > new").startswith("as it was")
    assert (scene.workspace / "file").read_text() == "as it was"
    assert not (scene.workspace / "new").exists()


def test_what_is_hidden_is_empty_inside_and_untouched_outside(scene):
    (scene.workspace / ".env").write_text("KEY=1\n")
    (scene.workspace / "keys").mkdir()
    (scene.workspace / "keys" / "one").write_text("KEY=2\n")
    plan = scene.plan(hidden=(scene.workspace / ".env", scene.workspace / "keys"))
    with scene.walls(plan) as walled:
        assert walled.sh("cat .env; ls keys") == ""
        walled.sh("mv .env moved; rm -f .env; mv keys moved; echo y > .env; umount .env keys; unshare -rm umount .env")
        assert walled.sh("unshare -rm sh -c 'umount .env; umount keys; cat .env; ls keys' 2>/dev/null") == ""
        assert walled.sh("cat .env; ls keys") == ""
    assert (scene.workspace / ".env").read_text() == "KEY=1\n"
    assert (scene.workspace / "keys" / "one").read_text() == "KEY=2\n"


def test_a_link_where_a_file_is_to_be_hidden_leads_no_mount_elsewhere(scene):
    (scene.workspace / "real").mkdir()
    (scene.workspace / "real" / ".env").write_text("KEY=1\n")
    (scene.workspace / "sub").symlink_to("real")
    (scene.workspace / ".env").symlink_to("/etc/hostname")
    plan = scene.plan(hidden=(scene.workspace / ".env", scene.workspace / "sub" / ".env"))
    with scene.walls(plan) as walled:
        assert walled.sh("echo on") == "on\n"


def test_commands_of_one_sandbox_share_loopback_and_tmp_and_the_next_one_has_neither(scene):
    serve = "python3 -m http.server 8123 --bind 127.0.0.1 >/dev/null 2>&1 & echo hello > /tmp/shared; wait"
    get = (
        "import time, urllib.request as u\nfor _ in range(200):\n try:\n"
        "  print(u.urlopen('http://127.0.0.1:8123').status); break\n except OSError: time.sleep(0.05)"
    )
    with scene.walls(scene.plan()) as walled:
        server = walled.commands.prepare(["/bin/sh", "-c", serve], scene.workspace)
        server.go()
        assert walled.sh(f'python3 -c "{get}"; cat /tmp/shared') == "200\nhello\n"
        server.abandon()
    with scene.walls(scene.plan()) as walled:
        assert "No such file" in walled.sh("cat /tmp/shared")


def test_nothing_on_this_machines_network_answers(scene):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        knock = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {port})))"
        with scene.walls(scene.plan()) as walled:
            assert walled.sh(f'python3 -c "{knock}"') == "111\n"
        with scene.walls(scene.plan(network="open")) as walled:
            assert walled.sh(f'python3 -c "{knock}"') == "0\n"


def test_home_is_private_and_lasts_from_one_sandbox_to_the_next(scene):
    (scene.home / ".bashrc").write_text("mine\n")
    with scene.walls(scene.plan()) as walled:
        assert "No such file" in walled.sh("cat ~/.bashrc; echo theirs > ~/.bashrc")
    with scene.walls(scene.plan()) as walled:
        assert walled.sh("cat $HOME/.bashrc; echo $HOME $TMPDIR") == f"theirs\n{scene.home} /tmp\n"
    assert (scene.home / ".bashrc").read_text() == "mine\n"


def test_a_link_left_in_the_private_home_leads_no_mount_out_of_it(scene, tmp_path):
    cache = scene.home / ".cache" / "pip"
    cache.mkdir(parents=True)
    (scene.private / ".cache").symlink_to(f"/oldroot{tmp_path}")
    with scene.walls(scene.plan(caches=(cache,))) as walled:
        assert walled.sh("ls -d ~/.cache/pip") == f"{cache}\n"
    assert not (tmp_path / "pip").exists()


def test_programs_of_path_are_there_with_what_they_are_installed_with(scene):
    installed = scene.home / ".tools" / "v1"
    (installed / "bin").mkdir(parents=True)
    (installed / "bin" / "greet").write_text('#!/bin/sh\ncat "$(dirname "$0")/../lib/word"\n')
    (installed / "bin" / "greet").chmod(0o755)
    (installed / "lib").mkdir()
    (installed / "lib" / "word").write_text("hello\n")
    (installed / "credentials").write_text("SECRET\n")
    path = f"{installed}/bin:{PATH}"
    prefixes = places.prefixes(path, scene.home, workspace=scene.workspace)
    hidden = tuple(places.secrets_in(scene.home, prefixes))
    with scene.walls(scene.plan(prefixes=prefixes, hidden=hidden), path) as walled:
        assert walled.sh("greet") == "hello\n"
        assert walled.sh(f"cat {installed}/credentials") == ""
        assert "Read-only" in walled.sh(f"echo x > {installed}/lib/word")


@pytest.mark.parametrize(
    ("limits", "command", "why"),
    [
        (Limits(processes=60), "for i in $(seq 90); do sleep 20 & done; sleep 20", "60 processes"),
        (
            Limits(memory=80 << 20),
            "python3 -c 'x = b\"x\" * (300 << 20); import time; time.sleep(20)'",
            "MiB of memory",
        ),
        (Limits(max_disk=40 << 20), "dd if=/dev/zero of=big bs=1M count=120; sleep 20", "lost more than 40 MiB"),
    ],
)
def test_what_commands_use_together_is_bounded_and_the_next_command_runs(scene, limits, command, why):
    with scene.walls(scene.plan(limits=limits)) as walled:
        said = walled.sh(command)
        assert walled.ended is not None
        # an ordinary user's next process is refused by the kernel before anybody has looked
        assert why in walled.ended.why or "fork" in said
        (scene.workspace / "big").unlink(missing_ok=True)
        assert walled.sh("echo on") == "on\n"


def test_a_file_grows_no_larger_than_allowed_and_a_process_computes_no_longer(scene):
    with scene.walls(scene.plan(limits=Limits(file_size=1 << 20, cpu_s=1))) as walled:
        walled.sh("dd if=/dev/zero of=big bs=1M count=3")
        assert (scene.workspace / "big").stat().st_size == 1 << 20
        walled.sh("while :; do :; done")
        assert walled.ended is not None
        assert walled.ended.status in {-signal.SIGXCPU, -signal.SIGKILL}


def test_nothing_inside_ends_the_host_or_outlives_it(scene):
    with scene.walls(scene.plan()) as walled:
        walled.sh("kill -9 1; kill -STOP 1; true")
        assert walled.ended is not None
        assert walled.ended.status == 0
        walled.sh("setsid sleep 60 & echo")
        assert walled.ended.left == ("sleep 60",)
        walled.sh("kill -9 -1; sleep 5")
        assert walled.sh("echo on") == "on\n"
        command = walled.commands.prepare(["/bin/sh", "-c", "setsid env -i sleep 61"], scene.workspace)
        command.go()
        inside = leftovers.descendants(walled.commands.host.pid)
        os.kill(walled.commands.host.pid, signal.SIGKILL)
        command.run(lambda _: None, Pace(total_s=10))
        assert len(inside) > 1
        assert eventually(lambda: not any(map(leftovers.start_ticks, inside)))
