"""How the pictures of a set become 8-bit pixels: one rule for all, derived from its training split.

Pixels of 8 bits stay as they are. Deeper ones, integer or real, are scaled from one range of levels.
Transparent parts get one ground.
"""

import contextlib
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mnist_jax.data.opening import is_inverted, is_unsigned
from mnist_jax.system.errors import UserError
from mnist_jax.system.files import seal_broken, sealed, write_whole

GROUNDS = (255, 0, 128)  # white, or the ground on which fewer pictures vanish
_NEAR = 32  # levels, of 255, that are hard to tell from a ground
_VANISHED = 0.9  # share of the visible pixels
_BLOCK = 1 << 22  # pixels that are scaled at once

# For sets without a range of their own: 16 bits, and from black to white.
_DEFAULTS = {"integer": (0.0, 65536.0), "real": (0.0, 1.0)}


class Levels(NamedTuple):
    """kind: "integer" or "real". lowest, highest: of all pixels."""

    kind: str
    lowest: float
    highest: float


class Facts(NamedTuple):
    """The properties of a file that decide how its set is rendered.

    levels: the range of a picture of more than 8 bits, else None. vanishes: the GROUNDS on which a
    transparent picture vanishes; None for an opaque one. reduced: 16 bits per colour, of which 8 are read.
    frames: more frames than the first, which is read.
    """

    grey: bool
    levels: Levels | None
    vanishes: tuple[bool, ...] | None
    reduced: bool
    frames: bool


class Rendering(NamedTuple):
    """How the pictures of a set become 8-bit pixels.

    Attributes:
        channels: 1 if all are grey, else 3.
        integer, real: (low, high): levels from low up to high become 0 to 255, others are clipped. None if
            the training split has no such levels: the range is then 16 bits, or 0 to 1, others are refused.
        ground: the level under transparent parts; None: chosen by the ink of each picture.
        clipped: pictures with levels outside of the range.
        transparent: pictures that have transparent parts.
        reduced: pictures with 16 bits per colour, of which the upper 8 are read.
        first_frames: pictures with several frames or pages, of which the first is read.
    """

    channels: int = 3
    integer: Sequence[float] | None = None
    real: Sequence[float] | None = None
    ground: int | None = GROUNDS[0]
    clipped: int = 0
    transparent: int = 0
    reduced: int = 0
    first_frames: int = 0

    def require_range(self, levels: Levels | None) -> None:
        """Refuses levels whose scale is unknown, because the training split has none of their kind.

        Raises UserError.
        """
        if levels and getattr(self, levels.kind) is None and _outside(levels, None):
            low, high = _DEFAULTS[levels.kind]
            raise UserError(
                f"its levels must be from {low:g} to {high - (levels.kind == 'integer'):g} (got "
                f"{levels.lowest:g} to {levels.highest:g}), since the training split has no {levels.kind} "
                "ones; save it with 8 bits"
            )

    def notice(self) -> str:
        """A line about pictures that are not plain 8 bits; "" if there are none."""
        ranges = [
            f"{kind} levels from {low:g} up to {high:g} become 0 to 255"
            for kind, (low, high) in (("integer", self.integer or (0, 0)), ("real", self.real or (0, 0)))
            if high > low
        ]
        counts = [
            f"{what}: {count:,}"
            for count, what in (
                (self.clipped, "clipped to that range"),
                (self.transparent, f"with transparent parts, which become level {self.ground}"),
                (self.reduced, "with 16 bits per colour, of which 8 are read"),
                (self.first_frames, "with several frames or pages, of which the first is read"),
            )
            if count
        ]
        return "; ".join([*ranges, *counts])


def choose_rendering(training: Iterable[Facts], used: Iterable[Facts]) -> Rendering:
    """The rendering that follows from the training split.

    A range begins at 0, or at the lowest level if that is negative, and ends at the smallest power of 2 that
    holds the highest level, for integers at least 256. The ground is white, unless more pictures vanish on
    white than on black or on grey.

    training: of the training files. used: of the files of all splits, for the counts.
    """
    learned, used = list(training), list(used)
    levels = [one.levels for one in learned if one.levels]
    ranges = {kind: _range([one for one in levels if one.kind == kind]) for kind in _DEFAULTS}
    vanished = np.sum([one.vanishes for one in learned if one.vanishes] or [(False,) * len(GROUNDS)], axis=0)
    return Rendering(
        1 if all(one.grey for one in used) else 3,
        ranges["integer"],
        ranges["real"],
        GROUNDS[int(vanished.argmin())],
        clipped=sum(_outside(one.levels, ranges[one.levels.kind]) for one in used if one.levels),
        transparent=sum(one.vanishes is not None for one in used),
        reduced=sum(one.reduced for one in used),
        first_frames=sum(one.frames for one in used),
    )


