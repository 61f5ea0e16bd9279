"""`when:` expressions: CEL over `call`, the facts of a call. Names and types are checked when they are loaded.

Evaluated by common-expression-language (the extra `cel`), whose matches() is linear in time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from runner.policy import grammar
from runner.policy.facts import Facts
from runner.policy.grammar import WrongError
from runner.values import NANO

if TYPE_CHECKING:
    from cel import Program as Expression


def check(text: str) -> None:
    """Raise WrongError for an expression that is none, is not true or false, or speaks of facts that do not exist."""
    grammar.check(text)
    try:
        _expression(text)
    except ValueError as error:
        raise WrongError(f"not an expression: {str(error).splitlines()[0][:200]}", hint="see the reference") from None


def compiled(text: str, *, certain: bool) -> Callable[[Facts], bool]:
    """The expression as a test of a call's facts; it raises whatever a value brings with it, as a missing argument.

    `certain`: programs are those that surely run; else those that may run are among them.
    """
    expression = _expression(text)

    def test(facts: Facts) -> bool:
        from cel import Context

        context = Context()
        context.add_variable("call", _call(facts, certain=certain))
        found: object = expression.execute(context)
        if not isinstance(found, bool):
            msg = f"when is {type(found).__name__}, not true or false"
            raise TypeError(msg)
        return found

    return test


@lru_cache(maxsize=256)
def _expression(text: str) -> Expression:
    try:
        # 0.2 s, and few policies have an expression
        from cel import compile as compile_expression
    except ImportError:
        raise WrongError(
            "expressions need the package common-expression-language", hint="pip install 'agent-loop-runner[cel]'"
        ) from None
    return compile_expression(text)


def _call(facts: Facts, *, certain: bool) -> dict[str, object]:
    programs = facts.programs if certain else (*facts.programs, *facts.suspects)
    return {
        "args": dict(facts.args),
        "background": facts.background,
        "cost_usd": facts.cost / NANO,
        "cwd": facts.cwd,
        "effect": facts.effect,
        "egress": facts.egress,
        "flags": [flag for program in programs for flag in program.flags],
        "hosts": list(facts.hosts),
        "opaque": bool(facts.opaque),
        "outside": list(facts.outside),
        "programs": [program.name for program in programs],
        "reads": list(facts.reads),
        "redirects": [path for _, path in facts.redirects],
        "risk": facts.risk,
        "sandboxed": facts.sandboxed,
        "secrets": list(facts.secrets),
        "subcommands": [program.subcommand for program in programs if program.subcommand],
        "tool": facts.tool,
        "words": [word for program in programs for word in program.argv],
        "writes": list(facts.writes),
    }
