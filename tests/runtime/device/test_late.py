"""The late device itself: it shows what is read or used again too early, or it would prove nothing."""

from __future__ import annotations

import numpy as np

from runtime.core.device import Layout, Lending
from tests.runtime.device.late import GARBAGE, LateQueue, late_device


def test_result_that_is_read_before_its_mark_is_not_there() -> None:
    device = late_device()
    pair = device.room(4)
    device.queue.put(lambda: pair.device.fill(5))
    device.down(pair, 4, device.queue)
    mark = device.queue.mark()
    assert (pair.host == GARBAGE).all()
    assert not mark.passed()
    mark.wait()
    assert mark.passed()
    assert (pair.host == 5).all()


def test_buffer_that_is_used_again_before_its_copy_is_done_spoils_the_copy() -> None:
    device = late_device()
    pair = device.room(4)
    pair.host[:] = 1
    device.up(pair, 4, device.queue)
    pair.host[:] = 2
    device.queue.mark().wait()
    assert (pair.device == 2).all()


def test_queue_that_follows_a_mark_waits_for_what_is_before_it_and_no_more() -> None:
    one, other, order = LateQueue(), LateQueue(), list[str]()
    one.put(lambda: order.append("before"))
    other.follow(one.mark())
    one.put(lambda: order.append("behind"))
    other.put(lambda: order.append("other"))
    other.mark().wait()
    assert order == ["before", "other"]


def test_buffer_is_lent_again_when_its_mark_has_been_passed_and_at_most_some_wait() -> None:
    device = late_device()
    lending = Lending(device)
    pairs = []
    for _ in range(4):
        device.queue.put(lambda: None)
        pairs.append(lending.take(1000))
        lending.give(pairs[-1], device.queue.mark())
    assert len({id(pair) for pair in pairs}) == 4
    assert lending.take(1000) is pairs[0]  # waited for
    assert device.queue.done == 1
    device.queue.mark().wait()
    assert lending.take(600) is pairs[1]


def test_layout_gives_each_part_a_place_of_its_own_that_is_aligned() -> None:
    layout = Layout([((3, 5), np.float32), ((7,), np.int64), ((0, 2), np.float32), ((2,), np.bool_)])
    buffer = np.zeros(layout.size, np.uint8)
    views = layout.views(buffer)
    for number, view in enumerate(views):
        view[...] = number
    assert [view.shape for view in views] == [(3, 5), (7,), (0, 2), (2,)]
    assert (views[0] == 0).all()
    assert (views[1] == 1).all()
    assert views[3].all()
    assert all((view.ctypes.data - buffer.ctypes.data) % 256 == 0 for view in views if view.size)
