"""The user's own prices, as the file has them."""

from __future__ import annotations

from pathlib import Path

from runner.config import Settings, expanded
from runner.errors import ConfigError
from runner.pricing.book import UPDATE, Book


def text_of(path: Path) -> str:
    """Read a file of prices. Raises ConfigError naming it."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        what = f"cannot read the prices: {error.strerror}"
    except UnicodeDecodeError:
        what = "cannot read the prices: not UTF-8"
    raise ConfigError(what, path=path, hint="name a TOML file with --prices or RUNNER_PRICES")


def update_file(settings: Settings) -> Path:
    """Where `runner prices update` writes: beside the runs, which no workspace holds. Nothing is made by asking."""
    return expanded(settings.state_dir.value).absolute() / UPDATE


def book(settings: Settings) -> Book:
    """The prices in force: built in, taken in by `runner prices update`, of the user's servers, of the user's file.

    Raises ConfigError.
    """
    path, update = settings.prices.value, update_file(settings)
    try:
        taken = update.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        # that the state is no directory is said where it is opened
        taken = None
    except OSError as error:
        raise ConfigError(f"cannot read the prices: {error.strerror}", path=update, hint="mend or remove it") from None
    text = None if path is None else text_of(path)
    try:
        return Book.load(text, path=path, update=taken, servers=settings.served)
    except ConfigError as error:
        raise _placed(error, settings) from None


def _placed(error: ConfigError, settings: Settings) -> ConfigError:
    """An error in the prices of a server of the user's, with the file and the line its table begins on."""
    for name in settings.served:
        where = f"providers.{name}.models"
        if str(error.path).endswith(where):
            place = settings.server_lines[name]
            file, _, line = place.rpartition(":")
            error.message = f"{where}: {error.message}"
            error.path, error.line = (file, int(line)) if line.isdecimal() else (place, None)
    return error
