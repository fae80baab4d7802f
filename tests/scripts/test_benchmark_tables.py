import json

import pytest
from benchmark import tables
from conftest import run_script

from mnist_jax.system.errors import UserError

pytestmark = pytest.mark.whole


@pytest.mark.long
def test_the_suite_writes_the_file_that_the_tables_are_made_from(tmp_path):
    path = tmp_path / "found.json"
    suite = run_script("benchmark", "suite", "--small", f"--save={path}", "--command=echo 94.01")
    assert suite.returncode == 0, suite.stderr
    assert [line.split()[0] for line in suite.stdout.splitlines()] == ["done"] * 7, (
        suite.stdout + suite.stderr
    )
    entries = json.loads(path.read_text())
    assert len(entries) == 7
    for command, found in entries.items():
        assert command.startswith("python scripts/benchmark ")
        assert found["machine"]["versions"]["jax"]
        assert isinstance(found["noisy"], bool)
    page = run_script("benchmark", "tables", f"--save={path}").stdout
    assert page == tables.markdown(entries)
    assert "| mnist_jax | " in page
    assert "| last line of its output | 94.01 |  |" in page


def test_a_suite_out_of_time_keeps_what_it_has(tmp_path):
    done = run_script("benchmark", "suite", "--minutes=0", f"--save={tmp_path / 'found.json'}")
    assert done.returncode == 0
    assert all(line.startswith("left out for lack of time") for line in done.stdout.splitlines())


def test_a_file_that_is_no_result_is_an_error(tmp_path):
    with pytest.raises(UserError, match="must be a file that --save wrote"):
        tables.read(tmp_path / "none.json")
