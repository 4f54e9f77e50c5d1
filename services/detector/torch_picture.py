"""Pictures on torch's device: uploaded or decoded there, cut, scaled and judged there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from services.detector.decode import LARGEST_POOL, LARGEST_POOL_BYTES, MemoryDecoder, decode, unusable
from services.detector.failure import FrameFailure
from services.detector.light import GREY, SAMPLE_STEP_PX, STRONGEST, USUAL, power, relit
from services.detector.picture import Image, Picture, RemotePicture
from services.detector.pool import PicturePool
from services.detector.torch_device import Lane, device_lost, out_of_memory, pinned
from shared.messages import Float32, Frame

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:  # announced for a version to come
    decode_jpeg = None

log = logging.getLogger(__name__)

RGB_GREY = tuple(GREY[::-1].tolist())
"""Weights of red, green and blue in lightness."""

PROBE_SIZE = (64, 48)
PROBE_TOLERANCE = 4.0
"""Mean difference, of 255, from the processor's picture at which a decoder on the device is trusted."""


@dataclass(frozen=True, slots=True, eq=False)
class TorchPicture:
    """A picture, or a part of one, on a device.

    whole: (3, H, W) uint8 RGB of the whole picture.  box: the part, columns and rows x0, y0, x1, y1.
    source: the whole picture in memory.  ready: the mark of the lane that fills `whole`.
    lit: whether what is read of it is brought to usual light first, as `light` has it.
    """

    whole: torch.Tensor
    box: tuple[int, int, int, int]
    source: Callable[[], Image]
    ready: Any = None
    lit: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """As `RemotePicture.shape`."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0, 3

    def pixels(self) -> Image:
        """As `RemotePicture.pixels`."""
        x0, y0, x1, y1 = self.box
        image = self.source()
        return relit(image[y0:y1, x0:x1], power(image)) if self.lit else image[y0:y1, x0:x1]

    def part(self, x0: int, y0: int, x1: int, y1: int) -> TorchPicture:
        """As `RemotePicture.part`."""
        left, top = self.box[:2]
        return replace(self, box=(left + x0, top + y0, left + x1, top + y1))

    def relit(self) -> TorchPicture:
        """As `RemotePicture.relit`."""
        return replace(self, lit=True)

    def sharpness(self, crops: Sequence[TorchPicture], size: tuple[int, int]) -> Float32:
        """As `RemotePicture.sharpness`."""
        with torch.inference_mode():
            small = averaged(crops, size, self.whole.device).round_()
            grey = sum(weight * small[:, n] for n, weight in enumerate(RGB_GREY)).round_()[:, None]
            grey = torch.nn.functional.pad(grey, (1, 1, 1, 1), mode="reflect")[:, 0]
            beside = grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
            around = beside + grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1]
            variance = (around - 4 * grey[:, 1:-1, 1:-1]).flatten(1).var(dim=1, correction=0)
            return np.asarray(variance.cpu().numpy(), np.float32)


def on_device(picture: Picture, device: torch.device) -> TorchPicture:
    """The picture on that device: as it is where it is there already, else copied from memory."""
    if isinstance(picture, TorchPicture) and picture.whole.device == device:
        return picture
    image = picture if isinstance(picture, np.ndarray) else picture.pixels()
    height, width = image.shape[:2]
    return TorchPicture(uploaded(image, device), (0, 0, width, height), lambda: image)


def uploaded(image: Image, device: torch.device) -> torch.Tensor:
    """(3, H, W) uint8 RGB on the device; bytes travel as they lie, and are sorted there."""
    there = torch.from_numpy(np.ascontiguousarray(image)).to(device, non_blocking=True)
    return there.permute(2, 0, 1).flip(0).contiguous()


def sampled(crops: Sequence[TorchPicture], size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(N, 3, height, width) float 0-255: the crops scaled to `size`, width and height.

    Bilinear between the centres of pixels as `cv2.resize` has it, what lies outside a crop being its edge.
    All crops of pictures of one size are sampled together.
    """
    width, height = size
    result = torch.empty((len(crops), 3, height, width), device=device)
    for rows, seen, (x0, y0, x1, y1) in _together(crops, device):
        left, right, share_x = _between(x0, x1, width)
        upper, lower, share_y = _between(y0, y1, height)
        share_x, share_y = share_x[:, None, :, None], share_y[:, :, None, None]
        corner = [seen.at(y, x) for y in (upper, lower) for x in (left, right)]
        above = torch.lerp(corner[0], corner[1], share_x)
        below = torch.lerp(corner[2], corner[3], share_x)
        result[rows] = torch.lerp(above, below, share_y).permute(0, 3, 1, 2)
    return result


