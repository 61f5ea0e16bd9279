"""The price book: exact prices, refusals that say what to write, and an age that costs."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ConfigError, UnpricedError
from runner.pricing.book import Book, builtin, hold_percent, staleness, stanza
from runner.pricing.cost import Above, Asks, Price, affordable_output, cost, dearest, worst
from runner.pricing.written import unsound, write
from runner.values import Usage

MINE = """\
as_of = 2026-10-01

[models."local/llama"]
local = true
input = "0"
output = "0"
context = 32768
max_output = 4096
"""


ALL_OF_IT = """\
as_of = 2026-11-22

[contract.openai]
multiplier = "0.85"

[contract.desk]
multiplier = "0.5"
on_holds = true

[models."desk/large"]
input = "2"
output = "10"
cached = "0.1"
cache_write = "2.5"
cache_write_1h = "4"
cache_write_12h = "5"
reasoning = "12"
context = 400000
max_output = 128000
allowance = 7
tools_allowance = 8
thinking_allowance = 9
api = "responses"
count = "fresh"
tokenizer = "normalises"
thinking = "budget"
multiplier = "1.2"

[[models."desk/large".above]]
tokens = 100000
input = "3"

[[models."desk/large".above]]
tokens = 272000
output = "20"

[models."desk/large".services.priority]
input = "4"
output = "20"

[[models."desk/large".services.priority.above]]
tokens = 272000
output = "40"

[models."desk/large".geo]
us = "1.1"

[models."desk/large".fees]
web_search = "0.01"

