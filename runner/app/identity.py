"""Names for what money is counted for: run, spec, project and user."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import pwd
import secrets

from runner.errors import RunnerError
from runner.spec.discover import STDIN_PATH, TEXT_PATH
from runner.values import Ms, Scope, ScopeKind
from runner.workspace.shadow import ShadowWorkspace


def new_run_id(now: Ms) -> str:
    """A run's id: its start in UTC and six random hex digits: ids sort by age, and a batch has no twins."""
    when = dt.datetime.fromtimestamp(now / 1000, tz=dt.UTC)
    return f"{when:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def spec_key(path: str, text: str) -> str:
    """What makes two starts the same spec: its file, or its words where it has none."""
    named = text if path in {TEXT_PATH, STDIN_PATH} else os.path.realpath(path)
    return hashlib.sha256(f"{path in {TEXT_PATH, STDIN_PATH}}:{named}".encode()).hexdigest()[:16]


def user() -> str:
    """The operating system's name of whoever runs this process; the environment has no say."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def owner() -> str:
    """Whoever runs this process, as records name who a run is for: `alice (uid 1000)`."""
    return f"{user()} (uid {os.getuid()})"


def project(workspace: ShadowWorkspace, configured: str | None) -> str:
    """The project: as configured, else the repository's first commit, else the canonical path."""
    if configured:
        return configured
    return first_commit(workspace) or str(workspace.root)


def first_commit(workspace: ShadowWorkspace) -> str | None:
    """The oldest root commit HEAD descends from, read through the shadow directory; None where nobody can say.

    A shallow clone has no first commit of its own, so it has none here.
    """
    repository = workspace.repository
    if repository is None or repository.is_sha256 or (repository.common / "shallow").exists():
        return None
    _, head = repository.head()
    if head is None:
        return None
    alternates = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fspath(repository.objects)}
    try:
        workspace.git.create()
        roots = workspace.git.run("rev-list", "--max-parents=0", "--date-order", head, env=alternates)
    except RunnerError:
        return None
    return roots.decode().split()[-1] if roots.split() else None


def scopes(*, run: str, spec: str, project: str, user: str, model: str) -> tuple[Scope, ...]:
    """Everything the calls of a run are counted for."""
    return (
        Scope(ScopeKind.RUN, run),
        Scope(ScopeKind.SPEC, spec),
        Scope(ScopeKind.PROJECT, project),
        Scope(ScopeKind.USER, user),
        Scope(ScopeKind.MODEL, model),
    )
