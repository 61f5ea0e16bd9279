"""`python -m textkit TEXT` prints TEXT as a slug."""

import sys

from textkit import slugify

if __name__ == "__main__":
    print(slugify(" ".join(sys.argv[1:])))
