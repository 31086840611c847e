"""The rooms of the package, who may import whom, and what importing costs."""

import ast
import functools
import importlib
import inspect
import json
import re
import subprocess
import sys
import textwrap
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import skdre

ROOT = Path(skdre.__file__).parent
HEAVY = ("torch", "skorch", "zuko", "cvxpy", "matplotlib", "pytest", "dask")

# What each room may know of the others, beside the foundation. A module with a line of
# its own is no part of its package's line. Nothing else may be imported, neither at the
# top of a module nor in a function.
FOUNDATION = {
    "_compat",
    "_core",
    *(f"_core.{each}" for each in ("folds", "moments", "rows", "samples", "scales")),
    "_core.arrays",
    "_core.docs",
    "_core.types",
    "_core.values",
}
MAY_IMPORT = {
    "_version": set(),
    "_names": set(),
    "_compat": set(),
    "_core": {"_compat", *FOUNDATION},
    # Only while array API dispatch is on.
    "_core.arrays": {"_compat"},
    "_core.folds": {"_core.rows"},
    "_core.moments": {"_core.arrays", "_core.rows", "_core.scales"},
    "_core.rows": set(),
    "_core.docs": set(),
    "_core.samples": {"_core.rows", "_core.types"},
    "_core.scales": {"_core.arrays"},
    "_core.types": set(),
    "_core.values": set(),
    "metrics": {"metrics._losses", "metrics._scorers"},
    "metrics._losses": {"_core.arrays", "_core.docs", "_core.types", "_core.values"},
    "metrics._scorers": {
        "_core",
        "_core.arrays",
        "_core.types",
        "_core.values",
        "metrics._losses",
    },
    "weighting": {"_core.arrays", "_core.types", "_core.values"},
    "paths": set(),
    "base": {*FOUNDATION, "metrics"},
    "pipeline": {"base"},
    "kernel": {"base"},
    "_nn": {"base"},
    "networks": {"_nn", "flows"},
    "classification": {"base", "_nn"},
    "waymarks": {"base", "_nn", "paths"},
    "time_score": {"base", "_nn", "paths"},
    # Flow features are judged by kernel mean matching, in numpy alone.
    "flows": {"base", "_nn", "kernel"},
    # Chooses among concrete estimators.
    "auto": {"base", "_nn", "kernel", "classification", "waymarks", "paths", "flows"},
    "balance": {"base", "weighting"},
    "importance": {"base", "metrics", "pipeline", "weighting"},
    "information": {"base", "metrics", "pipeline", "weighting"},
    # Gradients of users' torch functions.
    "density": {"base", "metrics", "pipeline", "weighting", "_nn"},
    "inspection": {"base", "metrics", "pipeline", "weighting"},
    "datasets": {"base"},
    "utils": {"base", "metrics", "datasets", "paths"},
}
# Each estimator's room offers the public names that stand in it.
OFFER_NAMES = {
    "auto",
    "classification",
    "density",
    "flows",
    "kernel",
    "time_score",
    "waymarks",
}
# Rooms on the foundation: all but itself and what it is made of.
ON_FOUNDATION = MAY_IMPORT.keys() - FOUNDATION - {"_version", "_names", "weighting"}
ON_FOUNDATION -= {"metrics", "metrics._losses", "metrics._scorers", "paths"}

# A default must name an estimator: inside the function that resolves it, only.
DEFAULTS = {
    ("importance", "kernel"),
    ("importance", "flows"),
    ("information", "auto"),
}

NUMPY_ONLY = {
    *(each for each in FOUNDATION if each.startswith("_core.")),
    "metrics._losses",
    "weighting",
    "paths",
}
KNOW_TORCH = {
    "_nn",
    "networks",
    "classification",
    "waymarks",
    "time_score",
    "flows",
    "auto",
}
# joblib comes with scikit-learn, which loads it.
LIGHT = {"numpy", "scipy", "sklearn", "lazy_loader", "joblib"}


def room_of(module):
    """The longest line of MAY_IMPORT that the dotted name begins with."""
    name = module.removeprefix("skdre").removeprefix(".")
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (room := ".".join(parts[:length])) in MAY_IMPORT:
            return room
    return name


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), path


