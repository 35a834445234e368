"""Waits of streams in step: limits as the streams move."""

from golden.order import Gates, Wait


def test_a_beat_waits_for_all_streams_and_the_next_wait_follows():
    gates = Gates({"i": [Wait(3, {"o": 2}), Wait(1, {"o": 1, "p": 1})]})
    assert gates.limits({"i": 0, "o": 0, "p": 0}) == {"i": 1}
    assert gates.limits({"i": 1, "o": 1, "p": 0}) == {"i": 1}
    assert gates.limits({"i": 1, "o": 1, "p": 1}) == {"i": 3}
    assert gates.limits({"i": 3, "o": 2, "p": 1}) == {}


def test_two_waits_of_one_beat_are_both_kept():
    gates = Gates({"i": [Wait(0, {"o": 1}), Wait(0, {"p": 1})]})
    assert gates.limits({"i": 0, "o": 1, "p": 0}) == {"i": 0}
    assert gates.limits({"i": 0, "o": 1, "p": 1}) == {}


def test_cycles_count_from_when_the_beat_is_next_and_the_others_have_moved():
    gates = Gates({"i": [Wait(1, {"o": 1}, cycles=2)]})
    assert gates.limits({"i": 0, "o": 1}) == {"i": 1}
    assert [gates.limits({"i": 1, "o": 1}) for _ in range(3)] == [{"i": 1}, {"i": 1}, {}]
