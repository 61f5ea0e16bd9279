import sys, tempfile, time
from pathlib import Path
from tests.soak import spend_trial as t

if __name__ == "__main__":
    for kind, n in (("rough", 1), ("rough", 8), ("rough", 32), ("clean", 8), ("clean", 32), ("tight", 8)):
        d = Path(tempfile.mkdtemp())
        print(getattr(t, kind)(d, n, f"{sys.argv[1]}:{kind}:{n}"), flush=True)
