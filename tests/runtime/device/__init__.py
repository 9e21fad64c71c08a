"""Devices without a GPU: NumPy in the place of CuPy, with queues that do their work as late as a GPU may."""
