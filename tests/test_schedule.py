"""The cycle model itself: what its patterns mean, on cases small enough to count by hand."""

import pytest

from hw.schedule import Pipeline, simulate_unit
from hw.timing import Broadcast, Queue, Steps, WindowSteps


def test_a_pipeline_delays_by_its_latency_and_keeps_its_rate():
    assert simulate_unit(Steps(((1,),), (1,), 3), [4]) == ([[0, 1, 2, 3]], [[3, 4, 5, 6]])


def test_patterns_say_which_step_takes_and_makes():
    narrow = Steps(((1, 0, 0),), (1, 1, 1), 1)
    assert simulate_unit(narrow, [2]) == ([[0, 3]], [[1, 2, 3, 4, 5, 6]])
    widen = Steps(((1, 1),), (0, 1), 2)
    assert simulate_unit(widen, [4]) == ([[0, 1, 2, 3]], [[3, 5]])


def test_a_join_waits_for_both():
    assert simulate_unit(Steps(((1,), (1,)), (1,), 1), [3, 2])[1] == [[1, 2]]


def test_a_queue_of_one_halves_the_rate_and_of_two_does_not():
    assert simulate_unit(Queue(1), [3]) == ([[0, 2, 4]], [[1, 3, 5]])
    assert simulate_unit(Queue(2), [3]) == ([[0, 1, 2]], [[1, 2, 3]])
    assert simulate_unit(Queue(8, latency=2), [2])[1] == [[2, 3]]


def test_a_fork_gives_every_branch_every_beat():
    assert simulate_unit(Broadcast(3), [2]) == ([[0, 1]], [[0, 1]] * 3)


@pytest.mark.parametrize(
    ("window", "interval"),
    [
        (WindowSteps(8, 8, 1, (3, 3), 1, 1, 3), 72),
        (WindowSteps(8, 8, 2, (3, 3), 1, 1, 3), 144),
        (WindowSteps(8, 8, 1, (3, 3), 2, 1, 3), 64),
        (WindowSteps(7, 9, 1, (5, 5), 1, 2, 3), 77),
        (WindowSteps(6, 6, 1, (6, 6), 1, 0, 3), 36),
        (WindowSteps(9, 9, 1, (1, 1), 3, 0, 3), 81),
    ],
)
def test_a_window_keeps_its_interval_from_frame_to_frame(window, interval):
    assert window.interval == interval
    beats = window.height * window.width * window.fold
    frames = 6
    _, (made,) = simulate_unit(window, [frames * beats])
    per_frame = window.out_height * window.out_width * window.fold
    # The last frame comes out although nothing follows it.
    assert len(made) == frames * per_frame
    ends = made[per_frame - 1 :: per_frame]
    assert ends[-1] - ends[-2] == interval
    assert ends[-2] - ends[-3] == interval


def test_a_short_branch_needs_the_fifo_that_the_model_measures():
    slow = WindowSteps(6, 6, 1, (3, 3), 1, 1, 3)
    interval = slow.interval

    def play(depth, patience=None):
        pipeline = Pipeline()
        pipeline.add_source("image", 6 * 36, interval / 36)
        pipeline.add("fork", Broadcast(2), [("image", 0)])
        pipeline.add("window", slow, [("fork", 0)])
        pipeline.add("fifo", Queue(depth), [("fork", 1)])
        pipeline.add("add", Steps(((1,), (1,)), (1,), 1), [("window", 0), ("fifo", 0)])
        pipeline.add_sink(("add", 0))
        done = pipeline.taken_at["add", 0]
        pipeline.run(lambda: len(done) >= 6 * 36, 10_000, patience)
        return pipeline

    depth = play(None).high_water["fifo"]
    assert 7 <= depth <= 18
    assert play(depth).stalls["fifo"] == 0
    assert play(depth - 1).stalls["fifo"] > 0
    assert play(depth).taken_at == play(None).taken_at
    # Far below, the fork waits for the FIFO, the FIFO for the window, and the window for the fork.
    with pytest.raises(RuntimeError, match="does not finish within 10000 cycles"):
        play(3)
    pipeline = play(None, patience=50)
    assert pipeline.cycle > 50
    with pytest.raises(RuntimeError, match="nothing moves in the pipeline for 500 cycles"):
        play(3, patience=500)


def test_wrong_connections_are_refused():
    pipeline = Pipeline()
    pipeline.add_source("image", 1)
    with pytest.raises(ValueError, match="not an open output"):
        pipeline.add("unit", Queue(1), [("nothing", 0)])
    with pytest.raises(ValueError, match="unit takes 2 inputs, but 1 are given"):
        pipeline.add("unit", Steps(((1,), (1,)), (1,), 1), [("image", 0)])
    pipeline = Pipeline()
    pipeline.add_source("image", 1)
    with pytest.raises(ValueError, match="feeds nothing"):
        pipeline.run(lambda: False, 1)


def test_patterns_are_checked():
    with pytest.raises(ValueError, match="latency must be at least 1, not 0"):
        Steps(((1,),), (1,), 0)
    with pytest.raises(ValueError, match="patterns must have equal length, not 2 and 1"):
        Steps(((1, 0),), (1,), 1)
