"""Markdown of the repository as pages, with links that work in both places.

Files of the repository link to each other by their paths, which is what a reader of the
sources wants. Pages that stand outside this folder are copied into ``generated``, and
the links of every page are turned: to a page where the target has one, to the gallery's
page of an example, to a picture, or to the file itself as a download. Pages that only a
build makes count as there before it, and those that an old build left do not.
"""

import os
import re
from functools import cache
from pathlib import Path

import api_pages

__all__ = ["is_there", "page_of", "pages", "setup", "turn_links"]

DOC = Path(__file__).resolve().parents[1]
ROOT = DOC.parent

# Pages with a name of their own; all other Markdown below examples comes by itself.
NAMED = {"CHANGELOG.md": "whats_new", "CONTRIBUTING.md": "contributing"}

# [text](target) and ![text](target), outside of code.
LINK = re.compile(r"(!?)\[((?:[^][]|\[[^][]*\])*)\]\(([^)\s]+)\)")


def pages():
    """Map each Markdown file outside of this folder to the name of its page."""
    found = {ROOT / file: f"generated/{name}" for file, name in NAMED.items()}
    for path in sorted((ROOT / "examples").rglob("*.md")):
        name = path.relative_to(ROOT).with_suffix("").as_posix()
        found[path] = f"generated/{name}"
    return found


def page_of(path, known=None):
    """The page of a file or folder of the repository, None if it has none."""
    known = pages() if known is None else known
    if path.is_dir():
        folders = {ROOT / "examples": "auto_examples/index", DOC: "index"}
        folders[ROOT / "examples" / "papers"] = "papers"
        return folders.get(path) or known.get(path / "README.md")
    if path in known:
        return known[path]
    if path.suffix == ".md" and path.is_relative_to(DOC):
        return path.relative_to(DOC).with_suffix("").as_posix()
    examples = ROOT / "examples"
    if path.name.startswith("plot_") and path.is_relative_to(examples):
        return f"auto_examples/{path.relative_to(examples).with_suffix('')}"
    return None


@cache
def made():
    """Files below this folder that a build makes, whether it has been run or not."""
    names = set(pages().values())
    files = {f"{name}.md" for name in names}
    files |= {f"generated/api/{name}.rst" for name in api_pages.page_names()}
    gallery = ROOT / "examples"
    for path in gallery.rglob("plot_*.py"):
        files.add(f"{page_of(path)}.rst")
        folder = path.parent.relative_to(gallery).as_posix()
        files |= {"auto_examples/index.rst", f"auto_examples/{folder}/index.rst"}
    return {DOC / file for file in files}


def is_there(path):
    """Whether a link to this path leads somewhere once the pages are built."""
    folders = (DOC / "generated", DOC / "auto_examples")
    if any(path.is_relative_to(folder) for folder in folders):
        return path in made()
    return path.exists()


def fail(message):
    raise FileNotFoundError(message)


def turn_links(text, origin, page, missing=fail):
    """Rewrite the links of Markdown that stands at `origin` for the page's place.

    `missing` is called with a message where a link leads nowhere.
    """
    known = pages()
    here = DOC / Path(page).parent

    def turn(match):
        image, words, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match.group()
        path = Path(os.path.normpath(origin.parent / path))
        if not is_there(path):
            missing(f"{origin}: no such file: {target}")
            return match.group()
        name = page_of(path, known)
        if name is not None:
            suffix = ".rst" if name.startswith("auto_examples") else ".md"
            place = os.path.relpath(DOC / name, here) + suffix
            return f"{image}[{words}]({place}{anchor and '#' + anchor})"
        if path.is_dir():
            return words
        return f"{image}[{words}]({os.path.relpath(path, here)})"

    # Code is left alone: odd parts are fenced blocks or code in a line.
    parts = re.split(r"(```.*?```|`[^`\n]*`(?!\]))", text, flags=re.S)
    whole, code = "", []
    for i, part in enumerate(parts):
        if i % 2:
            whole += f"\0{len(code)}\0"
            code.append(part)
        else:
            whole += part
    turned = LINK.sub(turn, whole)
    return re.sub(r"\0(\d+)\0", lambda match: code[int(match.group(1))], turned)


def warn(message):
    # Tests use this module without Sphinx.
    from sphinx.util.logging import getLogger

    getLogger(__name__).warning(message)


def copy_pages(app):
    for origin, page in pages().items():
        text = turn_links(origin.read_text(), origin, page, warn)
        if page == "generated/whats_new":
            text = text.replace("# Changelog", "# What's new", 1)
        target = DOC / f"{page}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


def turn_links_of_page(app, page, content):
    path = DOC / f"{page}.md"
    if path.exists() and not page.startswith("generated/"):
        content[0] = turn_links(content[0], path, page, warn)


def setup(app):
    # While extensions load: the files must be there when Sphinx looks for documents.
    copy_pages(app)
    app.connect("source-read", turn_links_of_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
