"""`runner prices`: every class of a model's price, and newer prices taken in with care."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from runner.pricing.book import Book
from runner.pricing.compare import KINDS
from runner.pricing.written import write
from tests.e2e.test_cli_look_json import DOCUMENTED

DEARER = """\
as_of = 2026-12-01

[models."openai/gpt-5-mini"]
input = "0.3"
output = "2"
cached = "0.03"

[models."openai/gpt-9"]
input = "3"
output = "9"
context = 400000
max_output = 128000
"""


@pytest.fixture
def elsewhere(runner) -> Path:
    """A folder where no agent works."""
    folder = runner.state.parent / "downloads"
    folder.mkdir()
    return folder


def test_every_class_and_tier_of_a_price_is_shown(runner):
    lines = [line.split() for line in runner("prices", "show", "openai/gpt-6.1-sol").stdout.splitlines()]
    assert ["CLASS", "ABOVE", "IN", "CACHED", "WRITE", "OUT"] in lines
    assert ["standard", "272,000", "4", "0.2", "5", "15"] in lines
    assert ["flex", "0", "1", "0.05", "1.25", "5"] in lines
    assert ["in", "us", "1.1", "of", "these", "prices"] in lines
    assert all(len(" ".join(line)) < 80 for line in lines)


def test_the_document_has_every_price_as_the_book_has_it(runner):
    found = runner.json("prices", "show", "anthropic/claude-haiku-5-5", "--json")
    entry = Book.load().lookup("anthropic/claude-haiku-5-5")
    long = next(one for one in found["prices"] if (one["service"], one["above"]) == ("standard", 100_000))
    assert (long["input_pico_usd"], long["cache_write_1h_pico_usd"]) == (500_000, 1_000_000)
    assert len(found["prices"]) == 4
    assert (found["geo_per_mille"], found["tools_allowance"]) == ({"us": 1100}, entry.tools_allowance)
    assert found["digest"] == Book.load().digest
    assert set(found) == DOCUMENTED["runner prices show MODEL --json"]
    assert set(long) == {"service", "above", *(f"{kind}_pico_usd" for kind in KINDS)}


def test_a_part_of_a_name_must_mean_one_model(runner):
    assert runner("prices", "show", "glm-4.5-airx").returncode == 0
    done = runner("prices", "show", "glm")
    assert (done.returncode, done.stdout) == (2, "")
    assert "means" in done.stderr


def test_a_contract_is_shown_with_what_it_does_to_holds(runner):
    path = runner.write("p.toml", '[contract.openai]\nmultiplier = "0.85"\n')
    said = runner("prices", "show", "openai/gpt-5", "--prices", str(path)).stdout
    assert "0.85 of the list price" in said
    assert "holds at no less than the list price" in said


def test_what_is_shown_is_the_price_to_its_last_digit(runner):
    text = """
