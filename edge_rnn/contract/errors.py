"""Every error that this distribution raises on purpose.

::

    EdgeRnnError                 exit status 1
    ├── UsageError               exit status 2: the call or the configuration is wrong
    ├── MissingDependency        a package that this action needs is not installed
    ├── BundleError              a bundle cannot be read, or its files are not what its manifest says
    ├── ExportRefused            a model cannot become a step graph; names the submodule
    ├── GateFailed               a step graph does not compute what its model computes
    ├── EngineError              the step graph cannot be run
    ├── RecordError              one record cannot be read; goes to the dead letters
    ├── StateError               snapshots do not fit the model, the topic or the offsets
    ├── TransportError           the broker or the embedded store
    │   ├── BrokerUnreachable    no answer within the start-up time
    │   ├── TopicError           a topic is missing or has the wrong settings
    │   ├── CommitAborted        a commit did not happen; nothing of it is visible
    │   └── Fenced               another member took this one's place; it can commit nothing more
    └── DeployError              an image, a registry, a release or a fleet
        ├── BuildFailed          an image could not be built, or its plan does not hold
        ├── RegistryError        the registry refused, or gave something else than its digest says
        ├── ReleaseRefused       a release is unsigned, altered, or signed by another key
        ├── DeviceUnreachable    no connection, or it broke; what was under way may or may not have happened
        ├── DeviceFailed         a device answered, and what it was told to do failed
        ├── DeviceLocked         another rollout holds the device
        └── RolloutFailed        a wave did not pass and was rolled back, or devices are left behind

A message says what failed, what was found, what was expected and what to do, in one line.
"""

from __future__ import annotations


class EdgeRnnError(Exception):
    """The root. ``str(error)`` is one line for a person; ``exit_status`` is what the command ends with."""

    exit_status = 1


class UsageError(EdgeRnnError):
    """The call or the configuration is wrong."""

    exit_status = 2


class MissingDependency(EdgeRnnError):
    """A package that this action needs is not installed; the message gives the command that installs it."""


class BundleError(EdgeRnnError):
    """A bundle cannot be read, or its files are not what its manifest says."""


class ExportRefused(EdgeRnnError):
    """A model cannot become a step graph; the message names the submodule and the remedy."""


class GateFailed(EdgeRnnError):
    """A step graph does not compute what its model computes; the message names output, step and distance."""


class EngineError(EdgeRnnError):
    """The step graph cannot be run by this engine."""


class RecordError(EdgeRnnError):
    """One record cannot be read. It goes to the dead letters and never stops its partition."""


class StateError(EdgeRnnError):
    """Snapshots do not fit the model, the topic or the committed offsets."""


class TransportError(EdgeRnnError):
    """The broker or the embedded store failed."""


class BrokerUnreachable(TransportError):
    """No answer from the broker within the start-up time."""


class TopicError(TransportError):
    """A topic is missing or has the wrong settings."""


class CommitAborted(TransportError):
    """A commit did not happen. Nothing of it is visible; the daemon recovers from the committed offset."""


class Fenced(TransportError):
    """Another member took this one's place. It can commit nothing more and must end."""


class DeployError(EdgeRnnError):
    """An image, a registry, a release or a fleet."""


class BuildFailed(DeployError):
    """An image could not be built, or its build plan does not hold."""


class RegistryError(DeployError):
    """The registry refused, did not answer, or gave something else than its digest says."""


class ReleaseRefused(DeployError):
    """A release is unsigned, altered, or signed by another key."""


class DeviceUnreachable(DeployError):
    """No connection to a device, or it broke. What was under way there may or may not have happened."""


class DeviceFailed(DeployError):
    """A device answered, and what it was told to do failed."""


class DeviceLocked(DeployError):
    """Another rollout holds the device."""


class RolloutFailed(DeployError):
    """A wave did not pass and was rolled back, or devices are left behind."""
