"""Commands that only look or help start light: what they import is listed here, because time cannot be on a busy machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runner.models.recording import Recording
from runner.testing.provider import ScriptedProvider
from runner.testing.script import Script

SDKS = {"anthropic", "litellm", "openai"}
# not pydantic: typer itself reads every argument with it
HEAVY = {"asyncio", "httpx", "rich", "ruamel", "structlog", "tenacity"}


def imported(runner, *command: str, code: int | None = 0) -> set[str]:
    """Every module that the command imported in its process; `code` None takes any exit code."""
    program = (
        "import sys\nfrom runner.__main__ import main\n"
        "try:\n    code = main()\nfinally:\n    print('\\n'.join(sys.modules), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        cwd=runner.cwd,
        env=runner.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert code is None or done.returncode == code, done.stderr[-2000:]
    return set(done.stderr.split())


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    "command",
    [["--help"], ["runs"], ["show"], ["log"], ["checkpoints"], ["diff"], ["where"], ["clean"], ["config"], ["models"]],
)
def test_no_sdk_and_nothing_heavy_is_imported_to_look(ran, command):
    found = imported(ran, *command)
    assert "runner.cli.main" in found
    assert packages(found) & (SDKS | HEAVY) == set()


def test_help_imports_what_typer_does_and_a_handful_more(ran):
    baseline = "import sys, typer; app = typer.Typer(); app.command()(lambda: None); print(*sys.modules, sep='\\n')"
    typers = subprocess.run([sys.executable, "-c", baseline], capture_output=True, text=True, check=True).stdout.split()
    more = {name for name in imported(ran, "--help") - set(typers) if not name.startswith("typer")}
    assert {name for name in more if name.startswith("runner")} == {
        "runner", "runner.__main__", "runner.cli", "runner.cli.edge", "runner.cli.helping", "runner.cli.main", "runner.cli.pages", "runner.cli.tree",
        "runner.cli.typed",
        "runner.errors", "runner.handover", "runner.models", "runner.models.keys", "runner.secrets",
    }  # fmt: skip
    assert len(more) < 30, sorted(more)


def test_the_list_says_of_every_command_what_its_own_help_says():
    from runner.cli.tree import COMMANDS, real

    for name, listed in COMMANDS.items():
        help_text: str = real(listed.module, name).help or ""
        assert " ".join(help_text.split("\n\n", maxsplit=1)[0].split()) == listed.line, name


def test_a_loop_imports_its_own_providers_sdk_and_no_other(tmp_path, runner):
    recording = Recording.parse(
        '{"recording": 1, "model": "openai/gpt-4o"}\n{"otherwise": true, "text": "Done."}\n', tmp_path
    )
    key = "sk-test-0123456789abcdef"
    runner.write("spec.md", "---\nbudget: {usd: 1, iterations: 1}\nmodel: openai/gpt-4o\n---\n# Say it\n")
    with ScriptedProvider(Script(recording=recording, key=key)) as provider:
        runner.env |= {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": provider.url}
        found = imported(runner, "loop", "spec.md", code=None)
        assert provider.billed
    assert packages(found) & SDKS == {"openai"}
