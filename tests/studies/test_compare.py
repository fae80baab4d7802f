import json
import shutil

import numpy as np
import pytest
from conftest import run_command
from made_runs import LABELS, run_of, three_settings, warned

from mnist_jax.metrics.significance import holm, mcnemar, welch
from mnist_jax.storage.record import plain
from mnist_jax.studies.compare import as_dict, compare
from mnist_jax.studies.compare_page import write_comparison
from mnist_jax.studies.finished import load_runs
from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole


@pytest.fixture
def runs(tmp_path):
    return three_settings(tmp_path)


def test_runs_that_differ_in_the_seed_alone_are_one_setting_best_first(runs):
    found = compare(runs)
    assert [(setting.name, len(setting.runs)) for setting in found.settings][-1] == ("large", 3)
    assert {setting.name for setting in found.settings} == {"small", "large", "long"}
    assert found.varying == ["train.batch_size", "train.epochs"]
    assert found.columns == ["batch_size", "epochs"]
    small = next(setting for setting in found.settings if setting.name == "small")
    assert small.fields == {"train.batch_size": 64, "train.epochs": 3}
    scores = [run.record["metrics"]["test"]["accuracy"] for run in runs[:3]]
    assert small.mean == pytest.approx(np.mean(scores))
    assert small.deviation == pytest.approx(np.std(scores, ddof=1))
    assert compare(runs, "loss").settings[-1].name == "large"  # of losses the lowest is best


def test_each_pair_has_the_tests_of_its_runs(runs):
    found = compare(runs)
    (pair,) = [pair for pair in found.pairs if {pair.first, pair.second} == {"small", "large"}]
    by_name = {setting.name: setting for setting in found.settings}
    first, second = by_name[pair.first], by_name[pair.second]
    assert pair.difference == pytest.approx(first.mean - second.mean)
    assert pair.p == welch(first.scores, second.scores).p
    assert pair.verdict == "real"
    low, high = pair.bootstrap["accuracy"]
    assert low < pair.difference < high
    assert [(model.first, model.second) for model in pair.models] == [
        (f"small-seed_{seed}", f"large-seed_{seed}") for seed in range(3)
    ]
    right = [run.predictions.predicted == LABELS for run in (runs[0], runs[3])]
    assert pair.models[0].test == mcnemar(*right)
    every = [model for one in found.pairs for model in one.models]
    assert [model.p_corrected for model in every] == holm([model.test.p for model in every])


def test_with_too_few_seeds_the_verdict_is_of_the_models(runs):
    found = compare(runs)
    by_pair = {frozenset((pair.first, pair.second)): pair for pair in found.pairs}
    assert by_pair[frozenset(("large", "long"))].verdict == "3 of 3 pairs of models differ"
    assert by_pair[frozenset(("small", "long"))].verdict == "0 of 3 pairs of models differ"
    (pair,) = compare([runs[0], runs[3]]).pairs
    assert pair.verdict == "these two models differ"
    (pair,) = compare([runs[0], runs[-1]]).pairs
    assert pair.verdict == "not shown"


def test_one_setting_alone_is_compared_run_by_run(runs):
    found = compare(runs[:2])
    assert len(found.settings) == 1
    (pair,) = found.pairs
    assert {pair.first, pair.second} == {"small-seed_0", "small-seed_1"}
    assert compare(runs[:1]).pairs == []


def test_a_pair_has_the_better_first_and_all_pairs_where_one_setting_has_one_run(runs):
    for pair in compare(runs[3:6]).pairs:
        assert pair.difference >= 0
    (pair,) = [pair for pair in compare(runs).pairs if {pair.first, pair.second} == {"long", "large"}]
    assert len(pair.models) == 3
    assert pair.verdict == "3 of 3 pairs of models differ"


def test_settings_of_one_name_are_told_apart(runs, tmp_path):
    again = run_of(tmp_path / "elsewhere", "small-seed_0", right=0.9, batch_size=32)
    names = [setting.name for setting in compare([*runs[:3], again]).settings]
    assert sorted(names) == ["small (1)", "small (2)"]


def test_what_else_differs_is_told(runs):
    runs[0].record["code"]["dirty"] = True
    runs[1].record["environment"]["accelerator"]["cores_usable"] = 8
    found = compare(runs).circumstances
    assert set(found) == {"code", "cores"}
    assert found["code"]["c" * 40 + "-dirty"] == ["small-seed_0"]


