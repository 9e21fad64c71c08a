"""The shell around the core: threads, signals, clients, the order of a daemon's life."""
