import contextlib
import os
import signal
import threading

import pytest

from mnist_jax.interrupts import Interrupted, Interrupts


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_at_once_while_nothing_is_at_stake(signum):
    with pytest.raises(Interrupted) as caught, Interrupts():
        os.kill(os.getpid(), signum)
    assert caught.value.signum == signum
    assert signal.Signals(signum).name in str(caught.value)


def test_in_training_the_first_is_a_request_and_the_second_ends_it():
    with Interrupts() as interrupts:
        interrupts.deferred = True
        assert interrupts.requested is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.requested == signal.SIGTERM
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_counts_although_its_exception_was_lost():
    """As in a callback of the garbage collector, where Python drops what a handler raises."""
    with Interrupts() as interrupts:
        with contextlib.suppress(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM; saved"):
            interrupts.check("saved")


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_is_left_alone():
    result = []

    def use():
        with Interrupts() as interrupts:
            result.append(interrupts.requested)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert result == [None]
