"""Settings of the documentation; ``make docs`` builds it.

Nothing here is a list kept by hand: the API pages are made from the public names
(:mod:`api_pages`), the gallery from ``examples``, and further pages from the Markdown
that stands elsewhere in the repository (:mod:`repository_pages`).
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
# Examples run one after another: more threads than that only get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import skdre  # noqa: E402
from skdre.base import DOCUMENTATION_URL  # noqa: E402

project = "skdre"
author = "The skdre developers"
copyright = "the skdre developers"
version = release = skdre.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
    "api_pages",
    "external_links",
    "plain_docstrings",
    "repository_pages",
]
exclude_patterns = ["_build", "_templates", "_ext", "**/GALLERY_HEADER.rst"]
# What a parameter is stands in its description.
autodoc_typehints = "none"
templates_path = ["_templates"]
root_doc = "index"
# Single quotes in docstrings name parameters.
default_role = "literal"
nitpicky = True
# Docstrings list their sources whether or not the text cites each by its number.
suppress_warnings = ["ref.footnote", "config.cache"]

myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 4
bibtex_bibfiles = ["references.bib"]

autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_use_plots = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skdre",),
    "ignore_pattern": r"(__init__|/papers/)",
    "subsection_order": [
        "../examples/start",
        "../examples/choosing",
        "../examples/weighting",
        "*",
    ],
    "within_subsection_order": "ExampleTitleSortKey",
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "default_thumb_file": str(HERE / "images" / "bridge_paths.png"),
}

html_theme = "pydata_sphinx_theme"
html_baseurl = f"{DOCUMENTATION_URL}/"
html_title = f"skdre {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": False,
    # Pages are short; tables need the room that a list of headings would take.
    "secondary_sidebar_items": [],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "tango",
}
html_sidebars = {"install": [], "quickstart": [], "generated/whats_new": []}
