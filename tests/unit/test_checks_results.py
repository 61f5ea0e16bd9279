"""From what a check did to a score: nothing unreadable, empty or unfinished is ever a success."""

import math
from collections.abc import Sequence

import pytest

from runner.checks.junit import LARGEST_REPORT, read_junit
from runner.checks.results import TAIL_CHARS, Evidence, Outcome, failure_signature, judge, total_score
from runner.spec.model import Check
from runner.values import CheckResult


class Vault:
    def mask(self, text: str) -> str:
        return text.replace("hunter2", "[secret:KEY]")


def judged(
    parse: str, *, exit_code: int | None = 0, output: str = "", reports: Sequence[bytes] = (), program: str = "", **more
) -> CheckResult:
    check = Check(name="c", argv=("x",), parse=parse, out_of=more.pop("out_of", 1.0))
    outcome = Outcome(exit_code=exit_code, output=output, **more)
    return judge(check, outcome, Evidence(reports=reports, program=program), vault=Vault())


def junit(*cases: str, attributes: str = "") -> bytes:
    return f"<testsuites><testsuite {attributes}>{''.join(cases)}</testsuite></testsuites>".encode()


GOOD = '<testcase classname="m" name="good"/>'
BAD = '<testcase classname="m" name="bad"><failure message="no"/></testcase>'
SKIPPED = '<testcase classname="m" name="skipped"><skipped type="pytest.skip">/v/m.py:3: later</skipped></testcase>'


@pytest.mark.parametrize(("code", "score"), [(0, 1.0), (1, 0.0), (5, 0.0), (127, 0.0), (-9, 0.0), (None, 0.0)])
def test_an_exit_code_is_all_or_nothing(code: int | None, score: float) -> None:
    assert judged("exit", exit_code=code).score == score


def test_junit_gives_the_share_that_passed_and_names_the_rest() -> None:
    result = judged("junit", exit_code=1, reports=[junit(GOOD, BAD, SKIPPED)])
    assert (result.score, result.passed, result.total, result.failures) == (0.5, 1, 2, ("m::bad",))


@pytest.mark.parametrize("reports", [[], [junit()], [junit(SKIPPED)], [b""], [b"<html/>"], [b"\xff\xfe<"]])
def test_no_test_no_report_and_no_junit_are_zero(reports: list[bytes]) -> None:
    result = judged("junit", reports=reports)
    assert result.score == 0.0
    assert result.tail.startswith("runner: ")


def test_a_green_report_of_a_command_that_failed_is_not_one() -> None:
    result = judged("junit", exit_code=1, reports=[junit(GOOD, GOOD)])
    assert result.score == 2 / 3
    assert result.failures == ("(exit code 1 although every test passed)",)


def test_a_command_that_was_ended_scores_zero_whatever_it_wrote() -> None:
    assert judged("junit", exit_code=None, reports=[junit(GOOD)], trouble="timed out after 3 s").score == 0.0


def test_failures_a_suite_counts_but_does_not_list_stay_failures() -> None:
    result = judged("junit", exit_code=1, reports=[junit(GOOD, attributes='tests="3" failures="1" errors="1"')])
    assert (result.passed, result.total) == (1, 3)


def test_a_skip_by_the_code_under_test_is_a_failure() -> None:
    check = Check(name="c", argv=("x",), parse="junit")
    evidence = Evidence(reports=[junit(GOOD, SKIPPED)], may_skip=lambda place: place != "/v/m.py")
    result = judge(check, Outcome(exit_code=0, output=""), evidence, vault=Vault())
    assert (result.score, result.failures) == (0.5, ("m::skipped (skipped by /v/m.py)",))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_grow(encoding: str) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'
    with pytest.raises(ValueError, match="document type"):
        read_junit(f'<?xml version="1.0" encoding="{encoding}"?>{laughs}'.encode(encoding))


