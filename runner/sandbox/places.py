"""Which parts of this machine commands need: where programs of PATH are installed, caches, and what is nobody's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
"""Read-only for everybody; those that are links of the machine stay links."""

ETC = (
    *("alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version", "default/locale"),
    *("fonts", "gai.conf", "group", "host.conf", "hosts", "inputrc", "java", "ld.so.cache", "ld.so.conf"),
    *("ld.so.conf.d", "locale.alias", "locale.conf", "localtime", "lsb-release", "magic", "mime.types", "networks"),
    *("nsswitch.conf", "os-release", "passwd", "perl", "pki/tls/certs", "pki/ca-trust", "protocols", "redhat-release"),
    *("resolv.conf", "rpc", "services", "shells", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone", "xdg"),
)
"""What programs look up in /etc. The rest of it is about this machine and its people (shadow, ssh, sudoers)."""

CACHES = (
    *(".cache/pip", ".cache/ms-playwright", ".npm/_cacache", ".cargo/registry", ".cargo/git", "go/pkg/mod"),
    ".m2/repository",
)
"""Below HOME: what package managers keep of public packages and can use without writing (uv and Gradle cannot)."""

SECRETS = (
    *(".ssh", ".aws", ".azure", ".gnupg", ".kube", ".docker", ".config/gcloud", ".config/gh", ".config/hub"),
    *(".netrc", ".npmrc", ".pypirc", ".git-credentials", ".cargo/credentials", ".cargo/credentials.toml", ".pgpass"),
    *(".local/share/keyrings", ".password-store", ".config/op", ".terraform.d", ".vault-token", ".mozilla"),
    *(".config/google-chrome", ".config/chromium", ".config/rclone", ".gem/credentials", ".config/git/credentials"),
    *(".bash_history", ".zsh_history", ".python_history", ".psql_history"),
)
"""Below HOME: what must be hidden where HOME, or a part of it, is the workspace."""

_BESIDE = (
    *(".rustup", ".local/lib", ".local/share/uv", ".local/share/pipx/venvs", ".local/pipx/venvs", ".local/share/mise"),
    *(".local/share/pnpm", ".local/share/rtx", ".sdkman/candidates"),
)
"""Below HOME: where installers keep what the programs that they put on PATH start."""

_PROGRAMS = frozenset({"bin", "sbin", "shims", "condabin"})
_SECRETS_OF_A_PREFIX = ("credentials", "credentials.toml", ".env", ".netrc", ".npmrc", ".pypirc", "etc/npmrc")


def base() -> Iterator[Path]:
    """The machine's own directories that exist and are no links, and what of /etc exists."""
    for name in SYSTEM:
        path = Path(name)
        if path.is_dir() and not path.is_symlink():
            yield path
    for name in ETC:
        path = Path("/etc") / name
        if path.exists():
            yield path


def links() -> Iterator[tuple[str, Path]]:
    """Links among the machine's own directories (`/bin -> usr/bin`), as (what they say, where they are)."""
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield str(path.readlink()), path


def interpreter() -> tuple[Path, ...]:
    """What the interpreter of runner, which starts the commands, needs."""
    return Path(sys.base_prefix).resolve(), Path(os.path.realpath(sys.executable)).parent.parent


def prefixes(path: str, home: Path, *, workspace: Path) -> tuple[Path, ...]:
    """Where the programs of PATH are installed: each directory of it with its prefix, and what links in it lead to.

    The prefix of `…/bin` is the directory above; but where HOME lies in that, or it is `~/.local`, it holds other
    things as well: then it is the directory alone. Directories of the system, and of the workspace, are left out.
    """
    found: dict[Path, None] = {}
    for word in path.split(os.pathsep):
        place = Path(word)
        if not place.is_absolute() or not place.is_dir():
            continue
        place = place.resolve()
        for directory in (place, *(() if _is_system(place) else _leads_to(place))):
            for each in _installed(directory, home):
                found[each] = None
    for name in _BESIDE:
        if (beside := home / name).is_dir():
            found[beside.resolve()] = None
    return tuple(one for one in found if not _is_system(one) and not one.is_relative_to(workspace))


def secrets_in(home: Path, shown: Iterable[Path]) -> Iterator[Path]:
    """What is nobody's business and lies in one of the directories that are `shown`."""
    shown = tuple(shown)
    wanted = [home / name for name in SECRETS]
    wanted += [prefix / name for prefix in shown for name in _SECRETS_OF_A_PREFIX]
    for path in dict.fromkeys(wanted):
        if any(path.is_relative_to(each) for each in shown) and path.exists():
            yield path


def _installed(place: Path, home: Path) -> Iterator[Path]:
    above = place.parent
    if place.name in _PROGRAMS and above not in {home / ".local", Path("/")} and not home.is_relative_to(above):
        yield above
    elif not home.is_relative_to(place):
        yield place


def _leads_to(place: Path) -> Iterator[Path]:
    """The directories in which links of a directory of programs end."""
    try:
        with os.scandir(place) as entries:
            names = [entry.path for entry in entries if entry.is_symlink()]
    except OSError:
        return
    targets = (Path(os.path.realpath(name)) for name in names)
    yield from dict.fromkeys(target.parent for target in targets if target.parent != place and target.exists())


def _is_system(path: Path) -> bool:
    return any(path.is_relative_to(name) for name in SYSTEM)
