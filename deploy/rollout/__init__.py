"""From a release to a fleet that runs it: steps, waves, gates, roll-back."""