def averaged(crops: Sequence[TorchPicture], size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """As `sampled`, but each pixel is the mean of what it covers, as `cv2.INTER_AREA` has it."""
    width, height = size
    result = torch.empty((len(crops), 3, height, width), device=device)
    for rows, seen, (x0, y0, x1, y1) in _together(crops, device):
        across, x = _covered(x0, x1, width, max(crops[row].shape[1] for row in rows))
        down, y = _covered(y0, y1, height, max(crops[row].shape[0] for row in rows))
        values = seen.at(y, x).permute(0, 3, 1, 2)
        result[rows] = down[:, None] @ values @ across[:, None].transpose(2, 3)
    return result


def powers(pictures: torch.Tensor) -> torch.Tensor:
    """(P,) what `light.power` tells of each of pictures (P, 3, H, W) uint8 RGB, without waiting for it."""
    sample = pictures[:, :, ::SAMPLE_STEP_PX, ::SAMPLE_STEP_PX].float().mean(dim=(2, 3))
    lightness = sum(weight * sample[:, n] for n, weight in enumerate(RGB_GREY)) / 255
    lightness = torch.clamp(lightness, 0.01, 0.99)
    wanted = lightness.clamp(*USUAL)
    exponent = (wanted.log() / lightness.log()).clamp(1 / STRONGEST, STRONGEST)
    return torch.where(wanted == lightness, 1.0, exponent)


def raised(values: torch.Tensor, exponents: torch.Tensor) -> torch.Tensor:
    """Values 0-255, (P, ...) float, to the exponents (P,), as `light.relit` has it."""
    exponents = exponents.view(-1, *[1] * (values.dim() - 1))
    return torch.where(exponents == 1.0, values, (values / 255) ** exponents * 255)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What N crops of pictures of one size are read from.

    pixels: (P, 3, H, W) uint8.  of: (N,) which of them.  exponents: (N,) that bring them to usual light.
    """

    pixels: torch.Tensor
    of: torch.Tensor
    exponents: torch.Tensor | None

    def at(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """(N, height, width, 3) float: rows y (N, height) and columns x (N, width) of each."""
        values = self.pixels[self.of[:, None, None], :, y[:, :, None], x[:, None, :]].float()
        return values if self.exponents is None else raised(values, self.exponents)


_Group = tuple[list[int], _Seen, tuple[torch.Tensor, ...]]


def _together(crops: Sequence[TorchPicture], device: torch.device) -> Iterator[_Group]:
    """Crops of pictures of one size: their places, what they are read from, their boxes."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for number, crop in enumerate(crops):
        by_shape.setdefault(tuple(crop.whole.shape), []).append(number)
    for rows in by_shape.values():
        wholes = {id(crops[row].whole): crops[row].whole for row in rows}
        places = {key: place for place, key in enumerate(wholes)}
        table = [[places[id(crops[row].whole)], crops[row].lit, *crops[row].box] for row in rows]
        of, lit, *box = torch.tensor(table, device=device).unbind(dim=1)
        pictures = torch.stack(list(wholes.values()))
        exponents = None
        if any(crops[row].lit for row in rows):
            exponents = torch.where(lit > 0, powers(pictures)[of], 1.0)
        yield rows, _Seen(pictures, of, exponents), tuple(box)


def _covered(
    first: torch.Tensor, end: torch.Tensor, count: int, longest: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, count, longest) the share each source has in each of `count` means; (N, longest) the sources."""
    places = torch.arange(longest, device=first.device)
    step = ((end - first).float() / count)[:, None, None]
    begin = torch.arange(count, device=first.device)[:, None] * step
    overlap = torch.minimum(begin + step, places + 1.0) - torch.maximum(begin, places.float())
    return overlap.clamp_(min=0) / step, torch.minimum(first[:, None] + places, end[:, None] - 1)


def _between(
    first: torch.Tensor, end: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For `count` samples between first and end, each (N, count): the two neighbours, the second's share."""
    steps = torch.arange(count, device=first.device) + 0.5
    length = (end - first).float()[:, None]
    place = (steps * length / count - 0.5).clamp(min=0).minimum(length - 1)
    lower = place.floor()
    share = place - lower
    lower = lower.long()
    upper = torch.minimum(lower + 1, length.long() - 1)
    return lower + first[:, None], upper + first[:, None], share


class TorchDecoder:
    """Pictures for the torch family, on its device before a network asks for them.

    Decoded on the device where it can, else on the processor into pinned buffers that are used again,
    and copied while the networks compute.
    """

    def __init__(self, device: torch.device, workers: int) -> None:
        """workers: frames decoded at once by the processor."""
        self.pool = PicturePool(LARGEST_POOL, LARGEST_POOL_BYTES, pinned if device.type == "cuda" else None)
        self._memory = MemoryDecoder(self.pool, workers)
        self._device = device
        self._lane = Lane(device)
        self._in_use: dict[int, Image] = {}
        self.decodes_there = device.type == "cuda" and self._probe()
        if device.type == "cuda":
            where = "the GPU" if self.decodes_there else "the processor: nvJPEG cannot be used here"
            log.info("pictures are decoded by %s", where)

    def decode(self, frames: Sequence[Frame]) -> list[Picture | FrameFailure]:
        """As `Decoder.decode`."""
        with torch.inference_mode(), self._lane:
            if self.decodes_there:
                try:
                    return self._there(frames)
                except RuntimeError as error:
                    self._distrust(error)
            return self._copied(frames)

    def release(self, pictures: Sequence[Picture]) -> None:
        """As `Decoder.release`."""
        for each in pictures:
            if isinstance(each, np.ndarray):
                self.pool.release(each)
            elif (buffer := self._in_use.pop(id(each), None)) is not None:
                self.pool.release(buffer)

    def _copied(self, frames: Sequence[Frame]) -> list[Picture | FrameFailure]:
        images = self._memory.decode(frames)
        pictures: list[Picture | FrameFailure] = []
        for image in images:
            if not isinstance(image, np.ndarray):
                pictures.append(image)
                continue
            pictures.append(self._copy(image))
        return pictures

    def _copy(self, image: Image) -> Picture:
        """The picture on the device; where that has no room, or is gone, in memory."""
        try:
            there = uploaded(image, self._device)
            box = (0, 0, image.shape[1], image.shape[0])
            picture = TorchPicture(there, box, lambda: image, self._lane.mark())
        except RuntimeError as error:
            if not (out_of_memory(error) or device_lost(error)):
                raise
            return image
        self._in_use[id(picture)] = image
        return picture

    def _there(self, frames: Sequence[Frame]) -> list[Picture | FrameFailure]:
        told = [unusable(frame) for frame in frames]
        sound = [frame for frame, reason in zip(frames, told, strict=True) if not reason]
        try:
            decoded = iter(self._decoded(sound))
        except RuntimeError as error:
            if device_lost(error) or out_of_memory(error):
                raise
            # One damaged picture refuses them all: the processor says which.
            return self._copied(frames)
        ready = self._lane.mark()
        pictures: list[Picture | FrameFailure] = []
        for frame, reason in zip(frames, told, strict=True):
            if reason:
                pictures.append(FrameFailure(frame.stamp, reason))
            else:
                box = (0, 0, frame.stamp.width, frame.stamp.height)
                pictures.append(TorchPicture(next(decoded), box, _decoded_again(frame), ready))
        return pictures

    def _decoded(self, frames: Sequence[Frame]) -> list[torch.Tensor]:
        """(3, H, W) uint8 RGB on the device, of each frame."""
        data = [torch.from_numpy(np.array(memoryview(each.jpeg), np.uint8)) for each in frames]
        return list(decode_jpeg(data, mode=ImageReadMode.RGB, device=self._device)) if data else []

    def _probe(self) -> bool:
        """Whether a picture decoded on the device is the one that the processor makes of it."""
        if decode_jpeg is None:
            return False
        noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
        _, jpeg = cv2.imencode(".jpg", cv2.resize(noise, PROBE_SIZE))
        # Decoded as BGR and turned round: OpenCV reads RGB by itself only since 4.11.
        expected = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.float32)[..., ::-1]
        try:
            with torch.inference_mode():
                (there,) = decode_jpeg(
                    [torch.from_numpy(jpeg.ravel())], mode=ImageReadMode.RGB, device=self._device
                )
                found: NDArray[np.float32] = there.permute(1, 2, 0).float().cpu().numpy()
        except RuntimeError:
            return False
        return found.shape == expected.shape and float(np.abs(found - expected).mean()) < PROBE_TOLERANCE

    def _distrust(self, error: RuntimeError) -> None:
        self.decodes_there = False
        log.warning("pictures are decoded by the processor from now on: %s", str(error).splitlines()[0])


def _decoded_again(frame: Frame) -> Callable[[], Image]:
    """The frame's picture in memory, for those few who ask for it."""

    def source() -> Image:
        image = decode(frame)
        if isinstance(image, FrameFailure):
            raise ValueError(image.reason)
        return image

    return source


_: type[RemotePicture] = TorchPicture
