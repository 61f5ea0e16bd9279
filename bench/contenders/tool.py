"""What the bare loops share: the one tool they offer, how it runs, and the words they begin with."""

from __future__ import annotations

import subprocess

MESSAGES = [
    {"role": "system", "content": "You are an engineer working in a folder through the tool you are given."},
    {"role": "user", "content": "Write one line after the other into the file f, then say that you are done."},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "shell",
            "description": "Run a command line with /bin/sh -c.",
            "parameters": {
                "type": "object",
                "properties": {"command": {"type": "string", "description": "The command line."}},
                "required": ["command"],
            },
        },
    }
]


def shell(command: str) -> str:
    """Run a command line; its output and exit code as the model gets them."""
    done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return f"{done.stdout.decode(errors='replace')}[exit code {done.returncode}]"