[models."desk/small"]
input = "1"
output = "1"
context = 4096
max_output = 4096
"""


def at(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


def test_a_known_model_has_the_price_its_provider_lists():
    entry = Book.load().lookup("openai/gpt-5-mini")
    price = entry.price
    assert (price.input, price.output, price.cached, price.cache_write) == (250_000, 2_000_000, 25_000, 250_000)
    assert (price.services["flex"].output, price.services["priority"].input) == (1_000_000, 450_000)
    assert (price.above, price.fees["web_search"]) == ((), 10_000_000)
    assert (entry.context, entry.max_output, entry.as_of.isoformat()) == (400_000, 128_000, "2026-11-22")


def test_a_million_tokens_cost_what_the_book_says_in_dollars():
    price = Book.load().lookup("openai/gpt-5").price
    assert cost(price, Usage(1_000_000, 0)) == 1_250_000_000
    assert cost(price, Usage(0, 1_000_000)) == 10_000_000_000
    assert cost(price, Usage(1_000_000, 0, 1_000_000)) == 125_000_000


def test_every_builtin_entry_can_be_held_with():
    for name, entry in Book.load().entries.items():
        assert unsound(entry) == "", name
        for price in (entry.price, *(tier.price for tier in entry.price.above), *entry.price.services.values()):
            assert 0 < price.cached <= price.input <= price.cache_write, name
            assert price.input <= price.output, name
        assert 4096 <= entry.max_output <= entry.context, name


def test_the_models_that_were_priced_before_still_are():
    for name in (
        "openai/gpt-6.1-sol", "openai/gpt-6-luna", "openai/gpt-5.4", "openai/gpt-5", "openai/gpt-5-nano",
        "openai/gpt-4.1", "openai/gpt-4o-mini", "openai/o4-mini", "anthropic/claude-opus-5-5",
        "anthropic/claude-sonnet-5-5", "anthropic/claude-haiku-5-5", "anthropic/claude-haiku-4-5",
    ):  # fmt: skip
        assert Book.load().lookup(name).name == name


def test_an_unknown_model_is_refused_with_the_stanza_to_add():
    with pytest.raises(ConfigError) as caught:
        Book.load().lookup("openai/gpt-5-mimi")
    assert caught.value.exit_code == 2
    assert "Did you mean 'openai/gpt-5-mini'?" in caught.value.hint
    stanza = caught.value.hint.partition("\n\n")[2].replace("…", "1.5")
    assert Book.load(stanza).lookup("openai/gpt-5-mimi").price.output == 1_500_000


def test_a_users_file_adds_models_and_replaces_prices():
    book = Book.load(MINE + '\n[models."openai/gpt-5"]\ninput = 1.1\noutput = "9"\n', path="prices.toml")
    assert book.lookup("local/llama").price == Price(input=0, output=0, cached=0, cache_write=0)
    mine = book.lookup("openai/gpt-5")
    # 1.1 exactly; where nothing is said, cached tokens at the input's price, and written ones at no less
    flat = replace(mine.price, above=(), services={}, geo={}, fees={})
    assert flat == Price(input=1_100_000, output=9_000_000, cached=1_100_000, cache_write=1_375_000)
    assert (mine.max_output, mine.source) == (128_000, "prices.toml")


TWO_PRICES = '[models."{}"]\ninput = "{:f}"\noutput = "{:f}"\nas_of = 2026-11-22\n'


def test_a_known_model_with_two_new_prices_keeps_every_other_one():
    book = Book.load(TWO_PRICES.format("openai/gpt-6.1-sol", Decimal(3), Decimal(11)))
    price, known = book.lookup("openai/gpt-6.1-sol").price, Book.load().lookup("openai/gpt-6.1-sol").price
    assert (price.cached, price.cache_write) == (3_000_000, 3_750_000)
    assert [(one.tokens, one.price.input, one.price.output) for one in price.above] == [
        (272_000, 6_000_000, 16_500_000)
    ]
    assert price.above[0].price.cache_write == 7_500_000
    assert (price.services.keys(), price.geo, price.fees) == (known.services.keys(), known.geo, known.fees)
    # by how far the prices moved, and never below them: 1/2 of a price that nobody confirmed is not promised
    assert (price.services["priority"].input, price.services["priority"].output) == (6_000_000, 22_000_000)
    assert price.services["priority"].above[0].price.output == 33_000_000
    assert (price.services["flex"].input, price.services["flex"].output) == (3_000_000, 11_000_000)
    claude = Book.load(TWO_PRICES.format("anthropic/claude-haiku-4-5", Decimal(2), Decimal(10)))
    assert claude.lookup("anthropic/claude-haiku-4-5").price.cache_write_1h == 4_000_000


def test_what_a_known_models_table_states_replaces_what_was_known():
    text = TWO_PRICES.format("openai/gpt-6.1-sol", Decimal(3), Decimal(11)) + (
        'cache_write = "3"\nabove = []\n[models."openai/gpt-6.1-sol".services.flex]\ninput = "1.5"\noutput = "5.5"\n'
        '[models."openai/gpt-6.1-sol".geo]\n[models."openai/gpt-6.1-sol".fees]\n'
    )
    price = Book.load(text).lookup("openai/gpt-6.1-sol").price
    assert (price.cache_write, price.above, price.geo, price.fees) == (3_000_000, (), {}, {})
    assert [*price.services] == ["flex"]
    flex = price.services["flex"]
    # its tier is stated nowhere, so it stays
    assert (flex.input, flex.cache_write, flex.above[0].price.input) == (1_500_000, 1_875_000, 3_000_000)


@given(st.sampled_from(sorted(builtin())), st.integers(100, 300), st.integers(100, 300), st.data())
def test_an_override_by_its_two_prices_never_prices_a_reply_below_the_known(
    name: str, up_in: int, up_out: int, data: st.DataObject
):
    known = builtin()[name].price
    usd_in, usd_out = Decimal(known.input * up_in // 100), Decimal(known.output * up_out // 100)
    text = TWO_PRICES.format(name, usd_in / 1_000_000, usd_out / 1_000_000)
    mine = Book.load(text).lookup(name).price
    tokens = data.draw(st.integers(0, 1_000_000))
    cached = data.draw(st.integers(0, tokens))
    write = data.draw(st.integers(0, tokens - cached))
    output = data.draw(st.integers(0, 100_000))
    service = data.draw(st.sampled_from(["", *known.services]))
    hour = known.cache_write_1h is not None and (not service or known.services[service].cache_write_1h is not None)
    usage = Usage(
        tokens, output, cached, write,
        cache_write_1h_tokens=data.draw(st.integers(0, write)) if hour else 0,
        reasoning_tokens=data.draw(st.integers(0, output)),
        fees=tuple((kind, 1) for kind in known.fees),
        service=service,
        geo=data.draw(st.sampled_from(["", *known.geo])),
    )  # fmt: skip
    assert cost(mine, usage) >= cost(known, usage)


def test_a_price_file_made_from_the_stanza_prices_cache_writes():
    text = '[models."anthropic/claude-new-9"]\ninput = "3"\noutput = "15"\ncontext = 200000\nmax_output = 16384\n'
    price = Book.load(f"{text}as_of = 2026-11-01\n").lookup("anthropic/claude-new-9").price
    assert (price.cache_write, price.cache_write_1h) == (3_750_000, None)
    assert dearest(price, Asks(cache="5m"), 1000).input == 3_750_000
    with pytest.raises(UnpricedError, match="1h"):
        dearest(price, Asks(cache="1h"), 1000)
    assert "cache_write" in stanza("anthropic/claude-new-9")


def test_the_digest_names_the_content_and_nothing_else():
    assert Book.load().digest == Book.load("").digest == Book.load("# nothing\n").digest
    assert Book.load(MINE).digest != Book.load().digest
    assert Book.load(MINE).digest != Book.load(MINE.replace('"0"', '"0.000001"', 1).replace("true", "false")).digest
    assert len(Book.load().digest) == 64


@pytest.mark.parametrize(
    ("text", "where", "what", "hint"),
    [
        ('[models."a/b"]\ninput = "1"\nouput = "2"\n', "p:3", "unknown key `ouput`", "Did you mean `output`?"),
        ('[models."a/b"]\ninput = "cheap"\noutput = "2"\n', "p:2", "not a price: 'cheap'", "1.25"),
        ('[models."a/b"]\ninput = "-1"\noutput = "2"\n', "p:2", "not a price: '-1'", "1.25"),
        ('[models."a/b"]\ninput = true\noutput = "2"\n', "p:2", "not a price", "1.25"),
        ('[models."a/b"]\ninput = nan\noutput = "2"\n', "p:2", "not a price", "1.25"),
        ('[models."a/b"]\ninput = "0.0000001"\noutput = "2"\n', "p:2", "more than 6 decimals", "Round it up"),
        ('[models."a/b"]\ninput = "1"\n', "p:1", "no `output` price", "output ="),
        ('[models."a/b"]\ninput = "1"\noutput = "2"\n', "p:1", "no `max_output`", "max_output = 16384"),
        (MINE.replace("as_of = 2026-10-01", ""), "p:3", "no `as_of`", "as_of = 2026-01-31"),
        (MINE.replace("4096", "0"), "p:8", "`max_output` is not a number of tokens: 0", "16384"),
        ("[models.gpt-5]\ninput = 1\n", "p:1", "'gpt-5' is no model", "in quotes"),
        ('input = "1"\n', "p:1", "unknown key `input`", "Known keys"),
        ("[contract.a]\non_holds = true\n", "p:1", "no `multiplier`", "0.85"),
        ('[contract.a]\nmultiplier = "0"\n', "p:2", "not a factor", "0.85"),
        (ALL_OF_IT.replace("100000", "300000"), "p:34", "out of order", "small to large"),
        (ALL_OF_IT.replace("tokens = 272000", "token = 272000", 1), "p:34", "unknown key `token`", "`tokens`"),
        (ALL_OF_IT.replace('us = "1.1"', 'us = "-1.1"'), "p:46", "not a factor: '-1.1'", "multiplied"),
        (ALL_OF_IT.replace('"normalises"', '"words"'), "p:25", "`tokenizer` is not 'words'", "'normalises'"),
        ('[models."a/b"\ninput = 1\n', "p:1:14", "not TOML", "page prices"),
        ('[models."a/b"]\n[models."a/b"]\n', "p:2:14", "not TOML", "page prices"),
    ],
)
def test_a_broken_price_file_is_refused_with_its_line(text: str, where: str, what: str, hint: str):
    with pytest.raises(ConfigError) as caught:
        Book.load(text, path="p")
    assert str(caught.value).startswith(f"{where}: ")
    assert what in caught.value.message
    assert hint in caught.value.hint


def test_every_dimension_is_read():
    book = Book.load(ALL_OF_IT)
    entry = book.lookup("desk/large")
    base = Price(
        input=2_000_000, output=10_000_000, cached=100_000, cache_write=2_500_000,
        cache_write_1h=4_000_000, cache_write_12h=5_000_000, reasoning=12_000_000,
    )  # fmt: skip
    priority = Price(input=4_000_000, output=20_000_000, cached=4_000_000, cache_write=5_000_000)
    long = Price(
        input=3_000_000, output=10_000_000, cached=150_000, cache_write=3_750_000,
        cache_write_1h=6_000_000, cache_write_12h=7_500_000, reasoning=12_000_000,
    )  # fmt: skip
    longer = replace(long, output=20_000_000, reasoning=24_000_000)
    assert entry.price == replace(
        base,
        above=(Above(tokens=100_000, price=long), Above(tokens=272_000, price=longer)),
        services={
            "priority": replace(priority, above=(Above(tokens=272_000, price=replace(priority, output=40_000_000)),))
        },
        geo={"us": 1100},
        fees={"web_search": 10_000_000},
    )
    assert (entry.allowance, entry.tools_allowance, entry.thinking_allowance) == (7, 8, 9)
    assert (entry.api, entry.count, entry.tokenizer, entry.thinking) == ("responses", "fresh", "normalises", "budget")
    assert (entry.multiplier, entry.hold_multiplier) == (1_200_000, 1_200_000)
    small, theirs = book.lookup("desk/small"), book.lookup("openai/gpt-5")
    assert (small.multiplier, small.hold_multiplier, small.count) == (500_000, 500_000, "untrusted")
    # a contract lowers what is charged, and no hold
    assert (theirs.multiplier, theirs.hold_multiplier) == (850_000, 1_000_000)


def other(value: str) -> str:
    words = {"true": "false", '"responses"': '"chat"', '"fresh"': '"all"', '"normalises"': '"bytes"', '"budget"': '""'}
    if value in words:
        return words[value]
    if value == "2026-11-22":
        return "2026-11-21"
    return f'{value[:-1]}5"' if "." in value else f'{value[:-1]}.5"' if value.startswith('"') else str(int(value) + 1)


def test_every_field_moves_the_digest():
    seen = {Book.load(ALL_OF_IT).digest}
    lines = ALL_OF_IT.splitlines()
    places = [number for number, line in enumerate(lines) if " = " in line]
    for number in places:
        key, _, value = lines[number].partition(" = ")
        seen.add(Book.load("\n".join([*lines[:number], f"{key} = {other(value)}", *lines[number + 1 :]])).digest)
    assert len(seen) == 1 + len(places) > 35


def test_a_server_in_the_config_brings_its_models():
    table = {"input": "1.4", "output": "4.4", "context": 1_000_000, "max_output": 128_000, "as_of": date(2026, 11, 22)}
    free = {"input": 0, "output": 0, "local": True}
    book = Book.load(servers={"glm": {"glm-5.2": table}, "desk": {"llama": {**table, **free}}})
    entry = book.lookup("glm/glm-5.2")
    assert (entry.price.output, entry.count, entry.billing) == (4_400_000, "untrusted", "metered")
    assert book.lookup("desk/llama").billing == "local"
    with pytest.raises(ConfigError, match=r"providers.glm.models: `input` is not a price: '1.4'"):
        Book.load(servers={"glm": {"glm-5.2": {**table, "input": 1.4}}})


def test_nothing_but_the_users_own_word_makes_a_model_free():
    assert Book.load(MINE).lookup("local/llama").billing == "local"
    for text in (MINE.replace("local = true", "local = false"), MINE.replace("local = true\n", "")):
        with pytest.raises(ConfigError, match="costs nothing, and is not local") as caught:
            Book.load(text)
        assert "`local = true` if this is a server of your own" in caught.value.hint
    priced = ('cache_write = "1"\n', '[models."local/llama".services.fast]\ninput = "0"\noutput = "1"\n',
              '[[models."local/llama".above]]\ntokens = 5\noutput = "10"\n',
              '[models."local/llama".fees]\nweb_search = "0.01"\n')  # fmt: skip
    for more in priced:
        with pytest.raises(ConfigError, match="is local, and has a price"):
            Book.load(MINE + more)
    entry = Book.load(MINE).lookup("local/llama")
    for one in (entry, replace(entry, local=False)):
        data = write([one], as_of=date(2026, 11, 22), sources={})
        with pytest.raises(ConfigError, match="cannot be used: a price that is nothing"):
            Book.load(update=data)


def test_an_update_stands_over_the_built_in_and_under_the_users():
    entry = replace(Book.load().lookup("openai/gpt-5"), source="later", max_output=64_000)
    data = write([entry], as_of=date(2026, 11, 22), sources={})
    assert Book.load(update=data).lookup("openai/gpt-5") == entry
    assert Book.load(update=data).lookup("openai/gpt-5-mini") == Book.load().lookup("openai/gpt-5-mini")
    mine = Book.load('[models."openai/gpt-5"]\ninput = 1\noutput = 9\nas_of = 2026-11-22\n', update=data)
    assert (mine.lookup("openai/gpt-5").price.output, mine.lookup("openai/gpt-5").max_output) == (9_000_000, 64_000)
    for torn in (data[:-9], b"{}", data.replace(b'"version": 2', b'"version": 3'), b"\xff"):
        with pytest.raises(ConfigError, match=r"prices\.json"):
            Book.load(update=torn)


def test_an_old_price_is_called_old_and_a_stale_one_raises_the_hold():
    entry = Book.load(MINE.replace('"0"', '"3"').replace("true", "false")).lookup("local/llama")  # as of 2026-10-01
    assert staleness(entry, at(2026, 9, 1)) == staleness(entry, at(2026, 11, 30)) == "fresh"
    assert staleness(entry, at(2026, 12, 1)) == staleness(entry, at(2027, 3, 30)) == "old"
    assert staleness(entry, at(2027, 3, 31)) == "stale"
    assert [hold_percent(entry, at(2027, 3, day)) for day in (30, 31)] == [100, 125]


prices = st.builds(
    Price,
    input=st.integers(0, 10**8),
    output=st.integers(0, 10**8),
    cached=st.integers(0, 10**8),
    cache_write=st.integers(0, 10**8),
)


@given(prices, st.integers(0, 10**7), st.integers(0, 10**6), st.data())
def test_no_usage_within_its_bounds_costs_more_than_was_held(
    price: Price, bound: int, granted: int, data: st.DataObject
):
    tokens = data.draw(st.integers(0, bound))
    cached = data.draw(st.integers(0, tokens))
    usage = Usage(tokens, data.draw(st.integers(0, granted)), cached, data.draw(st.integers(0, tokens - cached)))
    assert cost(price, usage) <= worst(price.dearest_input, price.output, bound, granted)


@given(prices, st.integers(0, 10**6), st.integers(0, 10**12))
def test_the_output_money_buys_fits_and_one_token_more_does_not(price: Price, bound: int, room: int):
    output = affordable_output(price.dearest_input, price.output, bound, room)
    if output is None:
        assert price.output == 0
    elif output < 0:
        assert worst(price.dearest_input, price.output, bound, 0) > room
    else:
        assert worst(price.dearest_input, price.output, bound, output) <= room
        assert worst(price.dearest_input, price.output, bound, output + 1) > room


@given(st.decimals(min_value=0, max_value=10_000, places=6))
def test_a_price_is_read_to_the_last_digit(usd: Decimal):
    text = (
        MINE.replace("true", str(not usd).lower())
        .replace('output = "0"', f"output = {usd:f}")
        .replace('input = "0"', f'input = "{usd:f}"')
    )
    price = Book.load(text).lookup("local/llama").price
    assert price.input == price.output == int(usd * 1_000_000)