@functools.cache
def imports(module, path):
    """List (imported dotted name, whether at the top of the module)."""
    found = []
    tree = ast.parse(path.read_text())
    inside = {
        id(child)
        for node in ast.walk(tree)
        # What is imported for annotations alone is not loaded.
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.walk(node)
    }
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        at_top = id(node) not in inside
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.append((alias.name, at_top))
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            source = importlib.util.resolve_name(source, package)
            for alias in node.names:
                found.append((f"{source}.{alias.name}", at_top))
    return found


def resolve(name):
    """The room that an imported skdre name is defined in."""
    parts = name.split(".")
    if len(parts) > 1 and not _is_module(".".join(parts[:2])):
        # A public name, as in `from skdre import KMMRatio`.
        return room_of(getattr(skdre, parts[1]).__module__)
    return room_of(name)


def _is_module(name):
    path = ROOT.parent.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


# Each rule yields what breaks it, so that one test names all breaches at once.


def wrong_directions(module, found):
    room = room_of(module)
    if not room:
        return
    if room not in MAY_IMPORT:
        yield f"{module} belongs to no room: give it a line."
        return
    allowed = MAY_IMPORT[room] | {room}
    if room in ON_FOUNDATION:
        allowed |= FOUNDATION
    if module.removeprefix("skdre.") in OFFER_NAMES:
        allowed |= {"_names"}
    for name, at_top in found:
        if name.split(".")[0] != "skdre":
            continue
        other = resolve(name)
        if (room, other) in DEFAULTS:
            if at_top:
                yield f"{module} imports {name}, not only where it is needed."
        elif other not in allowed:
            yield f"{module} ({room}) may not import {name}."


def wrong_libraries(module, found):
    room = room_of(module)
    for name, at_top in found:
        library = name.split(".")[0]
        if library in sys.stdlib_module_names or library == "skdre":
            continue
        if room in NUMPY_ONLY:
            if library != "numpy":
                yield f"{module} imports {library}."
        elif library in ("torch", "skorch", "zuko"):
            if room not in KNOW_TORCH:
                yield f"{module} imports {library}."
        elif library not in LIGHT and at_top:
            yield f"{module} imports {library} at once."


def private_names(module, found):
    """Private names of other packages have one door."""
    if module == "skdre._compat":
        return
    for name, _ in found:
        library, *parts = name.split(".")
        if library == "skdre" or library in sys.stdlib_module_names:
            continue
        if any(part.startswith("_") and part != "__version__" for part in parts):
            yield f"{module} imports {name}: let skdre._compat do it."


@pytest.mark.parametrize("rule", [wrong_directions, wrong_libraries, private_names])
def test_imports(rule):
    wrong = [
        each
        for module, path in modules()
        for each in rule(module, imports(module, path))
    ]
    assert not wrong, "\n".join(wrong)


def test_breaches_are_seen():
    """The counterpart: the test above would else pass on rules that find nothing."""

    def broken(rule, module, *found):
        return len(list(rule(module, found)))

    metrics, kmm = ("skdre.metrics.ratio_log_loss", True), ("skdre.kernel.KMMRatio",)
    assert broken(wrong_directions, "skdre.kernel._kmm", metrics) == 1
    assert broken(wrong_directions, "skdre.importance._x", (*kmm, True)) == 1
    assert broken(wrong_directions, "skdre.importance._x", metrics, (*kmm, False)) == 0
    assert broken(wrong_directions, "skdre.no_such_room") == 1
    assert broken(wrong_libraries, "skdre.weighting", ("scipy.stats", False)) == 1
    assert broken(wrong_libraries, "skdre.kernel._kmm", ("torch.nn", False)) == 1
    assert broken(wrong_libraries, "skdre._nn.rows", ("torch.nn", True)) == 0
    assert broken(wrong_libraries, "skdre.kernel._kmm", ("cvxpy.x", True)) == 1
    assert broken(wrong_libraries, "skdre.kernel._kmm", ("cvxpy.x", False)) == 0
    private = ("sklearn.base._fit_context", True)
    assert broken(private_names, "skdre.kernel._kmm", private) == 1
    assert broken(private_names, "skdre._compat", private) == 0


