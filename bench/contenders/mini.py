"""mini-swe-agent, its own parts wired as its `hello_world` does, with its trajectory kept (as its command does).

Runs in an environment of its own: `mini.py TRAJECTORY`. No step, cost or time limit; retries off by success.
"""

import logging
import sys
from pathlib import Path

import yaml
from minisweagent import package_dir
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.litellm_model import LitellmModel

logging.basicConfig(level=logging.WARNING)
config = yaml.safe_load((package_dir / "config" / "mini.yaml").read_text())
agent = {name: config["agent"][name] for name in ("system_template", "instance_template")}
model = {name: config["model"][name] for name in ("observation_template", "format_error_template")}
DefaultAgent(
    LitellmModel(model_name="openai/bench", cost_tracking="ignore_errors", **model),
    LocalEnvironment(),
    **agent,
    cost_limit=0,
    output_path=Path(sys.argv[1]),
).run("Write one line after the other into the file f, then say that you are done.")
