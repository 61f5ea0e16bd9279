"""`python -m prices`: make the built-in price book and the page of differences anew, from the two pinned lists.

`python -m prices --check` writes nothing and exits with 1 where a file is not what would be written.
"""

from __future__ import annotations

import sys
from pathlib import Path

from prices.make import OUTPUTS, made

_ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str]) -> int:
    """Write, or compare, what is made."""
    files = made()
    stale = [path for path in OUTPUTS if not _same(_ROOT / path, files[path])]
    if arguments == ["--check"]:
        sys.stdout.write("".join(f"{path} is not what `python -m prices` makes\n" for path in stale))
        return 1 if stale else 0
    for path in stale:
        (_ROOT / path).write_bytes(files[path])
        sys.stdout.write(f"wrote {path}\n")
    return 0


def _same(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
