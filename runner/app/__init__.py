"""Wiring: from what the user said to a run that is driven, resumed or looked at."""
