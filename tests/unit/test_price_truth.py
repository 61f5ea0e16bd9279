"""What a call costs, by an arithmetic of its own: fractions, from list prices typed here as providers publish them."""

import math
import random
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from prices.drawn import COUNT, MODELS, Case, drawn
from runner.pricing.book import Book
from runner.pricing.cost import Asks, Price, cost, dearest, input_cost
from runner.values import Usage

ROOT = Path(__file__).resolve().parents[2]

# USD per million tokens: input, read from the cache, written for 5 minutes, written for an hour, output.
# By model, class of service, and the size of input above which it holds.
LIST = {
    "openai/gpt-6.1-sol": {
        "": {0: "2 0.1 2.5 - 10", 272_000: "4 0.2 5 - 15"},
        "flex": {0: "1 0.05 1.25 - 5", 272_000: "2 0.1 2.5 - 7.5"},
        "batch": {0: "1 0.05 1.25 - 5", 272_000: "2 0.1 2.5 - 7.5"},
        "priority": {0: "4 0.2 5 - 20", 272_000: "8 0.4 10 - 30"},
        "fast": {0: "4 0.2 5 - 20", 272_000: "8 0.4 10 - 30"},
        "ultrafast": {0: "12 0.6 15 - 60", 272_000: "24 1.2 30 - 90"},
    },
    "openai/gpt-5-mini": {
        "": {0: "0.25 0.025 0.25 - 2"},
        "flex": {0: "0.125 0.0125 0.125 - 1"},
        "batch": {0: "0.125 0.0125 0.125 - 1"},
        "priority": {0: "0.45 0.045 0.45 - 3.6"},
        "fast": {0: "0.45 0.045 0.45 - 3.6"},
    },
    "anthropic/claude-opus-5": {
        "": {0: "5 0.5 6.25 10 25"},
        "batch": {0: "2.5 0.25 3.125 5 12.5"},
        "fast": {0: "10 1 12.5 20 50"},
    },
    "anthropic/claude-haiku-5-5": {
        "": {0: "0.1 0.01 0.125 0.2 0.5", 100_000: "0.5 0.05 0.625 1 2.5"},
        "batch": {0: "0.05 0.005 0.0625 0.1 0.25", 100_000: "0.25 0.025 0.3125 0.5 1.25"},
    },
    "anthropic/claude-haiku-4-5": {"": {0: "1 0.1 1.25 2 5"}, "batch": {0: "0.5 0.05 0.625 1 2.5"}},
    "anthropic/claude-sonnet-4-5": {
        "": {0: "3 0.3 3.75 6 15", 200_000: "6 0.6 7.5 12 22.5"},
        "batch": {0: "1.5 0.15 1.875 3 7.5", 200_000: "3 0.3 3.75 6 11.25"},
    },
    "gemini/gemini-2.5-pro": {
        "": {0: "1.25 0.125 - - 10", 200_000: "2.5 0.25 - - 15"},
        "batch": {0: "0.625 0.125 - - 5", 200_000: "1.25 0.25 - - 7.5"},
        "flex": {0: "0.625 0.125 - - 5", 200_000: "2.5 0.25 - - 15"},
        "priority": {0: "2.25 0.225 - - 18", 200_000: "4.5 0.45 - - 27"},
    },
    "xai/grok-4.7": {"": {0: "2 0.5 - - 6", 199_999: "4 1 - - 12"}},
    "zai/glm-5.2": {"": {0: "1.4 0.26 - - 4.4"}},
    # what no list has today: reasoning at a price of its own, and prefixes cached for 12 hours
    "desk/all": {"": {0: "2 0.1 2.5 4 10", 272_000: "4 0.2 5 8 15"}},
}
REASONING = {"desk/all": {0: "12", 272_000: "18"}}
TWELVE_HOURS = {"desk/all": {0: "5", 272_000: "10"}}
GEO = {
    "openai/gpt-6.1-sol": "1.1",
    "anthropic/claude-opus-5": "1.1",
    "anthropic/claude-haiku-5-5": "1.1",
    "desk/all": "1.2",
}
TOOLS = {"web_search": "0.01", "file_search": "0.0025"}
GEMINI_TOOLS = {"web_search": "0.035", "maps": "0.025"}
MINE = """\
[models."desk/all"]
input = "2"
output = "10"
cached = "0.1"
cache_write = "2.5"
cache_write_1h = "4"
cache_write_12h = "5"
reasoning = "12"
context = 400000
max_output = 128000
as_of = 2026-11-22
[[models."desk/all".above]]
tokens = 272000
input = "4"
output = "15"
cached = "0.2"
cache_write = "5"
cache_write_1h = "8"
cache_write_12h = "10"
reasoning = "18"
[models."desk/all".geo]
us = "1.2"
[models."desk/all".fees]
web_search = "0.01"
"""
BOOK = Book.load(MINE)
CONTRACTS = (1_000_000, 1_000_000, 850_000, 333_333, 1_200_000)


def at(tiers: dict, tokens: int):
    return tiers[max(above for above in tiers if above == 0 or tokens > above)]


