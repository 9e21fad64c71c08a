"""The pure core: batches, scheduling, states, records in and out. No clock, no socket, no thread."""
