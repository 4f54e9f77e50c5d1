"""Staying with a live camera, with a camera and a clock that the test commands."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from services.ingest.live import REMINDER_S
from services.ingest.source import Source
from services.ingest.stream import CapturedFrame, VideoStream
from shared.config import CameraConfig, Config
from shared.errors import SourceError
from tests.ingest.fakes import PATIENCE_S, FakeClock, ScriptedSource, Step, picture


class Camera:
    """Hands out one scripted source a connection; when they are used up, connections are refused."""

    def __init__(self, *sources: Source) -> None:
        self._sources = iter(sources)
        self.connections: list[bool] = []

    def __call__(self, lost: bool) -> Source:
        self.connections.append(lost)
        return next(self._sources, None) or ScriptedSource(refuses="nobody there")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def streams() -> Iterator[list[VideoStream]]:
    started: list[VideoStream] = []
    yield started
    for each in started:
        each.stop()


def live(
    camera: Camera, clock: FakeClock, streams: list[VideoStream], *, target_fps: int = 30
) -> VideoStream:
    config = Config(target_fps=target_fps, watchdog_s=5.0)
    stream = VideoStream(CameraConfig(3, "0", name="gate"), config, clock=clock, source=camera)
    streams.append(stream)
    stream.start()
    return stream


def read(stream: VideoStream) -> CapturedFrame:
    frame = stream.read(PATIENCE_S)
    assert frame is not None
    return frame


def pause(clock: FakeClock) -> float:
    """The pause before the next attempt, which is over when this returns."""
    seconds = clock.sleeper(0.1, 2.0)
    clock.advance(seconds)
    return seconds


def test_frames_are_stamped_with_the_time_they_were_grabbed_at(
    clock: FakeClock, streams: list[VideoStream]
) -> None:
    go = threading.Event()
    stream = live(Camera(ScriptedSource([picture(1), go.wait, picture(2), go.wait])), clock, streams)
    first = read(stream)
    clock.advance(0.5)
    go.set()
    second = read(stream)
    assert (first.index, second.index) == (0, 1)
    assert second.t_ns - first.t_ns == pytest.approx(500_000_000, abs=1000)
    assert int(second.image[0, 0, 0]) == 2


def test_a_clock_that_is_set_back_begins_a_new_session_and_is_said_and_counted(
    clock: FakeClock, streams: list[VideoStream], caplog: pytest.LogCaptureFixture
) -> None:
    go, hold = threading.Event(), threading.Event()
    stream = live(Camera(ScriptedSource([picture(1), go.wait, picture(2), hold.wait])), clock, streams)
    first = read(stream)
    clock.utc_offset_ns -= 3600 * 10**9
    clock.advance(1)
    go.set()
    second = read(stream)
    assert second.t_ns == first.t_ns - 3599 * 10**9
    assert (first.clock_session, second.clock_session) == (0, 1)
    assert stream.stats.clock_steps == 1
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == [
        "gate: the system clock was set back by 3600.0 s; capture times follow it, and tracks begin anew"
    ]
    hold.set()


def test_the_newest_frame_wins_and_the_others_are_counted(
    clock: FakeClock, streams: list[VideoStream]
) -> None:
    sent, hold = threading.Event(), threading.Event()

    def tick() -> None:
        clock.advance(0.1)

    script: list[Step] = [picture(1), tick, picture(2), tick, picture(3), sent.set, hold.wait]
    stream = live(Camera(ScriptedSource(script)), clock, streams)
    assert sent.wait(PATIENCE_S)
    frame = read(stream)
    assert (frame.index, int(frame.image[0, 0, 0])) == (2, 3)
    assert (stream.stats.frames, stream.stats.dropped) == (3, 2)
    hold.set()


def test_a_camera_faster_than_the_target_rate_is_thinned(
    clock: FakeClock, streams: list[VideoStream]
) -> None:
    done, hold = threading.Event(), threading.Event()

    def tick() -> None:
        clock.advance(1 / 60)

    script: list[Step] = []
    for number in range(60):
        script += [picture(number), tick]
    stream = live(Camera(ScriptedSource([*script, done.set, hold.wait])), clock, streams, target_fps=15)
    assert done.wait(PATIENCE_S)
    stats = stream.stats
    assert stats.frames + stats.capped == 60
    assert stats.frames in (15, 16)
    assert stats.fps == pytest.approx(15, rel=0.1)
    hold.set()


def test_retries_are_paced_half_a_second_doubling_to_two(
    clock: FakeClock, streams: list[VideoStream]
) -> None:
    camera = Camera()
    stream = live(camera, clock, streams)
    assert [pause(clock) for _ in range(6)] == [0.5, 1.0, 2.0, 2.0, 2.0, 2.0]
    assert stream.stats.state == "lost"
    assert camera.connections[:3] == [False, True, True]


def test_a_camera_that_breaks_off_is_found_again(clock: FakeClock, streams: list[VideoStream]) -> None:
    hold = threading.Event()
    camera = Camera(ScriptedSource([picture(1)]), ScriptedSource([picture(2), hold.wait]))
    stream = live(camera, clock, streams)
    assert read(stream).index == 0
    clock.sleeper(0.1, 2.0)
    assert stream.stats.state == "lost"
    assert pause(clock) == 0.5
    frame = read(stream)
    assert (frame.index, int(frame.image[0, 0, 0])) == (1, 2)
    assert (stream.stats.state, stream.stats.reconnects) == ("streaming", 1)
    hold.set()


def test_frames_may_change_their_size(clock: FakeClock, streams: list[VideoStream]) -> None:
    go = threading.Event()
    small, large = picture(1, (32, 24)), picture(2, (64, 48))
    stream = live(Camera(ScriptedSource([small, go.wait, lambda: clock.advance(1), large])), clock, streams)
    first = read(stream)
    first_shape = first.image.shape
    first.release()
    go.set()
    assert (first_shape, read(stream).image.shape) == ((24, 32, 3), (48, 64, 3))


def test_a_frame_that_cannot_be_decoded_is_counted_and_passed_over(
    clock: FakeClock, streams: list[VideoStream]
) -> None:
    hold = threading.Event()
    stream = live(
        Camera(ScriptedSource([None, lambda: clock.advance(1), picture(1), hold.wait])), clock, streams
    )
    assert int(read(stream).image[0, 0, 0]) == 1
    assert stream.stats.corrupt == 1
    hold.set()


def test_a_connection_that_hangs_is_given_up_and_delivers_nothing_afterwards(
    clock: FakeClock, streams: list[VideoStream]
) -> None:
    hang, hold = threading.Event(), threading.Event()
    hanging = ScriptedSource([picture(1), hang.wait, picture(99)])
    camera = Camera(hanging, ScriptedSource([picture(2), hold.wait]))
    stream = live(camera, clock, streams)
    read(stream)
    clock.advance(clock.sleeper(5.0, 8.0))  # the watchdog's time and its grace
    assert pause(clock) == 0.5
    assert int(read(stream).image[0, 0, 0]) == 2
    clock.advance(1)
    hang.set()
    assert hanging.closed.wait(PATIENCE_S), "it cleans up when it wakes after all"
    assert stream.read(0.0) is None
    assert stream.stats.frames == 2
    hold.set()


def test_opening_may_take_longer_than_the_watchdogs_time(
    clock: FakeClock, streams: list[VideoStream]
) -> None:
    opened, hold = threading.Event(), threading.Event()

    class Slow(ScriptedSource):
        def open(self) -> None:
            opened.wait(PATIENCE_S)

    stream = live(Camera(Slow([picture(1), hold.wait])), clock, streams)
    clock.sleeper(10.0, 12.0)
    clock.advance(9.0)
    opened.set()
    assert read(stream).index == 0
    hold.set()


def test_connections_that_all_hang_end_the_stream_with_an_error(
    clock: FakeClock, streams: list[VideoStream]
) -> None:
    hang = threading.Event()
    stream = live(Camera(*(ScriptedSource([hang.wait]) for _ in range(20))), clock, streams)
    for attempt in range(8):
        clock.advance(clock.sleeper(5.0, 12.0))
        if attempt < 7:
            pause(clock)
    with pytest.raises(SourceError, match="gate: 8 connections hang and cannot be ended"):
        stream.read(PATIENCE_S)
    hang.set()


@pytest.mark.parametrize("state", ["connecting", "waiting for a frame", "pausing"])
def test_stop_returns_in_any_state(clock: FakeClock, streams: list[VideoStream], state: str) -> None:
    hang, reached = threading.Event(), threading.Event()

    class Connecting(ScriptedSource):
        def open(self) -> None:
            reached.set()
            hang.wait(PATIENCE_S)

    source = {
        "connecting": Connecting(),
        "waiting for a frame": ScriptedSource([picture(1), reached.set, hang.wait]),
        "pausing": ScriptedSource(refuses="nobody there"),
    }[state]
    stream = live(Camera(source), clock, streams)
    if state == "pausing":
        clock.sleeper(0.1, 2.0)
    else:
        assert reached.wait(PATIENCE_S)
    assert stream.stop() is (state == "pausing"), "a thread that hangs is admitted"
    assert stream.ended and stream.stats.state == "ended"
    hang.set()


def test_the_log_has_a_line_for_each_change_and_a_paced_reminder(
    clock: FakeClock, streams: list[VideoStream], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="services.ingest")
    hold = threading.Event()
    refusals = [ScriptedSource(refuses="nobody there") for _ in range(75)]
    camera = Camera(ScriptedSource([picture(1)]), *refusals, ScriptedSource([picture(2), hold.wait]))
    stream = live(camera, clock, streams)
    read(stream)
    away_s = sum(pause(clock) for _ in range(76))
    read(stream)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "gate: streaming 8x6"
    assert lines[1].startswith("gate: lost: the stream broke off")
    assert lines[2].startswith("gate: still lost after 6") and lines[2].endswith(": nobody there")
    assert lines[-1] == f"gate: streaming 8x6 after {away_s:.1f} s, 75 failed attempts"
    assert len(lines) == 3 + int(away_s / REMINDER_S)
    hold.set()
