"""The system calls that commands are refused, as a seccomp filter: what no other wall stands in front of.

Behind every wall, with EPERM: the keys that the kernel keeps for a user (Kerberos tickets, keys of file systems), which
no namespace hides; what changes or watches the kernel itself (BPF, perf, modules, kexec); typing into a terminal
(TIOCSTI).

Behind Landlock, which knows of files, TCP ports, signals and tracing alone, also:

- sockets of every kind but TCP (and the kernel's answers about routes): no UDP, no raw packets, and no Unix sockets by
  name, because a session bus (`systemd-run --user`) or `docker.sock` is a way out. Pairs of sockets stay. Connecting
  with the first bytes sent (MSG_FASTOPEN), which Landlock's ports do not see. io_uring, which makes sockets without a
  system call: ENOSYS, programs know another way then;
- limits of other processes, new user namespaces and mounting.

Sources: seccomp(2), bpf(4) of the kernel's `linux/filter.h`, and the tables of system calls of the two architectures.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass

_LOAD, _AND, _IF_EQUAL, _IF_ANY_BIT, _IF_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCHITECTURE = 0, 4
_AF_INET, _AF_INET6, _AF_NETLINK = 2, 10, 16
_SOCK_STREAM, _SOCK_DGRAM, _KIND_OF_SOCKET = 1, 2, 0xF
_TCP, _UDP = 6, 17
_CLONE_NEWUSER = 0x10000000
_MSG_FASTOPEN = 0x20000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_X32 = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """Numbers of system calls of an architecture (`audit` is its name; `send`: sendto, sendmsg, sendmmsg)."""

    audit: int
    socket: int
    ioctl: int
    prlimit: int
    send: tuple[int, int, int]
    clone: int
    unshare: int
    kernel: tuple[int, ...]
    spaces: tuple[int, ...]


# clone3 hides its flags from a filter; io_uring makes sockets without one. Both have a way that programs fall back to.
_MISSING = (435, 425, 426, 427)
# open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
_NEWER = (428, 429, 430, 431, 432, 433, 442)

_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        socket=41,
        ioctl=16,
        prlimit=302,
        send=(44, 46, 307),
        clone=56,
        unshare=272,
        # bpf, perf_event_open, userfaultfd, keyctl, add_key, request_key, init_module, finit_module, delete_module,
        # kexec_load, kexec_file_load, reboot, swapon, swapoff, syslog, acct, quotactl, open_by_handle_at
        kernel=(321, 298, 323, 250, 248, 249, 175, 313, 176, 246, 320, 169, 167, 168, 103, 163, 179, 304),
        # mount, umount2, pivot_root, chroot, setns
        spaces=(165, 166, 155, 161, 308, *_NEWER),
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        socket=198,
        ioctl=29,
        prlimit=261,
        send=(206, 211, 269),
        clone=220,
        unshare=97,
        kernel=(280, 241, 282, 219, 217, 218, 105, 273, 106, 104, 294, 142, 224, 225, 116, 89, 60, 265),
        spaces=(40, 39, 41, 51, 268, *_NEWER),
    ),
}


def supported() -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return platform.machine() in _MACHINES


def program(sockets: str, *, machine: str = "") -> bytes:
    """The filter behind Landlock, as instructions of 8 bytes. `sockets` that may be made: `none`, `tcp`, or `any`.

    Raises KeyError for an architecture that is not `supported`.
    """
    calls = _MACHINES[machine or platform.machine()]
    lines = _begun(calls)
    lines.refuse(calls.spaces, _EPERM)
    lines.refuse(_MISSING, _ENOSYS)
    for number in (calls.clone, calls.unshare):
        lines.block(number, [(_LOAD, _argument(0), 0, 0), (_IF_ANY_BIT, _CLONE_NEWUSER, 0, 1), _NO, _YES])
    lines.block(calls.prlimit, [(_LOAD, _argument(0), 0, 0), (_IF_EQUAL, 0, 1, 0), _NO, _YES])
    for number, flags in zip(calls.send, (3, 2, 3), strict=True):
        lines.block(number, [(_LOAD, _argument(flags), 0, 0), (_IF_ANY_BIT, _MSG_FASTOPEN, 0, 1), _NO, _YES])
    lines.block(calls.socket, _sockets(sockets))
    lines.add(_RETURN, _ALLOW)
    return lines.code


def kernel_alone(*, machine: str = "") -> bytes:
    """The filter behind walls that have namespaces; empty for an architecture that is not `supported`."""
    calls = _MACHINES.get(machine or platform.machine())
    if calls is None:
        return b""
    lines = _begun(calls)
    lines.add(_RETURN, _ALLOW)
    return lines.code


def _begun(calls: _Machine) -> _Lines:
    """What every filter begins with."""
    lines = _Lines()
    lines.add(_LOAD, _ARCHITECTURE)
    lines.add(_IF_EQUAL, calls.audit, then=1)
    lines.add(_RETURN, _KILL)
    lines.add(_LOAD, _NUMBER)
    if calls.audit == _MACHINES["x86_64"].audit:
        # another way to call the same kernel, with numbers of its own
        lines.add(_IF_AT_LEAST, _X32, otherwise=1)
        lines.add(_RETURN, _ERRNO | _ENOSYS)
    lines.refuse(calls.kernel, _EPERM)
    lines.block(
        calls.ioctl,
        [(_LOAD, _argument(1), 0, 0), (_IF_EQUAL, _TIOCSTI, 1, 0), (_IF_EQUAL, _TIOCLINUX, 0, 1), _NO, _YES],
    )
    return lines


def _sockets(which: str) -> list[tuple[int, int, int, int]]:
    """What is allowed of socket(2): TCP, perhaps UDP, and questions about routes; or none."""
    if which == "none":
        return [_NO]
    kind, protocol = (_SOCK_DGRAM, _UDP) if which == "any" else (_SOCK_STREAM, _TCP)
    return [
        (_LOAD, _argument(0), 0, 0),
        (_IF_EQUAL, _AF_INET, 4, 0),
        (_IF_EQUAL, _AF_INET6, 3, 0),
        (_IF_EQUAL, _AF_NETLINK, 0, 11),
        (_LOAD, _argument(2), 0, 0),
        (_IF_EQUAL, 0, 8, 9),
        (_LOAD, _argument(1), 0, 0),
        (_AND, _KIND_OF_SOCKET, 0, 0),  # without the flags for close-on-exec and non-blocking
        (_IF_EQUAL, _SOCK_STREAM, 1, 0),
        (_IF_EQUAL, kind, 0, 5),
        # a stream of another protocol (MPTCP, SCTP) is none of the ports that Landlock watches
        (_LOAD, _argument(2), 0, 0),
        (_IF_EQUAL, 0, 2, 0),
        (_IF_EQUAL, _TCP, 1, 0),
        (_IF_EQUAL, protocol, 0, 1),
        _YES,
        _NO,
    ]


_YES = (_RETURN, _ALLOW, 0, 0)
_NO = (_RETURN, _ERRNO | _EPERM, 0, 0)


def _argument(index: int) -> int:
    """Where the low half of an argument of the system call lies (both architectures are little-endian)."""
    return 16 + 8 * index


class _Lines:
    """Instructions, one after the other; jumps only go forward."""

    def __init__(self) -> None:
        self.code = b""

    def add(self, code: int, value: int, *, then: int = 0, otherwise: int = 0) -> None:
        self.code += struct.pack("=HBBI", code, then, otherwise, value)

    def refuse(self, numbers: tuple[int, ...], error: int) -> None:
        for number in numbers:
            self.add(_IF_EQUAL, number, otherwise=1)
            self.add(_RETURN, _ERRNO | error)

    def block(self, number: int, instructions: list[tuple[int, int, int, int]]) -> None:
        """Judge one system call by its arguments; the instructions must all end in a return."""
        self.add(_IF_EQUAL, number, otherwise=len(instructions))
        for code, value, then, otherwise in instructions:
            self.add(code, value, then=then, otherwise=otherwise)
