"""Which policy a run goes by: loaded and pinned once; the project's own layer is that of checkpoint 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from runner import config
from runner.config import Settings, policies
from runner.events.facts import PolicyPinned
from runner.policy.book import Rulebook
from runner.policy.document import Document
from runner.policy.merge import merge
from runner.ports import Workspace
from runner.values import Limits

_SUFFIXES = (".yaml", ".yml")
_MOST_TEXT = 262_144
_KEYS = {"duration_s": "wall"}


def load(
    environ: Mapping[str, str],
    policy: str | None = None,
    *,
    org: Path | None = None,
    below: Sequence[Document] = (),
) -> Rulebook:
    """The policy that this machine and its user go by, or `policy` in place of the user's. Raises ConfigError.

    `below` are further layers under it.
    """
    chosen = policy or config.load(environ).policy.value
    above = policies.above_project(chosen, environ=environ, org=org or policies.ORG)
    return merge([*above, *below], home=environ.get("HOME", ""))


def deciding(environ: Mapping[str, str], policy: str | None = None, *, org: Path | None = None) -> Rulebook:
    """The policy that calls are decided by, loaded as a run loads it: no rule whose examples fail decides anything."""
    settings = config.load(environ)
    return policies.load(
        policy or settings.policy.value, environ=environ, state=settings.state_dir.value, org=org or policies.ORG
    )


def here(environ: Mapping[str, str], root: Path, *, policy: str | None = None, org: Path | None = None) -> Rulebook:
    """The policy that a new run in `root` would go by, its project's own layer as it lies there now."""
    mine, notes = policies.of_project(_lying(root) or {})
    book = load(environ, policy, org=org, below=mine)
    return replace(book, notes=(*book.notes, *notes))


def alone(policy: str) -> Rulebook:
    """A policy by itself, as if there were no other layer. Raises ConfigError."""
    return merge([policies.chosen_document(policy)], home=str(Path.home()))


def standing(settings: Settings, root: Path) -> Rulebook:
    """The policy of a run in `root`, without its project's own layer. Raises ConfigError for all that is wrong."""
    return policies.load(
        settings.policy.value, environ=settings.environ, workspace=root, state=settings.state_dir.value
    )


def kept(settings: Settings, began_under: Sequence[str]) -> Settings:
    """The settings of a run that goes on: by the policy it began with, unless somebody names another now.

    `began_under` are the run's layers, as `layers` tells them.
    """
    own = [told.removeprefix("user ").rpartition(" sha256:")[0] for told in began_under if told.startswith("user ")]
    if not own or settings.policy.source != "built-in":
        return settings
    name = own[0] if "/" in own[0] else own[0].removesuffix(".yaml")
    return replace(settings, policy=replace(settings.policy, value=name, source="the run"))


def refuse_loosening(settings: Settings, root: Path) -> None:
    """Raise ConfigError where the project's own policy, as it lies there now, could not be used by a new run."""
    if (project := _lying(root)) is not None:
        policies.load(settings.policy.value, environ=settings.environ, project=project, workspace=root)


def _lying(root: Path) -> Mapping[str, bytes] | None:
    """The files of a workspace that can be policies of its own; None when there is none."""
    folder = root / policies.PROJECT
    if folder.is_symlink():
        return None  # so a checkpoint has it: a link, and no files
    found = (path for path in sorted(folder.glob("*")) if path.suffix in _SUFFIXES and path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found} or None


def with_project(settings: Settings, rulebook: Rulebook, workspace: Workspace, tree: str) -> Rulebook:
    """`rulebook` with the project's own layer as a tree has it. Raises ConfigError where that loosens anything."""
    folder = f"{policies.PROJECT}/"
    found = [path for path in workspace.paths(tree) if path.startswith(folder) and path.endswith(_SUFFIXES)]
    if not found:
        return rulebook
    project = workspace.read_many(tree, found)
    return policies.load(
        settings.policy.value,
        environ=settings.environ,
        project=project,
        workspace=workspace.root,
        state=settings.state_dir.value,
    )


def layers(rulebook: Rulebook) -> tuple[str, ...]:
    """What a policy is made of, for people."""
    return tuple(str(source) for source in rulebook.sources)


def pinned(rulebook: Rulebook, sandbox: str) -> PolicyPinned:
    """The fact that a run goes by this policy from here on, its commands held by `sandbox`."""
    text = rulebook.canonical if len(rulebook.canonical) <= _MOST_TEXT else ""
    return PolicyPinned(policy=rulebook.digest, layers=layers(rulebook), sandbox=sandbox, text=text)


def bound(limits: Limits, sources: Mapping[str, str], rulebook: Rulebook) -> tuple[Limits, dict[str, str]]:
    """The tighter of a run's limits and the policy's, one by one, and whose each is."""
    tight: dict[str, int] = {}
    for field in fields(Limits):
        mine: int | None = getattr(limits, field.name)
        theirs: int | None = getattr(rulebook.limits, field.name)
        if theirs is not None and (mine is None or theirs < mine):
            tight[field.name] = theirs
    said = {name: f"policy {_place(rulebook, name)}".rstrip() for name in tight}
    return replace(limits, **tight), {**sources, **said}


def _place(rulebook: Rulebook, name: str) -> str:
    stated = rulebook.settings.get(f"budgets.per_run.{_KEYS.get(name, name)}")
    return stated.place if stated is not None else ""
