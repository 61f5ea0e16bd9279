"""An error shows the line it is in without showing a key, steering a terminal or running off its edge."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.cli.report import error_data, error_text, notice_text
from runner.errors import ConfigError, RefusedError

KEY = "sk-proj-0123456789abcdefghijklmnop"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spec.md"


def shown(file: Path, content: str | bytes, line: int, column: int | None = None, **more: object) -> list[str]:
    """The lines of an excerpt: the one of the file and the one of the mark; none without an excerpt."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    # the fields of an error, as the caller wrote them
    error = ConfigError("wrong", path=file, line=line, column=column, hint="right", **more)  # type: ignore[arg-type]
    whole = error_text(error).split("\n")
    assert whole[0] == "error: wrong"
    assert whole[1].endswith(":".join(str(part) for part in (f" {file}", line, column) if part is not None))
    assert whole[-1] in {"   = help: right", "  help: right"}
    return [text.partition("| ")[2] for text in whole[3:-1]]


def test_the_mark_is_as_long_as_what_is_meant(file: Path) -> None:
    assert shown(file, "usd: five\n", 1, 6, length=4) == ["usd: five", "     ^^^^"]
    assert shown(file, "usd: five\n", 1, 6) == ["usd: five", "     ^^^^"], "a word, where the length is not known"
    assert shown(file, "usd: 'five bucks', x\n", 1, 6) == ["usd: 'five bucks', x", "     ^^^^^^^^^^^^"]
    assert shown(file, "a: [b, c]\n", 1, 5) == ["a: [b, c]", "    ^"]
    assert shown(file, "a: |\n  long text\n", 1, 4, length=40) == ["a: |", "   ^"], "never beyond its line"
    assert shown(file, "a:\n", 1, 3) == ["a:", "  ^"], "behind the end of the line"
    assert shown(file, "a: b\n", 1) == ["a: b"]


def test_tabs_and_wide_characters_keep_the_mark_below_its_word(file: Path) -> None:
    assert shown(file, "\tusd: five\n", 1, 7) == ["    usd: five", "         ^^^^"]
    assert shown(file, "説明: five\n", 1, 5) == ["説明: five", "      ^^^^"]
    assert shown(file, "cafe\u0301: five\n", 1, 8) == ["cafe\u0301: five", "      ^^^^"]


def test_a_long_line_is_shown_around_its_mark(file: Path) -> None:
    text, mark = shown(file, "x" * 500 + " five " + "y" * 500, 1, 502)
    assert (text[0], text[-1], len(text)) == ("…", "…", 98)
    assert text[mark.index("^") : mark.rindex("^") + 1] == "five"
    text, mark = shown(file, "z" * 500, 1, 1)
    assert (text, mark) == ("z" * 96 + "…", "^" * 96)


def test_what_steers_a_terminal_or_hides_is_shown_as_an_escape(file: Path) -> None:
    assert shown(file, "a: \x1b[31mred\u202e\n", 1, 1)[0] == "a: \\x1b[31mred\\u202e"
    said = error_text(RefusedError("no \x1b]0;title\x07\r", hint="\x9b2J"))
    assert said == "error: no \\x1b]0;title\\x07\\x0d\n  help: \\x9b2J"


def test_keys_are_masked_and_the_mark_does_not_lie(file: Path) -> None:
    assert shown(file, f"key: {KEY} five\n", 1, 1) == ["key: [masked:key] five", "^^^^"]
    assert shown(file, f"key: {KEY} five\n", 1, 6 + len(KEY)) == ["key: [masked:key] five"]
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\nusd: five\n"
    assert shown(file, pem, 2, 1) == [], "a line of a key is no line to show"
    assert shown(file, "HALF A KEY\n", 1, 1, quotable=False) == []
    assert KEY not in error_text(RefusedError(f"no {KEY}", hint=KEY))


def test_the_masking_of_keys_that_are_held_reaches_every_part(file: Path) -> None:
    file.write_text("pass: hunter2hunter2\n")
    error = ConfigError("no hunter2hunter2", path=file, line=1, column=1, hint="hunter2hunter2")
    for said in (
        error_text(error, mask=lambda text: text.replace("hunter2hunter2", "[secret:X]")),
        str(error_data(error, mask=lambda text: text.replace("hunter2hunter2", "[secret:X]"))),
    ):
        assert "hunter2" not in said
        assert "[secret:X]" in said


@pytest.mark.parametrize(
    ("content", "line"),
    [("one\n", 7), (b"\0\1\2\n", 1), ("x\n" * 1_500_000, 1), ("\n\n", 1)],
    ids=["changed", "binary", "huge", "blank"],
)
def test_what_cannot_be_shown_is_left_out(file: Path, content: str | bytes, line: int) -> None:
    assert shown(file, content, line, 1) == []


@pytest.mark.parametrize("path", ["<stdin>", "/nowhere/spec.md", "/", "/dev/null"])
def test_a_file_that_is_none_is_named_without_an_excerpt(path: str) -> None:
    assert error_text(ConfigError("wrong", path=path, line=1, column=1, hint="right")) == (
        f"error: wrong\n  --> {path}:1:1\n  help: right"
    )


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    assert "|" not in error_text(ConfigError("wrong", path=tmp_path / "pipe", line=1, column=1))


def test_lines_count_as_the_parser_counts_them(file: Path) -> None:
    assert shown(file, b"\xef\xbb\xbfa: 1\r\nb: five\rc: 6\n", 2, 4) == ["b: five", "   ^^^^"]
    assert shown(file, b"\xef\xbb\xbfa: five\n", 1, 4) == ["a: five", "   ^^^^"]


def test_many_faults_are_counted_beyond_the_first_five() -> None:
    every = [ConfigError(f"fault {number}", path="<stdin>", line=number) for number in range(1, 9)]
    said = error_text(ConfigError.joined(every))
    assert said.count("error: fault") == 5
    assert said.endswith("\n\nerror: and 3 more like these")
    assert str(error_data(ConfigError.joined(every))["more"]).count("'message': 'fault ") == 7


def test_a_hint_of_several_lines_is_lined_up() -> None:
    assert error_text(RefusedError("no", hint="one\ntwo")) == "error: no\n  help: one\n        two"


def test_colours_paint_the_kind_the_gutter_and_the_help(file: Path) -> None:
    file.write_text("a: b\n")
    said = error_text(ConfigError("wrong", path=file, line=1, column=4, hint="right"), coloured=True)
    assert said.startswith("\x1b[1;31merror\x1b[0m\x1b[1m: wrong\x1b[0m\n")
    assert "\x1b[1;34m1\x1b[0m \x1b[1;34m|\x1b[0m a: b\n" in said
    assert said.endswith("\x1b[36mhelp\x1b[0m: right")
    assert notice_text("note", "so it is", coloured=True).startswith("\x1b[1;36mnote\x1b[0m")
