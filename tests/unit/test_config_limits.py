"""Each limit by itself: a flag over the spec, the spec over what is built in."""

from dataclasses import asdict, replace
from datetime import UTC

import pytest

from runner.config import BUILT_IN, limit_flag, resolve_limits
from runner.config.limits import FIELDS, FLAGS
from runner.errors import ConfigError
from runner.spec.model import Spec
from runner.values import NANO, Limits


def spec(**limits: int | None) -> Spec:
    return Spec(path="s.md", text="", body="", title="", limits=replace(Limits(), **limits), stated=frozenset(limits))


def test_where_nobody_states_a_limit_the_built_in_ones_apply() -> None:
    limits, sources = resolve_limits(spec(), {})
    assert limits == Limits(usd=5 * NANO, iterations=25, steps=100, duration_s=28_800)
    assert set(sources) == set(FIELDS) == set(FLAGS) == set(asdict(limits))
    assert set(sources.values()) == {"built-in"}


def test_a_spec_that_states_tokens_only_keeps_the_built_in_money_cap() -> None:
    limits, sources = resolve_limits(spec(tokens=1000), {})
    assert (limits.tokens, limits.usd) == (1000, 5 * NANO)
    assert (sources["tokens"], sources["usd"]) == ("spec", "built-in")


def test_none_in_the_spec_is_unlimited_and_zero_allows_nothing() -> None:
    limits, _ = resolve_limits(spec(usd=None, calls=0), {})
    assert (limits.usd, limits.calls) == (None, 0)


def test_a_flag_replaces_the_specs_value_upwards_and_downwards() -> None:
    limits, sources = resolve_limits(spec(usd=NANO, iterations=9), {"usd": 7 * NANO, "iterations": None})
    assert (limits.usd, limits.iterations) == (7 * NANO, None)
    assert sources["usd"] == sources["iterations"] == "flag"


def test_at_resume_everything_stays_but_what_a_flag_replaces() -> None:
    earlier = Limits(usd=2 * NANO, steps=7)
    limits, sources = resolve_limits(
        spec(usd=9 * NANO, tokens=5), {"usd": 3 * NANO}, earlier, base_sources={"steps": "spec"}
    )
    assert limits == replace(earlier, usd=3 * NANO)
    assert (sources["usd"], sources["steps"], sources["tokens"]) == ("resume flag", "spec", "earlier")


@pytest.mark.parametrize("stated", [{}, {"usd": NANO}, {"usd": None}])
def test_no_budget_lifts_the_money_cap_and_nothing_else(stated: dict[str, int | None]) -> None:
    limits, sources = resolve_limits(spec(**stated), {}, no_budget=True)
    assert limits == replace(BUILT_IN, usd=None)
    assert sources["usd"] == "--no-budget"


def test_no_budget_and_a_cap_by_flag_contradict() -> None:
    with pytest.raises(ConfigError, match="--max-cost"):
        resolve_limits(spec(), {"usd": NANO}, no_budget=True)
    with pytest.raises(ConfigError, match="--max-cost none"):
        resolve_limits(spec(), {}, Limits(usd=NANO), base_sources={"usd": "flag"}, no_budget=True)


def test_flags_are_read_in_their_units() -> None:
    now = 1_767_225_600_000  # 2026-01-01T00:00:00Z
    assert limit_flag("usd", "$2.50", now=now) == 2_500_000_000
    assert limit_flag("usd", "None", now=now) is None
    assert limit_flag("usd", "0", now=now) == 0
    assert limit_flag("duration_s", "1h30m", now=now) == 5400
    assert limit_flag("tokens", "2_000_000", now=now) == 2_000_000
    assert limit_flag("deadline", "07:00", now=now, zone=UTC) == now + 7 * 3_600_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("usd", "five"),
        ("usd", "-1"),
        ("tokens", "1.5"),
        ("iterations", "-3"),
        ("duration_s", "soon"),
        ("deadline", "7"),
    ],
)
def test_a_flag_that_is_no_limit_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=FLAGS[name]):
        limit_flag(name, text, now=0)
