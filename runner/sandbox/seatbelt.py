"""Seatbelt: walls of macOS, from what its manual pages and Apple's own profiles say. Never tried on a Mac.

The text of the profile is tested, its effect is not: whoever runs it is told so.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from runner.sandbox.plan import Plan
from runner.sandbox.process import HOST, Launch

PROGRAM = Path("/usr/bin/sandbox-exec")
_READ = ("/usr", "/bin", "/sbin", "/System", "/Library", "/private/etc", "/private/var/db/timezone", "/opt", "/dev")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx")
_BASE = """\
(version 1)
(deny default)
(allow process-exec process-fork)
(allow signal (target same-sandbox))
(allow process-info* (target same-sandbox))
(allow sysctl-read)
(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo"))
(allow ipc-posix-sem)
(allow file-read-metadata)
"""
_LOOPBACK = """\
(allow network-bind network-inbound (local ip "localhost:*"))
(allow network-outbound (remote ip "localhost:*"))
"""


def profile(plan: Plan) -> str:
    """What commands may do, in the profile language of sandbox-exec(1). Of two rules that match, the later counts."""
    readable = [Path(name) for name in _READ]
    readable += [Path(sys.base_prefix).resolve(), HOST.parent, *plan.prefixes, *plan.caches, *plan.read_only]
    writable = [*plan.writes, Path(tempfile.gettempdir()).resolve()]
    lines = [_BASE]
    lines += [f"(allow file-read* {_below(path)})\n" for path in readable]
    lines += [f"(allow file-read* file-write* (literal {_quoted(name)}))\n" for name in _DEVICES]
    lines += [f"(allow file-read* file-write* {_below(path)})\n" for path in writable]
    lines += [f"(deny file-write* {_below(path)})\n" for path in plan.read_only]
    lines += [f"(deny file-read* file-write* {_below(path)})\n" for path in plan.hidden]
    lines.append("(allow network*)\n" if plan.network == "open" else _LOOPBACK)
    if plan.proxy is not None:
        lines.append(f"(allow network-outbound (remote unix-socket (path-literal {_quoted(str(plan.proxy))})))\n")
    return "".join(lines)


def launch(plan: Plan, env: Mapping[str, str]) -> Launch:
    """How the host is started behind these walls."""
    inner = (os.path.realpath(sys.executable), "-I", "-S", str(HOST), *plan.limits.orders(plan.writes))
    home = f"set=HOME={plan.home or plan.user_home}"
    return Launch(argv=(str(PROGRAM), "-p", profile(plan), *inner, home), env=env)


def _below(path: Path) -> str:
    return f"(subpath {_quoted(str(path))})"


def _quoted(text: str) -> str:
    """A string of the profile's language: a path must not end it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
