"""Random causal modules: every one of them can be a stream, so every one should be exported, and none wrongly."""
