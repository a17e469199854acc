"""Cut the crops of open images into batches.

On a CPU crops are views of normalised planes. On any other device they come from one
buffer of bytes: one copy to the device and a handful of kernels, whatever the number
of crops.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.images.planes import Plane, Raster, plane_of
from pipeline.paper.crops import Crop
from pipeline.paper.googlenet import normalise, on_device
from pipeline.paper.preprocessing import Preprocessing


class OpenImage(NamedTuple):
    """An image that is ready to be cut.

    `crops` are its distinct crops, `members` says which of them each kind of crops
    needs, and crops are cut from `planes`. `problem` says why an image cannot be used;
    such an image has no crops.
    """

    crops: tuple[Crop, ...] = ()
    members: dict[str, list[int]] = {}  # noqa: RUF012 (never changed)
    planes: dict[Plane, Raster] = {}  # noqa: RUF012
    problem: str = ""


class Crops(Protocol):
    """Normalised crops that are written into batches, in order."""

    count: int

    def write(self, place_NSSC: Tensor) -> None:
        """Write the next N crops (side x side x channels) to a place in a batch."""


class Pixels:
    """Pixels on their way into a network: normalised on a device, and in batches."""

    def __init__(
        self,
        device: torch.device,
        preprocessing: Preprocessing,
        side: int,
        channels: int,
        dtype: torch.dtype,
    ):
        self.device, self.preprocessing, self.side = device, preprocessing, side
        self.channels, self.dtype = channels, dtype
        self.places = torch.arange(side, dtype=torch.int32, device=device)
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def normalised(self, pixels_HWC: Raster) -> Tensor:
        """Return RGB bytes (height x width x 3) as network input.

        The input is height x width x 3, or x 4 where the fourth channel is used.
        """
        pixels = torch.as_tensor(pixels_HWC).to(self.device)
        values = normalise(pixels[None], self.preprocessing)[0].permute(1, 2, 0).to(self.dtype)
        return F.pad(values, (0, self.channels - 3))

    def normalised_bytes(self, pixels_P3: Tensor) -> Tensor:
        """Return the values of `normalised` for RGB bytes that the device has, P x
        channels, by few kernels.
        """
        mean, std = on_device(self.preprocessing, pixels_P3.device)
        if self.preprocessing.channel_order == "bgr":
            pixels_P3 = pixels_P3.flip(1)
        values = (pixels_P3 - mean).div_(std).to(self.dtype)
        return F.pad(values, (0, self.channels - 3)) if self.channels > 3 else values

    def receive(self, content: Tensor) -> Tensor:
        """Copy pinned bytes to the device, beside what it computes."""
        if self._copies is None:
            return content.to(self.device)
        with torch.cuda.stream(self._copies):
            arrived = content.to(self.device, non_blocking=True)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._copies)
        arrived.record_stream(current)
        return arrived

    def batch(self, size: int) -> Tensor:
        """Return an empty batch: size x side x side x channels."""
        shape = (size, self.side, self.side, self.channels)
        return torch.zeros(shape, dtype=self.dtype, device=self.device)


class Views:
    """The crops of an image: views of its normalised planes and their mirrors."""

    def __init__(self, pixels: Pixels, image: OpenImage):
        self.count = len(image.crops)
        self._views = _views(pixels, image)

    def write(self, place_NSSC: Tensor) -> None:
        """Copy the next crops, each by itself."""
        for crop, view in zip(place_NSSC, self._views, strict=False):
            crop.copy_(view)


def _views(pixels: Pixels, image: OpenImage) -> Iterator[Tensor]:
    side = pixels.side
    normalised: dict[tuple[Plane, bool], Tensor] = {}
    for crop in image.crops:
        plane = plane_of(crop, side)
        if (plane, False) not in normalised:
            normalised[plane, False] = pixels.normalised(image.planes[plane])
        if crop.mirrored and (plane, True) not in normalised:
            normalised[plane, True] = normalised[plane, False].flip(1)
        values = normalised[plane, crop.mirrored]
        left, top = (0, 0) if plane.side else (crop.left, crop.top)
        if crop.mirrored:
            left = values.shape[1] - left - side
        yield values[top : top + side, left : left + side]


class Packed(NamedTuple):
    """Planes of some images as bytes, behind the windows of their crops.

    A window is three numbers of 4 bytes: its first pixel, and the steps from a pixel to
    the one below and to the next one, which is -1 where the crop is mirrored.
    """

    content: Tensor
    num_crops: int


WINDOW_BYTES = 12


def pack(images: Sequence[OpenImage], side: int, pinned: bool) -> Packed:
    """Lay images out for one copy to a device; a device reads `pinned` memory while the
    processor goes on. Planes that are on a device already stay there.
    """
    windows: list[tuple[int, int, int]] = []
    planes: list[Raster] = []
    first = 0
    for image in images:
        starts = {}
        for plane, pixels in image.planes.items():
            starts[plane] = first
            planes.append(pixels)
            first += pixels.shape[0] * pixels.shape[1]
        for crop in image.crops:
            plane = plane_of(crop, side)
            width = image.planes[plane].shape[1]
            left, top = (0, 0) if plane.side else (crop.left, crop.top)
            corner = starts[plane] + top * width + left
            windows.append((corner + side - 1, width, -1) if crop.mirrored else (corner, width, 1))
    table = np.asarray(windows, np.int32).reshape(-1, 3).view(np.uint8).ravel()
    if planes and isinstance(planes[0], Tensor):
        there = torch.from_numpy(table).to(planes[0].device)
        flat = (torch.as_tensor(pixels).flatten() for pixels in planes)
        return Packed(torch.cat([there, *flat]), len(windows))
    head = WINDOW_BYTES * len(windows)
    content = torch.empty(head + 3 * first, dtype=torch.uint8, pin_memory=pinned)
    place = content.numpy()
    place[:head] = table
    for pixels in planes:
        size = 3 * pixels.shape[0] * pixels.shape[1]
        place[head : head + size] = np.asarray(pixels).ravel()
        head += size
    return Packed(content, len(windows))


class Gathered:
    """Crops that a device gathers from packed planes."""

    def __init__(self, pixels: Pixels, packed: Packed):
        self.count, self._first, self._size = packed.num_crops, 0, pixels.side**2
        content, head = pixels.receive(packed.content), WINDOW_BYTES * packed.num_crops
        self._values = pixels.normalised_bytes(content[head:].view(-1, 3))
        windows = content[:head].view(torch.int32).view(-1, 3, 1, 1)
        first, down, right = windows.unbind(1)
        left_edges = torch.addcmul(first, down, pixels.places[:, None])
        self._places = torch.addcmul(left_edges, right, pixels.places).flatten()

    def write(self, place_NSSC: Tensor) -> None:
        """Gather the next crops, all at once."""
        last = self._first + len(place_NSSC)
        places = self._places[self._first * self._size : last * self._size]
        self._first = last
        torch.index_select(self._values, 0, places, out=place_NSSC.view(-1, place_NSSC.shape[-1]))