def test_a_metric_that_is_none_is_told(runs):
    with pytest.raises(UserError, match=r"^--metric must be one of accuracy, loss \(got 'beauty'\)$"):
        compare(runs, "beauty")
    with pytest.raises(UserError, match="^--metric=kappa is undefined in "):
        compare(runs, "kappa")


def test_a_population_is_its_ensemble_and_its_members(tmp_path):
    ensemble = run_of(tmp_path, "pop", right=0.9, epochs=4)
    for seed in range(2):
        run_of(tmp_path / "pop", f"seed={seed}", right=0.9, seed=seed, rng=seed)
    path = ensemble.workdir / "run.json"
    record = json.loads(path.read_text())
    members = [{"member": f"seed={seed}", "status": "finished"} for seed in range(2)]
    told = dict.fromkeys(("best", "validation", "test"))
    path.write_text(json.dumps({**record, "population": [{**member, **told} for member in members]}))
    found = compare(load_runs([ensemble.workdir], warned))
    assert {(setting.name, len(setting.runs)) for setting in found.settings} == {
        ("pop-ensemble", 1),
        ("pop", 2),
    }


def test_all_of_it_can_be_written_as_json(runs):
    found = plain(as_dict(compare(runs)))
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["settings"][0]["runs"][0]["workdir"]
    (undefined,) = [p for p in again["pairs"] if {p["first"], p["second"]} == {"small", "long"}]
    assert undefined["p"] is None
    assert undefined["models"][0]["test"]["only_first"] >= 0


def test_the_page_shows_it(runs, tmp_path, browser):
    write_comparison(tmp_path / "compare.html", compare(runs))
    page = browser.new_page(viewport={"width": 390, "height": 800})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{tmp_path / 'compare.html'}")
    text = page.inner_text("body")
    assert "3 settings compared by test accuracy" in text
    assert "3 of 3 pairs of models differ" in text
    assert page.locator("svg").count() == 2  # no training rows, so no third chart
    assert page.locator(".heat td.good").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert len(asked) == 1
    page.close()


@pytest.mark.parametrize("count", [1, 2])
def test_the_page_of_few_runs(runs, tmp_path, count):
    write_comparison(tmp_path / "page.html", compare(runs[:count]))
    text = (tmp_path / "page.html").read_text()
    assert ("Which differences are significant" in text) == (count > 1)
    assert ("Confusions: small-seed_0 minus small-seed_1" in text) == (count > 1)


def test_the_command_prints_writes_and_refuses(runs, tmp_path):
    done = run_command("compare", *(run.workdir for run in runs))
    assert done.returncode == 0, done.stderr
    assert "large" in done.stdout
    assert (tmp_path / "compare.html").exists()
    done = run_command(
        "compare",
        "--json",
        "--metric=loss",
        f"--into={tmp_path / 'p.html'}",
        *(run.workdir for run in runs),
    )
    assert json.loads(done.stdout)["metric"] == "loss"
    assert (tmp_path / "p.html").exists()
    shutil.rmtree(runs[0].workdir)
    done = run_command("compare", runs[0].workdir)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "mnist-jax compare: the folders must have finished runs (got none); mnist-jax runs lists runs\n"
    )


def test_folds_are_runs_of_one_setting_and_their_validation_is_averaged(tmp_path):
    made = [
        with_fold(
            run_of(tmp_path, f"{name}-fold_{fold}", right=right, rng=10 * k + fold, batch_size=size),
            fold,
            value,
        )
        for k, (name, right, size) in enumerate((("small", 0.95, 64), ("large", 0.7, 256)))
        for fold, value in enumerate((0.8, 0.9, 1.0))
    ]
    found = compare(made)
    assert [(setting.name, len(setting.runs)) for setting in found.settings] == [("small", 3), ("large", 3)]
    assert found.varying == ["train.batch_size"]
    assert found.settings[0].validation_mean == pytest.approx(0.9)
    assert found.settings[0].validation_deviation == pytest.approx(0.1)
    (pair,) = found.pairs
    assert [(model.first, model.second) for model in pair.models] == [
        (f"small-fold_{fold}", f"large-fold_{fold}") for fold in range(3)
    ]
    write_comparison(tmp_path / "compare.html", found)
    page = (tmp_path / "compare.html").read_text()
    assert "90.00%" in page
    assert "2 of 3" in page
    assert as_dict(found)["settings"][0]["runs"][1]["fold"] == "1 of 3"


def with_fold(run, fold, value):
    run.record["config"]["data"] |= {"folds": 3, "fold": fold, "fold_seed": 0}
    run.record["metrics"]["validation"]["accuracy"] = value
    return run