# Private modules that tests may know beside those of the room they test and of the two
# that all rooms are built on. All else is tested through public names, so that what is
# private can move.
MAY_KNOW = {
    "conftest": {"utils"},
    "core.test_atomic": {"utils"},
    "portions": {"_core"},
    "test_architecture": {"_names"},
    "test_compat": {"_compat"},
    "test_examples_lrmf": {"flows"},
    "test_saving": {"_nn", "auto"},
}
BUILT_ON = {"_core", "_nn"}


def private_rooms(path):
    """Rooms of which a test imports private modules or names."""
    for name, _ in imports("tests", path):
        library, *parts = name.split(".")
        if library == "skdre" and any(re.match("_[^_]", part) for part in parts):
            yield parts[0]


def test_tests_use_public_names():
    tests = Path(__file__).parent
    wrong = []
    for path in sorted(tests.rglob("*.py")):
        *folder, file = path.relative_to(tests).with_suffix("").parts
        allowed = MAY_KNOW.get(".".join([*folder, file]), set())
        if folder:
            allowed = allowed | {folder[0]} | BUILT_ON
        wrong += [
            f"{path.name} knows what is private in {room}."
            for room in private_rooms(path)
            if room not in allowed
        ]
    assert not wrong, "\n".join(wrong)
    assert "_core" in private_rooms(tests / "core" / "test_docs.py")


def test_rooms_form_no_cycle():
    graph = {room: others - {room} for room, others in MAY_IMPORT.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_rooms_are_found():
    """The walk sees what is there: it would else pass on an empty list."""
    seen = dict(modules())
    assert {"skdre", "skdre.base", "skdre.kernel", "skdre.flows"} <= seen.keys()
    found = set(imports("skdre.base", seen["skdre.base"]))
    assert ("skdre.metrics.ratio_log_loss", True) in found
    in_stacking = set(imports("skdre._core.stacking", seen["skdre._core.stacking"]))
    assert ("pandas", False) in in_stacking
    assert room_of("skdre.kernel._kmm") == "kernel"
    assert room_of("skdre._compat") == "_compat"
    assert resolve("skdre.KMMRatio") == "kernel"
    assert room_of("skdre.paths") == "paths"


def test_files_can_be_held_in_the_head():
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules()}
    assert {module: n for module, n in lengths.items() if n >= 600} == {}


def run(code):
    """Run the code in a new interpreter; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FIT = """
