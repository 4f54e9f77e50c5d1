"""Recordings played by the thread of a `VideoStream`, with time and pictures that the test makes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.ingest.pool import FramePool, Image
from services.ingest.stream import VideoStream
from shared.config import CameraConfig, Config
from shared.errors import SourceError
from tests.ingest.fakes import FakeClock, ScriptedRecording, picture


def live_file(
    pictures: Sequence[Image | None], clock: FakeClock, *, fps: float, target_fps: int
) -> VideoStream:
    camera = CameraConfig(1, "ignored", delivery="live")
    recording = ScriptedRecording(pictures, fps=fps)
    return VideoStream(camera, Config(target_fps=target_fps), clock=clock, source=recording)


def test_frames_that_cannot_be_decoded_and_frames_that_are_missing_are_counted() -> None:
    recording = ScriptedRecording([picture(0), None, picture(2)], missing=4)
    with VideoStream(CameraConfig(1, "ignored"), Config(), source=recording) as stream:
        assert [frame.index for frame in stream] == [0, 2]
    assert stream.stats.corrupt == 5
    assert recording.closed


def test_a_recording_that_breaks_off_raises_what_happened_behind_its_last_frame() -> None:
    class Breaking(ScriptedRecording):
        def retrieve(self, pool: FramePool) -> Image | None:
            if self.decoded == 2:
                raise OSError("input/output error")
            return super().retrieve(pool)

    with VideoStream(
        CameraConfig(1, "ignored", name="door"), Config(), source=Breaking([picture(n) for n in range(4)])
    ) as stream:
        assert [getattr(stream.read(), "index", None) for _ in range(2)] == [0, 1]
        with pytest.raises(SourceError, match="door: reading broke off: input/output error"):
            stream.read()
        assert stream.ended


def test_a_live_file_is_played_in_real_time_and_stamped_with_the_time_of_capture() -> None:
    clock = FakeClock()
    with live_file([picture(n) for n in range(4)], clock, fps=10, target_fps=30) as stream:
        begin_ns = clock.utc_ns()
        times = []
        for index in range(4):
            if index:
                clock.advance(clock.sleeper(0.05, 0.1))
            frame = stream.read()
            assert frame is not None and frame.index == index
            times.append(frame.t_ns - begin_ns)
        assert times == pytest.approx([0, 100_000_000, 200_000_000, 300_000_000], abs=1000)
        assert stream.read() is None and stream.ended
        assert stream.stats.fps == pytest.approx(10)


def test_a_live_file_drops_what_was_not_taken_in_time() -> None:
    clock = FakeClock()
    with live_file([picture(n) for n in range(4)], clock, fps=10, target_fps=30) as stream:
        for _ in range(3):
            clock.advance(clock.sleeper(0.05, 0.1))
        frames = list(stream)
        assert frames[-1].index == 3
        assert stream.stats.dropped == 4 - len(frames) >= 2


def test_a_live_file_is_thinned_to_the_target_rate() -> None:
    clock = FakeClock()
    with live_file([picture(n) for n in range(6)], clock, fps=40, target_fps=20) as stream:
        for _ in range(5):
            clock.advance(clock.sleeper(0.01, 0.025))
        list(stream)
        assert (stream.stats.frames, stream.stats.capped) == (3, 3)


def test_a_live_file_stops_at_once_between_two_frames() -> None:
    clock = FakeClock()
    stream = live_file([picture(n) for n in range(2)], clock, fps=0.001, target_fps=30)
    stream.start()
    clock.sleeper(900, 1000)
    assert stream.stop()
