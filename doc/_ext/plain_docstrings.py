"""Docstrings that read well in a terminal, made into reStructuredText.

``scale_`` is a link to nowhere there and ``|x - y|^2`` a substitution. Writing each
with quotes or backslashes would spoil ``help()``, so it is done here, on the way to the
page.
"""

import re

__all__ = ["escape", "setup"]

# What is marked up already, formulas and directives with their bodies.
MARKED_UP = re.compile(
    r"``.*?``|:[\w:]+:`[^`]*`|`[^`]*`_?|\[\d+\]_|"
    r"^ *>>>.*?(?:\n\n|\Z)|"
    r"^( *)\.\. .*?(?=\n\1\S|\Z)",
    flags=re.S | re.M,
)
FITTED = re.compile(r"(?<![\w*.])((?:[A-Za-z]\w*\.)*[A-Za-z]\w*_)(?![\w*])")
# The names that a numpydoc section lists, which numpydoc marks up itself.
HEAD = re.compile(r"^ *\*{0,2}\w+(?:, \*{0,2}\w+)* : ", flags=re.M)


def escape(text):
    """Quote fitted attributes and escape bars where the text is plain."""
    # A raw docstring keeps the backslash of a type that goes on in the next line.
    text = re.sub(r" *\\\n\s+", " ", text)
    parts, end = [], 0
    kept = sorted(
        [match.span() for match in MARKED_UP.finditer(text)]
        + [match.span() for match in HEAD.finditer(text)]
    )
    for start, stop in kept:
        if start < end:
            continue
        parts += [_escape_plain(text[end:start]), text[start:stop]]
        end = stop
    return "".join([*parts, _escape_plain(text[end:])])


def _escape_plain(text):
    return FITTED.sub(r"``\1``", text).replace("|", r"\|")


def process(app, what, name, obj, options, lines):
    lines[:] = escape("\n".join(lines)).split("\n")


def setup(app):
    # Before numpydoc, which has the usual priority of 500.
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
