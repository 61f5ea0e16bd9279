"""Names of the environment variables that hold provider keys. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

SUPPORTED_KEYS: Mapping[str, str] = {"openai": "OPENAI_API_KEY"}
"""Key name of each provider this version can call, most preferred first."""

FOREIGN_KEYS: Mapping[str, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
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
}
"""Key name of each provider this version knows of but cannot call yet."""

KNOWN_KEYS: frozenset[str] = frozenset({*SUPPORTED_KEYS.values(), *FOREIGN_KEYS.values()})
"""Every key name: secrets to mask, and the only names taken from a workspace's `.env`."""
