"""Lower precisions: what they cost, what they save, and that streams stay apart."""
