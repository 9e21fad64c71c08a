"""The inventory: devices, how they are reached, what runs on them, and in which order they are served."""
