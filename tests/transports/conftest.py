"""The places that the conformance suite runs against, and members that are closed at the end of a test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import pytest

from runtime.transports import librdkafka
from runtime.transports.connect import open_broker
from runtime.transports.protocol import Client, MemberSettings
from tests.transports.places import Member, Place, make_place, new_member

TRANSPORTS = [
    "sqlite",
    pytest.param("kafka-python", marks=pytest.mark.kafka),
    pytest.param("confluent", marks=pytest.mark.kafka),
    pytest.param("confluent-objects", marks=pytest.mark.kafka),
]
"""``confluent-objects`` is confluent-kafka without the native part."""


@pytest.fixture(scope="module", params=TRANSPORTS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A transport with topics of its own. A module's, so that the native part is there again for the next one."""
    name = request.param.removesuffix("-objects")
    if name != request.param:
        with without_native_part():
            yield from _place(name, request, tmp_path_factory)
    else:
        yield from _place(name, request, tmp_path_factory)


@contextmanager
def without_native_part() -> Iterator[None]:
    """As if ``edge-rnn-native`` were not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(librdkafka.SWITCH, "0")
        librdkafka.load.cache_clear()
        assert librdkafka.load() is None
        yield
    librdkafka.load.cache_clear()


def _place(name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if name == "sqlite":
        url, client = f"sqlite:{tmp_path_factory.mktemp('store') / 'store.sqlite'}", cast(Client, "kafka-python")
    else:
        url, client = request.getfixturevalue("kafka_broker"), cast(Client, name)
    broker = open_broker(url, client)
    yield make_place(name, url, client, broker, f"{name}-{uuid.uuid4().hex[:6]}")
    broker.close()


@pytest.fixture
def open_member(place: Place) -> Iterator[Callable[..., Member]]:
    """Opens a member of the place's group, or with other settings; closed after the test, expected back."""
    with ExitStack() as stack:

        def opened(settings: MemberSettings | None = None) -> Member:
            member = new_member(settings or place.settings)
            stack.callback(member.transport.close)
            return member.open()

        yield opened
