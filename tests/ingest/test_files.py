"""Video files and folders of pictures, whole and damaged."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.ingest.stream import StreamStats, VideoStream
from shared.config import CameraConfig, Config
from shared.errors import SourceError

WIDTH, HEIGHT = 160, 120


def video(path: Path, frames: int = 40, codec: str = "MJPG", fps: float = 10) -> Path:
    """A video whose frame number can be read from any of its pictures: see `number_in`."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for number in range(frames):
        image = noise.copy()
        for bit in range(8):
            image[20:100, 20 * bit : 20 * bit + 20] += np.uint8(180 * (number >> bit & 1))
        writer.write(image)
    writer.release()
    return path


def number_in(image: np.ndarray) -> int:
    return sum(int(image[40:80, 20 * bit + 5 : 20 * bit + 15].mean() > 120) << bit for bit in range(8))


def read_all(
    source: Path, *, start_ns: int | None = None, fps: float | None = None
) -> tuple[list[tuple[int, int, int]], StreamStats]:
    """(index, t_ns, number in the picture) of all frames, and the counters at the end."""
    stream = VideoStream(CameraConfig(1, str(source), start_ns=start_ns, fps=fps), Config(buffer_size=4))
    frames = []
    with stream:
        for frame in stream:
            frames.append((frame.index, frame.t_ns, number_in(frame.image)))
            frame.release()
        assert stream.ended
        return frames, stream.stats


def refusal(source: Path | str) -> str:
    with pytest.raises(SourceError) as caught:
        VideoStream(CameraConfig(7, str(source)), Config()).start()
    return str(caught.value)


def test_every_frame_of_a_file_comes_once_in_order_with_its_time(tmp_path: Path) -> None:
    frames, stats = read_all(video(tmp_path / "a.avi"), start_ns=5_000)
    assert frames == [(index, 5_000 + index * 10**8, index) for index in range(40)]
    assert (stats.frames, stats.corrupt, stats.dropped, stats.state, stats.fps) == (40, 0, 0, "ended", 10.0)


def test_frames_are_decoded_into_memory_used_before(tmp_path: Path) -> None:
    _, stats = read_all(video(tmp_path / "a.avi", frames=100))
    assert stats.pool_hit_rate > 0.9


def test_a_truncated_file_is_read_as_far_as_it_goes_and_the_rest_counted(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, stats = read_all(path)
    assert 10 < len(frames) < 30
    assert [number for _, _, number in frames] == list(range(len(frames)))
    assert stats.corrupt == 40 - len(frames)


@pytest.mark.parametrize("codec", ["mp4v", "MJPG"])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_damage_in_the_middle_is_passed_over_counted_and_the_same_each_time(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    path = video(tmp_path / f"a{suffix}", codec=codec)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = random.Random(1).randbytes(2000)
    path.write_bytes(data)
    frames, stats = read_all(path)
    assert 20 <= len(frames) <= 40
    assert stats.corrupt == 40 - len(frames)
    assert [index for index, _, _ in frames] == list(range(len(frames)))
    assert read_all(path)[0] == frames


def test_a_file_with_no_timestamps_is_timed_by_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpg"
    pictures = [
        cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 9 * n, np.uint8))[1].tobytes() for n in range(10)
    ]
    path.write_bytes(b"".join(pictures))
    frames, _ = read_all(path)
    assert len(frames) == 10
    assert [t_ns for _, t_ns, _ in frames] == [index * 40_000_000 for index in range(10)]


def test_a_missing_file_is_refused_with_what_a_source_may_be(tmp_path: Path) -> None:
    text = refusal(tmp_path / "nowhere.mp4")
    assert text.startswith("camera 7: ") and "nowhere.mp4 does not exist" in text and "rtsp://" in text


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "a.mp4")


def test_garbage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(random.Random(2).randbytes(50_000))
    assert "not a video that FFmpeg can read" in refusal(tmp_path / "a.mp4")


def test_an_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", codec="mp4v")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut off before its index was written" in refusal(path)


def test_a_video_whose_every_frame_is_damaged_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", frames=3)
    data = path.read_bytes()
    begin, end = data.index(b"movi") + 4, data.index(b"idx1")
    path.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    assert "holds no picture that can be decoded" in refusal(path)


