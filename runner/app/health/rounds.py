"""The checks by name, and a round of them that ends whatever one of them meets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from runner.app.health import disk, here, machine, sandbox, setup
from runner.app.health.finding import Finding, Mark, World, at
from runner.errors import ConfigError, RunnerError

Check = Callable[[World], Iterable[Finding]]

CHECKS: Mapping[str, Check] = {
    "python": machine.python,
    "packages": machine.packages,
    "git": machine.git,
    "state": disk.state,
    "database": disk.database,
    "runs": disk.runs,
    "config": setup.config,
    "prices": setup.prices,
    "keys": setup.keys,
    "network": setup.network,
    "sandbox": sandbox.sandbox,
    "processes": machine.processes,
    "terminal": machine.terminal,
    "here": here.here,
}
"""Every check, in the order people need them."""

_NEEDED = frozenset({"python", "packages", "git", "state", "database", "config", "prices"})


def examine(names: Iterable[str], world: World) -> Iterator[tuple[str, Finding]]:
    """Make these checks, all of them if none is named; each finding comes with its check's name. Never raises."""
    for name in tuple(names) or tuple(CHECKS):
        try:
            for finding in CHECKS[name](world):
                yield name, finding
        except RunnerError as error:
            text = at(error) if isinstance(error, ConfigError) else error.message
            yield name, Finding(_worst(name), name, text, error.hint.partition("\n")[0])
        except Exception as error:  # noqa: BLE001  what a check stumbles over on a broken machine is its finding
            yield name, Finding(_worst(name), name, f"cannot be looked at: {_why(error)}")


def needed(found: Iterable[Finding]) -> bool:
    """Whether something is missing without which nothing runs."""
    return any(one.mark is Mark.FAIL for one in found)


def _worst(name: str) -> Mark:
    # unknown is not well: what is needed and cannot be seen counts as missing
    return Mark.FAIL if name in _NEEDED else Mark.WARN


def _why(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    return f"{said}{where}" if said else type(error).__name__
