"""What the first call of a new run will hold at least: its request is known before anything is sent."""

from __future__ import annotations

from pathlib import Path

from runner.app.plan import Chosen, Draft, policy_of
from runner.events.facts import IterationStarted
from runner.models import catalog
from runner.ports import Model
from runner.state import State
from runner.values import Limits

# numbers in the request that may become longer: what is left of a cap that is raised, a larger output limit
_SLACK = 64


def input_bound(draft: Draft, one: Chosen, limits: Limits) -> int:
    """Bound the first request's input tokens from above, as the call itself does: a token is at least a byte.

    A workspace that setup changes, or a copy of it, may change the project's instructions that are sent along.
    """
    # nothing else of a command line needs these
    from runner.agent.conversation import Conversation
    from runner.agent.prompt import SYSTEM, Brief, opening
    from runner.app.texts import WorkspaceTexts

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
    prompt = opening(state, policy_of(spec, settings), brief)
    model = _unsent(draft, one)
    conversation = Conversation((model,), (one.entry,))
    conversation.apply(IterationStarted(iteration=1, system=SYSTEM, prompt=prompt))
    return conversation.bound(min(model.max_output, settings.max_output.value)).tokens + _SLACK


def _unsent(draft: Draft, one: Chosen) -> Model:
    """A model that only encodes: it has no key. A recording's requests are Chat Completions."""
    from runner.tools.arguments import DEFINITIONS

    own = one.choice.kind in {"anthropic", "responses", "litellm"}
    choice = one.choice if own else catalog.Choice(kind="chat", name=one.entry.name, why="")
    settings = draft.sources.settings
    return catalog.build(
        choice,
        book=draft.sources.book,
        keys={},
        tools=DEFINITIONS,
        asks=one.asks(settings),
        thinking=settings.thinking.value,
    )