as_of = 2026-11-22
[models."desk/fine"]
input = "0.123456"
output = "1234.567891"
cached = "0.000001"
cache_write = "0.125"
context = 32768
max_output = 4096
multiplier = "1.234567"
[models."desk/fine".fees]
web_search = "0.012345678"
"""
    said = runner("prices", "show", "desk/fine", "--prices", str(runner.write("p.toml", text))).stdout
    for shown in ("0.123456", "1234.567891", "0.000001", "0.125", "1.234567 of the list price", "$0.012345678 a use"):
        assert shown in said


def test_newer_prices_count_from_then_on(runner, elsewhere):
    before = runner.json("prices", "show", "openai/gpt-5-mini", "--json")
    source = elsewhere / "new.toml"
    # of a model that was known, classes that the file does not name stay, and none of them below its prices
    source.write_text(DEARER)
    done = runner("prices", "update", "--from", str(source))
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "openai/gpt-5-mini input: $0.25 -> $0.3" in said
    assert "openai/gpt-5-mini flex input: $0.125 -> $0.3" in said
    assert "openai/gpt-9: new" in said
    after = runner.json("prices", "show", "openai/gpt-5-mini", "--json")
    assert after["digest"] != before["digest"]
    assert (after["prices"][0]["input_pico_usd"], after["as_of"], after["from"]) == (
        300_000,
        "2026-12-01",
        "prices.json",
    )
    assert runner.json("models", "openai/gpt-9", "--json")["models"][0]["output_pico_usd"] == 9_000_000
    assert "nothing differs; nothing was written" in runner("prices", "update", "--from", str(source)).stdout
    # a file of one's own still stands above
    mine = runner.write("p.toml", DEARER.replace('"0.3"', '"0.7"'))
    own = runner.json("prices", "show", "openai/gpt-5-mini", "--prices", str(mine), "--json")
    assert own["prices"][0]["input_pico_usd"] == 700_000


def test_a_price_that_goes_down_needs_to_be_meant(runner, elsewhere):
    source = elsewhere / "new.json"
    entry = Book.load().lookup("zai/glm-5.2")
    cheaper = replace(entry, price=replace(entry.price, output=entry.price.output // 2), tokenizer="bytes")
    source.write_bytes(write([cheaper], as_of=date(2026, 11, 22), sources={}))
    done = runner("prices", "update", "--from", str(source))
    assert (done.returncode, done.stdout) == (1, "")
    assert "lowers 3 prices, and nothing was changed: zai/glm-5.2 output" in done.stderr
    assert "zai/glm-5.2 tokenizer" in done.stderr
    assert not (runner.state / "prices.json").exists()
    found = runner.json("prices", "update", "--from", str(source), "--lower", "--json")
    assert {"what": "tokenizer", "before": "normalises", "after": "bytes", "lowers": True} in found["changed"][
        "zai/glm-5.2"
    ]
    assert runner.json("prices", "show", "zai/glm-5.2", "--json")["digest"] == found["digest"]
    assert set(found) == DOCUMENTED["runner prices update --json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEARER.replace('"9"', '"0"').replace('"3"', '"0"'), "costs nothing"),
        (
            DEARER.replace('"9"', '"0"').replace('"3"', '"0"\nlocal = true'),
            "a price that is nothing",
        ),
        (DEARER + "multiplier = 0.5\n", "a contract"),
        ('[contract.openai]\nmultiplier = "0.85"\n', "a contract"),
        (DEARER.replace("output", "ouput"), "Did you mean `output`?"),
        ("{}", "not a price book"),
        ('{"version": 1, "as_of": "2026-01-01", "sources": {}, "models": []}', "of version 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_whole(runner, elsewhere, text, said):
    source = elsewhere / "new.toml"
    source.write_text(text)
    done = runner("prices", "update", "--from", str(source))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (runner.state / "prices.json").exists()


def test_a_file_that_an_agent_may_have_written_is_refused(runner, elsewhere):
    runner.write("spec.md", "# Work\n\nDo the work.\n")
    model = runner.recording({"otherwise": True, "text": "Done.\n<promise>COMPLETE</promise>"})
    runner("loop", "spec.md", "--model", model, "--in-place")
    inside = runner.write("new.toml", DEARER)
    for path in (inside, elsewhere / "link.toml"):
        if path != inside:
            path.symlink_to(inside)
        done = runner("prices", "update", "--from", str(path))
        assert (done.returncode, done.stdout) == (1, ""), done.stdout
        assert "where an agent works" in done.stderr


def test_an_update_older_than_the_built_in_prices_changes_nothing(runner):
    entry = replace(Book.load().lookup("openai/gpt-5"), as_of=date(2026, 1, 1), max_output=1)
    runner.state.mkdir(exist_ok=True)
    (runner.state / "prices.json").write_bytes(write([entry], as_of=date(2026, 1, 1), sources={}))
    assert runner.json("prices", "show", "openai/gpt-5", "--json")["digest"] == Book.load().digest


def test_a_torn_update_stops_runs_instead_of_being_forgotten(runner):
    runner.state.mkdir(exist_ok=True)
    (runner.state / "prices.json").write_text(json.dumps({"version": 2})[:-1])
    done = runner("models")
    assert (done.returncode, done.stdout) == (2, "")
    assert "prices.json" in done.stderr
