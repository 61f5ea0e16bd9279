"""`runner spec check` tells what was understood, the cost at worst, and which caps cannot bind."""

import json
from dataclasses import replace

import pytest

from runner.spec.check import InForce, Price, understood, worst_run
from runner.spec.model import Spec
from runner.spec.parse import parse_spec
from runner.spec.starter import starter
from runner.values import NANO, Limits

NOW = 1_900_000_000_000
# 1 and 4 USD per million tokens
PRICE = Price(model="small", input=1_000_000, output=4_000_000, context=100_000, max_output=10_000, overhead=4_000)
BUILT_IN = Limits(usd=5 * NANO, iterations=25, steps=100, duration_s=8 * 3600)


def read(yaml: str) -> Spec:
    return parse_spec(f"---\n{yaml}\n---\n# Do it\n", "spec.md", on_path=bool, now=NOW)


def said(yaml: str, limits: Limits, **more) -> list[str]:
    world = InForce(limits=limits, now=NOW, price=PRICE, **more)
    return [str(problem) for problem in understood(read(yaml), world).problems]


CHECKED = "checks: [pytest]"

PROBLEMS = {
    "no money": (
        f"{CHECKED}\nbudget:\n  usd: 0",
        replace(BUILT_IN, usd=0),
        "spec.md:4:8: usd 0 allows no money, so the run cannot begin\n  give 'usd' a number above 0, or 'none' for no limit",
    ),
    "no iterations": (
        f"{CHECKED}\nbudget:\n  iterations: 0",
        replace(BUILT_IN, iterations=0),
        (
            "spec.md:4:15: iterations 0 allows no iterations, so the run cannot begin\n"
            "  give 'iterations' a number above 0, or 'none' for no limit"
        ),
    ),
    "no time": (
        f"{CHECKED}\nbudget:\n  duration: 0",
        replace(BUILT_IN, duration_s=0),
        (
            "spec.md:4:13: duration 0 allows no time, so the run cannot begin\n"
            "  give 'duration' a number above 0, or 'none' for no limit"
        ),
    ),
    "the deadline has passed": (
        f"{CHECKED}\nbudget:\n  deadline: 2030-01-01",
        replace(BUILT_IN, deadline=NOW),
        "spec.md:4:13: the deadline has passed\n  write a later one",
    ),
    "less than one call": (
        f"{CHECKED}\nbudget:\n  usd: 0.005",
        replace(BUILT_IN, usd=5_000_000),
        (
            "spec.md:4:8: usd $0.0050 is less than one call to small may cost ($0.0082)\n"
            "  raise it to $0.0082 at least, or take a cheaper model"
        ),
    ),
    "fewer tokens than one call": (
        f"{CHECKED}\nbudget:\n  tokens: 1000",
        replace(BUILT_IN, tokens=1000),
        "spec.md:4:11: tokens 1,000 is less than one call may use (5,080)\n  raise it to 5080 at least",
    ),
    "calls never reached": (
        f"{CHECKED}\nbudget: {{calls: 50, iterations: 4, steps: 10}}",
        replace(BUILT_IN, calls=50, iterations=4, steps=10),
        (
            "spec.md:3:17: calls 50 cannot bind: iterations × steps allows 40 calls\n"
            "  lower it below 40, or raise 'iterations' or 'steps'"
        ),
    ),
    "stall never reached": (
        f"{CHECKED}\nbudget: {{iterations: 3}}\nstall: 3",
        replace(BUILT_IN, iterations=3),
        "spec.md:4:8: stall 3 cannot bind: the run ends after 3 iterations\n  lower it below 3, or write 'stall: none'",
    ),
    "idle never reached": (
        f"{CHECKED}\nbudget: {{idle: 2h, duration: 1h}}",
        replace(BUILT_IN, idle_s=7200, duration_s=3600),
        "spec.md:3:16: idle 7200s cannot bind: the run ends after 3600s\n  lower 'idle', or raise 'duration'",
    ),
    "target without checks": (
        "target: 0.5",
        BUILT_IN,
        (
            "spec.md:2:9: a target without checks: nothing gives a score\n"
            "  add 'checks:' with a command whose exit code tells, e.g. 'checks: [pytest -q]'"
        ),
    ),
}


