"""Leaving a group at once, which a static member's own client cannot do: the group is asked to remove it."""

from __future__ import annotations

import logging

from runtime.transports.protocol import MemberSettings

log = logging.getLogger("edge_rnn.transport")


def leave_group(settings: MemberSettings) -> None:
    """Remove this instance from its group, best effort: the session's time-out does it otherwise.

    Neither librdkafka nor confluent-kafka offers the request, so kafka-python's admin client sends it for both.
    """
    from kafka.admin import MemberToRemove
    from kafka.errors import KafkaError

    from runtime.transports.kafka_python_clients import admin_client

    try:
        admin = admin_client(settings.broker, settings.properties, settings.startup_timeout_s, strict=False)
        try:
            admin.remove_group_members(settings.group, [MemberToRemove(group_instance_id=settings.instance)])
        finally:
            admin.close()
    except (KafkaError, OSError, ValueError, AssertionError) as error:
        log.warning("group %s still expects %s back: %s", settings.group, settings.instance, error)