def expected(case: Case, contract: int) -> int:
    """Nano-dollars, each class rounded up once."""
    usage = case.usage
    read, cached, written, hour, out = at(LIST[case.model][usage.service], usage.input_tokens).split()
    factor = Fraction(GEO[case.model] if usage.geo else "1") * Fraction(contract, 1_000_000)
    thought = usage.reasoning_tokens if case.model in REASONING else 0
    classes = [
        (usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, read),
        (usage.cached_tokens, cached),
        (usage.cache_write_tokens - usage.cache_write_1h_tokens - usage.cache_write_12h_tokens, written),
        (usage.cache_write_1h_tokens, hour),
        (
            usage.cache_write_12h_tokens,
            at(TWELVE_HOURS[case.model], usage.input_tokens) if usage.cache_write_12h_tokens else "0",
        ),
        (usage.output_tokens - thought, out),
        (thought, at(REASONING[case.model], usage.input_tokens) if thought else "0"),
    ]
    nano = sum(math.ceil(count * Fraction(usd) * 1000 * factor) for count, usd in classes if count)
    tools = GEMINI_TOOLS if case.model.startswith("gemini/") else TOOLS
    return nano + sum(
        math.ceil(uses * Fraction(tools[kind]) * 10**9 * Fraction(contract, 1_000_000)) for kind, uses in usage.fees
    )


def cases() -> list[Case]:
    mine = BOOK.lookup("desk/all")
    dice = random.Random(7)
    found = drawn(BOOK.entries)
    for place in range(0, COUNT, 8):
        # one in eight is of the model with everything that no list has
        total, output = dice.randint(4, 400_000), dice.randint(0, 128_000)
        cached, written = total // dice.randint(2, 9), total // dice.randint(2, 5)
        usage = Usage(
            total, output, cached, written, written // 3, written // 4, output // dice.randint(1, 4),
            geo=dice.choice(["", "us"]), fees=(("web_search", dice.randint(0, 3)),),
        )  # fmt: skip
        found[place] = Case(mine.name, usage)
    return found


def test_every_cost_is_what_fractions_make_of_the_list_prices():
    dice = random.Random(3)
    seen = set()
    for case in cases():
        contract = dice.choice(CONTRACTS)
        usage, price = case.usage, BOOK.lookup(case.model).price
        assert cost(price, usage, contract) == expected(case, contract), (case, contract)
        whole = cost(price, Usage(0, usage.output_tokens), contract)
        assert whole <= cost(price, Usage(1, usage.output_tokens), contract)
        used = {name for name in Usage.__dataclass_fields__ if getattr(usage, name)}
        seen |= used | {usage.service} | ({"tier"} if usage.input_tokens > 272_000 else set()) | {str(contract)}
    dimensions = {"batch", "flex", "priority", "fast", "ultrafast", "geo", "fees", "tier", "reasoning_tokens"}
    lives = {"cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "cache_write_12h_tokens"}
    assert seen >= dimensions | lives | {str(one) for one in CONTRACTS}
    assert {case.model for case in cases()} == {*MODELS, "desk/all"}


def test_what_is_held_for_a_usage_is_never_less_than_its_cost():
    for case in cases():
        usage, price = case.usage, BOOK.lookup(case.model).price
        life = "12h" if usage.cache_write_12h_tokens else "1h" if usage.cache_write_1h_tokens else ""
        if life == "12h" and usage.cache_write_1h_tokens:
            # no request asks for two lives
            continue
        held = dearest(price, Asks(service=usage.service, geo=usage.geo, cache=life), usage.input_tokens)
        tokens = cost(price, usage) - sum(uses * price.fees[kind] for kind, uses in usage.fees)
        most = Fraction(usage.input_tokens * held.input + usage.output_tokens * held.output, 1000)
        assert tokens <= math.ceil(most) + held.slack


def test_published_arithmetic_holds():
    fable = Price(input=125_000_000, output=125_000_000, cached=125_000_000, cache_write=125_000_000)
    assert cost(fable, Usage(100_000_000, 0)) == cost(fable, Usage(0, 100_000_000)) == 12_500 * 10**9
    usage = Usage(123_000, 45_000)
    for name, read, out in (
        ("anthropic/claude-opus-5", "5", "25"),
        ("anthropic/claude-haiku-4-5", "1", "5"),
        ("zai/glm-5.2", "1.4", "4.4"),
    ):
        price = BOOK.lookup(name).price
        assert Fraction(cost(price, usage)) == (123_000 * Fraction(read) + 45_000 * Fraction(out)) * 1000
        assert Fraction(price.output, price.input) == Fraction(out) / Fraction(read)
        assert Fraction(cost(price, Usage(0, 1000)), cost(price, Usage(1000, 0))) == Fraction(out) / Fraction(read)
    opus, haiku = BOOK.lookup("anthropic/claude-opus-5").price, BOOK.lookup("anthropic/claude-haiku-4-5").price
    assert cost(opus, usage) == 5 * cost(haiku, usage)
    four = Price(input=1_400_000, output=4_000_000, cached=1_400_000, cache_write=1_400_000)
    assert Fraction(cost(four, Usage(0, 7_000)), cost(four, Usage(7_000, 0))) == Fraction(4) / Fraction("1.4")
    assert input_cost(opus, usage) == 123_000 * 5_000


def pinned() -> str:
    """Why the lists cannot be read here; "" when they can."""
    from prices.make import SOURCES

    for name, wanted in SOURCES.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            return f"{name} {wanted} is not installed"
        if found != wanted:
            return f"{name} is {found}, not {wanted}"
    return ""


def test_the_book_and_its_page_are_what_the_two_lists_make():
    """Every difference in arithmetic is explained, too: the page cannot be made with one that is not."""
    try:
        reason = pinned()
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed"
    if reason:
        pytest.skip(reason)
    from prices.make import made

    for path, data in made().items():
        assert (ROOT / path).read_bytes() == data, f"{path}: run `python -m prices`"
