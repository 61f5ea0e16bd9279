from __future__ import annotations

import io
from pathlib import Path

import pytest

from runner.events.codec import GENESIS, chain, encode
from runner.events.facts import Stamped, Warned
from runner.log import RunLog, render, row_of
from runner.log.stream import stream
from runner.secrets import Vault


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def stamped(text: str) -> Stamped:
    event = Warned(topic="t", text=text)
    digest = chain(run="r", seq=1, at=1_000, kind="Warned", body=encode(event), prev=GENESIS)
    return Stamped(run="r", seq=1, at=1_000, event=event, body=encode(event), prev=GENESIS, hash=digest)


def test_a_pipe_gets_the_very_lines_of_the_file(tmp_path: Path) -> None:
    out = io.StringIO()
    written = RunLog(tmp_path / "log", Vault({}), mirror=stream(out))
    written.write([stamped("a note")])
    assert out.getvalue().encode() == (tmp_path / "log").read_bytes() == render(row_of(stamped("a note")))


def test_a_terminal_gets_one_row_of_columns_without_anybodys_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    stream(out)(render(row_of(stamped("red \x1b[31m\nand long " + "x" * 200))).decode())
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("1970-01-01T00:00:01.000Z Warned")
    assert "text='red  [31m and long xxx" in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue()) < 200


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    stream(out)(render(row_of(stamped("a note"))).decode())
    assert "\x1b[" in out.getvalue()
