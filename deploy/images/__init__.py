"""Images of the daemon: plan, Containerfile, build, list of parts."""
