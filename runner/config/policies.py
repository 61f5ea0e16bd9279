"""Finds the policy files of a run and makes sure whose they are: a failed check stops the run, and drops nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runner.config.place import expanded
from runner.errors import ConfigError, closest
from runner.policy import examples, signing
from runner.policy.book import Rulebook
from runner.policy.document import MAX_BYTES, Document, is_policy, parse
from runner.policy.merge import merge

ORG = Path("/etc/runner/policies")
VARIABLE = "RUNNER_ORG_POLICIES"
DEFAULT = "default"
PROJECT = "policies"
"""The directory of a repository whose policies tighten its runs."""

SHIPPED = Path(__file__).parent.parent / "policies"
_ENDINGS = (".yaml", ".yml")


def load(
    chosen: str,
    *,
    environ: Mapping[str, str],
    project: Mapping[str, bytes] | None = None,
    workspace: Path | None = None,
    state: Path | None = None,
    org: Path = ORG,
) -> Rulebook:
    """The rulebook of a run: the organisation's files, the `chosen` policy (a shipped name or a path), the project's.

    `project` are files of checkpoint 0 by their path in the workspace. With `workspace`, files inside it are refused
    where only somebody else may write; `state`, runner's own directory, is nothing to tools. Raises ConfigError with
    file, line and column for whatever cannot be used.
    """
    above = above_project(chosen, environ=environ, workspace=workspace, org=org)
    mine, notes = of_project(project or {})
    # the examples of the shipped ones are tried by our own tests
    tried = [each for each in (*above, *mine) if each.source.path != f"{chosen}.yaml"]
    examples.check([rule for each in tried for rule in each.rules])
    own = "" if state is None else _as_in_facts(state.resolve(), workspace)
    merged = merge([*above, *mine], home=environ.get("HOME", ""), state=own)
    return replace(merged, notes=(*merged.notes, *notes)) if notes else merged


def _as_in_facts(place: Path, workspace: Path | None) -> str:
    """A path as the facts of a call have it: relative in the workspace, else absolute."""
    root = None if workspace is None else workspace.resolve()
    return str(place.relative_to(root) if root is not None and place.is_relative_to(root) else place)


def above_project(
    chosen: str, *, environ: Mapping[str, str], workspace: Path | None = None, org: Path = ORG
) -> list[Document]:
    """The organisation's policies and the `chosen` one. `default` is for where nobody says anything: no layer there."""
    documents = organisation(environ, workspace=workspace, org=org)
    if documents and chosen == DEFAULT:
        return documents
    return [*documents, chosen_document(chosen, workspace=workspace)]


def organisation(environ: Mapping[str, str], *, workspace: Path | None = None, org: Path = ORG) -> list[Document]:
    """The organisation's policies: those of `org`, and of the directory that a variable adds."""
    found: list[Document] = []
    if org.exists() or org.is_symlink():
        # who can write the directory above can put another in its place
        _owned(org.parent.stat(), org.parent, frozenset({0}))
        found = _directory(org, "org", owners=frozenset({0}))
    if added := environ.get(VARIABLE, "").strip():
        place = expanded(Path(added)).absolute()
        _outside(place, workspace, VARIABLE)
        more = _directory(place, "extra", owners=frozenset({0, os.getuid()}))
        if not more:
            raise ConfigError(f"{VARIABLE} names a directory without policies", path=place, hint="unset it, or add one")
        found += more
    return found


def shipped() -> tuple[str, ...]:
    """The names of the policies that come with runner."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def chosen_document(chosen: str, *, workspace: Path | None = None) -> Document:
    """The policy somebody named: a shipped one by its name, a file by its path."""
    if "/" not in chosen and not chosen.endswith(_ENDINGS):
        if chosen in shipped():
            tree = SHIPPED / "trees" / f"{chosen}.json"
            read_ahead = tree.read_bytes() if tree.is_file() else b""
            return parse(_text(SHIPPED / f"{chosen}.yaml"), f"{chosen}.yaml", "user", tree=read_ahead)
        near = closest(chosen, shipped())
        hint = f"did you mean '{near}'?" if near else f"shipped: {', '.join(shipped())}; name a file by its path"
        raise ConfigError(f"there is no policy {chosen!r}", hint=hint)
    place = expanded(Path(chosen)).absolute()
    _outside(place, workspace, "the policy of a run")
    return parse(_text(place), str(place), "user")


def of_project(files: Mapping[str, bytes]) -> tuple[list[Document], list[str]]:
    """The repository's own policies among its files, and what to say of those that are none of a project's."""
    found: list[Document] = []
    notes: list[str] = []
    for path, data in sorted(files.items()):
        folder, _, name = path.rpartition("/")
        if folder != PROJECT or not name.endswith(_ENDINGS):
            continue
        text = data.decode("utf-8", "replace")
        if not is_policy(text, path):
            continue
        document = parse(text, path, "project")
        if document.scope == "project":
            found.append(document)
        else:
            notes.append(f"{path} is not used: its scope is {document.scope}, and a repository's own says 'project'")
    return found, notes


def _outside(place: Path, workspace: Path | None, what: str) -> None:
    if workspace is not None and place.resolve().is_relative_to(workspace.resolve()):
        raise ConfigError(
            f"{what} is in the workspace, where an agent can write",
            path=place,
            hint=f"keep it elsewhere; a repository's own policies stand in {PROJECT}/ and say 'scope: project'",
        )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decoded(file.read(MAX_BYTES + 1), path)
    except OSError as error:
        raise ConfigError(f"this policy cannot be read: {error.strerror}", path=path, hint="check its path") from None


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("this policy is not UTF-8", path=path, line=line, hint="save it as UTF-8") from None


# ---- the organisation's directory ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A directory of policies, opened: whatever its name leads to later, these are its files."""

    handle: int
    place: Path
    layer: str
    owners: frozenset[int]
    names: tuple[str, ...]


