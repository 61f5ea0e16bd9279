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

_FORMS = ("_API_KEY", "_API_TOKEN", "_ACCESS_TOKEN", "_AUTH_TOKEN", "_SECRET_ACCESS_KEY", "_SECRET_KEY")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_ALIASES: Mapping[str, str] = {"together_ai": "together", "fireworks_ai": "fireworks"}
"""What litellm calls a provider that has a name of its own here."""


def key_for(provider: str) -> str:
    """The name of a provider's key, also of one that only litellm knows: always one that `is_key`."""
    provider = _ALIASES.get(provider, provider)
    known = SUPPORTED_KEYS.get(provider) or FOREIGN_KEYS.get(provider)
    plain = "".join(letter if letter in _LETTERS else "_" for letter in provider.upper())
    return known or f"{plain}_API_KEY"


def is_provider_key(name: str) -> bool:
    """Whether a variable of this name is a provider's key, whatever it is used for: no tool ever gets it."""
    return name in KNOWN_KEYS or (name.startswith(OWN) and len(name) > len(OWN))


def is_key(name: str) -> bool:
    """Whether a variable of this name is a key: masked, and in no tool's environment unless the user lists it.

    A provider's, or one that has the form of a key: which of those litellm would look up, nobody can list.
    """
    return is_provider_key(name) or (name.endswith(_FORMS) and name not in _FORMS and _LETTERS.issuperset(name))
