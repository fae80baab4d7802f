"""TensorBoard's event files as TensorBoard reads them, without TensorBoard."""

import pathlib
import struct

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c


def events_of(path: pathlib.Path) -> list[Event]:
    """The events of one file; each record has the right checksums.

    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """
    content, position, events = path.read_bytes(), 0, []
    while position < len(content):
        header = content[position : position + 8]
        (length,) = struct.unpack("<Q", header)
        body = content[position + 12 : position + 12 + length]
        sums = content[position + 8 : position + 12] + content[position + 12 + length :][:4]
        assert struct.unpack("<II", sums) == (masked_crc32c(header), masked_crc32c(body))
        events.append(Event.FromString(body))
        position += 16 + length
    return events


def values_of(folder: pathlib.Path) -> dict[str, list[tuple[int, object]]]:
    """Tag -> (step, value) of all files of a folder.

    A session start drops what has its step or a later one, as
    tensorboard.backend.event_processing.event_accumulator does.
    """
    found: dict[str, list[tuple[int, object]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in events_of(path):
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                found = {tag: [one for one in values if one[0] < event.step] for tag, values in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
    return found


def scalars_of(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """The same of the scalars alone."""
    return {
        tag: [(step, value.simple_value) for step, value in values]
        for tag, values in values_of(folder).items()
        if values and values[0][1].WhichOneof("value") == "simple_value"
    }
