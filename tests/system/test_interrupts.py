import contextlib
import os
import signal
import threading
import time

import launcher
import pytest

from mnist_jax.system import interrupts
from mnist_jax.system.errors import Interrupted
from mnist_jax.system.interrupts import Interrupts


@pytest.fixture(autouse=True)
def _signals_of_a_shell():
    with launcher.default_signals():
        yield


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_at_once_while_nothing_is_at_stake(signum):
    with pytest.raises(Interrupted) as caught, Interrupts():
        os.kill(os.getpid(), signum)
    assert caught.value.signum == signum
    assert signal.Signals(signum).name in str(caught.value)


def test_in_training_the_first_is_a_request_and_the_second_ends_it():
    with Interrupts() as handlers:
        handlers.deferred = True
        assert handlers.requested is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert handlers.requested == signal.SIGTERM
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("deferred", [False, True])
def test_a_signal_that_comes_twice_at_once_is_one_request(monkeypatch, deferred):
    monkeypatch.setattr(interrupts, "_ONE_REQUEST_SECONDS", 0.2)
    with Interrupts() as handlers:
        if not deferred:
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), signal.SIGTERM)
        handlers.deferred = deferred
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_counts_although_its_exception_was_lost():
    """As in a callback of the garbage collector, where Python drops what a handler raises."""
    with Interrupts() as handlers:
        with contextlib.suppress(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM; saved"):
            handlers.check("saved")


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_hangup_that_nohup_ignores_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as handlers:
            os.kill(os.getpid(), signal.SIGHUP)
            assert handlers.requested is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_is_left_alone():
    result = []

    def use():
        with Interrupts() as handlers:
            result.append(handlers.requested)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert result == [None]
