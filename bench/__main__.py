"""Every benchmark, one after the other: `make bench`. Figures are ratios within one run; the machine is part of them."""

from __future__ import annotations

from bench import startup

if __name__ == "__main__":
    raise SystemExit(startup.main())
