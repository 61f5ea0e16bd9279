"""The work a crash run does: a small project, a spec of three iterations, and a recording that copes with kills.

Its replies are found by what the tools of the last step answered, not by the step's number: each step ends by reading
its own line of `plan.txt` (`STAGE-n`), a read that any resume repeats. A step whose command was interrupted is asked
for again. So every path through the recording, with any number of kills, leaves the same tree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

MODEL = "openai/gpt-5.4-mini"
CAP_USD = "3.00"

WORK = '''\
"""Write the part NAME, slowly enough to be killed in the middle."""
import sys, time
from pathlib import Path

out = Path("out", sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
for number in range(4):
    with (out / f"{number}.txt").open("w") as file:
        file.write(f"{sys.argv[1]} ")
        file.flush()
        time.sleep(0.03)
        file.write(f"{number}\\n" * 50)
print("wrote", sys.argv[1])
'''

CALC = """\
def add(a, b):
    return a - b


def double(a):
    return a + a + 1
"""

TEST = """\
import unittest

import calc


class Calc(unittest.TestCase):
    def test_add(self):
        self.assertEqual(calc.add(2, 3), 5)

    def test_double(self):
        self.assertEqual(calc.double(4), 8)
"""

SPEC = f"""\
---
model: {MODEL}
checks:
  - name: tests
    run: python -m unittest -q test_calc
  - name: parts
    run: test -f out/three/3.txt && test "$(cat beat.txt)" = final && ! test -e out/one/0.txt
budget:
  usd: {CAP_USD}
  iterations: 6
stall: none
---

# Parts and sums

Make the sums of `calc.py` right and write the parts `one`, `two` and `three` with `work.py`.

- [ ] the sums are right
- [ ] the parts are written
"""

FIRST_EDIT = CALC.replace("a - b", "a + b")


def files() -> dict[str, str]:
    """The workspace as a run finds it."""
    plan = "".join(f"STAGE-{number}\n" for number in range(1, len(_STEPS) + 1))
    return {
        "spec.md": SPEC,
        "work.py": WORK,
        "calc.py": CALC,
        "test_calc.py": TEST,
        "plan.txt": plan,
        ".gitignore": "__pycache__/\n",
    }


@dataclass(frozen=True, slots=True)
class Step:
    """One reply: what it says and which tools it calls. One without tools ends its iteration."""

    iteration: int
    text: str
    tools: tuple[tuple[str, dict[str, object]], ...] = ()


def _python(part: str) -> tuple[str, dict[str, object]]:
    return ("run", {"argv": ["python", "work.py", part]})


_BACKGROUND = "sleep 0.1; echo beat > beat.txt; sleep 60"

_STEPS = (
    Step(1, "I look around.", (("read_file", {"path": "calc.py"}), ("list_files", {}))),
    Step(1, "First the sums.", (("write_file", {"path": "calc.py", "content": FIRST_EDIT}),)),
    Step(1, "Part one.", (_python("one"),)),
    Step(1, "What is true is ticked.", (("tick", {"item": "the parts are written"}),)),
    Step(1, "`double` is wrong still; two parts are missing."),
    Step(2, "Something that beats.", (("run", {"argv": ["sh", "-c", _BACKGROUND], "background": True}),)),
    Step(2, "What is in there?", (("search_text", {"pattern": "double"}), ("output", {"handle": "bg1"}))),
    Step(2, "One too many.", (("edit_file", {"path": "calc.py", "old": "a + a + 1", "new": "a + a"}),)),
    Step(2, "Part two.", (_python("two"),)),
    Step(2, "Enough of it.", (("stop", {"handle": "bg1"}), ("shell", {"command": "printf final > beat.txt"}))),
    Step(2, "The sums are right; part three is missing."),
    Step(3, "Part three.", (("shell", {"command": "python work.py three && rm -f out/one/0.txt && mkdir -p empty"}),)),
    Step(
        3,
        "Everything is true now.",
        (
            ("tick", {"item": "the sums are right"}),
            ("write_file", {"path": "docs/notes.md", "content": "# Notes\n\nSums and parts: caf\u00e9, done.\n"}),
        ),
    ),
    Step(3, "All of it is done."),
)


def recording() -> str:
    """The recording as JSON lines."""
    lines: list[dict[str, object]] = [{"recording": 1, "model": MODEL}]
    for number, step in enumerate(_STEPS, start=1):
        if number > 1 and _STEPS[number - 2].iteration == step.iteration:
            lines.append(
                {"when": {"tools": {"matches": rf"(?s)\A(?!.*interrupted).*STAGE-{number - 1}$"}}, **_reply(number)}
            )
        else:
            lines.append({"iteration": step.iteration, "step": 1, **_reply(number)})
        if step.tools:
            lines.append({"when": {"tools": {"matches": rf"(?s)interrupted.*STAGE-{number}$"}}, **_reply(number)})
    return "".join(json.dumps(line) + "\n" for line in lines)


def _reply(number: int) -> dict[str, object]:
    step = _STEPS[number - 1]
    mark = ("read_file", {"path": "plan.txt", "start_line": number, "end_line": number})
    tools = [{"name": name, "arguments": arguments} for name, arguments in (*step.tools, mark)] if step.tools else []
    return {"text": step.text, "tools": tools}
