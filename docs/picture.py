# ruff: noqa: INP001  a script to run, no package
"""Make docs/demo.svg: what the demo prints, as a picture of a terminal. Run it again when that changes.

Run it with `.venv/bin/python docs/picture.py`. The demo really runs (five seconds, no key).
The temporary directory is shown as `~/demo`, the clone as `~/runner`; nothing else is touched.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "demo.svg"
_END = "To look further:"
_TITLE = "make demo"
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
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def printed() -> list[str]:
    """Run the demo and give the lines it prints up to its end. Raises CalledProcessError when it does not end well."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "specs/demo/run.sh"], cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=120
    )
    text = done.stdout.partition(_END)[0]
    if (place := re.search(r"cd (\S*/runner-demo\.\w+)", text)) is None:
        msg = "the demo no longer begins with `$ cd PLACE`"
        raise ValueError(msg)
    text = text.replace(place[1], "~/demo").replace(str(ROOT), "~/runner")
    return [line.rstrip() for line in text.rstrip().splitlines()]


def draw(lines: list[str]) -> str:
    """Draw the lines as an SVG; the same lines give the same bytes."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=max(len(line) for line in lines), file=open(os.devnull, "w"))  # noqa: PTH123, SIM115  only the record counts
    for line in lines:
        console.print(Text(line, style="bold" if line.startswith("$ ") else ""), no_wrap=True)
    return console.export_svg(title=_TITLE, code_format=_FORMAT, unique_id="demo", font_aspect_ratio=0.61)


if __name__ == "__main__":
    PICTURE.write_text(draw(printed()), "utf-8")
    sys.stdout.write(f"wrote {PICTURE.relative_to(ROOT)}\n")
