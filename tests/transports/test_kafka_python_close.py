"""A kafka-python client that is closed has no connection left, whatever it was doing."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import pytest

from edge_rnn.contract.errors import BrokerUnreachable
from runtime.transports import kafka_python_clients
from runtime.transports.kafka_group import GroupView
from runtime.transports.kafka_python_clients import KafkaPythonAdmin
from runtime.transports.protocol import MemberSettings

pytestmark = pytest.mark.kafka


def view_of(broker: str) -> GroupView:
    return GroupView(MemberSettings(broker, "nobody's", "input", "output", "instance"))


def test_a_request_that_is_not_written_yet_keeps_no_connection_open(kafka_broker: str) -> None:
    admin = KafkaPythonAdmin(kafka_broker, {}, 20.0)
    admin.partitions()
    connections = list(admin.client._manager._conns.values())
    sockets = [connection.transport._sock for connection in connections if connection.transport is not None]
    assert sockets
    for connection in connections:
        connection.transport._write_buffer = deque([b"as if the loop had not come to it"])
    admin.close()
    assert [each.fileno() for each in sockets] == [-1] * len(sockets)


def test_a_group_that_is_closed_during_a_question_frees_its_client(
    kafka_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = view_of(kafka_broker)
    made: list[KafkaPythonAdmin] = []
    asked, go_on = threading.Event(), threading.Event()

    class Slow(KafkaPythonAdmin):
        def group(self, group: str) -> dict[str, Any]:
            made.append(self)
            asked.set()
            assert go_on.wait(20)
            return super().group(group)

    monkeypatch.setattr(kafka_python_clients, "KafkaPythonAdmin", Slow)
    thread = threading.Thread(target=view.assignments)
    thread.start()
    assert asked.wait(20)
    view.close()
    go_on.set()
    thread.join(20)
    assert not thread.is_alive()
    assert [admin.client._closed for admin in made] == [True]


def test_a_group_that_is_closed_right_after_an_answer_frees_its_client(kafka_broker: str) -> None:
    view = view_of(kafka_broker)
    made: list[KafkaPythonAdmin] = []

    class ClosedMeanwhile:
        """The lock, with somebody who closes the group just before it is let go."""

        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            assert view._admin is not None
            made.append(view._admin)
            view.close()
            self._lock.release()

        def acquire(self, *, blocking: bool) -> bool:
            return self._lock.acquire(blocking=blocking)

        def release(self) -> None:
            self._lock.release()

    view._lock = ClosedMeanwhile()  # type: ignore[assignment]
    view.assignments()
    assert [admin.client._closed for admin in made] == [True]


def test_a_group_that_cannot_be_asked_frees_its_client(kafka_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(kafka_broker)
    view.assignments()
    admin = view._admin
    assert admin is not None

    def fails(group: str) -> dict[str, Any]:
        raise BrokerUnreachable("away")

    monkeypatch.setattr(admin, "group", fails)
    with pytest.raises(BrokerUnreachable, match="away"):
        view.assignments()
    assert admin.client._closed
    view.assignments()
    view.close()
