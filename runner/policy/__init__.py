"""The rules a run is held to. Pure: no disk, no clock, no network."""
