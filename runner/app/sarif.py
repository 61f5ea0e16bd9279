"""Findings as SARIF 2.1.0, the JSON that code hosts show beside the lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import runner

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong in a policy file. `kind` names the sort of fault; `error` says that the policy is not used so."""

    kind: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    error: bool = True

    def document(self) -> dict[str, object]:
        """It as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part)
        return f"{place or 'policy'}: {'error' if self.error else 'warning'}: {self.message} [{self.kind}]"


def sarif(findings: Iterable[Finding]) -> dict[str, object]:
    """One SARIF log of all findings, an empty one too."""
    found = tuple(findings)
    kinds = sorted({one.kind for one in found})
    driver: dict[str, object] = {
        "name": "runner policy check",
        "version": runner.__version__,
        "rules": [{"id": kind} for kind in kinds],
    }
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": [_result(one, kinds) for one in found]}],
    }


def _result(one: Finding, kinds: list[str]) -> dict[str, object]:
    result: dict[str, object] = {
        "ruleId": one.kind,
        "ruleIndex": kinds.index(one.kind),
        "level": "error" if one.error else "warning",
        "message": {"text": one.message},
    }
    if one.path:
        region = {"startLine": max(1, one.line), "startColumn": max(1, one.column)}
        where = {"artifactLocation": {"uri": _uri(one.path)}, "region": region}
        result["locations"] = [{"physicalLocation": where}]
    return result


def _uri(path: str) -> str:
    """A path as SARIF wants it: relative to where the command ran, so that a code host finds its own file."""
    place = Path(path).absolute()
    here = Path.cwd()
    return place.relative_to(here).as_posix() if place.is_relative_to(here) else place.as_uri()
