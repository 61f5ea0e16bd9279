"""`runner` with a note of the CPU each checkpoint took (a look at the tree is one), in `$BENCH_NOTES` when it ends.

It is what "checkpoint aside" takes away: the rest of a step is what other loops do as well.
"""

import atexit
import json
import os
import sys
import time
from pathlib import Path

from runner.__main__ import main
from runner.loop import trees

NOTES: list[int] = []
checkpoint = trees.checkpoint


def noted(*arguments):
    begun = time.thread_time_ns()
    checkpoint(*arguments)
    NOTES.append(time.thread_time_ns() - begun)


if __name__ == "__main__":
    trees.checkpoint = noted
    atexit.register(lambda: Path(os.environ["BENCH_NOTES"]).write_text(json.dumps(NOTES)))
    sys.exit(main())
