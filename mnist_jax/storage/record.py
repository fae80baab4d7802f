"""run.json: what was run, on which code, data and machine, and the results.

`schema.Record` describes its keys; this module reads and writes the file.
"""

import contextlib
import datetime
import json
import math
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import msgspec
import numpy as np

from mnist_jax.config.identity import completed, differences
from mnist_jax.storage.schema import RESULTS, SCHEMA, Finished, Record
from mnist_jax.system.errors import Interrupted, UserError, circumstance
from mnist_jax.system.files import read_regular, seal_broken, sealed, text_hash, write_whole

_READ = (1, 2, SCHEMA)  # schemas 1 and 2 have the same keys and `_MATRICES`
_OF_CHECKPOINTS = 2  # the first schema with checkpoints of today's form
_MATRICES = ("confusion", "confusion_normalized")  # of metrics.test, now in predictions.npz
TRAINED = "trained to the end"  # the exit reason of a finished run
_CIRCUMSTANCES = ("code", "accelerator", "packages_sha256")


def read_record(workdir: pathlib.Path) -> dict[str, Any]:
    """Reads the run.json of a workdir.

    Raises:
      UserError: there is none, or it cannot be read, is damaged or of another version.
    """
    path = workdir / "run.json"
    try:
        content = read_regular(path)
        record = msgspec.json.decode(content)
        if record["schema"] not in _READ:
            raise UserError(
                f"{path} must have a schema of at most {SCHEMA} (got {record['schema']}); a later version of "
                "this program wrote it: use that"
            )
        msgspec.convert(record, Record)
        if record["status"] == "finished":
            msgspec.convert(record, Finished)
        if seal_broken(content):
            raise UserError(
                f"{path} was changed since it was written, by a failing disk or by hand; restore it, or "
                "remove it and start the run again, which resumes from its checkpoints"
            )
        for name in _MATRICES if record.get("metrics") else ():
            record["metrics"]["test"].pop(name, None)
        return {**record, "config": completed(record["config"])}
    except FileNotFoundError as error:
        raise UserError(f"{workdir} holds no run: there is no {path}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise UserError(f"{path} is damaged ({error}); remove it, or give another --workdir") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged; remove it, or give another --workdir") from error


def require_current(record: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Raises UserError if a run has checkpoints of an earlier form, which cannot be resumed."""
    if record["schema"] < _OF_CHECKPOINTS:
        raise UserError(
            f"the checkpoints in {workdir} were written by an earlier version (schema {record['schema']}, "
            f"not {_OF_CHECKPOINTS} or later); use that version, or train again in another --workdir"
        )


class RunRecord:
    """The run.json of a workdir, a dict; each update writes it whole or not at all.

    Nothing is written before `begin`, so a run that cannot start leaves the earlier record, if any.
    """

    def __init__(self, path: pathlib.Path, previous: dict[str, Any] | None):
        self._path = path
        self._begun = False
        self.fields: dict[str, Any] = dict(previous or {})
        self.fields.pop("record_sha256", None)  # each write computes it

    def begin(
        self,
        config: ml_collections.FrozenConfigDict,
        data: Mapping[str, Any],
        *,
        step: int,
        parameters: int,
        imports: Sequence[str] = (),
    ) -> list[str]:
        """Records the start of a training process: config, code, data and machine.

        Args:
          config: of the run.
          data: see `provenance.describe_data`.
          step: the steps taken so far.
          parameters: the number of parameters.
          imports: modules that define the model or the data set.

        Returns:
          lines that warn, such as of other code or packages than those of the previous process.
        """
        # Imported here, so that commands that only read records start without JAX.
        from mnist_jax.data.overlap import describe_copies
        from mnist_jax.storage.provenance import describe_code, describe_environment
        from mnist_jax.system import cpu

        self._begun = True
        code, environment = describe_code(self._path.parent), plain(describe_environment(config.dtype))
        process = {
            "started": now(),
            "from_step": step,
            "command": sys.argv,
            "code": code,
            "accelerator": environment["accelerator"],
            "packages_sha256": text_hash(json.dumps(environment["packages"])),
            "data_fingerprint": data["fingerprint"],
            "config_changes": differences(self.fields.get("config", config.to_dict()), config.to_dict()),
        }
        earlier = self.fields.get("processes", [])
        self.fields.pop("population", None)
        self.update(
            schema=SCHEMA,
            status="running",
            exit_reason=None,
            started=self.fields.get("started", process["started"]),
            ended=None,
            resumes=len(earlier),
            command=sys.argv,
            config=config.to_dict(),
            code=code,
            data=data,
            environment=environment,
            parameters=parameters,
            imports=imports,
            processes=[*earlier, process],
            **dict.fromkeys(RESULTS),
        )
        changed = [key for key in _CIRCUMSTANCES if step > 0 and earlier and earlier[-1][key] != process[key]]
        warnings = [f"{key} changed since the previous process; run.json has both" for key in changed]
        if files := ", ".join(code.get("keys_left_out") or ()):
            warnings.append(
                f"the run's patch lacks uncommitted changes of {files}: these files may contain keys, are "
                "not text, or exceed 1 MB"
            )
        others = (describe_copies(data), code.get("unknown"), cpu.notice(config.dtype))
        return warnings + [line for line in others if line]

    def end(self, error: BaseException | None = None, reason: str = TRAINED) -> None:
        """Records the end of the process.

        Args:
          error: what interrupted or failed it; None if it finished.
          reason: why it finished.
        """
        if error is None:
            self.update(status="finished", exit_reason=reason, ended=now())
        elif self._begun:
            stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
            reason = circumstance(error) or str(error) or type(error).__name__
            with contextlib.suppress(OSError):  # a full disk ends the run by its own error
                self.update(status="interrupted" if stopped else "failed", exit_reason=reason, ended=now())

    def update(self, **fields: Any) -> None:
        """Sets top-level keys and writes the file; non-finite numbers become null."""
        self.fields.update(plain(fields))
        msgspec.convert(self.fields, Record)
        assert self.fields.keys() <= Record.__annotations__.keys(), "a key that `Record` lacks"
        write_whole(self._path, sealed(self.fields))


def now() -> str:
    """The time in UTC, in the format of ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def plain(value: Any) -> Any:
    """A value as JSON: arrays and tuples become lists, and non-finite numbers null.

    In strings, bytes that are not UTF-8 are escaped.
    """
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
