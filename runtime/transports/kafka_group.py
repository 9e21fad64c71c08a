"""What a group knows of its members, asked by a member of whichever client."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_rnn.contract.errors import BrokerUnreachable, TransportError
from runtime.transports.gentle_import import import_gently
from runtime.transports.protocol import MemberSettings

if TYPE_CHECKING:
    from runtime.transports.kafka_python_clients import KafkaPythonAdmin

ANSWER_S = 5.0

Assignments = Mapping[str, set[int]]
"""The partitions of the input that each instance of a group has."""


class GroupView:
    """Asks over kafka-python's admin client, on any thread, one question at a time.

    librdkafka's ends the whole process if the coordinator goes away while a question is under way (its issue 3663:
    ``rd_kafka_enq_once_del_source_return: Assertion `eonce->refcnt > 0' failed``, seen with 2.16.0).
    """

    def __init__(self, settings: MemberSettings) -> None:
        self._settings = settings
        self._admin: KafkaPythonAdmin | None = None
        self._lock = threading.Lock()
        self._closed = False

    @staticmethod
    def prepare() -> None:
        """Load what questions are asked with, for use on a thread that has time."""
        import_gently("runtime.transports.kafka_python_clients")

    def member_id(self) -> str | None:
        """The id of the member that the group knows under this instance's name; ``None``: no such member."""
        for member in self._describe()["members"]:
            if member["group_instance_id"] == self._settings.instance:
                return str(member["member_id"])
        return None

    def assignments(self) -> Assignments | None:
        """The partitions of the input that each member has; ``None``: the group is about to change that."""
        found = self._describe()
        if found["group_state"] != "Stable":
            return None
        held: dict[str, set[int]] = {}
        for member in found["members"]:
            given = (member["member_assignment"] or {}).get("assigned_partitions", [])
            held[member["group_instance_id"] or member["member_id"]] = {
                partition for each in given if each["topic"] == self._settings.input for partition in each["partitions"]
            }
        return held

    def _describe(self) -> dict[str, Any]:
        """Raises `BrokerUnreachable`."""
        from runtime.transports.kafka_python_clients import KafkaPythonAdmin

        try:
            with self._lock:
                if self._admin is None:
                    settings = self._settings
                    self._admin = KafkaPythonAdmin(settings.broker, settings.properties, ANSWER_S, strict=False)
                try:
                    return self._admin.group(self._settings.group)
                except BaseException:
                    self._drop()
                    raise
        except TransportError as error:
            raise BrokerUnreachable(str(error)) from error
        finally:
            if self._closed:  # in the meantime; whichever of the two comes last frees the connections
                self.close()

    def _drop(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    def close(self) -> None:
        """Free the connections; after the question that is under way, if there is one."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            self._drop()
            self._lock.release()
