"""Rows that are too wide lose a column or take another line; nothing is cut."""

from runner.cli.columns import narrowed, near, triples, wrapped

HEAD = ("MODEL", "IN", "CONTEXT", "KEY")
ROWS = [["openai/gpt-5", "1.25", "400k", "yes"], ["openai/a-model-with-a-long-name", "10", "1.05M", "no"]]


def test_columns_go_in_the_order_that_was_said_and_only_as_many_as_must():
    whole, _ = narrowed(HEAD, ROWS, wide=80, least=("CONTEXT", "IN"))
    assert whole == [*HEAD]
    without, rows = narrowed(HEAD, ROWS, wide=45, least=("CONTEXT", "IN"))
    assert (without, rows[0]) == (["MODEL", "IN", "KEY"], ["openai/gpt-5", "1.25", "yes"])
    least, _ = narrowed(HEAD, ROWS, wide=10, least=("CONTEXT", "IN"))
    assert least == ["MODEL", "KEY"]


def test_a_value_that_is_too_long_sends_its_source_to_the_next_line():
    rows = [("model", "openai/gpt-5", "spec.md:2"), ("state_dir", "/a/long/path/that/takes/up/the/line", "built-in")]
    assert triples(rows, wide=46) == [
        "model      openai/gpt-5              spec.md:2",
        "state_dir  /a/long/path/that/takes/up/the/line",
        "           built-in",
    ]
    assert triples(rows, wide=80)[1] == "state_dir  /a/long/path/that/takes/up/the/line  built-in"
    assert triples([("a", "b", "")], wide=80) == ["a  b"]


def test_a_path_is_written_as_one_would_here(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert near("/home/me/shop/spec.md:3", "/home/me/shop") == "spec.md:3"
    assert near("/home/me/.config/x", "/home/me/shop") == "~/.config/x"
    assert near("/etc/x", "/home/me/shop") == "/etc/x"
    assert near("RUNNER_MODEL", "/home/me/shop") == "RUNNER_MODEL"
    assert near("/home/me/shop", "/home/me/shop") == "~/shop"
    monkeypatch.setenv("HOME", "/")
    assert near("/etc/x", "/") == "/etc/x"


def test_long_words_stay_whole_and_later_lines_are_set_in():
    assert wrapped("one two three", wide=26, indent=18) == ["one two three"]
    assert wrapped("one two three four five", wide=30, indent=10) == ["one two three four", "          five"]
    assert (
        wrapped("/a/path/that/is/longer/than/the/line x", wide=20, indent=2)[0]
        == "/a/path/that/is/longer/than/the/line"
    )
    assert wrapped("", wide=80, indent=2) == [""]
