"""Who a group knows under a member's name: this process, as it is or as it was, or another one."""

from __future__ import annotations

import pytest

from runtime.transports import kafka_member
from runtime.transports.kafka_python import KafkaPythonTransport
from runtime.transports.protocol import MemberSettings


@pytest.fixture
def member(monkeypatch):
    """A member that is not connected; what its client and the group say is set by the test."""
    monkeypatch.setattr(kafka_member, "RIVAL_S", 0.3)
    made = KafkaPythonTransport(MemberSettings(broker="127.0.0.1:1", group="g", input="in", output="out", instance="a"))
    made.said = {"mine": "a-1", "known": "a-1"}
    monkeypatch.setattr(made, "member_id", lambda: made.said["mine"])
    monkeypatch.setattr(made._group, "member_id", lambda: made.said["known"])
    return made


def test_place_when_the_client_forgot_its_id_and_the_group_did_not_then_is_ours(member) -> None:
    assert member.is_member()
    member.said["mine"] = None  # its session was over while the broker was away; the group's begins anew
    assert member.is_member()
    assert member.outlasts_other()


def test_place_when_another_process_joined_under_the_name_then_is_not_ours(member) -> None:
    assert member.is_member()
    member.said.update(mine=None, known="a-2")
    assert not member.is_member()
    assert not member.outlasts_other()


def test_place_when_the_group_knows_nobody_then_nobody_has_taken_it(member) -> None:
    member.said.update(mine=None, known=None)
    assert not member.is_member()
    assert member.outlasts_other()