def test_an_external_entity_is_refused() -> None:
    with pytest.raises(ValueError, match="document type"):
        read_junit(b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>')


def test_a_report_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(ValueError, match="larger than 16 MiB"):
        read_junit(b" " * (LARGEST_REPORT + 1))


TAP = "TAP version 13\n1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no net\nnot ok 4 - d # TODO later\n"


def test_tap_counts_points_skips_and_todos() -> None:
    result = judged("tap", exit_code=1, output=TAP)
    assert (result.score, result.passed, result.total, result.failures) == (0.5, 1, 2, ("b",))


@pytest.mark.parametrize(
    ("output", "score"),
    [
        ("1..0 # skip all\n", 0.0),
        ("", 0.0),
        ("1..2\nok 1\nok 2\n", 1.0),
        ("1..4\nok 1\nok 2\n", 0.5),  # it died half-way
        ("1..1\nok 1\nok 2\nok 3\n", 0.75),  # more than planned
        ("ok 1\n", 0.5),  # no plan
        ("1..1\nok 1\nBail out! no database\n", 0.5),
        ("1..1\n  ok 1 - of a subtest\nnot ok 1\n", 0.0),
    ],
)
def test_tap_that_is_not_whole_is_not_green(output: str, score: float) -> None:
    assert judged("tap", output=output).score == score


def test_tap_whose_beginning_is_lost_is_zero() -> None:
    assert judged("tap", output="1..1\nok 1\n", cut=True).score == 0.0


@pytest.mark.parametrize(
    ("output", "out_of", "score"),
    [
        ("coverage 87.5%\n", 100.0, 0.875),
        ("first 3\nscore: 0.25\n", 1.0, 0.25),
        ("7/10\n", 10.0, 0.7),
        ("250\n", 100.0, 1.0),
        ("-3\n", 10.0, 0.0),
        ("0.9\nnan\n", 1.0, 0.0),
        ("inf\n", 1.0, 0.0),
        ("1e999\n", 1.0, 0.0),
        ("1e-1\n", 1.0, 0.1),
        ("no digits here, v2x\n", 1.0, 0.0),
        ("5\n", 0.0, 0.0),
        ("5\n", math.nan, 0.0),
    ],
)
def test_the_last_number_is_the_score(output: str, out_of: float, score: float) -> None:
    assert judged("number", output=output, out_of=out_of).score == pytest.approx(score)


def test_the_number_of_a_command_that_failed_is_no_measurement() -> None:
    assert judged("number", exit_code=1, output="1.0\n").score == 0.0


@pytest.mark.parametrize(
    ("errors", "score"),
    [
        ("Ran 3 tests in 0.001s\n\nOK\n", 1.0),
        ("Ran 0 tests in 0.000s\n\nOK\n", 0.0),  # what Python 3.11 calls a success
        ("Ran 2 tests in 0.000s\n\nOK (skipped=2)\n", 0.0),
        ("", 0.0),  # os._exit(0) in the code under test
    ],
)
def test_unittest_without_a_test_or_an_end_is_zero(errors: str, score: float) -> None:
    assert judged("exit", output=errors, program="unittest").score == score


def test_pytest_that_was_told_to_stop_early_is_not_green() -> None:
    output = "!!!!!!!!! _pytest.outcomes.Exit: enough !!!!!!!!!\n"
    assert judged("junit", output=output, reports=[junit(GOOD)], program="pytest").score == 0.5


def test_the_tail_is_masked_plain_and_bounded() -> None:
    result = judged("exit", exit_code=1, output="x" * 100_000 + "\x1b[31mred\x1b[0m hunter2\x07\n", errors="late\n")
    assert result.tail.endswith("red [secret:KEY]\nlate")
    assert len(result.tail) <= TAIL_CHARS + 1


def test_a_secret_is_masked_before_the_tail_is_cut() -> None:
    for shift in range(10):
        tail = judged("exit", exit_code=1, output="hunter2" + "y" * (TAIL_CHARS - shift)).tail
        assert not any(part in tail for part in ("hunter", "unter2", "nter2", "ter2"))


def test_the_total_is_weighted_and_full_only_when_every_check_is() -> None:
    def result(score: float) -> CheckResult:
        return CheckResult(name="c", exit_code=0, score=score)

    heavy, light = Check(name="a", argv=("a",), weight=3), Check(name="b", argv=("b",), weight=1)
    assert total_score([], []) is None
    assert total_score([heavy, light], [result(1.0), result(0.0)]) == 0.75
    assert total_score([heavy, light], [result(1.0), result(1.0)]) == 1.0
    nearly = total_score([Check(name="a", argv=("a",), weight=1e20), light], [result(1.0), result(0.0)])
    assert nearly is not None
    assert nearly < 1.0


def test_the_same_failure_has_the_same_signature_whatever_the_time_and_address() -> None:
    def signature(tail: str, **more) -> str:
        return failure_signature([CheckResult(name="c", exit_code=1, score=0.0, tail=tail, **more)])

    first = signature("<object at 0x7f01> failed in 0.12s", seconds=1.0)
    assert first == signature("<object at 0x7fff> failed in 3.4s", seconds=9.0)
    assert first != signature("something else in 0.12s")
    assert signature("a", failures=("t1", "t2")) == signature("b", failures=("t2", "t1"))
    assert signature("a", failures=("t1",)) != signature("a", failures=("t2",))
    assert failure_signature([CheckResult(name="c", exit_code=0, score=1.0)]) == ""
