"""The text of a Seatbelt profile. Nobody tried it on a Mac: this is all that is known of it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from runner.sandbox import gaps, seatbelt
from runner.sandbox.plan import Plan

PLAN = Plan(
    workspace=Path("/Users/ann/project"),
    user_home=Path("/Users/ann"),
    home=Path("/Users/ann/state/home"),
    read_only=(Path("/Users/ann/project/.git/hooks"),),
    hidden=(Path("/Users/ann/project/.env"),),
    prefixes=(Path("/Users/ann/.pyenv"),),
)


def lines(plan: Plan) -> list[str]:
    return seatbelt.profile(plan).splitlines()


def test_everything_is_denied_that_no_rule_allows():
    assert lines(PLAN)[:2] == ["(version 1)", "(deny default)"]
    allowed = [line for line in lines(PLAN) if "file-write" in line and line.startswith("(allow")]
    assert '(allow file-read* file-write* (subpath "/Users/ann/project"))' in allowed
    assert not any('"/Users/ann"' in line for line in lines(PLAN))
    assert '(allow file-read* (subpath "/Users/ann/.pyenv"))' in lines(PLAN)


def test_what_is_protected_or_hidden_is_denied_after_the_workspace_was_allowed():
    text = lines(PLAN)
    workspace = text.index('(allow file-read* file-write* (subpath "/Users/ann/project"))')
    assert text.index('(deny file-write* (subpath "/Users/ann/project/.git/hooks"))') > workspace
    assert text.index('(deny file-read* file-write* (subpath "/Users/ann/project/.env"))') > workspace


def test_only_loopback_is_reached_and_the_proxy_where_there_is_one():
    network = [line for line in lines(PLAN) if "network" in line]
    assert network == [
        '(allow network-bind network-inbound (local ip "localhost:*"))',
        '(allow network-outbound (remote ip "localhost:*"))',
    ]
    way_out = replace(PLAN, network="proxy", proxy=Path("/tmp/p.sock"), proxy_port=4000)
    assert '(allow network-outbound (remote unix-socket (path-literal "/tmp/p.sock")))' in lines(way_out)
    assert "(allow network*)" in lines(replace(PLAN, network="open"))


def test_a_path_cannot_end_its_string():
    evil = replace(PLAN, workspace=Path('/Users/ann/x"))(allow default)("\\'))
    assert '(subpath "/Users/ann/x\\"))(allow default)(\\"\\\\")' in seatbelt.profile(evil)
    assert "(allow default)" not in lines(evil)


def test_commands_have_their_own_home_and_the_host_is_started_by_sandbox_exec():
    launch = seatbelt.launch(PLAN, {"A": "b"})
    assert launch.argv[:2] == ("/usr/bin/sandbox-exec", "-p")
    assert launch.argv[-1] == "set=HOME=/Users/ann/state/home"
    assert launch.env == {"A": "b"}


def test_whoever_gets_it_is_told_that_it_was_never_tried():
    assert "never tried on a Mac" in gaps.said("seatbelt", own=True, abi=0)


def test_windows_is_told_of_wsl_2():
    script = "import sys; sys.platform = 'win32'; from runner.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "WSL 2" in done.stderr
