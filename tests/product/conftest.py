"""The embedded place and the bundle of the daemon's tests."""

from tests.daemon.conftest import bundle, embedded

__all__ = ["bundle", "embedded"]
