"""What the reference pages show can be used as it stands."""

import re
from pathlib import Path

from runner.models.recording import Recording
from runner.pricing.book import Book

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (REFERENCE / page).read_text("utf-8"), re.DOTALL)


def test_every_price_file_of_the_page_is_one():
    desk, whole = sorted(blocks("prices.md", "toml"), key=len)
    names = {name for text in (desk, whole) for name in Book.load(text).entries} - set(Book.load().entries)
    assert names == {"openai/my-model", "openai/llama-on-my-desk"}


def test_the_lines_of_the_recording_page_make_a_recording():
    recording = Recording.parse("".join(blocks("recording.md", "json")), Path("recording.md"))
    assert recording.model == "openai/gpt-5"
    assert len(recording.replies) == 4