from skdre import {name}, pool
import numpy as np
X = np.random.default_rng(0).normal(size=(40, 2))
"""

SNIPPETS = {
    "import skdre": "import skdre; dir(skdre); skdre.__version__",
    "names that need no torch": (
        "from skdre import KMMRatio, ImportanceWeighted, Pipeline, make_pipeline, pool"
    ),
    "KMMRatio": FIT.format(name="KMMRatio")
    + "KMMRatio().fit(*pool(numerator=X, denominator=X)).predict_ratio(X)",
    "KLIEPRatio": FIT.format(name="KLIEPRatio, LSIFRatio")
    + "pooled = pool(numerator=X, denominator=X)\n"
    + "KLIEPRatio().fit(*pooled).predict_ratio(X)\n"
    + "LSIFRatio().fit(*pooled).predict_ratio(X)",
    "ClassifierRatio": FIT.format(name="ClassifierRatio, GaussianRatio")
    + "y = np.arange(40) % 2\n"
    + "GaussianRatio().fit(X, y).predict_ratio(X)\n"
    + "ClassifierRatio(calibration='sigmoid').fit(X, y).predict_ratio(X)",
    "divergence": FIT.format(
        name="GaussianRatio, diagnose, divergence, score_test, shift_importance, "
        "two_sample_test"
    )
    + "pooled = pool(numerator=X + 1, denominator=X)\n"
    + "for each in (divergence, two_sample_test, diagnose, shift_importance):\n"
    + "    each(GaussianRatio(shrink=False), *pooled)\n"
    + "score_test(*pooled)",
    "ImportanceWeighted": FIT.format(name="ImportanceWeighted")
    + "from sklearn.linear_model import Ridge\n"
    + "ImportanceWeighted(Ridge()).fit(X, X[:, 0], X_target=X).predict(X)",
    "displays": "import skdre.inspection",
    "data, weights and checks": (
        "import skdre.datasets, skdre.weighting, skdre.metrics;"
        "import skdre.utils.estimator_checks"
    ),
}


COUNTERPART = {"a flow": "from skdre import FlowFeaturizer"}


@pytest.fixture(scope="module")
def loaded():
    """What is loaded after each snippet: all run in one interpreter, the flow last."""
    code = f"""
    import json, sys
    found = {{}}
    for name, code in {SNIPPETS | COUNTERPART!r}.items():
        exec(code, {{}})
        found[name] = [each for each in {HEAVY} if each in sys.modules]
    print(json.dumps(found))
    """
    return json.loads(run(code))


def test_nothing_heavy_is_loaded(loaded):
    # The first snippet with an entry is the one that loads it.
    assert not {name: loaded[name] for name in SNIPPETS if loaded[name]}


def test_importing_skdre_loads_nothing_at_all():
    code = "import skdre, sys; print('numpy' in sys.modules, 'sklearn' in sys.modules)"
    assert run(code).split() == ["False", "False"]


def test_a_flow_loads_torch(loaded):
    """The counterpart: the test above would see it."""
    assert "torch" in loaded["a flow"]


def test_importing_changes_no_library():
    """Neither seeds nor settings of numpy, torch, scikit-learn or warnings."""
    code = """
    import importlib, pickle, pkgutil, random, warnings
    import numpy as np, scipy.stats, sklearn, torch, skorch, zuko, pandas
    import sklearn.pipeline, sklearn.datasets
    def state():
        return pickle.dumps([
            random.getstate(), np.random.get_state(), np.geterr(),
            np.get_printoptions(), sklearn.get_config(), repr(warnings.filters),
            torch.get_rng_state().numpy(), str(torch.get_default_dtype()),
            torch.get_num_threads(), torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        ])
    before = state()
    import skdre
    for module in pkgutil.walk_packages(skdre.__path__, "skdre."):
        importlib.import_module(module.name)
    print(state() == before)
    """
    assert run(code).strip() == "True"


def test_public_names():
    assert set(dir(skdre)) == set(skdre.__all__)
    for name in skdre.__all__:
        assert getattr(skdre, name) is not None, name
    with pytest.raises(AttributeError):
        skdre.no_such_name  # noqa: B018


def test_stub_and_all_agree():
    tree = ast.parse((ROOT / "__init__.pyi").read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(skdre.__all__)


def test_names_of_modules():
    for module, _ in modules():
        found = importlib.import_module(module)
        assert found.__doc__, f"{module} has no docstring."
        for name in getattr(found, "__all__", ()):
            assert hasattr(found, name), f"{module}.{name}"


def public_objects():
    for name in skdre.__all__:
        value = getattr(skdre, name)
        if inspect.ismodule(value) and hasattr(value, "__all__"):
            members = {f"{name}.{each}": getattr(value, each) for each in value.__all__}
        else:
            members = {name: value}
        for label, member in members.items():
            if inspect.isclass(member) or inspect.isfunction(member):
                yield label, member


def test_every_public_object_is_documented():
    found = dict(public_objects())
    assert {"KMMRatio", "metrics.ratio_log_loss"} <= found.keys()
    for label, value in found.items():
        assert len(inspect.getdoc(value) or "") > 40, label
        if inspect.isclass(value):
            for name, method in vars(value).items():
                if inspect.isfunction(method) and not name.startswith("_"):
                    assert inspect.getdoc(method), f"{label}.{name}"


def test_the_drawing_of_the_rooms_is_that_of_the_folder():
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    drawing = text.partition("```\nskdre/\n")[2].partition("```")[0]
    drawn = {line.split()[0].rstrip("/") for line in drawing.splitlines()}
    # Not what an older version left behind.
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    files = {path.name for path in ROOT.glob("*.py")} - {"__init__.py"}
    assert drawn == rooms | files | {"__init__.pyi"}


def test_hooks_and_constraints_have_one_version_of_ruff():
    hooks = (ROOT.parent / ".pre-commit-config.yaml").read_text()
    constraints = (ROOT.parent / "constraints.txt").read_text().split()
    (version,) = (each[6:] for each in constraints if each.startswith("ruff=="))
    assert f"rev: v{version}\n" in hooks
