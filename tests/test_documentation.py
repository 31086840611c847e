"""The pages of the documentation: their code runs, and their links lead somewhere."""

import ast
import doctest
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path

import pytest

import skdre

ROOT = Path(__file__).parents[1]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

with pytest.MonkeyPatch.context() as _patch:
    _patch.syspath_prepend(ROOT / "doc" / "_ext")
    import repository_pages

    sys.modules.pop("repository_pages")
    sys.modules.pop("api_pages")


def markdown():
    pages = [ROOT / "README.md", *sorted((ROOT / "doc").glob("*.md"))]
    pages += sorted((ROOT / "doc" / "benchmarks").glob("*.md"))
    return [*pages, *repository_pages.pages()]


def with_prompts():
    return [
        path
        for path in sorted((ROOT / "doc").glob("*.md"))
        if ">>> " in path.read_text()
    ]


@pytest.mark.parametrize("page", with_prompts(), ids=lambda path: path.stem)
def test_code_with_prompts(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    # A fence ends the output that stands above it.
    text = re.sub(r"^```.*$", "", page.read_text(), flags=re.M)
    test = doctest.DocTestParser().get_doctest(text, {}, page.stem, str(page), 0)
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report = []
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


# --- code without prompts ----------------------------------------------------------


def blocks():
    """Blocks of Python of all pages, with what they import from skdre."""
    found = []
    for path in markdown():
        text = path.read_text()
        pieces = re.findall(r"^( *)```python\n(.*?)^ *```", text, re.M | re.S)
        for number, (_, code) in enumerate(pieces):
            if ">>> " not in code:
                found.append(
                    pytest.param(textwrap.dedent(code), id=f"{path.stem}-{number}")
                )
    return found


@pytest.mark.parametrize("code", blocks())
def test_code_uses_names_and_parameters_that_exist(code):
    """Running it all would take many minutes; a wrong name or parameter shows so."""
    tree = ast.parse(code)
    names = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module.partition(".")[0] == "skdre"
        ):
            module = importlib.import_module(node.module)
            for alias in node.names:
                names[alias.asname or alias.name] = getattr(module, alias.name)
    # A page imports a name once and goes on to use it.
    names = {name: getattr(skdre, name) for name in skdre.__all__} | names
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        value = names.get(node.func.id)
        if value is None or inspect.ismodule(value):
            continue
        starred = any(isinstance(each, ast.Starred) for each in node.args)
        if starred or any(each.arg is None for each in node.keywords):
            continue
        keywords = {each.arg: None for each in node.keywords}
        inspect.signature(value).bind_partial(*node.args, **keywords)


# --- every table and figure of the papers -----------------------------------------

# How many tables and figures each paper has; of the flows' the supplement's figures.
NUMBERS = {
    "Featurized density ratio estimation": {
        "Table": range(1, 10),
        "Figure": range(1, 16),
    },
    "Log-likelihood ratio minimizing flows": {"Table": (), "Figure": range(7, 12)},
    "Density ratio estimation via infinitesimal classification": {
        "Table": range(1, 3),
        "Figure": range(1, 10),
    },
}


