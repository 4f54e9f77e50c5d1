"""The detector service in a process of its own, and what its cameras and its tracker do."""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import psutil
import zmq

from services.detector.extractor import FeatureExtractor
from services.detector.families import build, decoder
from services.detector.picture import Image
from services.detector.service import DetectorService
from services.ingest.jpeg import JpegEncoder
from shared.config import CameraConfig, Config
from shared.endpoints import Endpoints
from shared.link_receiver import Delivered, LinkReceiver, Opened
from shared.link_sender import LinkSender
from shared.messages import Frame, FrameStamp, People

WINDOW = 64


def _serve(config: Config, endpoints: Endpoints, cameras: int, pipe: Connection) -> None:
    """The service's process."""
    # That the benchmark's ends go silent when it is done is no news.
    logging.disable(logging.WARNING)
    cv2.setNumThreads(1)
    known = {camera: CameraConfig(camera, "") for camera in range(1, cameras + 1)}
    stop = threading.Event()

    def wait_for_the_end() -> None:
        pipe.recv()
        stop.set()

    networks = build(config)
    extractor = FeatureExtractor(*networks, config)
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    pipe.send(None)
    DetectorService(known, config, endpoints, extractor, decoder(networks)).run(stop)


@contextmanager
def service(config: Config, cameras: int) -> Iterator[tuple[Endpoints, psutil.Process]]:
    """A detector process, ready to be sent frames, and its handle."""
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    with tempfile.TemporaryDirectory(prefix="detector-") as folder:
        endpoints = Endpoints.local(Path(folder))
        endpoints.prepare()
        process = processes.Process(target=_serve, args=(config, endpoints, cameras, theirs))
        process.start()
        ours.recv()
        try:
            yield endpoints, psutil.Process(process.pid)
        finally:
            ours.send(None)
            process.join()


def cpu_s(process: psutil.Process) -> float:
    """Processor seconds that the process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


class Ends:
    """The cameras' and the tracker's ends of the two links."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.frames = LinkSender(self._context, endpoints.frames, name="the detector")
        self._people = LinkReceiver(self._context, endpoints.people)
        self._poller = zmq.Poller()
        self._poller.register(self.frames.socket, zmq.POLLIN)
        self._poller.register(self._people.socket, zmq.POLLIN)

    def step(self, wait_ms: int) -> list[People]:
        """The people that have arrived; each is acknowledged."""
        self._poller.poll(wait_ms)
        arrived = []
        for event in self._people.receive():
            if isinstance(event, Opened):
                self._people.accept(event.stream, 0, WINDOW)
            elif isinstance(event, Delivered) and isinstance(event.message, People):
                arrived.append(event.message)
                self._people.acknowledge(event.stream, event.session, event.seq)
        self._people.flush()
        self.frames.poll()
        return arrived

    def close(self) -> None:
        """Close the links."""
        self.frames.close()
        self._people.close()
        self._context.term()


def through_service(
    endpoints: Endpoints, frames: dict[int, list[Frame]], arrived: Callable[[People], None]
) -> None:
    """Send each recorded camera's frames as fast as they are taken, until all people have come back."""
    ends = Ends(endpoints)
    for camera in frames:
        ends.frames.open(camera, session=1, live=False)
    left = sum(map(len, frames.values()))
    while left:
        for people in ends.step(50):
            arrived(people)
            left -= 1
        for camera, own in frames.items():
            while ends.frames.room(camera) > 0:
                seq = ends.frames.position(camera)
                if seq is None or seq >= len(own):
                    break
                ends.frames.send(camera, own[seq], seq)
    ends.close()


def frames_of(camera: int, jpegs: list[bytes], size: tuple[int, int], step_ns: int) -> list[Frame]:
    """A camera's recording."""
    return [
        Frame(FrameStamp(camera, 1, index, index * step_ns, *size), jpeg) for index, jpeg in enumerate(jpegs)
    ]


def encoded(images: list[Image]) -> list[bytes]:
    """JPEGs of the quality that cameras send."""
    encoder = JpegEncoder(Config().jpeg_quality)
    return [bytes(encoder.encode(image)) for image in images]
