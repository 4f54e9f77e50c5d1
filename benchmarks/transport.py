"""The frames link against raw pyzmq and imagezmq: JPEG-sized messages over loopback TCP.

Each way moves the same messages from one process to another.  The link loses nothing by construction
(credit and acknowledgement); the raw PUSH/PULL pair is what the wire allows; imagezmq REQ/REP is what
most Python camera projects use.  The three take turns, several rounds; ratios are of the medians.

    python -m benchmarks.transport [--messages N] [--bytes N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import imagezmq
import numpy as np
import zmq

from shared.link_receiver import Delivered, LinkReceiver, Opened
from shared.link_sender import LinkSender
from shared.messages import Frame, FrameStamp

WINDOW = 64
STREAM = 1


def _tcp(port: int) -> str:
    return f"tcp://127.0.0.1:{port}"


def send_raw(port: int, count: int, payload: bytes) -> None:
    """Push `count` messages as they are."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    socket = context.socket(zmq.PUSH)
    socket.connect(_tcp(port))
    for _ in range(count):
        socket.send(payload)
    socket.close(linger=-1)
    context.term()


def receive_raw(port: int, count: int, ready: Connection) -> float:
    """Seconds from the first to the last message."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    socket = context.socket(zmq.PULL)
    socket.bind(_tcp(port))
    ready.send(None)
    socket.recv()
    began = time.perf_counter()
    for _ in range(count - 1):
        socket.recv()
    return time.perf_counter() - began


def send_imagezmq(port: int, count: int, payload: bytes) -> None:
    """Send `count` JPEGs, each waiting for its reply, as imagezmq does by default."""
    sender = imagezmq.ImageSender(_tcp(port))
    jpeg = np.frombuffer(payload, np.uint8)
    for _ in range(count):
        sender.send_jpg("camera", jpeg)
    sender.close()


def receive_imagezmq(port: int, count: int, ready: Connection) -> float:
    """Seconds from the first to the last message."""
    hub = imagezmq.ImageHub(_tcp(port))
    ready.send(None)
    hub.recv_jpg()
    hub.send_reply()
    began = time.perf_counter()
    for _ in range(count - 1):
        hub.recv_jpg()
        hub.send_reply()
    return time.perf_counter() - began


def send_link(port: int, count: int, payload: bytes) -> None:
    """Send `count` frames and stay until every one is acknowledged."""
    sender = LinkSender(zmq.Context.instance(), _tcp(port), name="receiver")
    sender.open(STREAM, session=1, live=False)
    while sender.durable(STREAM) < count:
        sender.poll()
        for _ in range(sender.room(STREAM)):
            seq = sender.position(STREAM)
            if seq is None or seq >= count:
                break
            sender.send(STREAM, Frame(FrameStamp(STREAM, 1, seq, seq, 1280, 720), payload), seq)
        sender.socket.poll(100)
    sender.close()


def receive_link(port: int, count: int, ready: Connection) -> float:
    """Seconds from the first to the last message; raises where one is lost, repeated or out of order."""
    receiver = LinkReceiver(zmq.Context.instance(), _tcp(port))
    ready.send(None)
    expected, began = 0, 0.0
    while expected < count:
        receiver.socket.poll(100)
        for event in receiver.receive():
            if isinstance(event, Opened):
                receiver.accept(event.stream, 0, WINDOW)
            elif isinstance(event, Delivered):
                if event.seq != expected:
                    raise RuntimeError(f"message {event.seq} where {expected} was due")
                began = began or time.perf_counter()
                expected += 1
                receiver.acknowledge(event.stream, event.session, event.seq)
        receiver.flush()
    return time.perf_counter() - began


WAYS: dict[str, tuple[Callable[..., None], Callable[..., float]]] = {
    "pyzmq PUSH/PULL": (send_raw, receive_raw),
    "imagezmq REQ/REP": (send_imagezmq, receive_imagezmq),
    "frames link": (send_link, receive_link),
}


def _receiving(receive: Callable[..., float], port: int, count: int, pipe: Connection) -> None:
    pipe.send(receive(port, count, pipe))


def rate(way: str, port: int, count: int, payload: bytes) -> float:
    """Messages a second, between two fresh processes."""
    send, receive = WAYS[way]
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    receiver = processes.Process(target=_receiving, args=(receive, port, count, theirs))
    receiver.start()
    ours.recv()
    sender = processes.Process(target=send, args=(port, count, payload))
    sender.start()
    seconds: float = ours.recv()
    sender.join()
    receiver.join()
    return (count - 1) / seconds


def _free_port() -> int:
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


def main() -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=20_000, help="messages a round")
    parser.add_argument("--bytes", type=int, default=60_000, help="size of a message")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    options = parser.parse_args()
    payload = np.random.default_rng(0).bytes(options.bytes)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, measured in rates.items():
            measured.append(rate(way, _free_port(), options.messages, payload))
    medians = {way: statistics.median(measured) for way, measured in rates.items()}
    raw = medians["pyzmq PUSH/PULL"]
    print(f"{'way':20} {'messages/s':>12} {'of raw':>8}   rounds")
    for way, median in medians.items():
        rounds = " ".join(f"{each:.0f}" for each in rates[way])
        print(f"{way:20} {median:12.0f} {median / raw:8.2f}   {rounds}")
    link = medians["frames link"]
    print(
        json.dumps(
            {
                "benchmark": "transport",
                "messages": options.messages,
                "bytes": options.bytes,
                "messages_per_s": {way: round(median, 1) for way, median in medians.items()},
                "link_of_raw": round(link / raw, 3),
                "link_of_imagezmq": round(link / medians["imagezmq REQ/REP"], 2),
                "lost": 0,
            }
        )
    )


if __name__ == "__main__":
    main()