def load_or_choose(path: pathlib.Path, choose: Callable[[], Rendering]) -> Rendering:
    """The rendering in a file of the cache; else chooses one and stores it there."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        content = path.read_bytes()
        fields = json.loads(content)
        if fields.pop("record_sha256") and not seal_broken(content):
            return Rendering(**fields)
    kept = sealed(choose()._asdict())
    with contextlib.suppress(OSError):  # without a cache it is chosen again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, kept)
    fields = json.loads(kept)
    del fields["record_sha256"]
    return Rendering(**fields)


def find_levels(image: Image.Image) -> Levels:
    """The lowest and highest finite level of a deep image.

    Raises UserError: it has none.
    """
    lowest, highest, kind = math.inf, -math.inf, "integer"
    for block in _blocks(image):
        kind = _kind(block)
        if (finite := block[np.isfinite(block)]).size:
            lowest, highest = min(lowest, float(finite.min())), max(highest, float(finite.max()))
    if lowest > highest:
        raise UserError("it must have levels that are finite (got none)")
    return Levels(kind, lowest, highest)


def to_8_bits(image: Image.Image, rendering: Rendering) -> Image.Image:
    """A deep image as mode L, or LA if one of its levels is transparent.

    Raises UserError: its levels have no known range.
    """
    transparent = image.info.get("transparency")
    pixels = np.empty((image.height, image.width, 1 if transparent is None else 2), np.uint8)
    top = 0
    for block in _blocks(image):
        rows = pixels[top : top + len(block)]
        rows[..., 0] = _scaled(block, rendering)
        if transparent is not None:
            rows[..., 1] = np.where(block == transparent, 0, 255)
        top += len(block)
    return Image.fromarray(pixels[..., 0] if transparent is None else pixels)


def find_vanishing(image: Image.Image) -> tuple[bool, ...] | None:
    """The GROUNDS on which the visible part of an image (RGBA) vanishes; None if all of it is opaque."""
    pixels = np.asarray(image)
    opacity = pixels[..., 3].astype(np.float64)
    if opacity.min() == 255:
        return None
    total = opacity.sum()
    near = [(np.abs(pixels[..., :3].astype(np.int16) - ground) < _NEAR).all(axis=-1) for ground in GROUNDS]
    return tuple(bool(total and opacity[mask].sum() >= _VANISHED * total) for mask in near)


def _range(found: Sequence[Levels]) -> tuple[float, float] | None:
    if not found:
        return None
    lowest, highest = min(one.lowest for one in found), max(one.highest for one in found)
    end, least = (highest + 1, 256.0) if found[0].kind == "integer" else (highest, 2.0**-100)
    if lowest < 0:
        return lowest, max(end, lowest + least, math.nextafter(lowest, 1))
    mantissa, exponent = math.frexp(max(end, least))
    return 0.0, 2.0 ** (exponent - (mantissa == 0.5))


def _outside(levels: Levels, limits: Sequence[float] | None) -> bool:
    low, high = limits or _DEFAULTS[levels.kind]
    return levels.lowest < low or levels.highest > high - (levels.kind == "integer")


def _scaled(block: np.ndarray, rendering: Rendering) -> np.ndarray:
    """A block of levels as uint8, scaled the same for each level and each picture."""
    kind = _kind(block)
    known = getattr(rendering, kind)
    low, high = known or _DEFAULTS[kind]
    values = np.nan_to_num(block.astype(np.float64), nan=low, posinf=high, neginf=low)
    if not known:
        rendering.require_range(Levels(kind, values.min(), values.max()))
    return np.clip((values - low) * (256 / (high - low)), 0, 255).astype(np.uint8)


def _kind(block: np.ndarray) -> str:
    return "real" if block.dtype.kind == "f" else "integer"


def _blocks(image: Image.Image) -> Iterator[np.ndarray]:
    """The levels of a deep image as the file has them, some rows at a time: (rows, width)."""
    unsigned, inverted = is_unsigned(image), is_inverted(image)
    step = max(1, _BLOCK // image.width)
    for top in range(0, image.height, step):
        block = np.asarray(image.crop((0, top, image.width, min(top + step, image.height))))
        block = block.view(np.uint32) if unsigned else block
        yield 65535 - block if inverted else block
