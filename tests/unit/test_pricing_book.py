"""The price book: exact prices, refusals that say what to write, and an age that costs."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ConfigError
from runner.pricing.book import Book, hold_percent, staleness
from runner.pricing.cost import Price, affordable_output, cost, worst
from runner.values import Usage

MINE = """\
as_of = 2026-10-01

[models."local/llama"]
input = "0"
output = "0"
context = 32768
max_output = 4096
"""


def at(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


def test_a_known_model_has_the_price_its_provider_lists():
    entry = Book.load().lookup("openai/gpt-5-mini")
    assert entry.price == Price(input=250_000, output=2_000_000, cached=25_000, cache_write=250_000)
    assert (entry.context, entry.max_output, entry.as_of.isoformat()) == (400_000, 128_000, "2026-11-22")


def test_a_million_tokens_cost_what_the_book_says_in_dollars():
    price = Book.load().lookup("openai/gpt-5").price
    assert cost(price, Usage(1_000_000, 0)) == 1_250_000_000
    assert cost(price, Usage(0, 1_000_000)) == 10_000_000_000
    assert cost(price, Usage(1_000_000, 0, 1_000_000)) == 125_000_000


def test_every_builtin_entry_can_be_held_with():
    for name, entry in Book.load().entries.items():
        assert 0 < entry.price.cached <= entry.price.input <= entry.price.cache_write, name
        assert entry.price.input < entry.price.output, name
        assert 4096 < entry.max_output < entry.context, name


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
    # 1.1 exactly, and cached tokens at the input's price where nothing is said
    assert mine.price == Price(input=1_100_000, output=9_000_000, cached=1_100_000, cache_write=1_100_000)
    assert (mine.max_output, mine.source) == (128_000, "prices.toml")


def test_the_digest_names_the_content_and_nothing_else():
    assert Book.load().digest == Book.load("").digest == Book.load("# nothing\n").digest
    assert Book.load(MINE).digest != Book.load().digest
    assert Book.load(MINE).digest != Book.load(MINE.replace('"0"', '"0.000001"', 1)).digest
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
        (MINE.replace("4096", "0"), "p:7", "`max_output` is not a number of tokens: 0", "16384"),
        ("[models.gpt-5]\ninput = 1\n", "p:1", "'gpt-5' is no model", "in quotes"),
        ('input = "1"\n', "p:1", "unknown key `input`", "Known keys"),
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


def test_an_old_price_is_called_old_and_a_stale_one_raises_the_hold():
    entry = Book.load(MINE.replace('"0"', '"3"')).lookup("local/llama")  # as of 2026-10-01
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
    text = MINE.replace('output = "0"', f"output = {usd:f}").replace('input = "0"', f'input = "{usd:f}"')
    price = Book.load(text).lookup("local/llama").price
    assert price.input == price.output == int(usd * 1_000_000)
