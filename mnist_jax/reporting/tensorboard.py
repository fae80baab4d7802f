"""TensorBoard's event files of a run, by the protocol buffers and summaries of tensorboardX.

    tensorboard --logdir WORKDIR

`SummaryWriter` is not used: its thread ends at a full disk, and then its queue blocks the training.
Modules that only this one needs are imported when something is logged.
"""

import os
import pathlib
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import ml_collections
import numpy as np

from mnist_jax.config.fields import FIELDS
from mnist_jax.config.identity import shareable
from mnist_jax.data.cache import Arrays
from mnist_jax.metrics.predictions import Predictions
from mnist_jax.reporting.galleries import worst_mistakes
from mnist_jax.storage.history import Row
from mnist_jax.system.errors import one_line
from mnist_jax.system.files import make_folder, open_to_append

_NO_SCALARS = {"split", "step", "steps", "epoch"}
_METRICS = ("validation/accuracy", "validation/loss", "test/accuracy", "test/loss", "test/macro_f1")
# Hyperparameters beside those that differ from their defaults: TensorBoard shows the first five by name.
_ALWAYS = ("model.name", "optimizer.learning_rate", "optimizer.name", "seed", "train.batch_size")
_GALLERY = 24  # pictures
_CURVES = 40  # classes with a PR curve each


class EventFile:
    """The events of one process of a run. Its first failure is one line, and the run continues without it.

    Steps are training steps. The file begins with a session start, at which TensorBoard drops what an earlier
    process logged of later steps, so a resumed run has each step once.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        config: ml_collections.FrozenConfigDict,
        say: Callable[[str], None],
        *,
        step: int,
    ):
        """Writes nothing before the first row.

        Args:
          folder: of the events.
          config: of the run; without `config.tensorboard` nothing is written.
          say: prints a line.
          step: the steps taken so far.
        """
        self._folder, self._config, self._say, self._step = folder, config, say, step
        self._on: bool = config.tensorboard
        self._file: BinaryIO | None = None

    def log(self, row: Row) -> None:
        """Logs the numbers of a row of metrics.jsonl."""
        self._try(lambda: self._log(row))

    def log_results(
        self, step: int, predictions: Predictions, examples: Arrays, names: Sequence[str]
    ) -> None:
        """Logs mistakes, confusion matrix and PR curves of the test split, and ends the session.

        Args:
          step: of the model.
          predictions: its predictions of all examples.
          examples: the test split.
          names: of the classes.
        """
        self._try(lambda: self._log_results(step, predictions, examples, names))

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._on = False

    def _try(self, action: Callable[[], None]) -> None:
        if not self._on:
            return
        try:
            if self._file is None:
                self._open()
            action()
        except Exception as error:  # no failure here may end the run
            self.close()
            self._say(f"TensorBoard: {one_line(error)}; the run continues without it")

    def _open(self) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog

        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{self._step}"
        make_folder(self._folder.parent)
        self._file = open_to_append(make_folder(self._folder) / name)
        self._write(file_version="brain.Event:2")
        self._write(step=self._step + 1, session_log=SessionLog(status=SessionLog.START))
        experiment, start, _ = self._hparams()
        self._write(step=self._step, summary=experiment)
        self._write(step=self._step, summary=start)

    def _log(self, row: Row) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=f"{row['split']}/{name}", simple_value=value)
            for name, value in row.items()
            if name not in _NO_SCALARS and value is not None
        ]
        self._write(step=row["step"], summary=Summary(value=values))

    def _log_results(
        self, step: int, predictions: Predictions, examples: Arrays, names: Sequence[str]
    ) -> None:
        from tensorboardX import summary

        from mnist_jax.reporting.sheets import confusion_sheet, picture_sheet

        wrong = worst_mistakes(predictions, _GALLERY)
        pictures = {"test/confusion": confusion_sheet(predictions.confusion, names)}
        if len(wrong):
            pictures["test/mistakes"] = picture_sheet(wrong, examples.images, predictions, names)
        for tag, pixels in pictures.items():
            self._write(step=step, summary=summary.image(tag, pixels, dataformats="HWC"))
        for label, name in enumerate(names[:_CURVES]):
            is_class, scores = predictions.labels == label, predictions.probabilities[:, label]
            curve = summary.pr_curve(f"test/pr/{name}", is_class, np.clip(scores, 0, 1))
            self._write(step=step, summary=curve)
        self._write(step=step, summary=self._hparams()[2])

    def _hparams(self) -> Any:
        """The summaries of the experiment, the start and the end of its session."""
        from tensorboardX import summary

        fields = {
            name: str(value) if isinstance(value, (tuple, list)) else value
            for name, value in shareable(self._config.to_dict()).items()
            if name in _ALWAYS or value != FIELDS[name].default
        }
        return summary.hparams(fields, dict.fromkeys(_METRICS))

    def _write(self, **fields: Any) -> None:
        """Adds an event, as a record of TensorFlow's, in one write.

        https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
        """
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c

        assert self._file
        data = Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(data))
        sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
        self._file.write(length + next(sums) + data + next(sums))
