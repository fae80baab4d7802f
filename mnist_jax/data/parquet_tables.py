"""Tables as Parquet with a column of encoded images, as Hugging Face datasets stores them.

image or img: {"bytes", "path"} or the bytes. label: an integer, whose class has its name in the file's
metadata where `datasets` wrote it, or a string. https://huggingface.co/docs/datasets/image_dataset
"""

import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_jax.data.sources import some
from mnist_jax.data.table_parts import Part, Pictures, Unlabelled
from mnist_jax.system.errors import UserError, one_line

_IMAGES, _LABELS = ("image", "img"), ("label", "labels")
_BATCH = 256  # rows that are read at once
_MAX_RATIO = 200  # compression ratio above which a file is a decompression bomb
_SMALL = 2**26  # bytes that may be compressed more


def read_parquet(paths: Sequence[pathlib.Path]) -> Part:
    """A split from its shards; the encoded images are kept in memory.

    Raises:
        UserError: pyarrow is not installed, a file is damaged, or has no images or labels.
    """
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError(f"{paths[0]} needs pyarrow: pip install pyarrow") from error
    columns: list[tuple[Any, Any]] = []
    names: tuple[str, ...] | None = None
    for path in paths:
        try:
            with parquet.ParquetFile(path) as file:
                schema = file.schema_arrow
                image, label, own = _columns(path, schema)
                if columns and own != names:
                    raise UserError(
                        f"{path} must have the classes of {paths[0].name} (got {some(own or ())})"
                    )
                names = own
                table = _read(path, file, [image, label])
        except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
            raise UserError(f"{path} cannot be read: {one_line(error)}") from error
        columns.append((_bytes_of(path, table.column(image)), _labels(path, label, table.column(label), own)))
    return _part(paths, columns, names)


def _read(path: pathlib.Path, file: Any, columns: list[str]) -> Any:
    """Columns of a file, read in pieces, so that a decompression bomb does not fill the memory."""
    import pyarrow as pa

    most = max(_SMALL, _MAX_RATIO * path.stat().st_size)
    batches, total = [], 0
    for batch in file.iter_batches(_BATCH, columns=columns):
        batches.append(batch)
        total += batch.nbytes
        if total > most:
            raise UserError(f"{path} must hold different images (got more than {most:,} bytes in too few)")
    return pa.Table.from_batches(batches) if batches else file.read(columns)


def _part(
    paths: Sequence[pathlib.Path], columns: Sequence[tuple[Any, np.ndarray]], names: tuple[str, ...] | None
) -> Part:
    ends = np.cumsum([len(labels) for _, labels in columns])

    def place(row: int) -> tuple[int, int]:
        shard = int(np.searchsorted(ends, row, "right"))
        return shard, row - int(ends[shard] - len(columns[shard][1]))

    def content(row: int) -> io.BytesIO:
        shard, within = place(row)
        return io.BytesIO(columns[shard][0][within].as_buffer())

    def where(row: int) -> str:
        shard, within = place(row)
        return f"row {within + 1} of {paths[shard]}"

    labels = np.concatenate([labels for _, labels in columns])
    if names and len(labels) and (labels == "-1").all():
        raise Unlabelled(f"{paths[0]} must have labels (got -1 in all rows, which means none)")
    return Part(labels, Pictures(content, where), names)


def _columns(path: pathlib.Path, schema: Any) -> tuple[str, str, tuple[str, ...] | None]:
    """The columns of images and of labels, and the class names if the file has them."""
    features = _features(schema.metadata or {})
    classes = {
        name: tuple(map(str, feature["names"]))
        for name, feature in features.items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
    image = next((name for name in _IMAGES if name in schema.names), None) or _only(
        [
            name
            for name, feature in features.items()
            if feature.get("_type") == "Image" and name in schema.names
        ]
    )
    label = next((name for name in _LABELS if name in schema.names), None) or _only(
        [name for name in classes if name in schema.names]
    )
    if image is None:
        raise UserError(f"{path} must have a column image or img (got {some(schema.names) or 'none'})")
    if label is None:
        raise Unlabelled(f"{path} must have a column label (got {some(schema.names)})")
    return image, label, classes.get(label)


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """The features that Hugging Face datasets stores in the schema; empty for files of other programs."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None


def _bytes_of(path: pathlib.Path, column: Any) -> Any:
    """The encoded images of a column."""
    import pyarrow as pa
    import pyarrow.compute as compute

    if pa.types.is_struct(column.type) and "bytes" in {field.name for field in column.type}:
        column = compute.struct_field(column, "bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise UserError(f"{path} must have encoded images, such as PNG or JPEG, as bytes (got {column.type})")
    if column.null_count:
        row = compute.index(compute.is_null(column), True).as_py()
        raise UserError(
            f"{path} must have the bytes of each image (got none in row {row + 1}); in Hugging Face "
            "datasets, embed them with dataset.to_parquet after dataset.cast_column(..., Image())"
        )
    return column


def _labels(path: pathlib.Path, name: str, column: Any, names: tuple[str, ...] | None) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as compute

    if column.null_count == len(column):
        raise Unlabelled(f"{path} must have labels (got none in its {len(column):,} rows)")
    if column.null_count:
        row = compute.index(compute.is_null(column), True).as_py()
        raise UserError(f"{path}: row {row + 1} has no label; add it, or remove the row")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if not pa.types.is_integer(column.type) and (names or not is_text):
        raise UserError(f"{path}: {name} must be integers or strings (got {column.type})")
    return np.array(column.to_pylist(), str)
