"""The run's judge: a call becomes facts on this machine, and a policy decides of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from runner.app.asking import Asking
from runner.loop.judging import UNSOUND
from runner.policy.book import Rulebook
from runner.policy.facts import Facts, Surroundings, facts_of
from runner.ports import Judged
from runner.tools.arguments import ArgumentsError, read
from runner.tools.builtin import effect_of
from runner.values import Decision, Ruling, ToolCall

_FAILED = "builtin:error"


class PolicyJudge:
    """Decides calls by one rulebook, which nothing changes while it lives. Implements `ports.Judge`.

    `agent` names the agent as it is now, `owner` whom it acts for; `mask` takes secrets out of what is written down.
    Without `asking` nobody can be asked: no question says what it is bound to.
    """

    def __init__(
        self,
        rulebook: Rulebook,
        around: Surroundings,
        *,
        agent: Callable[[], str],
        owner: str,
        mask: Callable[[str], str],
        asking: Asking | None = None,
    ) -> None:
        self._rulebook, self._around = rulebook, around
        self._agent, self._owner, self._mask, self._asking = agent, owner, mask, asking

    @property
    def digest(self) -> str:
        return self._rulebook.digest

    def decide(self, call: ToolCall) -> Judged:
        decision, facts = decided(self._rulebook, call, self._around)
        stamped = replace(
            decision,
            reason=self._mask(decision.reason),
            policy=self.digest,
            action=plain_action(call),
            agent=self._agent(),
            owner=self._owner,
        )
        if stamped.ruling is not Ruling.ASK or facts is None or self._asking is None:
            return Judged(decision=stamped)
        try:
            return self._asking.judged(stamped, facts)
        except Exception as error:  # noqa: BLE001 - what cannot be bound cannot be approved, whatever the reason
            why = f"the question failed: {type(error).__name__}"
            return Judged(decision=replace(stamped, ruling=Ruling.DENY, rule=_FAILED, reason=why))


def decided(rulebook: Rulebook, call: ToolCall, around: Surroundings) -> tuple[Decision, Facts | None]:
    """What becomes of a call, and its facts where it has any. Never raises: whatever goes wrong is a deny."""
    try:
        arguments = _object(call) if call.name.startswith("mcp:") else read(call.name, call.arguments).values
    except ArgumentsError as error:
        return Decision(ruling=Ruling.DENY, rule=UNSOUND, reason=str(error)), None
    return decided_of(rulebook, call.name, arguments, around)


def decided_of(
    rulebook: Rulebook, tool: str, arguments: Mapping[str, object], around: Surroundings
) -> tuple[Decision, Facts | None]:
    """As `decided`, of arguments that were read before."""
    try:
        facts = facts_of(tool, arguments, effect_of(tool).value, around)
    except Exception as error:  # noqa: BLE001 - a call whose facts cannot be had must not run, whatever the reason
        return Decision(ruling=Ruling.DENY, rule=_FAILED, reason=f"its facts failed: {type(error).__name__}"), None
    return rulebook.decide(facts), facts


def _object(call: ToolCall) -> Mapping[str, object]:
    """The arguments of somebody else's tool: any JSON object."""
    try:
        loaded = cast("object", json.loads(call.arguments or "{}"))
    except (ValueError, RecursionError) as error:
        raise ArgumentsError(f"{call.name}: the arguments are not valid JSON ({error})") from None
    if not isinstance(loaded, dict):
        raise ArgumentsError(f"{call.name}: the arguments must be one JSON object")
    # JSON's names are strings
    return cast("dict[str, object]", loaded)


def plain_action(call: ToolCall) -> str:
    """What tells one call from another where nobody's approval is bound to it."""
    return hashlib.sha256(f"{call.name}\0{call.arguments}".encode("utf-8", "surrogatepass")).hexdigest()
