"""Which model a run uses, and what it is told when there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.errors import ConfigError, NotFoundError
from runner.models.catalog import DEFAULT_MODELS, Choice, build, choose
from runner.models.keys import FOREIGN_KEYS, KNOWN_KEYS
from runner.pricing.book import Book

BOOK = Book.load()
KEY = {"OPENAI_API_KEY": "sk-test"}


def test_a_key_chooses_its_providers_default_which_has_a_price():
    choice = choose(None, KEY, BOOK)
    assert choice == Choice(kind="openai", name=DEFAULT_MODELS["openai"], why="the default for OPENAI_API_KEY")
    assert BOOK.lookup(choice.name).price.output > 0


@pytest.mark.parametrize("keys", [{}, {"OPENAI_API_KEY": ""}])
def test_without_a_key_every_way_to_set_one_is_told(keys: dict[str, str]):
    with pytest.raises(ConfigError) as caught:
        choose(None, keys, BOOK)
    assert caught.value.exit_code == 2
    for way in ("OPENAI_API_KEY", ".env", "--model replay:FILE", "OPENAI_BASE_URL"):
        assert way in caught.value.hint


def test_a_key_of_a_provider_that_cannot_be_called_yet_is_named():
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY found, but this version cannot call"):
        choose(None, {"ANTHROPIC_API_KEY": "x"}, BOOK)


def test_a_named_model_needs_its_key_unless_a_server_of_ones_own_is_named():
    assert choose("openai/gpt-5-mini", KEY, BOOK).name == "openai/gpt-5-mini"
    assert choose("openai/gpt-5-mini", {}, BOOK, base_url="http://localhost:8000/v1").name == "openai/gpt-5-mini"
    with pytest.raises(ConfigError, match="needs OPENAI_API_KEY"):
        choose("openai/gpt-5-mini", {}, BOOK)


@pytest.mark.parametrize(
    ("model", "what", "hint"),
    [
        ("gpt-5-mini", "unknown model 'gpt-5-mini'", "Did you mean 'openai/gpt-5-mini'?"),
        ("opnai/gpt-5", "unknown model", "Did you mean 'openai/gpt-5'?"),
        ("replay/x", "unknown model", "replay:…"),
        ("openai/", "unknown model", "openai/NAME or replay:FILE"),
        ("replay:", "replay: names no file", "replay:FILE"),
        ("anthropic/claude-opus-5", "provider 'anthropic' is not supported by this version", "OPENAI_API_KEY"),
        ("openai/gpt-99", "no price is known for model 'openai/gpt-99'", '[models."openai/gpt-99"]'),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_the_fix(model: str, what: str, hint: str):
    with pytest.raises(ConfigError) as caught:
        choose(model, KEY, BOOK)
    assert what in caught.value.message
    assert hint in caught.value.hint


def test_every_key_name_is_known():
    assert {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", *FOREIGN_KEYS.values()} == KNOWN_KEYS


def test_a_recording_is_built_with_the_sizes_of_the_model_it_names(tmp_path: Path):
    (tmp_path / "r.jsonl").write_text('{"recording": 1, "model": "openai/gpt-4o"}\n')
    built = build(choose("replay:r.jsonl", {}, BOOK), book=BOOK, keys={}, folder=tmp_path)
    assert (built.name, built.max_output) == ("openai/gpt-4o", 16_384)


def test_a_recording_that_is_not_there_or_has_no_price_is_refused(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"no recording at r\.jsonl"):
        build(choose("replay:r.jsonl", {}, BOOK), book=BOOK, keys={}, folder=tmp_path)
    (tmp_path / "r.jsonl").write_text('{"recording": 1, "model": "openai/gpt-99"}\n')
    with pytest.raises(ConfigError, match="no price"):
        build(choose("replay:r.jsonl", {}, BOOK), book=BOOK, keys={}, folder=tmp_path)


def test_no_provider_sdk_loads_until_a_call_is_made():
    code = (
        "import sys; from runner.models.catalog import choose, build; from runner.pricing.book import Book; b = Book.load();"
        "m = build(choose('openai/gpt-5', {'OPENAI_API_KEY': 'k'}, b), book=b, keys={'OPENAI_API_KEY': 'k'});"
        "print(m.name, sorted({'openai', 'httpx', 'anthropic', 'litellm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "openai/gpt-5 []\n"
