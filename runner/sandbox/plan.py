"""What a sandbox lets in, in the same words for every backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runner.sandbox.proxy import FORWARDER, variables

PROCESSES = 1_024
"""Processes and threads at a time, where nobody said otherwise: a compiler on many cores needs hundreds."""
FILE_SIZE = 20 << 30
MAX_DISK = 20 << 30
TEMPORARY = 2 << 30
"""Bytes that /tmp and other directories in memory hold, each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the commands of one sandbox may use together, in bytes and counts; None is no limit.

    `file_size` and `cpu_s` (seconds of CPU) hold for each process and file. `max_disk` is how much free space the
    workspace's file system may lose while one sandbox lives; `temporary` is the size of /tmp.
    """

    memory: int | None = None
    processes: int | None = PROCESSES
    file_size: int | None = FILE_SIZE
    cpu_s: int | None = None
    max_disk: int | None = MAX_DISK
    temporary: int = TEMPORARY

    def orders(self, places: Iterable[Path]) -> tuple[str, ...]:
        """The limits as the host reads them on its command line; it watches the file systems of `places`."""
        named = {
            "memory": self.memory,
            "processes": self.processes,
            "tasks": self.processes,
            "file_size": self.file_size,
            "cpu_s": self.cpu_s,
            "max_disk": self.max_disk,
        }
        found = [f"{name}={value}" for name, value in named.items() if value is not None]
        return (*found, *(f"place={place}" for place in dict.fromkeys(places)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What commands may see and do. Paths are absolute and resolved; what is not listed does not exist for them.

    `workspace` and `writable` are writable, but for what lies in them of `read_only` and `hidden`. `read_only` may also
    be outside. `hidden` exist and are empty. `prefixes` are where programs are installed, `caches` what package
    managers keep: both read-only, `caches` writable where `caches_writable`. `user_home` is the path of HOME;
    what is there instead is the directory `home`, or nothing that lasts where it is None.
    `network` is `none` (loopback alone), `proxy` (loopback, whose `proxy_port` leads to the unix socket `proxy`) or
    `open`.
    `given` are variables that every command finds besides.
    `run_as` is the user that root's commands run as where the backend cannot hold root; "" is nobody.
    """

    workspace: Path
    user_home: Path
    home: Path | None = None
    writable: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    prefixes: tuple[Path, ...] = ()
    caches: tuple[Path, ...] = ()
    caches_writable: bool = False
    network: str = "none"
    proxy: Path | None = None
    proxy_port: int = 0
    given: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Limits = Limits()
    run_as: str = ""

    @property
    def forwarder(self) -> tuple[str, ...]:
        """What goes before the host on its command line where the proxy is the way out."""
        there = self.network == "proxy" and self.proxy is not None
        return (str(FORWARDER), str(self.proxy_port), str(self.proxy)) if there else ()

    @property
    def variables(self) -> dict[str, str]:
        """What every command finds in its environment because of the network it has."""
        return {**self.given, **(variables(self.proxy_port) if self.network == "proxy" else {})}

    @property
    def writes(self) -> Iterator[Path]:
        """Directories and files that are writable, whatever lies in them."""
        yield from (path for path in (self.workspace, *self.writable) if path not in self.read_only)
        if self.home is not None:
            yield self.home
        if self.caches_writable:
            yield from self.caches
