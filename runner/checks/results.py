"""From what a check did to a score in 0..1. Whatever cannot be read, or found no test at all, is 0."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runner.checks.junit import Report, read_junit
from runner.spec.model import Check
from runner.values import CheckResult

TAIL_CHARS = 4_000
MOST_FAILURES = 200
LONGEST_FAILURE = 300

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])|[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER = re.compile(
    r"(?<![\w./:+-])(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?))(?!\w|\.\w)",
    re.IGNORECASE,
)
_TAP_POINT = re.compile(r"(?P<bad>not )?ok\b(?:[ \t]+(?P<number>\d+))?[ \t]*(?:-[ \t]*)?(?P<what>[^\n]*)")
_TAP_PLAN = re.compile(r"1\.\.(?P<last>\d+)\b")
_TAP_DIRECTIVE = re.compile(r"(?<!\\)#\s*(?:skip|todo)", re.IGNORECASE)
_UNITTEST_RAN = re.compile(r"^Ran (?P<ran>\d+) tests? in [\d.]+s$", re.MULTILINE)
_UNITTEST_SKIPPED = re.compile(r"^(?:OK|FAILED|NO TESTS RAN) \((?:[^)\n]*, )?skipped=(?P<skipped>\d+)", re.MULTILINE)
_UNITTEST_BAD = re.compile(r"^(?:FAIL|ERROR): (?P<what>[^\n]+)$", re.MULTILINE)
_PYTEST_STOPPED = re.compile(r"^!{3,} .*(?:Exit|KeyboardInterrupt|Interrupted)\b.*$", re.MULTILINE)
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?")


class Masks(Protocol):
    """Replaces every known secret in a text."""

    def mask(self, text: str) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended. `exit_code` None = it was ended by runner, and `trouble` says why.

    `output` is standard output, with standard error in it unless `errors` has that; `cut` = its beginning is lost.
    """

    exit_code: int | None
    output: str
    errors: str = ""
    cut: bool = False
    seconds: float = 0.0
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a check left besides its output: the reports found, the test program seen, and whose skips count."""

    reports: Sequence[bytes] = ()
    program: str = ""
    may_skip: Callable[[str], bool] = lambda _place: True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    score: float
    passed: int | None = None
    total: int | None = None
    failures: tuple[str, ...] = ()
    why: str = ""


def judge(check: Check, outcome: Outcome, evidence: Evidence, *, vault: Masks) -> CheckResult:
    """Score one check. Never raises for what a check printed or wrote, and never gives 1.0 to a command that failed."""
    reading = _Reading(score=0.0) if outcome.exit_code is None else _read(check, outcome, evidence)
    why = [text for text in (outcome.trouble, reading.why) if text]
    ids = [_clean(vault.mask(name))[:LONGEST_FAILURE] for name in reading.failures[:MOST_FAILURES]]
    if len(reading.failures) > MOST_FAILURES:
        ids.append(f"(and {len(reading.failures) - MOST_FAILURES} more)")
    return CheckResult(
        name=check.name,
        exit_code=outcome.exit_code,
        score=min(1.0, max(0.0, reading.score)),
        passed=reading.passed,
        total=reading.total,
        seconds=outcome.seconds,
        tail=tail_of(outcome, why, vault=vault),
        failures=tuple(ids),
    )


def tail_of(outcome: Outcome, why: Sequence[str], *, vault: Masks) -> str:
    """The end of what a command printed, masked, then runner's own lines, in all TAIL_CHARS at most."""
    # Masked before it is cut: half a secret would pass for none.
    text = vault.mask("\n".join(part[-65_536:].rstrip() for part in (outcome.output, outcome.errors) if part))
    text = _clean(text).rstrip()
    room = TAIL_CHARS - sum(len(line) + 9 for line in why)
    text = text if len(text) <= room else "…" + text[-max(room, 0) :]
    return "\n".join([*([text] if text else []), *(f"runner: {_clean(vault.mask(line))}" for line in why)])


def total_score(checks: Sequence[Check], results: Sequence[CheckResult]) -> float | None:
    """The mean of the scores by weight; None without checks. Exactly 1.0 only when every check that weighs has 1.0."""
    if not checks:
        return None
    weighing = [(check.weight, result.score) for check, result in zip(checks, results, strict=True) if check.weight > 0]
    weight = sum(share for share, _ in weighing)
    if weight <= 0:
        return 0.0
    if all(score >= 1.0 for _, score in weighing):
        return 1.0
    mean = sum(share * score for share, score in weighing) / weight
    return min(mean, math.nextafter(1.0, 0.0))


def failure_signature(results: Sequence[CheckResult]) -> str:
    """Name what fails, stably: the same tests failing the same way give the same text, whatever the time or address.

    "" when nothing fails. A check that names no failing test is known by what it printed, numbers aside.
    """
    failing = [
        [
            result.name,
            result.exit_code,
            round(result.score, 6),
            sorted(result.failures) or _VARYING.sub("#", result.tail),
        ]
        for result in results
        if result.score < 1.0
    ]
    if not failing:
        return ""
    return hashlib.sha256(json.dumps(failing, ensure_ascii=True).encode()).hexdigest()[:16]


