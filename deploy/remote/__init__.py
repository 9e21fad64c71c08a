"""Commands for devices: built by pure functions from data, carried out by an executor."""
