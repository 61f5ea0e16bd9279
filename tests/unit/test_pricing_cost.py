"""What a call may cost before it, and what it did after it: over every class a provider bills in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import UnpricedError
from runner.pricing.cost import Above, Asks, Price, cost, dearest, input_cost, worst
from runner.values import Usage

SONNET = Price(
    input=3_000_000,
    output=15_000_000,
    cached=300_000,
    cache_write=3_750_000,
    cache_write_1h=6_000_000,
    above=(
        Above(tokens=100_000, price=Price(input=2_000_000, output=10_000_000, cached=1, cache_write=1)),
        Above(tokens=200_000, price=Price(input=6_000_000, output=22_500_000, cached=600_000, cache_write=7_500_000)),
    ),
    services={"batch": Price(input=1_500_000, output=7_500_000, cached=150_000, cache_write=1_875_000)},
    geo={"us": 1100},
    fees={"web_search": 10_000_000},
)


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        (Usage(1, 0), 3_000),
        (Usage(100_000, 0), 300_000_000),
        (Usage(100_001, 0), 200_002_000),
        (Usage(200_001, 1), 1_200_006_000 + 22_500),
        (Usage(10, 0, 10), 3_000),
        (Usage(10, 0, 0, 10), 37_500),
        (Usage(10, 0, 0, 10, 4), 6 * 3_750 + 4 * 6_000),
        (Usage(10, 10, service="batch"), 15_000 + 75_000),
        (Usage(10, 10, geo="us"), 33_000 + 165_000),
        (Usage(10, 10, geo="global", service="standard"), 30_000 + 150_000),
        (Usage(1, 0, fees=(("web_search", 3),)), 3_000 + 30_000_000),
        (Usage(10, 10, 0, 0, 0, 0, 7), 30_000 + 150_000),
    ],
)
def test_a_usage_costs_what_its_class_is_sold_at(usage: Usage, nano: int):
    assert cost(SONNET, usage) == nano


def test_the_input_of_a_call_is_priced_alone():
    assert input_cost(SONNET, Usage(10, 1000, 3, geo="us", fees=(("web_search", 1),))) == 7 * 3_300 + 3 * 330


def test_reasoning_with_a_price_of_its_own_is_billed_at_it():
    price = Price(input=1_000_000, output=2_000_000, cached=0, cache_write=0, reasoning=5_000_000)
    assert cost(price, Usage(0, 10, reasoning_tokens=4)) == 6 * 2_000 + 4 * 5_000
    assert dearest(price, Asks(), 10).output == 5_000_000


def test_a_contract_lowers_the_charge_and_each_class_is_rounded_up():
    assert cost(SONNET, Usage(1, 1), 850_000) == 2_550 + 12_750
    assert cost(SONNET, Usage(1, 0), 333_333) == 1_000  # 999.999 nano-dollars
    assert cost(SONNET, Usage(0, 0, fees=(("web_search", 1),)), 850_000) == 8_500_000


@pytest.mark.parametrize(
    ("usage", "what"),
    [
        (Usage(1, 1, service="priority"), "'priority'"),
        (Usage(1, 1, geo="eu"), "'eu'"),
        (Usage(9, 1, 0, 9, 0, 9), "12h"),
        (Usage(9, 1, 0, 9, 9, service="batch"), "1h"),
        (Usage(9, 1, fees=(("moon_search", 1),)), "'moon_search'"),
    ],
)
def test_a_class_without_a_price_has_no_cost(usage: Usage, what: str):
    with pytest.raises(UnpricedError, match=what) as caught:
        cost(SONNET, usage)
    assert "--prices" in caught.value.hint


def test_asking_for_what_has_no_price_is_refused():
    for asks in (Asks(service="fast"), Asks(geo="eu"), Asks(cache="12h")):
        with pytest.raises(UnpricedError):
            dearest(SONNET, asks, 1)


def test_the_dearest_tier_is_that_of_the_bound():
    bounds = {bound: dearest(SONNET, Asks(), bound) for bound in (100_000, 150_000, 200_000, 200_001)}
    # the tier in the middle is cheaper than the base
    assert [one.input for one in bounds.values()] == [3_750_000, 3_750_000, 3_750_000, 7_500_000]
    assert [one.output for one in bounds.values()] == [15_000_000, 15_000_000, 15_000_000, 22_500_000]
    assert dearest(SONNET, Asks(geo="us"), 1).input == 4_125_000
    # what is asked for may not be what is given
    assert dearest(SONNET, Asks(service="batch"), 1).output == 15_000_000


def test_a_server_that_chooses_the_class_of_service_by_itself_may_choose_the_dearest_it_has():
    names = {"priority": 4, "fast": 6, "flex": 1, "batch": 9, "ultrafast": 12}
    services = {
        name: Price(input=times, output=times, cached=times, cache_write=times) for name, times in names.items()
    }
    plain = Price(input=2, output=2, cached=2, cache_write=2)
    sold = Price(input=2, output=2, cached=2, cache_write=2, services=services)
    assert (dearest(sold, Asks(), 1).input, dearest(sold, Asks(unpinned=True), 1).input) == (2, 6)
    # where one is named the server has no choice
    assert dearest(sold, Asks(service="priority", unpinned=True), 1).input == 4
    assert dearest(plain, Asks(unpinned=True), 1) == dearest(plain, Asks(), 1)


def test_a_longer_life_of_cached_prefixes_is_held_only_where_asked_for():
    only = Price(input=3_000_000, output=1, cached=1, cache_write=3_750_000, cache_write_1h=6_000_000)
    assert [dearest(only, Asks(cache=life), 1).input for life in ("", "off", "5m", "1h")] == [
        *[3_750_000] * 3,
        6_000_000,
    ]


def test_what_is_free_is_held_with_nothing():
    free = Price(input=0, output=0, cached=0, cache_write=0)
    found = dearest(free, Asks(), 10**6)
    assert worst(found.input, found.output, 10**6, 10**6, slack=found.slack, fees=found.fees) == 0


def plain(*, long: bool) -> st.SearchStrategy[Price]:
    pico = st.integers(0, 10**8)
    return st.builds(
        Price,
        input=pico, output=pico, cached=pico, cache_write=pico,
        cache_write_1h=pico, cache_write_12h=pico, reasoning=st.none() | pico,
        above=st.lists(st.builds(Above, tokens=st.integers(1, 10**6), price=plain(long=False)), max_size=2)
        .map(lambda tiers: tuple(sorted(tiers, key=lambda one: one.tokens))) if long else st.just(()),
    )  # fmt: skip


@given(
    base=plain(long=True),
    priority=plain(long=True),
    us=st.integers(1, 3000),
    bound=st.integers(0, 2 * 10**6),
    granted=st.integers(0, 10**6),
    multiplier=st.integers(1, 2_000_000),
    data=st.data(),
)
def test_no_usage_that_was_asked_for_costs_more_than_was_held(
    *, base: Price, priority: Price, us: int, bound: int, granted: int, multiplier: int, data: st.DataObject
):
    price = Price(
        **{name: getattr(base, name) for name in base.__dataclass_fields__ if name not in {"services", "geo"}},
        services={"priority": priority}, geo={"us": us},
    )  # fmt: skip
    draw = lambda most: data.draw(st.integers(0, most))  # noqa: E731
    asks = Asks(
        service=data.draw(st.sampled_from(["", "priority"])),
        geo=data.draw(st.sampled_from(["", "us"])),
        cache=data.draw(st.sampled_from(["", "5m", "1h", "12h"])),
    )
    tokens, output = draw(bound), draw(granted)
    cached = draw(tokens)
    written = draw(tokens - cached)
    longer = draw(written)
    usage = Usage(
        tokens, output, cached, written,
        longer if asks.cache == "1h" else 0, longer if asks.cache == "12h" else 0, draw(output),
        service=data.draw(st.sampled_from(["", asks.service])), geo=data.draw(st.sampled_from(["", asks.geo])),
    )  # fmt: skip
    held = dearest(price, asks, bound, multiplier)
    assert cost(price, usage, multiplier) <= worst(
        held.input, held.output, bound, granted, slack=held.slack, fees=held.fees
    )
