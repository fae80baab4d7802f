import json
import signal
import time

import launcher
import optuna
import pytest
from conftest import TINY

from configs import digits
from mnist_jax.studies import search
from mnist_jax.studies.jobs import TaskOutcome
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole

SPACE = """
def suggest(trial):
    return {"seed": trial.suggest_int("seed", 0, 1000), "train.epochs": 12}
"""


class FakeTask:
    """A task that has all its evaluations at once, as good as its learning rate says, and ends when asked."""

    def __init__(self, workdir, config, flags):
        self.workdir, self.flags, self.stopped = workdir, flags, False
        self.score = config.optimizer.learning_rate

    def rows(self):
        return [{"split": "validation", "loss": 1 - self.score}] * 4

    def fraction(self):
        return 1.0

    def stop(self):
        self.stopped = True

    def run(self, environment):
        for _ in range(20):
            if self.stopped:
                return TaskOutcome("stopped", "", None, 1.0)
            time.sleep(0.01)
        if self.score < 0.2:
            return TaskOutcome("failed", "it is too low", None, 1.0)
        record = {"metrics": {"validation": {"loss": 1 - self.score}, "test": {"accuracy": self.score}}}
        return TaskOutcome("finished", "", record, 1.0)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(search, "Task", FakeTask)
    monkeypatch.setattr(search, "_POLL", 0.01)


def suggest(trial):
    return {"optimizer.learning_rate": trial.suggest_float("rate", 0.1, 1.0)}


def study_of(folder):
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'optuna.db'}")


def test_a_search_finds_what_is_good_and_stops_what_is_not(fake, tmp_path, capsys):
    best = search.run_search(digits.get_config(), suggest, tmp_path, [], jobs=1, trials=25)
    trials = study_of(tmp_path).trials
    states = [trial.state.name for trial in trials]
    assert len(trials) == 25
    assert states.count("PRUNED") > 3
    assert states.count("FAIL") == sum(
        trial.params["rate"] < 0.2 and s != "PRUNED" for trial, s in zip(trials, states, strict=True)
    )
    assert best.value == min(1 - trial.params["rate"] for trial in trials)
    assert best.value < 0.1
    out = capsys.readouterr().out
    assert "[25/25] trial_0024" in out
    assert "pruned" in out


def test_started_again_it_counts_what_was_done_and_draws_anew(fake, tmp_path):
    search.run_search(digits.get_config(), suggest, tmp_path, [], jobs=1, trials=3)
    search.run_search(digits.get_config(), suggest, tmp_path, [], jobs=2, trials=6)
    rates = [trial.params["rate"] for trial in study_of(tmp_path).trials]
    assert len(rates) == len(set(rates)) == 6


def test_a_search_without_a_result_says_so(fake, tmp_path):
    def low(trial):
        return {"optimizer.learning_rate": trial.suggest_float("rate", 0.01, 0.1)}

    with pytest.raises(UserError, match="no trial finished"):
        search.run_search(digits.get_config(), low, tmp_path, [], jobs=1, trials=2)


def test_a_suggestion_that_may_not_be_is_told(fake, tmp_path):
    with pytest.raises(
        UserError,
        match=r"member trial_0000: config.train.epochs must be an integer of at least 1 \(got 0\)",
    ):
        search.run_search(digits.get_config(), lambda t: {"train.epochs": 0}, tmp_path, [], jobs=1, trials=2)


def test_a_space_that_was_mended_is_searched(fake, tmp_path):
    def broken(trial):
        trial.suggest_categorical("rate", ["a", "b"])
        raise KeyError("oops")

    with pytest.raises(UserError, match=r"^broken\(\) of the sweep's file: KeyError: 'oops'$"):
        search.run_search(digits.get_config(), broken, tmp_path, [], jobs=1, trials=3)
    with pytest.raises(
        UserError, match=r"member trial_0001: its changes must be a dict from fields to values"
    ):
        search.run_search(digits.get_config(), lambda trial: None, tmp_path, [], jobs=1, trials=3)

    def mended(trial):
        return {"optimizer.learning_rate": trial.suggest_float("other_rate", 0.3, 1.0)}

    assert search.run_search(digits.get_config(), mended, tmp_path, [], jobs=1, trials=3).value < 0.7


def test_a_search_on_another_base_is_refused(fake, tmp_path):
    base = digits.get_config()
    search.run_search(base, suggest, tmp_path, [], jobs=1, trials=1)
    base.checkpoint.metric = "accuracy"
    with pytest.raises(
        UserError, match=r"another config \(config.checkpoint.metric was 'loss', now 'accuracy'\)"
    ):
        search.run_search(base, suggest, tmp_path, [], jobs=1, trials=2)


def test_a_damaged_study_is_told(tmp_path):
    (tmp_path / "optuna.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(
        UserError, match=r"optuna.db must be the database of a search \(got \w+\); give another --workdir"
    ):
        search.run_search(digits.get_config(), suggest, tmp_path, [], jobs=1, trials=2)


def test_a_killed_search_goes_on_with_the_trial_it_was_at(tmp_path):
    (tmp_path / "space.py").write_text(SPACE)
    command = [
        "-m", "mnist_jax", "sweep", *TINY, f"--sweep={tmp_path / 'space.py'}",
        f"--workdir={tmp_path / 'runs'}", "--search=optuna", "--trials=1",
    ]  # fmt: skip
    first = launcher.start(command)
    record = tmp_path / "runs" / "trial_0000" / "run.json"
    for _ in range(1200):
        if record.exists() and json.loads(record.read_text()).get("steps"):
            break
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    done = launcher.run(command)
    assert done.returncode == 0, done.stderr
    assert "best  " in done.stdout
    left, trial = study_of(tmp_path / "runs").trials
    assert (left.state.name, trial.state.name) == ("FAIL", "COMPLETE")
    assert left.params == trial.params
    assert [path.name for path in (tmp_path / "runs").glob("trial_*")] == ["trial_0000"]
    found = json.loads(record.read_text())
    assert found["config"]["seed"] == trial.params["seed"]
    assert trial.value == found["metrics"]["validation"]["accuracy"]
