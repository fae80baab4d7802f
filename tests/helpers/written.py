"""Image files in memory, also of kinds that Pillow reads but does not write."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(image: Image.Image, form: str = "PNG", **options) -> io.BytesIO:
    """An image as a file that Pillow writes."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content


def tiff(
    pixels: np.ndarray,
    *,
    order: str = "<",
    white: int = 1,
    planes: bool = False,
    size: tuple[int, int] | None = None,
    tile: int = 0,
) -> io.BytesIO:
    """A TIFF (H, W) or (H, W, C) of any dtype.

    order: of bytes. white: 0 if 0 is white. planes: a plane for each colour. size: (width, height) as
    declared. tile: side of the one tile that has the image.
    """
    height, width = pixels.shape[:2]
    colours = pixels.shape[2] if pixels.ndim == 3 else 1
    if tile:
        height, width, pixels = tile, tile, np.pad(pixels, ((0, tile - height), (0, tile - width)))
    data = (
        (np.moveaxis(pixels, -1, 0) if planes else pixels).astype(pixels.dtype.newbyteorder(order)).tobytes()
    )
    if tile:
        data = zlib.compress(data, 1)
    parts = colours if planes else 1
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    declared = size or ((8, 8) if tile else (width, height))
    place, length = (324, 325) if tile else (273, 279)
    tags = {
        256: declared[:1],
        257: declared[1:],
        258: [8 * pixels.dtype.itemsize] * colours,
        259: [8 if tile else 1],
        262: [2 if colours == 3 else white],
        place: [0] * parts,
        277: [colours],
        length: [len(data) // parts] * parts,
        284: [2 if planes else 1],
        339: [kind] * colours,
    }
    tags |= {322: [tile], 323: [tile]} if tile else {278: declared[1:]}
    start = 14 + 12 * len(tags)
    tags[place] = [start + 64 * 4 + k * (len(data) // parts) for k in range(parts)]
    entries, more = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        entries += struct.pack(f"{order}HHI", tag, 4, len(values))
        entries += packed if len(values) == 1 else struct.pack(f"{order}I", start + len(more))
        more += packed if len(values) > 1 else b""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(tags))
    return io.BytesIO(head + entries + bytes(4) + more.ljust(64 * 4, b"\0") + data)


def png(pixels: np.ndarray, **chunks: bytes) -> io.BytesIO:
    """A PNG, uint16 (H, W, C), with the colour type of C channels; chunks: additional ones, such as tRNS."""
    height, width, colours = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return _png((width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[colours]), rows, **chunks)


def declared_png(side: int) -> io.BytesIO:
    """A PNG whose header declares a size, but with one pixel of data."""
    content = png(np.zeros((1, 1, 4), np.uint16)).getvalue()
    head = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    return io.BytesIO(content[:12] + head + struct.pack(">I", zlib.crc32(head)) + content[33:])


def low_png(levels: list[int], bits: int, *, transparent: int) -> io.BytesIO:
    """A grey PNG of one row, with 1, 2 or 4 bits a pixel, one of whose levels is transparent."""
    row = "".join(f"{level:0{bits}b}" for level in levels).ljust(16, "0")
    packed = b"\0" + int(row, 2).to_bytes(2, "big")[: -(-len(levels) * bits // 8)]
    return _png((len(levels), 1, bits, 0), packed, tRNS=struct.pack(">H", transparent))


def _png(head: tuple[int, int, int, int], rows: bytes, **chunks: bytes) -> io.BytesIO:
    """head: width, height, bits and kind of colours."""
    content = {
        "IHDR": struct.pack(">IIBBBBB", *head, 0, 0, 0), **chunks, "IDAT": zlib.compress(rows), "IEND": b""
    }  # fmt: skip
    parts = [
        struct.pack(">I4s", len(data), name.encode())
        + data
        + struct.pack(">I", zlib.crc32(name.encode() + data))
        for name, data in content.items()
    ]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def black_alone() -> bytes:
    """An ICC profile of CMYK that knows black ink only, as fractions of Lab's L."""
    linear = bytes(range(256))
    grid = [L for _ in range(8) for L in (255, 0)]  # black varies fastest
    corners = b"".join(bytes([L, 128, 128]) for L in grid)
    table = (
        b"mft1"
        + bytes(4)
        + bytes([4, 3, 2, 0])
        + struct.pack(">9i", *np.ravel(65536 * np.eye(3, dtype=int)).tolist())
    )
    table += linear * 4 + corners + linear * 3
    table += bytes(-len(table) % 4)
    size = 128 + 4 + 12 + len(table)
    head = struct.pack(">I4xI4s4s4s", size, 0x02400000, b"prtr", b"CMYK", b"Lab ").ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
