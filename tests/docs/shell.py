"""Type what a page says into one shell, on a machine of its own, and hold it to what it says comes back.

A line of a ```console block that begins with `$ ` is a command, one that begins with `> ` goes on with it, and the
others are what it prints: `…` stands for anything within a line, a line of `…` for any lines. A ```sh block shows no
output: each of its commands must succeed.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT, Block

END = "=== end of command"
STARTER = ROOT / "specs" / "starter" / "recording.jsonl"
HOME_OF_THE_PAGES = "/home/ada"
SERVER_OF_THE_PAGES = "http://127.0.0.1:11434/v1"
_WRITTEN = {"config": "$HOME/.config/runner/config.toml", "prices": "$HOME/.config/runner/prices.toml"}


@dataclass(frozen=True)
class Step:
    """One thing to type. `expected` None: what it prints is not shown, and it must succeed."""

    block: Block
    text: str
    expected: list[str] | None


def steps(found: Sequence[Block]) -> Iterator[Step]:
    """What is typed of these blocks, in order. Files of configuration and prices are saved where they belong."""
    for block in found:
        if block.language == "console":
            yield from _typed(block)
        elif block.language == "sh":
            yield Step(block, f"set -e\n{block.text}set +e", None)
        elif (path := _WRITTEN.get(block.mark)) is not None:
            saved = f'mkdir -p "$(dirname "{path}")" && cat > "{path}" <<\'END_OF_FILE\'\n{block.text}END_OF_FILE'
            yield Step(block, saved, None)


def _typed(block: Block) -> Iterator[Step]:
    commands: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif line.startswith("> ") and not commands[-1][1]:
            commands[-1] = (f"{commands[-1][0]}\n{line[2:]}", [])
        else:
            commands[-1][1].append(line)
    for command, expected in commands:
        yield Step(block, command, expected)


def matches(expected: list[str], printed: str) -> bool:
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else ".*?".join(re.escape(part) for part in line.split("…")) + r" *\n"
        for line in expected
    )
    return re.fullmatch(pattern, printed) is not None


def machine(place: Path, *, zone: str = "UTC") -> dict[str, str]:
    """The environment of a home of its own: `runner` and `python` as the tests have them, and nothing of the user."""
    home = place / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    path = os.pathsep.join((str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"))
    plain = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TMPDIR": str(place), "TZ": zone, "SHELL": "/bin/sh"}
    return {**plain, "RUNNER_SANDBOX": "none"}  # the pages are the same on a machine without bubblewrap


def type_in(found: Sequence[Step], *, cwd: Path, env: dict[str, str], before: str = "", server: str = "") -> None:
    """Type the steps one after the other into one shell. Fails at the first that does not do what its page says."""
    script = before + "".join(f'{one.text}\n_code=$?; printf "\\n{END}\\n"; (exit $_code)\n' for one in found)
    script = script.replace(HOME_OF_THE_PAGES, env["HOME"]).replace(SERVER_OF_THE_PAGES, server or SERVER_OF_THE_PAGES)
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=380,
        check=False,
    )
    printed = done.stdout.split(f"\n{END}\n")
    for one, got in zip(found, printed[:-1], strict=False):
        if one.expected is not None:
            shown = "\n".join(one.expected)
            assert matches(one.expected, got), f"{one.block}: {one.text}\nexpected\n{shown}\nprinted\n{got}"
    if len(printed) <= len(found):
        one = found[len(printed) - 1]
        raise AssertionError(
            f"{one.block}: {one.text}\ndid not succeed; the shell ended, its last words\n{printed[-1]}"
        )
