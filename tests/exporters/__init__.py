"""From a module to a verified bundle."""
