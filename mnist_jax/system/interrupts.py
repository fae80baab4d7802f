"""SIGINT, SIGTERM, SIGHUP: end at once while nothing is at stake, else when the step in flight is saved."""

import signal
import threading
import time
from types import FrameType

from mnist_jax.system import distributed
from mnist_jax.system.errors import Interrupted

# What passes signals on (srun, apptainer, uv) gives a process again what the terminal or Slurm gave to all.
_ONE_REQUEST_SECONDS = 0.5


class Interrupts:
    """A context manager that turns the first signal into a request; the second ends the run at once.

    The same signal again within half a second is one request that came twice.

    Where `deferred` is False, the first does so too. A SIGHUP that `nohup` has ignored stays ignored. Outside
    of the main thread it does nothing, since Python lets no other thread handle signals.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.deferred = False
        self.requested: int | None = None
        self._requested_at = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            heard = [signum for signum in self.SIGNALS if not _ignored_hangup(signum)]
            self._previous = {signum: signal.signal(signum, self._handle) for signum in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]  # what signal.signal itself gave

    def check(self, hint: str = "nothing saved is lost: the same command goes on") -> None:
        """Raises Interrupted where a signal came; hint: what the user can do now.

        What `_handle` raises may be lost: Python drops an exception that a handler raises inside a callback
        of the garbage collector, which JAX installs. So the flag counts, and is looked at again.
        """
        if self.requested is not None:
            raise Interrupted(self.requested, hint)

    def agreed(self, *, pause: bool) -> int | None:
        """The signal that asks to stop now, if any; all processes of a job get the same answer.

        pause: they all pause at this step. Where there are several, elsewhere they do not ask each other.
        """
        if distributed.count() > 1:
            if not pause:
                return None
            self.requested = max(distributed.of_all(self.requested or 0)) or None
        return self.requested

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if signum == self.requested and now - self._requested_at < _ONE_REQUEST_SECONDS:
            return
        first, self.requested, self._requested_at = self.requested is None, signum, now
        if not (self.deferred and first):
            self.check()


def _ignored_hangup(signum: int) -> bool:
    return signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN
