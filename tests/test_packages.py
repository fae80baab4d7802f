"""The order of the packages: imports only go down."""

import ast
import pathlib
from collections.abc import Iterator

import mnist_jax

PACKAGE = pathlib.Path(mnist_jax.__file__).parent
# Low to high. A module imports from its own row or from rows below it.
ROWS = (
    {"config", "system"},
    {"data", "metrics"},
    {"models", "storage"},
    {"training", "reporting"},
    {"run", "ensemble", "evaluation", "serving"},
    {"loop"},
    {"studies"},
    {"cli"},
)
ROW = {name: number for number, names in enumerate(ROWS) for name in names}


def modules() -> dict[str, ast.Module]:
    """Dotted name -> syntax tree, of every module of the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def imported(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """The modules of this project that a module imports anywhere, functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                alias.name for alias in node.names if alias.name.split(".")[0] in ("mnist_jax", "configs")
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in (
            "mnist_jax",
            "configs",
        ):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_package_has_its_place_and_says_what_it_is_for():
    found = modules()
    assert {package_of(name) for name in found} - {"", "__main__"} == set(ROW)
    undocumented = [name for name, tree in found.items() if not ast.get_docstring(tree)]
    assert undocumented == []


def test_no_import_goes_up():
    found = modules()
    wrong = []
    for name, tree in found.items():
        for other in imported(tree, set(found)):
            own, its = package_of(name), package_of(other)
            if own in ROW and (other.startswith("configs") or (its in ROW and ROW[its] > ROW[own])):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_no_packages_import_each_other():
    found = modules()
    arrows = {
        (package_of(name), package_of(other))
        for name, tree in found.items()
        for other in imported(tree, set(found))
    }
    assert [(a, b) for a, b in arrows if a < b and a and b and (b, a) in arrows] == []


def test_no_modules_import_each_other_in_a_circle():
    """Without `mnist_jax` itself, which imports lazily."""
    found = modules()
    left = {
        name: {other for other in imported(tree, set(found)) if other not in (name, "mnist_jax")}
        for name, tree in found.items()
    }
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_no_two_public_names_are_alike():
    """A command's module is found by its name; its functions have the names that `commands` asks for."""
    places: dict[str, set[str]] = {}
    for name, tree in modules().items():
        if package_of(name) != "cli":
            for node in tree.body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, set()).add(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
