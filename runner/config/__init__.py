"""Settings, each with the place it came from.

Later in this list wins: built-in, user's configuration file, environment, `--env-file`, spec, flag, resume flag.
Nothing here comes from inside a workspace but the keys of known providers in its `.env`: neither an address to send
them to nor a price.
"""

from runner.config.dotenv import WorkspaceKeys, env_file, workspace_keys
from runner.config.environment import tool_env
from runner.config.limits import BUILT_IN, limit_flag, resolve_limits
from runner.config.place import default_state_dir, expanded, state_dir
from runner.config.settings import Flags, Setting, Settings, load

__all__ = [
    "BUILT_IN",
    "Flags",
    "Setting",
    "Settings",
    "WorkspaceKeys",
    "default_state_dir",
    "env_file",
    "expanded",
    "limit_flag",
    "load",
    "resolve_limits",
    "state_dir",
    "tool_env",
    "workspace_keys",
]
