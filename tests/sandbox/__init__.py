"""Attempts to leave the walls, made for real: on every backend, as root and as an ordinary user."""