def numbers(text, kind):
    """Numbers of a kind: "Table 1", "Figures 2, 7", "Figures 10 to 15"."""
    found = set()
    for first, last in re.findall(rf"{kind}s? (\d+)(?: to (\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    for listed in re.findall(rf"{kind}s ((?:\d+, )+\d+)", text):
        found |= {int(each) for each in listed.split(", ")}
    return found


@pytest.mark.parametrize("paper", NUMBERS)
def test_every_table_and_figure_is_there(paper):
    page = (ROOT / "doc" / "papers.md").read_text()
    section = page.split(f"## {paper}\n")[1].split("\n## ")[0]
    labels = "\n".join(
        line.split("|")[1] for line in section.splitlines() if line.startswith("| ")
    )
    for kind, expected in NUMBERS[paper].items():
        assert numbers(labels, kind) == set(expected)


def test_numbers_are_read():
    text = "Figures 2, 7 and Figure 3, Tables 4 to 7"
    assert numbers(text, "Figure") == {2, 3, 7}
    assert numbers(text, "Table") == {4, 5, 6, 7}


def test_commands_run_scripts_that_exist():
    pages = [
        *(ROOT / "doc").rglob("*.md"),
        ROOT / "README.md",
        *repository_pages.pages(),
    ]
    found = 0
    for page in pages:
        if "_build" in page.parts or "generated" in page.parts:
            continue
        for script in re.findall(
            r"python3? ((?:examples|benchmarks)/\S+\.py)", page.read_text()
        ):
            assert (ROOT / script).exists(), f"{page.name}: {script}"
            found += 1
    assert found > 10


# --- links ------------------------------------------------------------------------


@pytest.mark.parametrize("path", markdown(), ids=lambda path: path.name)
def test_links_lead_to_files(path):
    # Raises FileNotFoundError where there is nothing.
    repository_pages.turn_links(path.read_text(), path, "somewhere/page")


# Tables that need what not every machine has; the page says that none was at hand.
NOT_MEASURED = {("array_api.md", "gpu")}


def empty_tables(text):
    return re.findall(r"<!-- ([^/>][^>]*?) -->\s*<!-- /\1 -->", text)


def test_every_table_of_a_script_is_filled_in():
    empty = {
        (path.name, name)
        for path in markdown()
        for name in empty_tables(path.read_text())
    }
    assert empty <= NOT_MEASURED
    assert empty_tables("<!-- a -->\n\n<!-- /a -->\n<!-- b -->\n1\n<!-- /b -->") == [
        "a"
    ]


def test_links_are_turned():
    origin = ROOT / "examples" / "papers" / "featurized" / "README.md"

    def turned(target, page="generated/examples/papers/featurized/README"):
        text = repository_pages.turn_links(f"see [it]({target})", origin, page)
        return text.removeprefix("see [it](").removesuffix(")")

    assert turned("https://a.b/c.md") == "https://a.b/c.md"
    assert turned("#below") == "#below"
    assert turned("mutual_information.md#top") == "mutual_information.md#top"
    assert turned("../../../doc/choosing.md") == "../../../../choosing.md"
    picture = "../../../doc/images/known_ratios.png"
    assert turned(picture) == "../../../../images/known_ratios.png"
    assert turned("kliep.py") == "../../../../../examples/papers/featurized/kliep.py"
    page = "weighting/plot_covariate_shift_breast_cancer"
    assert turned(f"../../{page}.py") == f"../../../../auto_examples/{page}.rst"
    # A folder without a page of its own is no link.
    assert (
        repository_pages.turn_links("[all](../../../doc/images)", origin, "x") == "all"
    )


def test_code_is_left_alone():
    text = "`[a](b.md)` and\n```\n[c](d.md)\n```\n"
    assert repository_pages.turn_links(text, ROOT / "README.md", "x") == text


def test_links_to_nowhere_are_found():
    with pytest.raises(FileNotFoundError, match=r"nothing\.md"):
        repository_pages.turn_links("[a](nothing.md)", ROOT / "README.md", "x")


def test_pages_of_a_build_are_judged_by_their_sources():
    """Before the first build, and when an old one has left pages behind."""
    origin = ROOT / "doc" / "index.md"

    def turned(target):
        return repository_pages.turn_links(f"[a]({target})", origin, "index")

    plot = "auto_examples/weighting/plot_covariate_shift_breast_cancer.rst"
    api = "generated/api"
    for target in (
        *("auto_examples/index.rst", "auto_examples/weighting/index.rst", plot),
        *(f"{api}/index.rst", f"{api}/skdre.metrics.rst"),
        *(f"{api}/objects/skdre.KMMRatio.rst", "generated/whats_new.md"),
    ):
        assert turned(target) == f"[a]({target})"
    for target in (
        *("auto_examples/nothing.rst", plot.replace("plot_", ""), f"{api}/index.md"),
        *(f"{api}/objects/skdre.NoSuchRatio.rst", "generated/nothing.md"),
    ):
        with pytest.raises(FileNotFoundError, match=re.escape(target)):
            turned(target)
    # What an old build left does not count.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "exists", lambda _: True)
        with pytest.raises(FileNotFoundError, match=r"nothing\.rst"):
            turned("auto_examples/nothing.rst")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("from skdre import KMMRatio\nKMMRatio(no_such=1)", TypeError),
        ("from skdre.weighting import no_such", AttributeError),
    ],
)
def test_wrong_code_is_seen(code, error):
    with pytest.raises(error, match="no_such"):
        test_code_uses_names_and_parameters_that_exist(code)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").rglob("plot_*.py")), ids=lambda path: path.stem
)
def test_examples_run_without_their_docstring(path):
    """The gallery takes it for the page, and leaves the code an empty one."""
    tree = ast.parse(path.read_text())
    used = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "description"
    ]
    for node in used:
        code = compile(ast.Expression(node.value), path.name, "eval")
        assert isinstance(eval(code, {"__doc__": ""}), str)
