"""Limits on times and clocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.ingest.capture_clock import SLEW, STEP_NS, CaptureClock
from services.ingest.pacing import _LONGEST_GAP_NS, Timeline
from services.ingest.service import SOURCE_FAILED
from services.tracker.core import CLOCK_SET_FRAMES, TrackerCore
from services.tracker.watermark import CLOCK_SET_NS, Watermark
from shared.clock import bounded_offset_ns
from shared.codec import decode, encode
from shared.config import Config
from shared.errors import MessageError, SourceError
from shared.limits import MAX_CLOCK_OFFSET_NS, MAX_T_NS
from tests.detector.test_service import sees_nobody
from tests.ingest.fakes import FakeClock
from tests.ingest.test_files import video
from tests.ingest.test_service import System, made, running  # noqa: F401
from tests.limits.table import covers
from tests.shared.samples import people as message_of
from tests.tracker.scene import people
from tracking_system import MultiCameraTracker

SECOND_NS = 10**9


@covers("shared.limits.MAX_T_NS")
def test_frames_of_a_recording_are_stored_up_to_the_latest_time_and_one_error_names_it(
    made: list[System],  # noqa: F811
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    system = running(made, tmp_path, video(tmp_path / "a.avi", frames=5, fps=10))
    start_ns = MAX_T_NS - 2 * SECOND_NS // 10
    system.cameras[1] = replace(system.cameras[1], start_ns=start_ns)
    assert system.ingest() == SOURCE_FAILED
    assert system.frames() == [0, 1, 2]
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [each for each in errors if "frame 3 cannot be sent" in each and "a time before 2200" in each]


@covers("shared.limits.MAX_T_NS")
def test_a_program_may_give_times_up_to_the_latest_and_no_later_one() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    with MultiCameraTracker(extractor=sees_nobody()) as tracker:
        tracker.register_camera(1)
        tracker.process_frame(picture, 1, t_ns=MAX_T_NS - SECOND_NS)
        tracker.process_frame(picture, 1, t_ns=MAX_T_NS)
        with pytest.raises(SourceError, match="t_ns must be before 2200"):
            tracker.process_frame(picture, 1, t_ns=MAX_T_NS + 1)


@covers("shared.limits.MAX_CLOCK_OFFSET_NS")
def test_a_difference_between_clocks_is_cut_to_the_limit_that_messages_have() -> None:
    for beyond in (0, 1):
        offset_ns = bounded_offset_ns(-MAX_CLOCK_OFFSET_NS - beyond)
        assert offset_ns == -MAX_CLOCK_OFFSET_NS
    decode(encode(replace(message_of(), clock_offset_ns=offset_ns)))
    with pytest.raises(MessageError, match="at most 60 years are allowed"):
        encode(replace(message_of(), clock_offset_ns=offset_ns - 1))


@covers("services.ingest.capture_clock.STEP_NS", "services.ingest.capture_clock.SLEW")
@pytest.mark.parametrize("beyond", [False, True])
def test_a_step_up_to_the_limit_is_worked_off_and_a_larger_one_begins_a_session(beyond: bool) -> None:
    clock = FakeClock()
    capture = CaptureClock("gate", clock)
    first_ns = capture.now_ns()
    clock.utc_offset_ns += STEP_NS + 1000 * beyond
    clock.advance(1.0)
    gained_ns = capture.now_ns() - first_ns - SECOND_NS
    assert capture.session == int(beyond)
    assert gained_ns == pytest.approx(STEP_NS if beyond else SLEW * SECOND_NS, abs=2000)


@covers("services.tracker.watermark.CLOCK_SET_NS")
@pytest.mark.parametrize("beyond", [False, True])
def test_a_live_camera_may_go_back_by_the_limit_and_beyond_it_its_clock_was_set(beyond: bool) -> None:
    watermark: Watermark[str] = Watermark([], live_wait_ns=0)
    watermark.add(1, 10 * SECOND_NS, "first", live=True, now_ns=0)
    assert list(watermark.ready(0)) == ["first"]
    watermark.add(1, 10 * SECOND_NS - CLOCK_SET_NS - beyond, "back", live=True, now_ns=0)
    watermark.add(2, 10 * SECOND_NS - 1, "other", live=True, now_ns=0)
    # Up to the limit it counts as a frame of 10 s, which is after the other camera's.
    assert list(watermark.ready(0)) == (["back", "other"] if beyond else ["other", "back"])


@covers("services.tracker.core.CLOCK_SET_FRAMES")
def test_frames_of_the_past_are_refused_up_to_the_limit_and_believed_beyond() -> None:
    core = TrackerCore(Config())
    core.process(people([], frame=1000))
    for number in range(CLOCK_SET_FRAMES):
        core.process(people([], frame=number))
    assert core.counters["frames_refused"] == CLOCK_SET_FRAMES
    core.process(people([], frame=CLOCK_SET_FRAMES))
    assert core.counters["frames"] == 2


@covers("services.ingest.pacing._LONGEST_GAP_NS")
def test_a_pause_in_a_file_counts_up_to_the_limit_and_as_damage_beyond() -> None:
    gap_ms = _LONGEST_GAP_NS / 1e6
    for beyond_ms, expected_ns in ((0.0, _LONGEST_GAP_NS), (1.0, SECOND_NS // 10)):
        timeline = Timeline(fps=10)
        timeline.advance(0.0)
        assert timeline.advance(gap_ms + beyond_ms) == expected_ns