def test_recorded_delivery_of_a_camera_is_refused() -> None:
    with pytest.raises(SourceError, match="network source cannot have `delivery: recorded`"):
        VideoStream(CameraConfig(1, "rtsp://127.0.0.1/x", delivery="recorded"), Config())


def test_a_recording_can_be_stopped_while_its_buffer_is_full(tmp_path: Path) -> None:
    stream = VideoStream(CameraConfig(1, str(video(tmp_path / "a.avi"))), Config(buffer_size=2))
    stream.start()
    first = stream.read()
    assert first is not None and first.index == 0
    assert stream.stop()
    assert stream.ended and stream.read() is None and stream.stats.state == "ended"


def folder(path: Path, names: list[str], size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        image = np.zeros((size[1], size[0], 3), np.uint8)
        for bit in range(8):
            image[:, 20 * bit : 20 * bit + 20] = 255 * (number >> bit & 1)
        assert cv2.imwrite(str(path / name), image)
    return path


def test_pictures_of_a_folder_come_in_natural_order_at_the_configured_rate(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", ["1.png", "2.jpg", "9.bmp", "10.jpeg", "100.png"])
    (path / "notes.txt").write_text("no picture")
    frames, stats = read_all(path, fps=4.0, start_ns=7)
    assert frames == [(index, 7 + index * 250_000_000, index) for index in range(5)]
    assert stats.fps == 4.0


def test_a_corrupt_picture_is_counted_and_leaves_the_numbers_of_the_others(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", [f"{number}.jpg" for number in range(6)])
    (path / "2.jpg").write_bytes(b"not a picture")
    whole = (path / "4.jpg").read_bytes()
    (path / "4.jpg").write_bytes(whole[: len(whole) // 2])
    frames, stats = read_all(path)
    assert frames == [(index, index * 10**8, index) for index in (0, 1, 3, 5)]
    assert stats.corrupt == 2


def test_a_jpeg_with_a_thumbnail_and_an_appendix_is_whole(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", ["1.jpg"])
    whole = (path / "1.jpg").read_bytes()
    thumbnail = b"Exif\0\0" + b"\xff\xd8 a picture \xff\xd9"
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    (path / "1.jpg").write_bytes(whole[:2] + segment + whole[2:] + bytes(9000))
    (path / "2.jpg").write_bytes((whole[:2] + segment + whole[2:])[:-400])
    frames, stats = read_all(path)
    assert (len(frames), stats.corrupt) == (1, 1)


def test_pictures_may_differ_in_size(tmp_path: Path) -> None:
    path = folder(tmp_path / "p", ["1.png"])
    shutil.copy(folder(tmp_path / "q", ["2.png"], size=(320, 200)) / "2.png", path)
    with VideoStream(CameraConfig(1, str(path)), Config()) as stream:
        assert [frame.image.shape for frame in stream] == [(HEIGHT, WIDTH, 3), (200, 320, 3)]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    assert "holds no pictures" in refusal(tmp_path)


def test_a_folder_of_nothing_but_corrupt_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"no")
    assert "none of its 1 pictures can be decoded" in refusal(tmp_path)


@pytest.mark.data
def test_a_real_recording_gives_the_same_frames_each_time(shared_data: Path) -> None:
    path = shared_data / "data" / "video" / "vtest.avi"
    digests = []
    for _ in range(2):
        digest, count = hashlib.sha256(), 0
        with VideoStream(CameraConfig(1, str(path)), Config()) as stream:
            for frame in stream:
                count += 1
                digest.update(f"{frame.index} {frame.t_ns}".encode() + frame.image.tobytes())
                frame.release()
        assert (count, stream.stats.corrupt) == (795, 0)
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]


@pytest.mark.data
def test_a_real_mp4_is_read_to_its_last_frame(shared_data: Path) -> None:
    path = shared_data / "data" / "video" / "one-by-one-person-detection.mp4"
    with VideoStream(CameraConfig(1, str(path)), Config()) as stream:
        times = []
        for frame in stream:
            times.append((frame.index, frame.t_ns))
            frame.release()
    assert times == [(index, index * 100_000_000) for index in range(1394)]
    assert stream.stats.corrupt == 0