def _read(check: Check, outcome: Outcome, evidence: Evidence) -> _Reading:
    match check.parse:
        case "exit":
            return _read_exit(outcome, evidence)
        case "junit":
            return _read_junit(outcome, evidence)
        case "tap":
            return _read_tap(outcome, evidence)
        case "number":
            return _read_number(check, outcome, evidence)
        case other:
            return _Reading(score=0.0, why=f"no way to read a result as {other!r}")


def _read_exit(outcome: Outcome, evidence: Evidence) -> _Reading:
    """0 is 1.0; a test program that ran no test, or did not get to its end, is 0 whatever its exit code."""
    if evidence.program == "pytest":
        reading = _read_junit(outcome, evidence)
    elif evidence.program == "unittest":
        reading = _read_unittest(outcome)
    else:
        return _Reading(score=1.0 if outcome.exit_code == 0 else 0.0)
    perfect = outcome.exit_code == 0 and reading.score >= 1.0
    return _Reading(
        score=1.0 if perfect else 0.0,
        passed=reading.passed,
        total=reading.total,
        failures=reading.failures,
        why=reading.why,
    )


def _read_junit(outcome: Outcome, evidence: Evidence) -> _Reading:
    if not evidence.reports:
        return _Reading(score=0.0, why="no report: the command did not get to its end, or writes it elsewhere")
    report = Report()
    try:
        for data in evidence.reports:
            report += read_junit(data)
    except ValueError as error:
        return _Reading(score=0.0, why=str(error))
    ordered = tuple(
        f"{skip.test} (skipped by {skip.place})" for skip in report.skips if not evidence.may_skip(skip.place)
    )
    failures = report.failures + ordered
    if evidence.program == "pytest" and _PYTEST_STOPPED.search(outcome.output):
        failures = (*failures, "(stopped before the end)")
    return _ratio(report.passed, failures, outcome, skipped=len(report.skips) - len(ordered))


def _read_unittest(outcome: Outcome) -> _Reading:
    ran = [int(found["ran"]) for found in _UNITTEST_RAN.finditer(outcome.output)]
    if not ran:
        return _Reading(score=0.0, why="unittest did not get to its end")
    skipped = sum(int(found["skipped"]) for found in _UNITTEST_SKIPPED.finditer(outcome.output))
    failures = tuple(dict.fromkeys(found["what"].strip() for found in _UNITTEST_BAD.finditer(outcome.output)))
    passed = max(0, sum(ran) - skipped - len(failures))
    return _ratio(passed, failures, outcome, skipped=skipped)


def _read_tap(outcome: Outcome, evidence: Evidence) -> _Reading:
    if outcome.cut and not evidence.reports:
        return _Reading(score=0.0, why="the output is too long to be counted: write the TAP to a `report`")
    text = "\n".join(data.decode("utf-8", "replace") for data in evidence.reports) or outcome.output
    passed, points, skipped = 0, 0, 0
    planned: int | None = None
    failures: list[str] = []
    for line in text.splitlines():
        if (plan := _TAP_PLAN.match(line)) is not None:
            planned = (planned or 0) + int(plan["last"])
        elif line.startswith("Bail out!"):
            failures.append(line.strip())
        elif (point := _TAP_POINT.match(line)) is not None:
            points += 1
            if _TAP_DIRECTIVE.search(point["what"]):
                skipped += 1
            elif point["bad"]:
                failures.append(point["what"].strip() or f"test {point['number'] or points}")
            else:
                passed += 1
    if planned is None and points:
        failures.append("(no plan: it ended before its end)")
    elif planned is not None and points != planned:
        failures += [f"(planned {planned}, reported {points})"] * min(max(planned - points, 1), 1000)
    return _ratio(passed, tuple(failures), outcome, skipped=skipped)


def _read_number(check: Check, outcome: Outcome, evidence: Evidence) -> _Reading:
    if outcome.exit_code != 0:
        return _Reading(score=0.0, why=f"exit code {outcome.exit_code}: its number is no measurement")
    text = "\n".join(data.decode("utf-8", "replace") for data in evidence.reports) or outcome.output
    found = [match["number"] for match in _NUMBER.finditer(text)]
    if not found:
        return _Reading(score=0.0, why="no number was printed")
    value = float(found[-1])
    if not math.isfinite(value) or value < 0 or not math.isfinite(check.out_of) or check.out_of <= 0:
        return _Reading(score=0.0, why=f"{found[-1]} out of {check.out_of:g} is no score")
    return _Reading(score=min(1.0, value / check.out_of))


def _ratio(passed: int, failures: tuple[str, ...], outcome: Outcome, *, skipped: int) -> _Reading:
    total = passed + len(failures)
    if total == 0:
        return _Reading(score=0.0, passed=0, total=0, why=f"no test ran ({skipped} skipped)")
    if not failures and outcome.exit_code != 0:
        # All tests are green and the command is not: something outside any test failed, and counts as one.
        failures = (f"(exit code {outcome.exit_code} although every test passed)",)
        total += 1
    why = f"{skipped} skipped" if skipped else ""
    return _Reading(score=passed / total, passed=passed, total=total, failures=failures, why=why)


def _clean(text: str) -> str:
    return _ESCAPES.sub("", text.replace("\r\n", "\n"))
