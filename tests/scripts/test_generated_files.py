import pytest
import reference
from conftest import ROOT


def test_what_is_generated():
    assert set(reference.PAGES) == {
        "configs/default.py", "docs/config.md", "docs/run-json.md", "docs/benchmarks.md", "README.md"
    }  # fmt: skip


@pytest.mark.parametrize("path", reference.PAGES)
def test_generated_files_are_up_to_date(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text == reference.PAGES[path](), f"run `make docs` to write {path}"
