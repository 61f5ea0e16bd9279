"""The contenders: how each is started, what its tool is called, how it is told that the work is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
CONTENDERS = BENCH / "contenders"
PEERS = Path(os.environ.get("BENCH_VENV", ROOT / ".venv-bench"))
PLENTY = "1000000"
NOTES = "checkpoints.json"
WALKS_ALL_UP_TO = 400

PRICES = """\
as_of = 2026-11-22
"""
MODELS = ("openai/bench", "anthropic/bench", "desk/bench")
PRICE = """\
[models."{name}"]
input = "1"
output = "2"
context = 100000000
max_output = 16384
"""
CONFIG = """\
[providers.desk]
base_url = "{url}/v1"
key = "RUNNER_KEY_DESK"
"""
KEY = "key-of-the-benchmark-0123456789"
SPEC = "# Lines\n\nWrite one line after the other into the file f, then say that you are done.\n"
# a command that changes nothing runner keeps: what is left is the step without its checkpoint
OUTSIDE = "echo step {n} >> ../f"


@dataclass(frozen=True)
class Contender:
    """One program that drives the model. `argv` is given the number of steps and its scratch folder.

    `{url}` in `environ` and in `config`, the user's file, becomes the server's address.
    """

    name: str
    about: str
    argv: Callable[[int, Path], Sequence[str]]
    scenario: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    quadratic: bool = False
    peer: bool = False

    def environment(self, url: str, folder: Path) -> dict[str, str]:
        """What the process sees: a home of its own, the server, nothing of whoever runs the benchmark but PATH."""
        return {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{url}/v1",
            "PYTHONPATH": str(ROOT),
            "RUNNER_SANDBOX": "none",
            **{name: value.format(url=url) for name, value in self.environ.items()},
            "RUNNER_STATE_DIR": str(folder / "state"),
            "BENCH_NOTES": str(folder / NOTES),
        }


def runner_argv(steps: int, folder: Path, *more: str, model: str = "openai/bench") -> list[str]:
    """`runner loop` on the spec of the benchmark, with limits that never bind."""
    return [
        *(sys.executable, "-m", "runner", "loop", "spec.md", "--model", model),
        *("--prices", str(folder / "prices.toml"), "--max-cost", PLENTY, "--max-steps", str(steps + 10)),
        *more,
    ]


def _bare(script: str, *how: str) -> Callable[[int, Path], Sequence[str]]:
    return lambda _steps, _folder: [sys.executable, str(CONTENDERS / script), *how]


def _runner(model: str) -> Callable[[int, Path], Sequence[str]]:
    return lambda steps, folder: runner_argv(steps, folder, model=model)


RUNNER = Contender("runner", "this project, a checkpoint after every step", runner_argv)
STILL = Contender(
    "runner, tree unchanged",
    "the same; the command writes beside the workspace, so there is no checkpoint to make",
    lambda steps, folder: [sys.executable, str(CONTENDERS / "noted.py"), *runner_argv(steps, folder)[3:]],
    scenario={"command": OUTSIDE},
)
HTTPX = Contender("bare httpx", "httpx and json, streamed as runner does", _bare("bare_httpx.py", "stream"))
HTTPX_WHOLE = Contender("bare httpx, whole", "the same, not streamed", _bare("bare_httpx.py", "whole"))
OPENAI = Contender(
    "openai SDK", "create(messages=…), streamed as runner does", _bare("bare_openai.py", "stream"), quadratic=True
)
OPENAI_WHOLE = Contender(
    "openai SDK, whole", "the same, not streamed", _bare("bare_openai.py", "whole"), quadratic=True
)
MINI = Contender(
    "mini-swe-agent",
    "its agent, model and environment, its trajectory kept; not streamed",
    lambda _steps, folder: [
        str(PEERS / "bin" / "python"),
        str(CONTENDERS / "mini.py"),
        str(folder / "trajectory.json"),
    ],
    scenario={"tool": "bash", "last": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"},
    environ={
        "MSWEA_SILENT_STARTUP": "1",
        # both would ask the network for something at the start
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "MSWEA_COST_TRACKING": "ignore_errors",
    },
    quadratic=True,
    peer=True,
)
_ANTHROPIC = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "{url}"}
_LITELLM = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
ON_ANTHROPIC = Contender(
    "runner, anthropic", "runner on the anthropic SDK", _runner("anthropic/bench"), environ=_ANTHROPIC
)
ON_DESK = Contender(
    "runner, compatible", "runner on a server named in the config", _runner("desk/bench"),
    environ={"RUNNER_KEY_DESK": KEY}, config=CONFIG,
)  # fmt: skip
ON_LITELLM = Contender(
    "runner, litellm", "runner through litellm", _runner("litellm/openai/bench"), environ=_LITELLM, quadratic=True
)
ANTHROPIC = Contender(
    "anthropic SDK", "create(messages=…), streamed", _bare("bare_anthropic.py"), environ=_ANTHROPIC, quadratic=True
)
LITELLM = Contender(
    "litellm", "completion(messages=…), streamed", _bare("bare_litellm.py"), environ=_LITELLM, quadratic=True
)
ALL = (RUNNER, STILL, HTTPX, HTTPX_WHOLE, OPENAI, OPENAI_WHOLE, MINI)


def peers_installed() -> bool:
    return (PEERS / "bin" / "mini").exists()


def prepare(folder: Path, spec: str = SPEC) -> Path:
    """Make a home, a price file and a small repository to work in; give the repository."""
    workspace = folder / "workspace"
    workspace.mkdir(parents=True)
    (folder / "home").mkdir()
    (folder / "prices.toml").write_text(PRICES + "".join(PRICE.format(name=name) for name in MODELS))
    (workspace / "spec.md").write_text(spec)
    for number in range(20):
        (workspace / f"module_{number}.py").write_text(f"value = {number}\n" * 20)
    commit(workspace)
    return workspace


def commit(workspace: Path) -> None:
    """Make a repository of a folder, everything committed."""
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *words], cwd=workspace, check=True, stdout=subprocess.DEVNULL)
