"""Engines run a step graph over an arena of states; one file per kind of device."""
