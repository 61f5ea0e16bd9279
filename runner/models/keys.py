"""Names of the environment variables that hold provider keys. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

SUPPORTED_KEYS: Mapping[str, str] = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Key name of each provider with an adapter of its own, most preferred first."""

FOREIGN_KEYS: Mapping[str, str] = {
    "gemini": "GEMINI_API_KEY",
    "google": "GOOGLE_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "mistral": "MISTRAL_API_KEY",
    "groq": "GROQ_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "xai": "XAI_API_KEY",
    "together": "TOGETHER_API_KEY",
    "fireworks": "FIREWORKS_API_KEY",
    "zai": "ZAI_API_KEY",
    "moonshot": "MOONSHOT_API_KEY",
    "cerebras": "CEREBRAS_API_KEY",
}
"""Key name of each provider that is called through litellm, an extra."""

KNOWN_KEYS: frozenset[str] = frozenset({*SUPPORTED_KEYS.values(), *FOREIGN_KEYS.values()})
"""Every provider's key name: the only names taken from a workspace's `.env`."""

OWN = "RUNNER_KEY_"
"""What the key of a server of one's own may begin with; no file need be read to know that it is a key."""


def is_key(name: str) -> bool:
    """Whether a variable of this name is a key: masked, and in no tool's environment."""
    return name in KNOWN_KEYS or (name.startswith(OWN) and len(name) > len(OWN))
