"""One suite for all engines: see `cases`."""
