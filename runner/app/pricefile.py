"""The user's own prices, as the file has them."""

from __future__ import annotations

from pathlib import Path

from runner.errors import ConfigError
from runner.pricing.book import Book


def text_of(path: Path) -> str:
    """Read a file of prices. Raises ConfigError naming it."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        what = f"cannot read the prices: {error.strerror}"
    except UnicodeDecodeError:
        what = "cannot read the prices: not UTF-8"
    raise ConfigError(what, path=path, hint="name a TOML file with --prices or RUNNER_PRICES")


def book_of(path: Path | None) -> Book:
    """The built-in prices, with those of a file over them. Raises ConfigError."""
    return Book.load() if path is None else Book.load(text_of(path), path=path)
