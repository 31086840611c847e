"""Texts that many docstrings share, written once.

A line ``%(name)`` of a docstring stands for an entry of :data:`SHARED`, at the
indentation of the line. What follows on the line and on deeper lines below it is set in
front of the entry's description:

    %(random_state) Draws the centres.

Estimators of the package are filled in when their classes are made
(:class:`skdre.base.DocumentedMixin`); other functions and classes are decorated with
:func:`shared_docs`.
"""

import re
from inspect import getattr_static, isfunction

__all__ = ["SHARED", "fill_class", "shared_docs"]

# Header of the entry and its description, of numpydoc's sections Parameters and
# Attributes.
SHARED = {
    "X": (
        "X : array-like of shape (n_samples, n_features)",
        "Rows of both samples, finite.",
    ),
    "X_new": ("X : array-like of shape (n_samples, n_features)", "Rows."),
    "y": (
        "y : array-like of shape (n_samples,)",
        "Domain labels, two values; the greater names the numerator.",
    ),
    "sample_weight": (
        "sample_weight : array-like of shape (n_samples,), default=None",
        "Weights inside each domain: k is k repeats of the row, 0 its absence. See "
        '"Weights, copies and repeats" in the user guide.',
    ),
    "is_numerator": (
        "is_numerator : array-like of bool, shape (n_samples,)",
        "True where the row comes from the numerator's sample.",
    ),
    "log_ratio": (
        "log_ratio : array-like of float, shape (n_samples,)",
        "Log density ratio at each row, in nats.",
    ),
    "weight_in_domain": (
        "sample_weight : array-like of float, shape (n_samples,), default=None",
        "Weights, counted inside each domain.",
    ),
    "loss_errors": (
        "ValueError",
        "If the lengths differ, `is_numerator` holds anything but truth values, a log "
        "ratio is NaN, a weight is negative or not finite, or a domain has no row of "
        "positive weight.",
    ),
    "two_sizes": (
        "n_samples : int or pair of int, default=1000",
        "Rows of each sample, or ``(n_numerator, n_denominator)``.",
    ),
    "same_data": (
        "random_state : int, RandomState instance or None, default=None",
        "Pass an int for the same data on every call.",
    ),
    "shift": ("shift : Shift", "The samples and the true log ratio."),
    "return_X_y": (
        "return_X_y : bool, default=False",
        "Return ``(data, target)`` instead of a Bunch.",
    ),
    "as_frame": (
        "as_frame : bool, default=False",
        "Return the data as a pandas DataFrame and the target as a Series.",
    ),
    "no_such_file": (
        "ValueError",
        "If there is no file of the shape described.",
    ),
    "device": (
        'device : str, default="auto"',
        '"auto" trains on CUDA where there is one; or "cpu", "cuda", "cuda:1".',
    ),
    "callbacks": (
        "callbacks : list of skorch callbacks, default=None",
        "Called during training. For scikit-learn's own callbacks (1.9 and later) use "
        "``set_callbacks``; epochs are their tasks.",
    ),
    "random_state": (
        "random_state : int, RandomState instance or None, default=None",
        "Pass an int for the same result on every call. The global seeds of numpy and "
        "torch are neither read (unless this is None, numpy's) nor changed.",
    ),
    "classes_": (
        "classes_ : ndarray of shape (2,)",
        "The labels; the second is the numerator's.",
    ),
    "n_features_in_": ("n_features_in_ : int", "Number of features seen in fit."),
    "feature_names_in_": (
        "feature_names_in_ : ndarray of shape (n_features_in_,)",
        "Column names, where X had them.",
    ),
}

_LINE = re.compile(
    r"^(?P<indent> *)%\((?P<name>\w+)\)(?P<more>.*(?:\n(?P=indent) +\S.*)*)$",
    re.MULTILINE,
)
_WIDTH = 88


def _wrapped(text, indent):
    """Lines of words, broken at the width of the package's files."""
    lines, line = [], indent
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH and line.strip():
            lines.append(line)
            line = indent
        line += word if line == indent else " " + word
    return "\n".join([*lines, line])


def _filled(doc):
    def entry(match):
        header, text = SHARED[match["name"]]
        indent = match["indent"]
        text = f"{match['more'].strip()} {text}"
        return f"{indent}{header}\n{_wrapped(text, indent + '    ')}"

    return _LINE.sub(entry, doc)


def shared_docs(documented):
    """Decorate a function or a class: write the shared texts into its docstring.

    Parameters
    ----------
    documented : function or class
        Its docstring is changed; nothing happens where there is none.

    Returns
    -------
    documented : function or class
        The same object.

    Raises
    ------
    KeyError
        If the docstring names a text that :data:`SHARED` does not have.
    """
    if documented.__doc__:
        documented.__doc__ = _filled(documented.__doc__)
    return documented


def fill_class(cls):
    """Write the shared texts into the docstrings of a class and of its own methods."""
    shared_docs(cls)
    for name in vars(cls):
        method = getattr_static(cls, name)
        method = getattr(method, "__func__", method)
        if isfunction(method):
            shared_docs(method)
