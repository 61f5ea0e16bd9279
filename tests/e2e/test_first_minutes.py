"""The first five minutes: every slip is answered with what is wrong, where, and what next, and makes nothing.

`said` is what stands on standard error, whole; `…` stands for what differs from machine to machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

KEY = "sk-test-0123456789abcdef"
SOUND = "# Work\n\nDo the work.\n"
MOST_LINES = 8


@dataclass(frozen=True)
class Slip:
    """What a new user does: files beside spec.md, environment, arguments; what is answered, with which code."""

    args: tuple[str, ...]
    said: str
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    code: int = 2
    give: str = ""


def fits(said: str, template: str) -> bool:
    """Whether a text is the template, in which `…` at the end of a word or line stands for anything in that line."""
    pattern = ".*".join(re.escape(part) for part in template.strip("\n").split("…"))
    return re.fullmatch(pattern, said.strip("\n")) is not None


def check(runner, slip: Slip) -> None:
    runner.write("spec.md", SOUND)
    for name, content in slip.files.items():
        (runner.cwd / name).write_bytes(content.encode() if isinstance(content, str) else content)
    before = sorted(runner.cwd.iterdir())
    runner.env = {"OPENAI_API_KEY": KEY, **slip.env}
    done = runner(*slip.args, give=slip.give)
    assert done.returncode == slip.code, done.stdout + done.stderr
    assert done.stdout == ""
    assert fits(done.stderr, slip.said), done.stderr
    assert len(done.stderr.splitlines()) <= MOST_LINES
    assert sorted(runner.cwd.iterdir()) == before
    assert not runner.state.exists(), "a slip makes no state directory"


COMMANDS = {
    "a command misspelt": Slip(
        ("lopo",), "error: there is no command 'lopo'\n  help: did you mean 'runner loop'? all commands: runner --help"
    ),
    "another tool's command": Slip(
        ("run", "spec.md"),
        "error: there is no command 'run'\n  help: did you mean 'runner loop spec.md'? all commands: runner --help",
    ),
    "loop forgotten": Slip(
        ("spec.md",),
        "error: there is no command 'spec.md'\n  help: to run the agent on a spec: runner loop spec.md",
    ),
    "a sentence": Slip(
        ("make the tests pass",),
        "error: there is no command 'make the tests pass'\n"
        "  help: to give a prompt instead of a spec: runner loop -p TEXT",
    ),
    "a word nothing is like": Slip(
        ("xyzzy",), "error: there is no command 'xyzzy'\n  help: commands: allow-starts, apply, …; see runner --help"
    ),
    "a command of a group": Slip(
        ("spec", "chek", "spec.md"),
        "error: there is no command 'chek'\n  help: did you mean 'runner spec check'? commands of spec: check",
    ),
    "a flag misspelt": Slip(
        ("loop", "--max-cst", "5"),
        "error: there is no flag --max-cst of runner loop\n  help: did you mean --max-cost? all flags: runner loop --help",
    ),
    "another tool's flag": Slip(
        ("loop", "--budget", "5"),
        "error: there is no flag --budget of runner loop\n  help: did you mean --max-cost? all flags: runner loop --help",
    ),
    "a flag cut short": Slip(
        ("loop", "--max-iter", "5"),
        "error: there is no flag --max-iter of runner loop\n"
        "  help: did you mean --max-iterations? all flags: runner loop --help",
    ),
    "a flag before the command": Slip(
        ("--max-cost", "5", "loop"),
        "error: --max-cost stands before the command\n  help: write: runner loop --max-cost …",
    ),
    "a flag of no command": Slip(
        ("--max-cost", "5"),
        "error: there is no flag --max-cost\n  help: flags belong to a command: runner loop --max-cost …",
    ),
    "a flag without its value": Slip(
        ("loop", "spec.md", "--model"), "error: --model needs a value\n  help: for example: --model openai/gpt-5-mini"
    ),
    "a number in words": Slip(
        ("loop", "--max-iterations=abc"),
        "error: --max-iterations: not a whole number: 'abc'\n  help: e.g. --max-iterations 10; write none for no limit",
    ),
    "two specs": Slip(
        ("loop", "spec.md", "other.md"),
        "error: more was given than one spec: other.md\n"
        "  help: one spec at a time; a prompt of several words stands in quotes behind -p; see: runner loop --help",
    ),
    "a spec and a prompt": Slip(
        ("loop", "spec.md", "-p", "work"),
        "error: both a spec file and -p TEXT were given\n  help: keep one of them",
    ),
    "a key as a flag": Slip(
        ("loop", "--api-key", KEY),
        "error: keys are not given on the command line (--api-key): others could read them there\n"
        "  help: put OPENAI_API_KEY=… in the environment, or in a file .env here;\n"
        "        your shell's history now holds what you typed: if it was a real key, make a new one",
    ),
    "a key behind an equals sign": Slip(
        ("loop", f"--openai-key={KEY}"),
        "error: keys are not given on the command line (--openai-key): others could read them there\n"
        "  help: put OPENAI_API_KEY=… in the environment, or in a file .env here;\n"
        "        your shell's history now holds what you typed: if it was a real key, make a new one",
    ),
}


SPECS = {
    "no such spec": Slip(
        ("loop", "spek.md"), "error: there is no such file\n --> spek.md\n  help: did you mean spec.md?"
    ),
    "no such folder": Slip(
        ("loop", "nowhere/spec.md"),
        "error: there is no such file, nor its folder\n --> nowhere/spec.md\n  help: check the path",
    ),
    "a folder": Slip(
        ("loop", "."),
        "error: the spec is a folder\n --> .\n  help: name a Markdown file, or '-' for standard input",
    ),
    "an empty file": Slip(
        ("loop", "e.md"),
        "error: the spec is empty\n  --> e.md:1\n  help: write what the agent shall do, or run 'runner init'",
        {"e.md": ""},
    ),
    "nothing on standard input": Slip(
        ("loop", "-"),
        "error: the spec is empty\n  --> <stdin>:1\n  help: write what the agent shall do, or run 'runner init'",
    ),
    "UTF-16": Slip(
        ("loop", "u.md"),
        "error: the spec is UTF-16, not UTF-8\n --> u.md\n"
        "  help: save it as UTF-8, e.g. with: iconv -f UTF-16 -t UTF-8",
        {"u.md": "# Work".encode("utf-16")},
    ),
    "a program": Slip(
        ("loop", "b.md"),
        "error: the spec is no text: it holds NUL bytes\n --> b.md\n  help: name a Markdown file",
        {"b.md": b"\x7fELF\x02\x01\x01\0\0\0"},
    ),
    "Latin-1": Slip(
        ("loop", "l.md"),
        "error: the spec is not UTF-8: byte 0xef\n  --> l.md:2:3\n   |\n 2 | na\ufffdve\n   |   ^^^\n"
        "   = help: save it as UTF-8",
        {"l.md": b"# Work\nna\xefve\n"},
    ),
    "a tab": Slip(
        ("loop", "t.md"),
        "error: this is not YAML: found character '\\t' that cannot start any token, while scanning for the next token\n"
        "  --> t.md:3:1\n   |\n 3 |     usd: 5\n   | ^^^^\n   = help: indent with spaces, not with tabs",
        {"t.md": "---\nbudget:\n\tusd: 5\n---\n# Work\n"},
    ),
    "front matter that stays open": Slip(
        ("loop", "o.md"),
        "error: the front matter opened by '---' never closes\n  --> o.md:1:1\n   |\n 1 | ---\n   | ^^^\n"
        "   = help: add a line '---' after its last key; for a horizontal rule write '***'",
        {"o.md": "---\nchecks: [make]\n# Work\n"},
    ),
    "an unknown key": Slip(
        ("loop", "k.md"),
        "error: unknown key 'cheks'\n  --> k.md:2:1\n   |\n 2 | cheks: [make]\n   | ^^^^^\n"
        "   = help: did you mean 'checks'?",
        {"k.md": "---\ncheks: [make]\n---\n# Work\n"},
    ),
    "Windows lines and a byte order mark": Slip(
        ("loop", "w.md"),
        "error: budget.usd is not an amount of US dollars: 'five bucks'\n  --> w.md:3:8\n   |\n"
        " 3 |   usd: five bucks # a note\n   |        ^^^^^^^^^^\n"
        "   = help: write e.g. 'usd: 5' or 'usd: 0.25', or 'usd: none' for no cap",
        {"w.md": b"\xef\xbb\xbf---\r\nbudget:\r\n  usd: five bucks # a note\r\n---\r\n# Work\r\n"},
    ),
    "a check that is not there": Slip(
        ("loop", "c.md"),
        "error: the check's program 'pytets' is neither on PATH nor in the workspace\n  --> c.md:2:10\n   |\n"
        " 2 | checks: [pytets -q]\n   |          ^^^^^^^^^\n"
        "   = help: correct it, install it with 'setup:', or write 'creates: true' when the agent shall make it",
        {"c.md": "---\nchecks: [pytets -q]\n---\n# Work\n"},
    ),
    "no checks, where they are required": Slip(
        ("loop", "spec.md", "--require-verified"),
        "error: --require-verified needs checks, and the spec has none\n  --> spec.md:1\n   |\n 1 | # Work\n"
        "   = help: add `checks:` to the front matter, e.g. `checks: [pytest -q]`",
    ),
    "a cap of 0": Slip(
        ("loop", "z.md"),
        "error: usd 0 allows no money, so the run cannot begin\n  --> z.md:2:15\n   |\n 2 | budget: {usd: 0}\n"
        "   |               ^\n   = help: give 'usd' a number above 0, or 'none' for no limit",
        {"z.md": "---\nbudget: {usd: 0}\n---\n# Work\n"},
    ),
    "a model without its provider": Slip(
        ("loop", "m.md"),
        "error: unknown model 'gpt-5-mini'\n  --> m.md:2:8\n   |\n 2 | model: gpt-5-mini\n   |        ^^^^^^^^^^\n"
        "   = help: Did you mean 'openai/gpt-5-mini'? A model is openai/NAME, anthropic/NAME or replay:FILE.",
        {"m.md": "---\nmodel: gpt-5-mini\n---\n# Work\n"},
    ),
    "a key in the spec": Slip(
        ("loop", "s.md"),
        "error: unknown key 'api_key'\n  --> s.md:2:1\n   |\n 2 | api_key: [secret:OPENAI_API_KEY]\n   | ^^^^^^^\n"
        "   = help: known keys here: checks, …",
        {"s.md": f"---\napi_key: {KEY}\n---\n# Work\n"},
    ),
}

_NONE = "; write none for no limit"
VALUES = {
    "no cap at all": Slip(
        ("loop", "spec.md", "--max-cost", "0"),
        "error: --max-cost: usd 0 allows no money, so the run cannot begin\n"
        "  help: give --max-cost a number above 0, or 'none' for no limit",
    ),
    "a cap below nothing": Slip(
        ("loop", "spec.md", "--max-cost", "-1"),
        f"error: --max-cost: not an amount of US dollars: '-1' (…)\n  help: e.g. --max-cost 2.50{_NONE}",
    ),
    "a currency": Slip(
        ("loop", "spec.md", "--max-cost", "5 USD"),
        f"error: --max-cost: not an amount of US dollars: '5 USD'\n  help: e.g. --max-cost 2.50{_NONE}",
    ),
    "an amount in words": Slip(
        ("loop", "spec.md", "--max-cost", "five"),
        f"error: --max-cost: not an amount of US dollars: 'five'\n  help: e.g. --max-cost 2.50{_NONE}",
    ),
    "too little for one call": Slip(
        ("loop", "spec.md", "--max-cost", "0.0000001"),
        "error: --max-cost: usd $0.0000001 is less than one call to openai/… may cost ($…)\n"
        "  help: raise it to $… at least, or take a cheaper model",
    ),
    "a deadline in the past": Slip(
        ("loop", "spec.md", "--deadline", "2020-01-01T07:00"),
        "error: --deadline: the deadline has passed\n  help: write a later one",
    ),
    "a deadline in words": Slip(
        ("loop", "spec.md", "--deadline", "tomorrow"),
        f"error: --deadline: not a time: 'tomorrow' (…)\n  help: e.g. --deadline 07:00{_NONE}",
    ),
    "no provider": Slip(
        ("loop", "spec.md", "-m", "gpt-5-mini"),
        "error: unknown model 'gpt-5-mini'\n"
        "  help: Did you mean 'openai/gpt-5-mini'? A model is openai/NAME, anthropic/NAME or replay:FILE.",
    ),
    "a local model": Slip(
        ("loop", "spec.md", "-m", "ollama/llama3"),
        "error: unknown model 'ollama/llama3'\n"
        "  help: a server of your own: OPENAI_BASE_URL=http://… and --model openai/llama3;\n"
        "        or name it in the configuration: [providers.ollama]",
    ),
    "no key": Slip(
        ("loop", "spec.md"),
        "error: no model was named and no provider's key is set\n"
        "  help: set OPENAI_API_KEY or ANTHROPIC_API_KEY, in the environment or in a file .env here;\n"
        "        or OPENAI_BASE_URL and --model openai/NAME, for a server of your own;\n"
        "        or play a recording: --model replay:FILE",
        env={"OPENAI_API_KEY": ""},
    ),
    "a key in quotes": Slip(
        ("loop", "spec.md"),
        "error: OPENAI_API_KEY cannot be a key: it holds quotes\n  help: set it again to the key alone",
        env={"OPENAI_API_KEY": f'"{KEY}"'},
    ),
    "a key of two lines": Slip(
        ("loop", "spec.md"),
        "error: OPENAI_API_KEY cannot be a key: it holds a line break\n  help: set it again to the key alone",
        env={"OPENAI_API_KEY": f"{KEY}\n{KEY}"},
    ),
    "an address without its scheme": Slip(
        ("loop", "spec.md", "-m", "openai/gpt-5"),
        "error: the base URL 'localhost:8080' (OPENAI_BASE_URL) is not the address of a server\n"
        "  help: write it whole, for example http://localhost:8080/v1",
        env={"OPENAI_BASE_URL": "me:secret@localhost:8080"},
    ),
    "nothing to resume": Slip(
        ("resume",),
        "error: nothing was ever run: there is no state database in …\n"
        "  help: runner loop SPEC starts a run; RUNNER_STATE_DIR names another state directory",
    ),
    "nothing to show": Slip(
        ("show", "last"),
        "error: nothing was ever run: there is no state database in …\n"
        "  help: runner loop SPEC starts a run; RUNNER_STATE_DIR names another state directory",
    ),
}
CASES = COMMANDS | SPECS | VALUES


@pytest.mark.parametrize("slip", CASES.values(), ids=CASES)
def test_a_slip_is_answered(runner, slip):
    check(runner, slip)


def test_several_faults_are_told_at_once(runner):
    runner.write("m.md", "---\nbudgit: 5\nbudget: {usd: five, iterations: 3 rounds}\nstall: 0\n---\n# Work\n")
    done = runner("loop", "m.md")
    places = re.findall(r"^  --> (\S+)$", done.stderr, re.MULTILINE)
    assert (done.returncode, places) == (2, ["m.md:2:1", "m.md:3:15", "m.md:3:33", "m.md:4:8"])


def test_a_wrong_folder_says_where_it_looked_and_where_a_spec_is(runner):
    empty = runner.cwd / "src"
    empty.mkdir()
    runner.write("spec.md", SOUND)
    runner.cwd = empty
    done = runner("loop")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: no spec in {empty}: looked for spec.md, SPEC.md, PROMPT.md")
    assert done.stderr.endswith(f"  help: there is one in {empty.parent}: cd {empty.parent}\n")


@pytest.mark.parametrize(("what", "why"), [("file", "File exists"), ("nowhere/to/be", "")])
def test_a_state_directory_that_cannot_be_is_named_with_73(runner, what, why):
    runner.write("spec.md", SOUND)
    (runner.cwd.parent / "file").touch()
    state = "/proc/nowhere" if not why else str(runner.cwd.parent / what)
    runner.env = {"RUNNER_STATE_DIR": state, "RUNNER_MODEL": runner.recording({"otherwise": True, "text": "x"})}
    done = runner("loop", "spec.md")
    assert done.returncode == 73
    assert fits(
        done.stderr,
        f"error: the state directory {state} cannot be written: {why}…\n"
        "  help: name a directory on a local disk: RUNNER_STATE_DIR=/path, or state_dir in the user's configuration",
    ), done.stderr
    assert list(runner.cwd.iterdir()) == [runner.cwd / "spec.md"]


def test_a_run_that_is_unknown_ambiguous_or_over_is_told_apart(runner):
    runner.write("spec.md", SOUND)
    runner.env["RUNNER_MODEL"] = runner.recording({"otherwise": True, "text": "<promise>COMPLETE</promise>"})
    for _ in range(2):
        assert runner("loop", "spec.md", "-q").returncode == 0
    told = {
        name: runner(*args)
        for name, args in {
            "unknown": ("show", "nope"),
            "ambiguous": ("show", "2"),
            "over": ("resume", "last"),
        }.items()
    }
    assert {name: done.returncode for name, done in told.items()} == {"unknown": 2, "ambiguous": 2, "over": 1}
    assert told["unknown"].stderr == "error: there is no run 'nope'\n  help: see `runner runs`; `last` is the newest\n"
    assert fits(told["ambiguous"].stderr, "error: '2' means 2 runs: …, …\n  help: write more of the id")
    assert fits(told["over"].stderr, "error: run … is over: done\n  help: start another: runner loop …/spec.md")


def test_a_setup_that_fails_shows_what_it_said(runner):
    runner.write("spec.md", "---\nsetup: ['echo no such package; exit 3']\n---\n# Work\n")
    done = runner("loop", "spec.md", "--model", runner.recording({"otherwise": True, "text": "x"}))
    assert done.returncode == 1
    assert "  | no such package" in done.stdout
    assert "  help: correct `setup:` in the spec, or what it needs, and start again" in done.stdout