def _directory(place: Path, layer: str, *, owners: frozenset[int]) -> list[Document]:
    """The policies of a directory nobody but its owners can write; the same is asked of each file, or a signature."""
    handle = _opened(place)
    try:
        _owned(os.fstat(handle), place, owners)
        names = tuple(sorted(os.listdir(handle)))  # noqa: PTH208  of the directory that was looked at
        folder = _Folder(handle=handle, place=place, layer=layer, owners=owners, names=names)
        keys = _keys(folder) if any(name.endswith(".sig") for name in names) else {}
        return [_document(folder, name, keys) for name in names if name.endswith(_ENDINGS)]
    finally:
        os.close(handle)


def _document(folder: _Folder, name: str, keys: Mapping[str, bytes]) -> Document:
    data, about = _file(folder.handle, name, folder.place)
    path = folder.place / name
    signer = ""
    if f"{name}.sig" in folder.names:
        signature, _ = _file(folder.handle, f"{name}.sig", folder.place)
        signer = signing.verify(data, signature.decode("utf-8", "replace"), keys, str(path))
    else:
        _owned(about, path, folder.owners)
    document = parse(_decoded(data, path), str(path), folder.layer, signed_by=signer)
    if document.scope not in {folder.layer, "org"}:
        raise ConfigError(
            f"a policy of the organisation whose scope is {document.scope}",
            path=path,
            line=1,
            column=1,
            hint="write 'scope: org'",
        )
    return document


def _keys(folder: _Folder) -> dict[str, bytes]:
    """The keys that may have signed: `keys/NAME.pub`, owned as the directory is."""
    place = folder.place / "keys"
    try:
        handle = os.open("keys", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.handle)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(place, error) from None
    try:
        _owned(os.fstat(handle), place, folder.owners)
        found: dict[str, bytes] = {}
        for name in sorted(os.listdir(handle)):  # noqa: PTH208  of the directory that was looked at
            if name.endswith(".pub"):
                found[name.removesuffix(".pub")], about = _file(handle, name, place)
                _owned(about, place / name, folder.owners)
        return found
    finally:
        os.close(handle)


def _opened(place: Path) -> int:
    try:
        return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(place, error) from None


def _unreadable(place: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the organisation's policy cannot be read: {error.strerror}",
        path=place,
        line=1,
        column=1,
        hint="it must be there, readable, and no symbolic link; nothing runs without it",
    )


def _file(handle: int, name: str, place: Path) -> tuple[bytes, os.stat_result]:
    """A file's bytes and what is known of it, both of the very same file."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle)
        with os.fdopen(opened, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise _unreadable(place / name, OSError(0, "it is no regular file"))
            return file.read(MAX_BYTES + 1), about
    except OSError as error:
        raise _unreadable(place / name, error) from None


def _owned(about: os.stat_result, place: Path, owners: frozenset[int]) -> None:
    if about.st_uid not in owners:
        whose = " or ".join(f"uid {uid}" for uid in sorted(owners))
        raise ConfigError(
            f"the organisation's policy belongs to uid {about.st_uid}",
            path=place,
            line=1,
            column=1,
            hint=f"it must belong to {whose}: chown {min(owners)} {place}",
        )
    if about.st_mode & 0o022:
        who = "its group" if about.st_mode & 0o020 else "everybody"
        raise ConfigError(
            f"the organisation's policy can be written by {who} (mode {stat.S_IMODE(about.st_mode):04o})",
            path=place,
            line=1,
            column=1,
            hint=f"chmod go-w {place}",
        )
