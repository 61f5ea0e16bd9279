"""`runner completion`: what Tab needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("completion")(completion)


def completion(
    shell: Annotated[str | None, typer.Argument(help="bash, zsh or fish; else the one of SHELL.")] = None,
    install: Annotated[bool, typer.Option("--install", help="Write it where that shell looks for it.")] = False,
) -> int:
    """Print or install the completion of a shell.

    It completes commands, flags, spec files, models, run ids (the newest first) and checkpoints. `--install` writes
    one file in your home directory, named on standard output, and touches no start-up file of the shell; a second
    time it changes nothing.

    Exit codes: 0 done, 2 no such shell, or the file cannot be written.

    Examples:
      runner completion bash --install

      runner completion zsh > _runner
    """
    import os
    import sys

    from runner.cli.shells import SHELLS, script
    from runner.cli.tree import every
    from runner.errors import ConfigError

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        said = f"no completion is known for {name!r}" if name else "SHELL is not set, so no shell is known"
        raise ConfigError(said, hint=f"name one of {', '.join(SHELLS)}: runner completion bash --install")
    text = script(name, every())
    if not install:
        sys.stdout.write(text)
        return 0
    place = standard_place(name, os.environ)
    same = _written(place, text)
    typer.echo(f"{place} is up to date" if same else f"wrote {place}")
    typer.echo(_ADVICE[name].format(folder=place.parent))
    return 0


_ADVICE = {
    "bash": "it works in new shells where the package bash-completion is loaded; else add to ~/.bashrc:\n"
    "  source {folder}/runner",
    "zsh": "it works in new shells once ~/.zshrc has, before compinit:\n  fpath=({folder} $fpath)",
    "fish": "it works in new shells",
}


def standard_place(shell: str, environ: Mapping[str, str]) -> Path:
    """Where a shell looks for completions of the user's own, by the XDG directories."""
    home = Path(environ.get("HOME") or Path.home())
    data = _xdg(environ, "XDG_DATA_HOME", home / ".local" / "share")
    match shell:
        case "bash":
            chosen = environ.get("BASH_COMPLETION_USER_DIR", "").partition(":")[0]
            return (Path(chosen) if chosen else data / "bash-completion") / "completions" / "runner"
        case "zsh":
            return data / "zsh" / "site-functions" / "_runner"
        case _:
            return _xdg(environ, "XDG_CONFIG_HOME", home / ".config") / "fish" / "completions" / "runner.fish"


def _xdg(environ: Mapping[str, str], name: str, default: Path) -> Path:
    # the specification: a path that is not absolute is to be ignored
    given = Path(environ.get(name, ""))
    return given if given.is_absolute() else default


def _written(place: Path, text: str) -> bool:
    """Write a file whole; True where it had this text already."""
    from runner.app.recordings import write
    from runner.errors import ConfigError

    try:
        if place.is_file() and place.read_text("utf-8") == text:
            return True
        place.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place} cannot be written: {error}", hint="print it instead: runner completion") from error
    write(text, place, force=True)
    return False
