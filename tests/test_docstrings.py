"""Public names are documented and annotated: parameters, shapes, units, errors.

What is public is what the API reference lists. numpydoc's own validation says whether
a docstring is complete; the rest is what it does not look at.
"""

import ast
import functools
import inspect
import re
import sys
import textwrap
from pathlib import Path

import pytest

import skdre
from skdre.utils import all_estimators

numpydoc_validate = pytest.importorskip("numpydoc.validate")
docscrape = pytest.importorskip("numpydoc.docscrape")

with pytest.MonkeyPatch.context() as _patch:
    _patch.syspath_prepend(Path(__file__).parents[1] / "doc" / "_ext")
    from api_pages import import_name, own_methods, public_api

    sys.modules.pop("api_pages")

# Sections in numpydoc's order and spelling; a summary of one line that ends with a
# period; every parameter there, in order, with a type and a description; what returns
# and yields. Left out are the matters of taste: capital letters, named returns, a
# description of `self`.
CODES = {
    *("GL03", "GL06", "GL07", "GL08", "GL09", "GL10"),
    *("SS01", "SS02", "SS03", "SS04", "SS06"),
    *("PR01", "PR02", "PR03", "PR04", "PR07", "PR10"),
    *("RT01", "YD01"),
}

# Estimators of no paper.
NO_SOURCE = {"Pipeline"}

# What is measured in nats (or bits, or has no unit because a logarithm is taken).
UNITS = re.compile(r"\b(nats?|bits?)\b|logarithm|\blog\b|natural", re.IGNORECASE)
HAS_UNIT = re.compile(r"log_ratio|divergence|information|loss|log_density")

SHAPE = re.compile(r"(ndarray|array-like|Tensor|DataFrame)")


def names():
    """Dotted names of the public functions, classes and methods."""
    found = []
    for _, module, _, members in public_api():
        for member in members:
            full = f"{module}.{member}"
            value = import_name(full)
            if inspect.isclass(value):
                found += [full, *(f"{full}.{name}" for name in own_methods(full))]
            elif inspect.isfunction(value):
                found.append(full)
    return sorted(set(found))


NAMES = names()


def each_name(rule):
    """Make a test of a rule that yields what a name lacks: one report of them all."""

    def test():
        wrong = [f"{name}: {fault}" for name in NAMES for fault in rule(name)]
        assert not wrong, "\n".join(wrong)

    test.__doc__, test.rule = rule.__doc__, rule
    return test


def value_of(name):
    value = import_name(name)
    # available_if and decorators hide the function that was written.
    return inspect.unwrap(getattr(value, "fn", value))


def fields_of(value):
    """Public fields of a dataclass or a named tuple."""
    if not inspect.isclass(value):
        return set()
    named = getattr(value, "__dataclass_fields__", getattr(value, "_fields", ()))
    return {name for name in named if not name.startswith("_")}


def is_result(name):
    """Whether functions make it, and a user only reads its attributes."""
    value = value_of(name)
    return bool(fields_of(value)) and bool(parsed(name)["Attributes"])


@functools.cache
def parsed(name):
    return docscrape.NumpyDocString(inspect.getdoc(import_name(name)))


def test_the_names_are_found():
    """The tests below would else pass on an empty list."""
    assert {"skdre.KMMRatio", "skdre.KMMRatio.fit", "skdre.pool"} <= set(NAMES)
    assert {"skdre.KMMRatio.predict_ratio", "skdre.Pipeline.predict_ratio"} <= set(
        NAMES
    )
    assert "skdre.metrics.ratio_log_loss" in NAMES
    assert "skdre.KMMRatio.get_params" not in NAMES
    public = {name for name in skdre.__all__ if not name.startswith("_")}
    listed = {name.split(".")[1] for name in NAMES if name.count(".") == 1}
    modules = {name for name in public if inspect.ismodule(getattr(skdre, name))}
    assert listed == public - modules


@each_name
def test_is_complete(name):
    codes = CODES - {"PR01"} if is_result(name) else CODES
    for code, message in numpydoc_validate.validate(name)["errors"]:
        # A question is a summary too.
        question = code == "SS03" and parsed(name)["Summary"][0].endswith("?")
        if code in codes and not question:
            yield f"{code} {message}"
    if is_result(name):
        described = {
            each.strip()
            for attribute in parsed(name)["Attributes"]
            for each in attribute.name.split(",")
        }
        for field in fields_of(value_of(name)) - described:
            yield f"Attributes does not describe {field}"


