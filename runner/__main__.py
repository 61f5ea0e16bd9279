"""The `runner` command: hand the keys over first, then read the command line."""

# These, and no `__future__`: the interpreter has them already, so nothing of the working directory is taken.
import gc
import os
import sys
from io import TextIOWrapper


def _leave_out_here() -> None:
    """Import nothing more from the working directory, which `python -m` puts first: an agent may have written it."""
    try:
        here = {"", os.getcwd()}  # noqa: PTH109 - pathlib is not imported this early
    except OSError:
        here = {""}
    sys.path[:] = [place for place in sys.path if place not in here]


if __name__ == "__main__":
    _leave_out_here()


def main() -> int:
    """Run one command; the result is the exit code."""
    # modules that are being imported are no garbage: looking for some among them is a twentieth of a start
    gc.set_threshold(50_000, 10, 10)
    _open_streams()
    if sys.platform == "win32":
        # nothing here ends, holds or counts processes on Windows itself
        sys.stderr.write("error: runner does not run on Windows itself: start it in WSL 2 (wsl --install)\n")
        return 2
    try:
        from runner.handover import ensure

        keys = ensure(sys.argv[1:])

        from runner.cli import run

        return run(keys)
    except KeyboardInterrupt:
        return 130


def _open_streams() -> None:
    """Open what of 0, 1 and 2 was closed, or the next file opened, perhaps the database, would be taken for it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  a descriptor, open as long as the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  as above
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115  as above
    if isinstance(sys.stdout, TextIOWrapper):
        # a terminal without UTF-8 is no reason to fall silent; whatever the wrapper wraps, it can be told so
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore[reportUnknownMemberType]


if __name__ == "__main__":
    sys.exit(main())