@pytest.mark.parametrize(("yaml", "limits", "expected"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_cap_that_cannot_bind_is_a_problem_with_its_place(yaml: str, limits: Limits, expected: str) -> None:
    assert said(yaml, limits) == [expected]


def test_to_require_verified_needs_checks() -> None:
    (problem,) = said("model: x", BUILT_IN, require_verified=True)
    assert problem.startswith("spec.md:1: --require-verified, and the spec has no checks\n  add 'checks:'")
    assert said(CHECKED, BUILT_IN, require_verified=True) == []


def test_the_default_stall_is_nobodys_mistake() -> None:
    assert said(CHECKED, replace(BUILT_IN, iterations=1)) == []


def test_a_flag_that_tightens_a_run_breaks_no_spec_but_is_noted() -> None:
    spec = read(f"{CHECKED}\nstall: 3")
    world = InForce(limits=replace(BUILT_IN, iterations=1), now=NOW, sources={"iterations": "--max-iterations"})
    told = understood(spec, world)
    assert told.problems == ()
    assert told.notes == ("under the flags given, stall 3 cannot bind: the run ends after 1 iterations",)


def test_a_flag_that_allows_nothing_is_named_and_no_line_of_the_spec() -> None:
    world = InForce(limits=replace(BUILT_IN, usd=0), now=NOW, sources={"usd": "--max-cost"})
    (problem,) = understood(read(f"{CHECKED}\nbudget: {{usd: 1}}"), world).problems
    assert str(problem).splitlines() == [
        "--max-cost: usd 0 allows no money, so the run cannot begin",
        "  give --max-cost a number above 0, or 'none' for no limit",
    ]


def test_the_worst_case_is_the_least_of_all_bounds() -> None:
    assert PRICE.worst_call == 140_000_000
    assert worst_run(BUILT_IN, PRICE) == 5 * NANO
    open_end = replace(BUILT_IN, usd=None)
    assert worst_run(open_end, PRICE) == 2500 * 140_000_000
    assert worst_run(replace(open_end, calls=10), PRICE) == 10 * 140_000_000
    assert worst_run(replace(open_end, tokens=1_000_000), PRICE) == 4 * NANO
    assert worst_run(replace(open_end, steps=None), PRICE) is None
    assert worst_run(open_end, None) is None


def test_the_starter_is_told_whole() -> None:
    spec = parse_spec(starter(), "spec.md", on_path=lambda program: program == "sh", now=NOW)
    limits = replace(BUILT_IN, usd=NANO, iterations=10, duration_s=1800)
    world = InForce(limits=limits, now=NOW, price=PRICE, sources={"usd": "spec.md", "steps": "built in"})
    told = understood(spec, world)
    assert told.problems == ()
    assert told.notes == ()
    assert told.lines == (
        "spec        spec.md: Greet people",
        'check       it greets by name: test "$(sh greet.sh Ada)" = "Hello, Ada!" (exit code, at most 10 min)',
        'check       it greets the world: test "$(sh greet.sh)" = "Hello, World!" (exit code, at most 10 min)',
        "target      1",
        "checklist   3 items, 3 open",
        "protected   the spec, files named in checks, and the tests as the run finds them",
        "stall       after 3 iterations without a better score",
        "promise     not asked for by the spec",
        "false claim continue",
        "limit       usd $1.0000 (spec.md)",
        "limit       tokens none",
        "limit       calls none",
        "limit       iterations 10",
        "limit       steps 100 (built in)",
        "limit       duration 30 min",
        "limit       deadline none",
        "limit       idle none",
        "worst case  one call to small: $0.1400",
        "worst case  the run: $1.0000",
    )
    data = json.loads(json.dumps(told.data))
    assert data["worst_run_nano_usd"] == NANO
    assert data["limits"]["usd_nano"] == {"value": NANO, "source": "spec.md"}
    assert [check["line"] for check in data["checks"]] == [7, 9]
    assert [item["text"] for item in data["checklist"]][2] == "the script begins with a comment that says how to use it"


def test_a_problem_is_told_to_people_and_machines() -> None:
    told = understood(read("target: 0.5"), InForce(limits=BUILT_IN, now=NOW))
    assert told.lines[-2] == "problem     spec.md:2:9: a target without checks: nothing gives a score"
    assert told.data["problems"] == [
        {
            "path": "spec.md",
            "line": 2,
            "column": 9,
            "message": "a target without checks: nothing gives a score",
            "hint": "add 'checks:' with a command whose exit code tells, e.g. 'checks: [pytest -q]'",
        }
    ]
    assert told.notes == ("no checks: done will be the agent's word, 'verified: false'",)
