"""Calls that may never return."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from runtime.transports.limited import LimitedCalls


class Client:
    def which_thread(self, told: list[int]) -> None:
        told.append(threading.get_ident())

    def fails(self) -> None:
        raise ValueError("no")


def test_calls_in_a_row_share_a_thread_that_is_not_the_callers() -> None:
    calls, told = LimitedCalls("test"), list[int]()
    for _ in range(3):
        calls.wait(calls.begin(Client().which_thread, (told,)), 10)
    assert len(set(told)) == 1
    assert told[0] != threading.get_ident()
    calls.close()


def test_a_call_that_does_not_return_is_left_and_the_next_one_is_made() -> None:
    calls, over, told = LimitedCalls("test"), threading.Event(), list[int]()
    with pytest.raises(TimeoutError):
        calls.wait(calls.begin(over.wait, (60,)), 0.05)
    calls.wait(calls.begin(Client().which_thread, (told,)), 10)
    assert len(told) == 1
    over.set()
    calls.close()


def test_an_error_of_the_call_is_raised_though_it_be_a_timeout() -> None:
    def late() -> None:
        raise TimeoutError("the call's own")

    calls, told = LimitedCalls("test"), list[int]()
    calls.wait(calls.begin(Client().which_thread, (told,)), 10)
    with pytest.raises(TimeoutError, match="own"):
        calls.wait(calls.begin(late, ()), 10)
    calls.wait(calls.begin(Client().which_thread, (told,)), 10)
    assert len(set(told)) == 1
    calls.close()


def test_what_was_called_is_held_by_nobody_afterwards_whether_it_failed_or_not() -> None:
    calls, told = LimitedCalls("test"), list[int]()
    for name, arguments in (("which_thread", (told,)), ("fails", ())):
        client = Client()
        gone = weakref.ref(client)
        done = calls.begin(getattr(client, name), arguments)
        del client
        try:
            calls.wait(done, 10)
        except ValueError as error:
            error.__traceback__ = None
        del done
        gc.disable()
        try:
            assert gone() is None
        finally:
            gc.enable()
    calls.close()


def test_its_thread_ends_when_it_is_closed() -> None:
    calls = LimitedCalls("test-ends")
    calls.wait(calls.begin(int, ()), 10)
    (thread,) = [each for each in threading.enumerate() if each.name == "test-ends"]
    calls.close()
    thread.join(10)
    assert not thread.is_alive()
