"""Who may import whom: arrows run one way, from the scripts down to the small tools, and never in a circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = [
    {"scripts"},
    {"benchmarks"},
    {"doctoring", "reporting", "studying"},
    {"entry"},
    {"analysis", "preflight"},
    {"training"},
    {"agents", "envs", "replay"},
    {"agents.nn"},
    {"utils"},
]
"""Rooms from top to bottom; each imports from floors below its own. Those of one floor are strangers to each other."""


def modules():
    """Name -> file of every module of the project, scripts at the root included."""
    files = [*ROOT.glob("*.py"), *(path for room in ROOT.iterdir() if (room / "__init__.py").is_file()
                                   for path in room.rglob("*.py") if room.name != "tests")]  # fmt: skip
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


MODULES = modules()


def imports(name):
    """The project's modules that a module imports, anywhere in it: at its top, in functions, for type checking."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    known = {module for module in found if module in MODULES}
    # of "from package import module" only the module is meant, where there is one
    return {module for module in known if not any(other.startswith(f"{module}.") for other in known)} - {name}


def room(name):
    if "." not in name and MODULES[name].parent == ROOT:
        return "scripts"
    return "agents.nn" if name.startswith("agents.nn") else name.partition(".")[0]


def floor(name):
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def test_every_room_has_a_floor():
    assert {room(name) for name in MODULES} == set.union(*FLOORS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_point_down(name):
    here = room(name)
    wrong = [other for other in imports(name) if room(other) != here and floor(room(other)) <= floor(here)]
    assert wrong == []


def test_there_is_no_circle():
    graph = {name: imports(name) for name in MODULES}
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in sorted(graph[name]):
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_no_file_holds_two_ideas():
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 400}
    assert long == {}
