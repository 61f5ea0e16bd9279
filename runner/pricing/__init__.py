"""Prices and what a call can cost, in exact integers."""
