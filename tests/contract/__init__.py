"""The contract: bundle, manifest, gates, golden vectors."""