@each_name
def test_arrays_have_shapes(name):
    doc = parsed(name)
    for section in ("Parameters", "Attributes", "Returns", "Yields"):
        for each in doc[section]:
            text = re.sub(r"\s+", " ", f"{each.type} {' '.join(each.desc)}")
            is_array = SHAPE.search(re.sub(r"\{[^}]*\}", "", each.type))
            if is_array and "shape" not in text:
                yield f"of what shape is {each.name} : {each.type}?"


@each_name
def test_units(name):
    text = inspect.getdoc(import_name(name))
    for each in parsed(name)["Returns"]:
        if HAS_UNIT.search(each.name) and not UNITS.search(text):
            yield f"in what is {each.name} measured?"


def raised(function):
    """Names of the exceptions that a function's own code raises."""
    source = textwrap.dedent(inspect.getsource(function))
    return {
        node.exc.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }


@each_name
def test_errors_are_documented(name):
    value = value_of(name)
    if inspect.isclass(value):
        own = vars(value)
        value = own.get("__post_init__") or own.get("__init__")
    if not inspect.isfunction(value) or value.__code__.co_filename == "<string>":
        return
    documented = {each.type for each in parsed(name)["Raises"]}
    documented = {part.strip() for each in documented for part in each.split(",")}
    for missing in raised(value) - documented - {"NotImplementedError"}:
        yield f"raises {missing}, which Raises does not name"


def test_raised_errors_are_seen():
    """The counterpart of the test above."""
    assert raised(skdre.utils.all_estimators) == {"ValueError"}
    assert raised(skdre.make_pipeline) == set()


def test_fit_says_what_it_refuses():
    for name, _ in all_estimators():
        if name not in NO_SOURCE:
            assert parsed(f"skdre.{name}.fit")["Raises"], name


def shows(name):
    """Whether there is an example of it, or of what makes it."""
    if parsed(name)["Examples"]:
        return any(">>>" in line for line in parsed(name)["Examples"])
    label = name.rpartition(".")[2]
    return is_result(name) and any(
        shows(maker)
        for maker in NAMES
        if maker != name
        for section in ("Returns", "Attributes")
        if any(label in each.type for each in parsed(maker)[section])
    )


@each_name
def test_examples(name):
    is_method = inspect.isclass(import_name(name.rpartition(".")[0]))
    # The class shows its methods.
    if not (is_method or shows(name)):
        yield "shows no example"


def test_estimators_name_their_sources():
    for name, estimator in all_estimators():
        text = inspect.getdoc(estimator)
        has_source = bool(parsed(f"skdre.{name}")["References"])
        assert has_source != (name in NO_SOURCE), name
        if has_source:
            assert re.search(r"\b(19|20)\d\d\b", text), f"{name}: of which year?"


@pytest.mark.parametrize(
    ("test", "fault"),
    [
        (test_is_complete, "PR01 Parameters {'n'} not documented"),
        (test_arrays_have_shapes, "of what shape is found : ndarray?"),
        (test_units, "in what is log_ratio measured?"),
        (test_errors_are_documented, "raises ValueError, which Raises does not name"),
        (test_examples, "shows no example"),
    ],
)
def test_a_bare_docstring_breaks_every_rule(test, fault, monkeypatch):
    """The counterpart of the rules, which would else pass if they found nothing."""

    def bare(n):
        """Do something.

        Returns
        -------
        found : ndarray
            What was found.
        log_ratio : float
            Its size.
        """
        raise ValueError(n)

    monkeypatch.setattr(skdre, "bare", bare, raising=False)
    try:
        assert fault in list(test.rule("skdre.bare"))
    finally:
        parsed.cache_clear()


@each_name
def test_is_annotated(name):
    """Every argument and what is returned; mypy checks whether it is true."""
    function = value_of(name)
    if inspect.isclass(function):
        function = vars(function).get("__init__")
    if not inspect.isfunction(function) or is_result(name):
        return
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.name != "self" and parameter.annotation is inspect.Parameter.empty:
            yield f"{parameter.name} has no annotation"
    if signature.return_annotation is inspect.Signature.empty:
        yield "what is returned has no annotation"
