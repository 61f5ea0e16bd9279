# ruff: noqa: INP001  a script to run, no package
"""Make the pictures of a terminal: docs/demo.svg, the demo's lines, and docs/live.svg, the live view in its middle.

Run it with `.venv/bin/python docs/picture.py`. The demo really runs, once as lines and once on a terminal of its own
(ten seconds, no key). The temporary directory is shown as `~/demo`, the clone as `~/runner`; nothing else is touched.
"""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "demo.svg"
LIVE = ROOT / "docs" / "live.svg"
WIDTH, HEIGHT = 100, 30
_END = "To look further:"
# The moment: tests are under way again, in the second iteration, and money is spent and scored.
_MOMENT = ("iteration 2 of", "step 3 of", "run python -m pytest", "\n  ......", "score  ", "list   ")
_TRIES = 5  # the view is drawn four times a second, and the tests take no longer
_ORDER = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")
# without rich's web font: a picture loads nothing
_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""


# ---- the lines ------------------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """The environment of the demo: `runner` and `python` are the ones that run this."""
    return {**os.environ, **more, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def printed() -> list[str]:
    """Run the demo and give the lines it prints up to its end. Raises CalledProcessError when it does not end well."""
    done = subprocess.run(
        ["sh", "specs/demo/run.sh"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    text = done.stdout.partition(_END)[0]
    if (place := re.search(r"cd (\S*/runner-demo\.\w+)", text)) is None:
        msg = "the demo no longer begins with `$ cd PLACE`"
        raise ValueError(msg)
    text = text.replace(place[1], "~/demo").replace(str(ROOT), "~/runner")
    return [line.rstrip() for line in text.rstrip().splitlines()]


# ---- the live view --------------------------------------------------------------------------------------------


class Screen:
    """Rows of a terminal: each a list of a colour and a character. It obeys what the live view sends, and no more."""

    def __init__(self) -> None:
        self.rows: list[list[tuple[str, str]]] = [[]]
        self.top = self.row = self.column = 0
        self.whole = True
        self._colour = ""
        self._rest = ""

    def feed(self, data: str) -> Iterator[None]:
        """Take what came, with a pause after each frame, when what is shown is whole."""
        data = self._rest + data
        at = 0
        while at < len(data):
            if data[at] != "\x1b":
                self._put(data[at])
                at += 1
                continue
            if (order := _ORDER.match(data, at)) is None:
                break
            self._obey(*order.groups())
            at = order.end()
            if order[0] == "\x1b[?2026l":
                yield
        self._rest = data[at:]

    @property
    def shown(self) -> list[str]:
        """What stands on the screen, with its colours."""
        return ["".join(_painted(row)) for row in self.rows[self.top :]]

    @property
    def text(self) -> str:
        """The same without colours."""
        return "\n".join("".join(one for _, one in row) for row in self.rows[self.top :])

    def _put(self, one: str) -> None:
        if one == "\r":
            self.column = 0
            return
        if one == "\n" or self.column == WIDTH:
            self.row += 1
            self.column = 0 if one != "\n" else self.column
            if self.row == len(self.rows):
                self.rows.append([])
            self.top = max(self.top, self.row - HEIGHT + 1)
        if one != "\n":
            row = self.rows[self.row]
            row += [("", " ")] * (self.column + 1 - len(row))
            row[self.column] = (self._colour, one)
            self.column += 1

    def _obey(self, private: str, number: str, order: str) -> None:
        count = int(number) if number.isdecimal() else 1
        match private, order:
            case "", "A":
                self.row = max(self.top, self.row - count)
            case "", "B":
                self.row += count
            case "", "K":
                del self.rows[self.row][self.column :]
            case "", "J":
                del self.rows[self.row][self.column :], self.rows[self.row + 1 :]
            case "", "m":
                self._colour = "" if number in {"", "0"} else number
            case _:
                pass  # the cursor is hidden and shown, a frame begins and ends


def _painted(row: list[tuple[str, str]]) -> Iterator[str]:
    for colour, cells in groupby(row, key=itemgetter(0)):
        text = "".join(one for _, one in cells)
        yield f"\x1b[{colour}m{text}\x1b[0m" if colour else text


@contextmanager
def terminal(command: list[str], *, cwd: Path, env: dict[str, str]) -> Iterator[int]:
    """Run a command on a terminal of its own; gives the other end. What still runs at the end is ended."""
    pid, file = pty.fork()
    if pid == 0:
        try:
            os.chdir(cwd)
            os.execvpe(command[0], command, env)  # noqa: S606  no shell is wanted
        finally:
            os._exit(127)
    fcntl.ioctl(file, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    try:
        yield file
    finally:
        os.kill(pid, signal.SIGTERM)
        with suppress(OSError):
            while os.read(file, 65536):
                pass
        os.waitpid(pid, 0)
        os.close(file)


def moment() -> list[str]:
    """Run the demo's loop on a terminal and give the screen in its middle. Raises ValueError when it never comes."""
    for _ in range(_TRIES):
        if (shown := _moment()) is not None:
            return shown
    msg = f"the live view never showed {_MOMENT}"
    raise ValueError(msg)


def _moment() -> list[str] | None:
    with tempfile.TemporaryDirectory(prefix="runner-demo.") as place:
        project = Path(place, "textkit")
        shutil.copytree(ROOT / "specs" / "demo" / "project", project)
        shutil.copy(ROOT / "specs" / "demo" / "spec.md", project)
        recording = ROOT / "specs" / "demo" / "recording.jsonl"
        command = ["runner", "loop", "spec.md", "--model", f"replay:{recording}"]
        env = environment(TERM="xterm-256color", COLORTERM="", RUNNER_STATE_DIR=f"{place}/state", LANG="C.UTF-8")
        for name in ("NO_COLOR", "FORCE_COLOR", "CI", "RUNNER_PLAIN", "RUNNER_MODEL", "RUNNER_PRICES"):
            env.pop(name, None)
        screen, decoder = Screen(), codecs.getincrementaldecoder("utf-8")()
        with terminal(command, cwd=project, env=env) as file, suppress(OSError):
            while data := os.read(file, 65536):
                for _ in screen.feed(decoder.decode(data)):
                    if all(part in screen.text for part in _MOMENT):
                        return [line.replace(place, "~/demo").replace(str(ROOT), "~/runner") for line in screen.shown]
    return None


# ---- drawing --------------------------------------------------------------------------------------------------


def draw(lines: list[str], *, title: str, name: str) -> str:
    """Draw the lines as an SVG; the same lines give the same bytes."""
    from rich.console import Console
    from rich.text import Text

    texts = [Text.from_ansi(line) for line in lines]
    width = max(text.cell_len for text in texts)
    nowhere = io.StringIO()  # only the record counts
    console = Console(record=True, width=width, file=nowhere, color_system="standard", force_terminal=True)
    for text in texts:
        console.print(text, no_wrap=True)
    return console.export_svg(title=title, code_format=_FORMAT, unique_id=name, font_aspect_ratio=0.61)


if __name__ == "__main__":
    typed = [f"\x1b[1m{line}\x1b[0m" if line.startswith("$ ") else line for line in printed()]
    for path, shown, title in ((PICTURE, typed, "make demo"), (LIVE, moment(), "runner loop spec.md")):
        path.write_text(draw(shown, title=title, name=path.stem), "utf-8")
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
