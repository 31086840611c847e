"""The API reference, from the public names.

A name stands where it is most public: `skdre.KMMRatio`, not `skdre.kernel.KMMRatio`.
What the package itself exports comes first, grouped by the task that it serves; then
each public module with the names of its ``__all__`` that are not there yet.
"""

import importlib
import inspect
import pkgutil
from pathlib import Path

import skdre

__all__ = [
    "import_name",
    "inherited_methods",
    "own_methods",
    "page_names",
    "public_api",
    "setup",
]

# Tasks, and the rooms of the package whose public names serve them.
TASKS = {
    "Estimate a density ratio": (
        "auto",
        "kernel",
        "classification",
        "waymarks",
        "time_score",
    ),
    "Hand a ratio on": ("base", "_core", "pipeline"),
    "Train under a shift": ("importance", "weighting"),
    "Compare groups fairly": ("balance",),
    "Find a shift, measure information, judge a ratio": (
        "information",
        "inspection",
        "metrics",
    ),
    "Flows: features and alignment": ("flows",),
    "Build a density, draw samples": ("density",),
    "For developers": ("utils", "datasets", "paths", "networks"),
}


def public_modules():
    """Public modules with public names of their own, each with those names."""
    found = {}
    for module in pkgutil.walk_packages(skdre.__path__, "skdre."):
        if any(part.startswith("_") for part in module.name.split(".")):
            continue
        loaded = importlib.import_module(module.name)
        found[module.name] = (
            loaded,
            [
                name
                for name in getattr(loaded, "__all__", ())
                if not inspect.ismodule(getattr(loaded, name))
            ],
        )
    return found


def public_api():
    """The whole API: a list of (title, module name, introduction, names).

    A module of which nothing is left after the names that ``skdre`` exports does not
    appear.
    """
    exported = {
        name: getattr(skdre, name)
        for name in skdre.__all__
        if not inspect.ismodule(getattr(skdre, name)) and name != "__version__"
    }
    task_of = {room: task for task, rooms in TASKS.items() for room in rooms}
    found: dict[str, list[str]] = {task: [] for task in TASKS}
    for name in sorted(exported):
        found[task_of[exported[name].__module__.split(".")[1]]].append(name)
    sections = [(task, "skdre", "", names) for task, names in found.items() if names]
    seen = {id(value) for value in exported.values()}
    for module_name, (module, names) in sorted(public_modules().items()):
        left = [name for name in names if id(getattr(module, name)) not in seen]
        seen.update(id(getattr(module, name)) for name in left)
        if left:
            summary = inspect.getdoc(module).split("\n\n")[0]
            sections.append((module_name, module_name, summary, left))
    return [section for section in sections if section[-1]]


def import_name(full_name):
    """The object of a dotted name, a method's too."""
    parts = full_name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return value
    raise ImportError(full_name)


def _methods(full_name):
    """Public methods of a class, each with the class that defines it."""
    cls = import_name(full_name)
    for name in sorted(dir(cls)):
        if name.startswith("_"):
            continue
        owner = next((base for base in cls.__mro__ if name in vars(base)), object)
        value = vars(owner).get(name)
        # available_if hides a method of the class behind a descriptor.
        hidden = type(value).__name__ == "_AvailableIfDescriptor"
        if hidden or callable(getattr(cls, name, None)):
            yield name, owner


def own_methods(full_name):
    """Names of the methods that are documented in skdre."""
    return [
        name
        for name, owner in _methods(full_name)
        if owner.__module__.startswith("skdre") and not _is_request(owner, name)
    ]


def inherited_methods(full_name):
    """Names of the methods that scikit-learn or Python brings."""
    own = own_methods(full_name)
    return [name for name, _ in _methods(full_name) if name not in own]


def _is_request(owner, name):
    # scikit-learn puts set_fit_request and its like into each class by itself.
    return type(vars(owner)[name]).__name__ == "RequestMethod"


def page_names():
    """The pages of the reference, by their names in its folder."""
    api = public_api()
    found = {"index"} | {module for _, module, _, _ in api}
    return found | {
        f"objects/{module}.{name}" for _, module, _, names in api for name in names
    }


def _heading(text, sign):
    return [text, sign * len(text), ""]


def write(folder):
    """Write ``index.rst`` and one page a module into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {}
    api = public_api()
    current = {f"{module}.{name}.rst" for _, module, _, names in api for name in names}
    for path in (folder / "objects").glob("*.rst"):
        if path.name not in current:
            path.unlink()
    for title, module, introduction, names in api:
        lines = pages.setdefault(module, [])
        if not lines:
            lines += [f".. module:: {module}", ""]
            lines += _heading(module, "=")
        if title != module:
            lines += _heading(title, "-")
        if introduction:
            lines += [introduction, ""]
        lines += [f".. currentmodule:: {module}", ""]
        lines += [".. autosummary::", "   :toctree: objects", ""]
        lines += [*(f"   {name}" for name in names), ""]
    index = [*_heading("API reference", "="), ".. toctree::", "   :maxdepth: 2", ""]
    index += [f"   {module}" for module in pages] + [""]
    for name, lines in {**pages, "index": index}.items():
        _write_if_new(folder / f"{name}.rst", "\n".join(lines))


def _write_if_new(path: Path, text):
    # An untouched file is not read again by the next build.
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app):
    # While extensions load: autosummary looks for pages to make when the build starts.
    write(Path(app.srcdir) / "generated" / "api")
    app.config.autosummary_context = {
        "own_methods": own_methods,
        "inherited_methods": inherited_methods,
    }
    return {"parallel_read_safe": True, "parallel_write_safe": True}
