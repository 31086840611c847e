"""Texts that many docstrings share, written once.

A line ``%(name)`` of a docstring stands for an entry of :data:`SHARED`, at the
indentation of the line. What follows on the line and on deeper lines below it is set in
front of the entry's description:

    %(random_state) Draws the centres.

Estimators of the package are filled in when their classes are made
(:class:`skdre.base.DocumentedMixin`); there a line may also name what the docstring of
a base class describes. Other functions and classes are decorated with
:func:`shared_docs`.
"""

import re
from inspect import getattr_static, isfunction
from textwrap import fill

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
    "classes_of_stream": (
        "classes : array-like of shape (2,), default=None",
        "The two labels; needed in the first call if it has rows of one alone.",
    ),
    "decay": (
        "decay : float, default=1.0",
        "What the rows of earlier portions count for is multiplied by this in each "
        "call of ``partial_fit``: below 1 a drifting stream forgets its past, 0.9 in "
        "about ten portions. ``fit`` does without.",
    ),
    "groups": (
        "groups : array-like of shape (n_samples,), default=None",
        "What rows belong to that are no observations of their own, such as a "
        "customer, a day or an event: all rows of one lie in the same fold, and they "
        "count as one observation in standard errors.",
    ),
    "is_numerator": (
        "is_numerator : array-like of bool, shape (n_samples,)",
        "True where the row comes from the numerator's sample.",
    ),
    "log_ratio_of_rows": (
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
    "activation": (
        'activation : {"elu", "silu", "tanh"}, default="silu"',
        "Of the hidden layers.",
    ),
    "n_estimators": (
        "n_estimators : int, default=8",
        "Members of the ensemble. With k of them each trains on all but a k-th of the "
        "rows, but at least three quarters.",
    ),
    "max_iter": (
        "max_iter : int, default=2000",
        "Most training steps, one batch for each member.",
    ),
    "learning_rate": (
        "learning_rate : float, default=0.002",
        "Of AdamW, at the start; it falls to zero along a cosine over `max_iter`.",
    ),
    "weight_decay": ("weight_decay : float, default=0.001", "Of AdamW."),
    "patience": (
        "patience : int, default=400",
        "Steps in which no member's held-out loss gets better before training stops.",
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
    "loss_curve_": (
        "loss_curve_ : ndarray of shape (n_epochs,)",
        "Training loss, the mean over each 25 steps and all members, in nats.",
    ),
    "best_validation_score_": (
        "best_validation_score_ : float",
        "The same, of the weights that are kept.",
    ),
    "bounds_": (
        "bounds_ : ndarray of shape (2, n_features_in_)",
        "What absurd values of each column are drawn in to; infinite without any.",
    ),
    "standardize": (
        "standardize : bool, default=True",
        "Divide the columns by their within-class standard deviation first, so that "
        "the kernel does not depend on their units. Columns are centred in either "
        "case: where the origin lies changes nothing.",
    ),
    "center_scale": (
        "center_, scale_ : ndarray of shape (n_features,)",
        "Rows are standardised as (x - center_) / scale_. Without `standardize` the "
        "centre is the middle of the two samples' medians, and the scale 1.",
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
    # Functions of a ratio at held-out rows.
    "any_ratio": (
        "estimator : ratio estimator",
        "Any estimator of the contract, or a pipeline, search or ensemble of such.",
    ),
    "X_pool": (
        "X : array-like or DataFrame of shape (n_samples, n_features) or (n_samples,)",
        "Rows of both samples, see :func:`skdre.pool`; one dimension is a single "
        "column.",
    ),
    "cv_folds": (
        'cv : int, splitter or "prefit", default=5',
        "Folds, drawn at random within each domain if an int; a splitter must hold out "
        "every row once. In each a clone is fitted, whether or not the estimator is "
        'fitted. "prefit" takes the estimator as it is fitted; the rows given must '
        "then be others than those of its fit.",
    ),
    "n_jobs": (
        "n_jobs : int, default=None",
        "Folds that are fitted at the same time.",
    ),
    # Displays.
    "fitted_ratio": (
        "estimator : ratio estimator",
        "Fitted; or a pipeline or search that ends with one.",
    ),
    "counts": (
        "sample_weight : array-like of shape (n_samples,), default=None",
        "Repetition counts of the rows.",
    ),
    "log_ratio": (
        "log_ratio : array-like of shape (n_samples,)",
        "Log ratio at the rows, in nats.",
    ),
    "domain_classes": (
        "classes : array-like of shape (2,)",
        "Labels of the domains, the denominator's first.",
    ),
    "estimator_name": (
        "estimator_name : str, default=None",
        "Shown in the legend.",
    ),
    "legend_name": (
        "name : str, default=None",
        "Shown in the legend. None is the name of the estimator, where there is one.",
    ),
    "ax": (
        "ax : matplotlib.axes.Axes, default=None",
        "Where to draw; None is a new figure.",
    ),
    "ref_line": (
        "ref_line : bool, default=True",
        "Whether to draw the diagonal for comparison.",
    ),
}

_LINE = re.compile(
    r"^(?P<indent> *)%\((?P<name>\w+)\)(?P<more>.*(?:\n(?P=indent) +\S.*)*)$",
    re.MULTILINE,
)
_ENTRY = re.compile(
    r"^ {4}(?P<header>(?P<name>\w+)\b.* : .*)\n(?P<text>(?: {8}.*\n)+)", re.MULTILINE
)
_WIDTH = 88


def _wrapped(text, indent):
    """Lines, items of lists among them, broken at the width of the package's files."""
    return "\n".join(
        fill(
            line,
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent + "  " * line.startswith("* "),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.split("\n")
    )


def _unwrapped(text):
    """A description in one line, and one for each item of a list in it."""
    text = re.sub(r"\n +(?!\* )", " ", text.strip())
    return re.sub(r"\n +", "\n", text)


def _filled(doc, texts):
    def entry(match):
        header, text = texts[match["name"]]
        indent = match["indent"]
        text = " ".join([*match["more"].split(), text])
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
        documented.__doc__ = _filled(documented.__doc__, SHARED)
    return documented


def fill_class(cls):
    """Write the shared texts into the docstrings of a class and of its own methods."""
    described = {
        entry["name"]: (entry["header"], _unwrapped(entry["text"]))
        for base in reversed(cls.__mro__[1:])
        if base.__module__.startswith("skdre.")
        for entry in _ENTRY.finditer(base.__doc__ or "")
    }
    cls.__doc__ = cls.__doc__ and _filled(cls.__doc__, SHARED | described)
    for name in vars(cls):
        method = getattr_static(cls, name)
        method = getattr(method, "__func__", method)
        if isfunction(method):
            shared_docs(method)
