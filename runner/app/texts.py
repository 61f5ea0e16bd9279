"""The words around an iteration: the spec as it is now, its checklist, the project's own instructions. All masked."""

from __future__ import annotations

from pathlib import Path

from runner.agent.prompt import INSTRUCTIONS_CAP, Brief, brief_items
from runner.errors import ConfigError
from runner.secrets import Vault
from runner.spec.checklist import checklist, normalised
from runner.spec.discover import read_spec
from runner.spec.frontmatter import split
from runner.spec.model import DEFAULT_PROMISE, Spec
from runner.spec.promise import claims
from runner.state import State

PLANS = ("fix_plan.md", "@fix_plan.md", "IMPLEMENTATION_PLAN.md", ".ralph/fix_plan.md")
INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md")


class WorkspaceTexts:
    """Reads from the workspace at `root`; `spec_file` is the spec if it is a file there, else None."""

    def __init__(self, spec: Spec, *, root: Path, spec_file: Path | None, vault: Vault) -> None:
        self._spec, self._root, self._file, self._vault = spec, root, spec_file, vault

    @property
    def spec_path(self) -> str:
        """The spec's path in the workspace; "" when it is no file there."""
        return "" if self._file is None else self._file.relative_to(self._root).as_posix()

    def edited_spec(self, state: State) -> str | None:
        """The user's edit of the spec's text; an agent's edit is none, and neither is a broken file."""
        text = self._now()
        if text is None or normalised(text) == normalised(state.spec_text) or self._changed_by_agent(state):
            return None
        return text

    def brief(self, state: State) -> Brief:
        """What the next iteration is told besides the state."""
        text = self._current(state)
        still, ticked = brief_items(checklist(text), state.ticked)
        instructions, name = self._instructions()
        return Brief(
            body=self._vault.mask(split(text, self._spec.path).body),
            unticked=still,
            ticked=ticked,
            plans=tuple(one for one in PLANS if self._plain(one)),
            instructions=self._vault.mask(instructions),
            instructions_from=name,
            spec_file=self.spec_path,
        )

    def checklist(self, state: State) -> tuple[str, ...]:
        """Items that are not ticked now."""
        return brief_items(checklist(self._current(state)), state.ticked)[0]

    def claims(self, message: str) -> bool:
        """Whether a final message ends in the promise (the default one where the spec names none)."""
        return claims(message, self._spec.promise or DEFAULT_PROMISE)

    def _current(self, state: State) -> str:
        """The spec with today's ticks, as long as nothing but ticks differs from what the run goes by."""
        text = self._now()
        same = text is not None and normalised(text) == normalised(state.spec_text)
        return text if text is not None and same else state.spec_text

    def _now(self) -> str | None:
        if self._file is None or not self._plain(self.spec_path):
            return None
        try:
            # masked as the run recorded it, or a key in the spec would look like an edit and enter the journal
            text = self._vault.mask(read_spec(self._file))
            has_body = split(text, self._spec.path).body.strip()
        except ConfigError:
            return None
        return text if has_body else None

    def _changed_by_agent(self, state: State) -> bool:
        if self._file is None:
            return False
        change = state.protected.get(self.spec_path)
        return change is not None and change.by == "agent"

    def _instructions(self) -> tuple[str, str]:
        for name in INSTRUCTIONS:
            if self._plain(name):
                with (self._root / name).open("rb") as file:
                    # one byte more than a character of the cap can take, so that a cut is noticed
                    return file.read(4 * INSTRUCTIONS_CAP + 4).decode("utf-8", "replace"), name
        return "", ""

    def _plain(self, name: str) -> bool:
        """A regular file inside the workspace: a link may lead anywhere, and none of these needs one."""
        path = self._root / name
        return path.is_file() and path.resolve() == path.parent.resolve() / path.name
