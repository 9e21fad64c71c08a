"""Ships bundles to devices: images, registry, fleet, rollout."""
