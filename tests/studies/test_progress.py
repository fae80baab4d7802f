import pytest

from mnist_jax.studies.jobs import TaskOutcome
from mnist_jax.studies.progress import SweepProgress

RECORD = {"metrics": {"test": {"accuracy": 0.98765}}}


class Half:
    """A task that is half done."""

    def fraction(self):
        return 0.5


@pytest.fixture
def progress():
    class Clock:
        now = 0.0

    made = SweepProgress(5, clock=lambda: Clock.now)
    made.clock = Clock
    return made


def test_a_line_tells_how_each_ended_and_how_long_the_rest_takes(progress, capsys):
    with progress:
        progress.ended("a", TaskOutcome("finished", "", RECORD, 0.0))
        progress.clock.now = 100.0
        progress.running({"c": Half()})
        progress.ended("b", TaskOutcome("finished", "", RECORD, 100.0))
        progress.ended("c", TaskOutcome("failed", "the loss is nan", None, 50.0))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "[1/5] a  test accuracy 0.9877  finished before",
        # One and a half took 100 s, so the other two and a half take 167.
        "[2/5] b  test accuracy 0.9877  100 s  2 min left",
        "[3/5] c  failed  the loss is nan  50 s  1 min left",
    ]


def test_members_that_ended_before_took_no_time(progress):
    progress.before(3)
    progress.clock.now = 4000.0
    progress.ended("d", TaskOutcome("finished", "", RECORD, 4000.0))
    assert progress.time_left(4) == "1 h 06 min left"
    assert progress.time_left(5) == ""
