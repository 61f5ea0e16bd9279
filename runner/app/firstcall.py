"""What the first call of a new run will hold at least: its request is known before anything is sent."""

from __future__ import annotations

from pathlib import Path

from runner.app.plan import Draft, policy_of
from runner.pricing.book import Entry
from runner.state import State
from runner.values import Limits

# numbers in the request that may become longer: what is left of a cap that is raised, a larger output limit
_SLACK = 64


def input_bound(draft: Draft, entry: Entry, limits: Limits) -> int:
    """Bound the first request's input tokens from above, as the call itself does: a token is at least a byte.

    A workspace that setup changes, or a copy of it, may change the project's instructions that are sent along.
    """
    # nothing else of a command line needs these
    from runner.agent.prompt import SYSTEM, Brief, opening
    from runner.app.texts import WorkspaceTexts
    from runner.models.wire import chat_body, encode_message, encode_tools
    from runner.ports import SystemText, UserText
    from runner.tools.arguments import DEFINITIONS

    spec, settings = draft.spec, draft.sources.settings
    path = Path(spec.path).resolve()
    inside = Path(spec.path).is_absolute() and path.is_relative_to(draft.workspace)
    file = path if inside else None
    vault = draft.sources.vault
    state = State(spec_text=vault.mask(spec.text), limits=limits)
    texts = WorkspaceTexts(spec, root=draft.workspace, spec_file=file, vault=vault)
    try:
        brief = texts.brief(state)
    except OSError:
        # what cannot be read now is told by the run
        brief = Brief(body=spec.text)
    messages = (SystemText(SYSTEM), UserText(opening(state, policy_of(spec, settings), brief)))
    asked = min(entry.max_output, settings.max_output.value)
    encoded = [encode_message(one) for one in messages]
    body = chat_body(entry.name, encoded, tools=encode_tools(DEFINITIONS), max_output=asked)
    return len(body) + entry.allowance + _SLACK
