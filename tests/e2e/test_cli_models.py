"""`runner models`: what can be named with `--model`, its price and its age, and which one would be used."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
from decimal import Decimal
from typing import Any

import pytest

from runner.models.keys import FOREIGN_KEYS, SUPPORTED_KEYS
from runner.pricing.book import Book

CONFIG = """\
[providers.desk]
base_url = "http://127.0.0.1:11434/v1"
local = true

[providers.desk.models."llama"]
input = "0"
output = "0"
context = 32768
max_output = 4096
as_of = 2026-11-22

[providers.glm]
base_url = "https://api.z.ai/api/paas/v4"
key = "ZAI_API_KEY"

[providers.glm.models."glm-5.2"]
input = "1.4"
output = "4.4"
context = 1000000
max_output = 128000
as_of = 2026-11-22
"""
OWN = """\
as_of = 2026-01-02

[models."openai/llama-on-my-desk"]
local = true
input = "0"
output = "0"
context = 32768
max_output = 4096

[models."openai/gpt-5"]
input = "1.5"
output = "12.25"
as_of = 2026-11-22
"""


def listed(runner, *args: str) -> list[dict[str, Any]]:
    return runner.json("models", *args, "--json")["models"]


def test_every_model_of_the_book_is_listed_by_provider_and_price(runner):
    found = listed(runner, "--all")
    assert {one["model"] for one in found} == set(Book.load().entries)
    providers = [*SUPPORTED_KEYS, *FOREIGN_KEYS]
    order = [
        (providers.index(one["model"].partition("/")[0]), one["output_pico_usd"], one["input_pico_usd"])
        for one in found
    ]
    assert order == sorted(order)
    assert {one["source"] for one in found} == {"built-in"}
    assert {one["key_present"] for one in found} == {False}
    said = runner("models", "--all").stdout.splitlines()
    names = [line.split()[0] for line in said[1 : len(found) + 1]]
    assert names == [one["model"] for one in found]


def test_a_shown_price_is_the_price(runner):
    book = Book.load().entries
    lines = [line.split() for line in runner("models", "openai/o*").stdout.splitlines()]
    head = lines[0]
    shown = {line[0]: line for line in lines if line and line[0] in book}
    assert len(shown) > 8
    for name in shown:
        entry = book[name]
        for column, price in (("IN", entry.price.input), ("CACHED", entry.price.cached), ("OUT", entry.price.output)):
            assert Decimal(shown[name][head.index(column)]) * 1_000_000 == price, (name, column)


def test_without_a_name_only_what_can_be_called_is_listed(runner):
    found = runner.json("models", "--json")
    assert (found["models"], found["others"]["openai"] > 50, found["others"]["zai"] > 5) == ([], True, True)
    said = " ".join(runner("models").stdout.split())
    assert f"priced, and without a key here: openai {found['others']['openai']}, " in said
    runner.env["ANTHROPIC_API_KEY"] = "sk-ant-abcdefghijklmnop0123456789"
    found = runner.json("models", "--json")
    assert {one["model"].partition("/")[0] for one in found["models"]} == {"anthropic"}
    assert "anthropic" not in found["others"]
    assert runner.json("models", "--all", "--json")["others"] == {}


def test_a_server_in_the_config_lists_its_models_and_what_is_local(runner):
    path = runner.state.parent / "home" / ".config" / "runner" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG)
    found = {one["model"]: one for one in runner.json("models", "--json")["models"]}
    assert {name: (one["billing"], one["api"]) for name, one in found.items()} == {
        "desk/llama": ("local", "chat"),
        "glm/glm-5.2": ("metered", "chat"),
    }
    assert found["glm/glm-5.2"]["key"] == "ZAI_API_KEY"
    said = runner("models").stdout
    assert "local" in said
    assert "config, providers.glm" in said


def test_the_one_that_would_be_chosen_is_marked_with_the_reason(runner):
    assert not any(one["chosen"] for one in listed(runner))
    assert "no model would be used now: no model was named and no provider's key is set" in runner("models").stdout
    runner.env["OPENAI_API_KEY"] = "sk-abcdefghijklmnop0123456789"
    found = runner.json("models", "--json")
    (chosen,) = [one["model"] for one in found["models"] if one["chosen"]]
    assert found["chosen"] == {"model": chosen, "why": "the default for OPENAI_API_KEY"}
    done = runner("models")
    (marked,) = [line for line in done.stdout.splitlines() if line.startswith("*  openai")]
    assert marked.split()[1] == chosen
    assert "OPENAI_API_KEY: present" in done.stdout
    runner.env["RUNNER_MODEL"] = "openai/gpt-5"
    assert [one["model"] for one in listed(runner) if one["chosen"]] == ["openai/gpt-5"]
    assert "RUNNER_MODEL" in runner.json("models", "--json")["chosen"]["why"]
    assert runner.env["OPENAI_API_KEY"] not in done.stdout + done.stderr


def test_a_price_of_ones_own_names_its_line_and_its_age(runner):
    path = runner.write("p.toml", OWN)
    found = {one["model"]: one for one in listed(runner, "--prices", str(path))}
    assert (found["openai/llama-on-my-desk"]["source"], found["openai/gpt-5"]["source"]) == (f"{path}:3", f"{path}:10")
    assert found["openai/llama-on-my-desk"]["age"] == "stale"
    assert found["openai/gpt-5"]["output_pico_usd"] == 12_250_000
    said = runner("models", "desk", "--prices", "p.toml").stdout
    assert "2026-01-02 stale" in said
    assert "p.toml:3" in said
    every = runner("models", "openai/*", "--prices", "p.toml").stdout
    assert "stale: more than 180 days old: a quarter more is held" in every


def test_a_name_a_part_or_a_pattern_picks(runner):
    assert [one["model"] for one in listed(runner, "openai/gpt-5")] == ["openai/gpt-5"]
    mini = [one["model"] for one in listed(runner, "mini")]
    assert len(mini) > 2
    assert all("mini" in name for name in mini)
    assert {one["model"].partition("/")[0] for one in listed(runner, "anthropic/*")} == {"anthropic"}
    alone = runner("models", "openai/gpt-5").stdout
    assert "$1.25 per million tokens" in alone
    assert "400,000 tokens" in alone


def test_a_recording_shows_the_model_it_plays(runner):
    model = runner.recording({"otherwise": True, "text": "Done."}, model="openai/gpt-5-mini")
    assert [one["model"] for one in listed(runner, model)] == ["openai/gpt-5-mini"]
    assert "replay:FILE" in runner("models").stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openai/gpt-5-mni", ["Did you mean 'openai/gpt-5-mini'?", '[models."openai/gpt-5-mni"]', "--prices FILE"]),
        ("gpt5", ["Did you mean 'openai/gpt-5'?", '[models."openai/gpt5"]']),
        ("openai/our-own", ['[models."openai/our-own"]', "max_output"]),
        ("nothing*", ["runner models"]),
    ],
)
def test_an_unknown_name_is_answered_with_what_was_meant_and_the_price_to_add(runner, name, said):
    done = runner("models", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(text in done.stderr for text in said), done.stderr


def test_a_torn_price_file_is_refused_with_its_line(runner):
    runner.write("p.toml", OWN + "input =\n")
    done = runner("models", "--prices", "p.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "p.toml:14" in done.stderr


def test_the_list_fits_80_columns(runner):
    runner.env["OPENAI_API_KEY"] = "sk-abcdefghijklmnop0123456789"
    path = runner.write("p.toml", OWN)
    for args in ((), ("--prices", str(path)), ("openai/gpt-5",)):
        lines = runner("models", *args).stdout.splitlines()
        assert max(map(len, lines)) <= 80, lines


def on_a_terminal(runner, columns: int, *args: str) -> list[str]:
    """The lines a terminal of that width gets."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = runner.start(*args, stdout=theirs)
    os.close(theirs)
    pieces = []
    with os.fdopen(ours, "rb", buffering=0) as screen, contextlib.suppress(OSError):
        while piece := screen.read(4096):
            pieces.append(piece)
    assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(pieces).decode()).replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [46, 60, 80, 132])
def test_a_narrow_terminal_loses_columns_and_no_model(runner, columns):
    lines = on_a_terminal(runner, columns, "models", "openai/gpt-5*")
    assert max(map(len, lines)) <= columns
    ours = {name for name in Book.load().entries if name.startswith("openai/gpt-5")}
    assert {line.split()[0] for line in lines if "/" in line.partition(" ")[2]} >= ours
    assert ("CONTEXT" in lines[0]) == (columns >= 80)
    for args in (["config", "budget.usd"], ["doctor", "sandbox", "keys", "terminal"]):
        lines = on_a_terminal(runner, columns, *args)
        assert max(len(line) for line in lines) <= max(columns, 60), lines
