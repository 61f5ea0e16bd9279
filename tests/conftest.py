"""What every test may rely on: the same machine, whoever's it is."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no bug: examples have no deadline of their own, the test's time-out bounds them all.
settings.register_profile("runner", deadline=None, print_blob=True)
settings.load_profile("runner")

PROVIDERS = ("ANTHROPIC_", "AZURE_", "GEMINI_", "GOOGLE_", "GROQ_", "MISTRAL_", "OPENAI_", "OPENROUTER_", "RUNNER_")

GITCONFIG = """\
[user]
    name = A Tester
    email = tester@example.org
[init]
    defaultBranch = main
"""


@pytest.fixture(scope="session", autouse=True)
def signals_as_a_terminal_has_them() -> None:
    """Whoever starts the tests (nohup, `&` in a script, a CI system) may ignore signals; every child inherits that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def a_machine_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No key, no setting and no git configuration of the person who runs the tests; a state directory that is not theirs."""
    for name in [name for name in os.environ if name.startswith((*PROVIDERS, "GIT_"))]:
        del os.environ[name]
    home = Path(tmp_path_factory.mktemp("machine"))
    (home / "gitconfig").write_text(GITCONFIG, "utf-8")
    os.environ["GIT_CONFIG_GLOBAL"] = str(home / "gitconfig")
    os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
    os.environ["RUNNER_STATE_DIR"] = str(home / "state")
    os.environ["RUNNER_SANDBOX"] = "none"  # tests that are about walls ask for them
