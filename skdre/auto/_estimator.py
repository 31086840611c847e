"""AutoRatio: the held-out rows weigh the candidates."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skdre._compat import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skdre._core.columns import named_columns, refuse_times
from skdre._core.frames import is_frame
from skdre._core.groups import group_codes
from skdre._core.inner import fit_weighted
from skdre._core.samples import PooledRows, warn_of_separating_columns
from skdre._core.scales import column_scales
from skdre._core.seeds import draw_seed, give_seeds
from skdre._core.tasks import inner_fit
from skdre._core.types import Floats, RandomState, Rows, Values
from skdre.auto._bridges import form_of_bridges
from skdre.auto._candidates import NormalScoresRatio, default_candidates, normal_scores
from skdre.auto._columns import learn_columns
from skdre.auto._cross_fit import CrossFit, Manner, cross_fit, mean_log_ratio
from skdre.auto._decide import Decision, Trial, best_losses, decide, is_worth_a_try
from skdre.auto._folds import deal
from skdre.auto._intervals import IntervalMixin
from skdre.auto._report import report
from skdre.auto._spread import evidence_of, spread_of
from skdre.auto._table import Candidate, CandidateTable
from skdre.base import (
    DensityRatioMixin,
    check_is_ratio,
    check_pool,
    distinct_rows,
)
from skdre.classification import GaussianRatio
from skdre.waymarks import TelescopingRatio

__all__ = ["AutoRatio"]


@dataclass(frozen=True)
class Forms:
    """How the candidates take a table.

    Attributes
    ----------
    columns : skdre.auto._columns.Columns
    marginals : object or None
        Maps of the plain columns to a normal.
    """

    columns: Any
    marginals: Any

    def __call__(self, coded):
        """Rows by form: "coded" with NaN for trees, "plain", and "normal"."""
        forms = {"coded": coded, "plain": self.columns.plain(coded)}
        if self.marginals is not None:
            # They go by ranks, which no absurd value can own.
            whole = self.columns.drawn_in().plain(coded)
            forms["normal"] = self.marginals.forward(whole)[0]
        return forms


def form_and_estimator(estimator):
    """The form of the table that a candidate takes, and what is fitted to it."""
    if type(estimator) is NormalScoresRatio:
        return "normal", estimator.estimator
    takes_nan = hasattr(estimator, "__sklearn_tags__") and (
        estimator.__sklearn_tags__().input_tags.allow_nan
    )
    return ("coded" if takes_nan else "plain"), estimator


class AutoRatio(
    IntervalMixin,
    DensityRatioMixin,
    MetaEstimatorMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """Density ratio by what held-out rows speak for.

    Fits simple and flexible estimators, each so that every row is told by fits that
    have not seen it, and takes the one with the least loss at these rows, or a mixture
    where that is clearly better; where nothing tells the samples apart the log ratio is
    0. Takes numbers, truth values, categories, words and missing
    values.

    Parameters
    ----------
    candidates : "auto" or list of (str, ratio estimator), default="auto"
        What is tried, the simplest first; "auto" is
        :meth:`AutoRatio.default_candidates`, a list to be changed at will. A log ratio
        of 0 is always tried.
    cv : int, cross-validation generator or iterable, default=5
        Folds, at least 2, None for 5: each holds out its share of the observations.
        Fewer where a sample has fewer. Of other splits the test rows are held out.
    n_jobs : int, default=None
        Folds of a candidate to fit at the same time, as in scikit-learn: None is one
        unless in a ``joblib.parallel_config``, -1 all cores. The result is the same;
        networks are trained as one anyway.
    time_budget : float, default=None
        Seconds after which no further candidate is begun, and the one at hand stops:
        networks with the 25 steps that they are in and boosting with the trees that it
        has, and others are left out. The first is always fitted to its end.
    verbose : int, default=0
        Above 0, print a line for each candidate.
    random_state : int, RandomState instance or None, default=None
        Of the candidates that have none of their own.

    Attributes
    ----------
    report_ : str
        What was found, in a few sentences.
    candidates_ : CandidateTable
        What was tried: name, held-out loss and its standard error in nats, weight in
        the answer, seconds. ``candidates_.to_frame()`` is a DataFrame.
    choice_ : str
        Name of the candidate with the largest weight; "constant" for a log ratio of 0.
    weights_ : dict of str to float
        Weights of the candidates that are used; they sum to 1, or to less where the
        constant has the rest.
    estimators_ : dict of str to list
        The fits of those that are used, of each fold one, or one whose members are.
    divergence_ : float
        Half the sum of the two Kullback-Leibler divergences, in nats, as the answer has
        it at held-out rows.
    bounds_ : ndarray of shape (2, n_features_in_)
        What absurd values of each column are drawn in to; infinite without any.
    %(classes_)
    %(n_features_in_)
    %(feature_names_in_)

    See Also
    --------
    skdre.inspection.CandidatesDisplay : A picture of ``candidates_``.
    skdre.ClassifierRatio : A ratio of any classifier, as a candidate for example.
    skdre.JackknifeRatio : Intervals for any other ratio.

    Notes
    -----
    **How it decides.** Each row is held out once. The simplest candidate is taken, the
    first of the list, whose class-balanced log loss there is within half a standard
    error of the smallest; or a mixture of several log ratios, with weights that
    minimise that loss, where it is better than all of them by two standard errors. All
    errors are those of the difference. What is not better than a log ratio of 0 by 1.5
    of them is left for that. Nothing is fitted again: the log ratio is the mean over
    the fits of the folds. Networks hold out a fold in each member anyway, so they are
    fitted once. Boosting without early stopping of its own is stopped where its loss
    over all folds is least, or where more trees would not bring it up to the best so
    far.

    **What is left out.** A network is tried either on the columns as they are or on
    normal scores, wherever the plug-in and RuLSIF are better; of more than 5,000 rows
    RuLSIF too, and a candidate whose first fold is worse than the best so far by three
    standard errors is not fitted to the others. Of more than 50,000 rows each fit sees
    two of the five folds, none its own. Quadratic logistic regression is tried on up to
    20 columns.

    **Samples that lie apart.** RuLSIF is left out where half the symmetric divergence,
    as the best candidate so far has it, is above 2.5 nats. Telescoping is tried only
    above 1 nat, with a member for each fold at least: on normal scores if a column has
    heavy tails within a sample, else on the columns as they are.

    The log loss says little of the size of a log ratio where samples lie apart. So
    telescoping is taken if it is better than the Gaussian plug-in by two standard
    errors of their losses on the bridges, unless something else has the smaller log
    loss by three. Otherwise the plug-in is taken above 2.5 nats, with the same
    exception. The plug-in in the other form, of which the bridges say nothing, is left
    where it has the least log loss.

    **Intervals.** ``log_ratio_std`` and ``ratio_interval`` cost no fit: the spread is
    that of the fits of the folds, and the misfit and the support are those of their
    held-out rows, as in :class:`skdre.JackknifeRatio`. That has four times as many
    fits, and narrower intervals by a fifth. Where the constant is chosen, the interval
    allows for what the best candidate would say.

    **What exceeds `time_budget`.** The first candidate, and a fit that is neither of
    networks nor of boosting: that of one fold, or of as many as `n_jobs` says. Boosting
    may exceed it by what it grows at once in a fold, 40 trees or as many as it has.

    **Folds.** Copies of a row share a fold unless it is made of discrete values alone,
    whose repeats are observations; so do rows of one of `groups`.

    **Tables.** Words and categories are columns of categories. Trees get them as such,
    and missing values as they are; all others get a column for each level with ten rows
    or more, thirty levels at most, medians in place of missing numbers, and indicators
    of these. A level never seen in fit counts as a rare one. Dates have to be made
    numbers first.

    **Size.** A saved model holds what is used only, the best candidate beside a
    constant: a network of ten members about
    .75 MB, telescoping of five .4 MB; five boostings .3 to 1 MB; five fits of anything
    else 10 to 50 kB (ten columns, some thousands of rows).

    References
    ----------
    .. [1] M. J. van der Laan, E. C. Polley, A. E. Hubbard. "Super Learner", Statistical
       Applications in Genetics and Molecular Biology 6, 2007.
    .. [2] B. Rhodes, K. Xu, M. Gutmann. "Telescoping Density-Ratio Estimation",
       NeurIPS 2020.

    Examples
    --------
    >>> from skdre import AutoRatio, GaussianRatio, LSIFRatio
    >>> from skdre.datasets import make_warped_shift
    >>> X, y = make_warped_shift(200, 2, random_state=0).pool()
    >>> candidates = [("plug-in", GaussianRatio()), ("RuLSIF", LSIFRatio(alpha=0.1))]
    >>> ratio = AutoRatio(candidates, random_state=0).fit(X, y)
    >>> ratio.choice_
    'plug-in'
    """

    _parameter_constraints = {  # noqa: RUF012
        "candidates": [StrOptions({"auto"}), list, tuple],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
        "time_budget": [Interval(Real, 0, None, closed="neither"), None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        candidates: str | Sequence[tuple[str, Any]] = "auto",
        *,
        cv: Any = 5,
        n_jobs: int | None = None,
        time_budget: float | None = None,
        verbose: int = 0,
        random_state: RandomState = None,
    ) -> None:
        self.candidates = candidates
        self.cv = cv
        self.n_jobs = n_jobs
        self.time_budget = time_budget
        self.verbose = verbose
        self.random_state = random_state

    default_candidates = staticmethod(default_candidates)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    @with_callbacks
    # A given estimator validates its own parameters when it is fitted.
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Rows,
        y: Values,
        sample_weight: Values | None = None,
        groups: Values | None = None,
    ) -> "AutoRatio":
        """Fit the candidates, and weigh them.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows of both samples: numbers, truth values, categories, words, missing
            values; no infinite ones.
        y : array-like of shape (n_samples,)
            Domain labels, two values; the greater names the numerator.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights inside each domain: k is k repeats of the row, 0 its absence. See
            "Weights, copies and repeats" in the user guide.
        %(groups)

        Returns
        -------
        self : AutoRatio

        Raises
        ------
        ValueError
            If the input or a parameter is not as described, or a sample has fewer
            groups than there are folds.

        Warns
        -----
        UserWarning
            If absurd values of a column are drawn in, or a column by itself tells the
            samples apart.
        """
        began = time.perf_counter()
        candidates = self._check_candidates()
        table: Any = _as_frame(X)
        given = check_pool(self, table, y, sample_weight, **_check_params(table))
        names = list(table.columns) if is_frame(table) else None
        with named_columns(table):
            columns, rows, values = _prepare(given, table, names)
        shares, held_out = deal(
            rows,
            5 if self.cv is None else self.cv,
            given,
            group_codes(groups, len(values)),
        )
        rng = check_random_state(self.random_state)
        coded = values[rows.index]
        marginals = None
        if any(type(each) is NormalScoresRatio for _, each in candidates):
            marginals = normal_scores(_pooled(columns.drawn_in().plain(coded), rows))
        forms = Forms(columns, marginals)
        inputs = forms(coded)
        data = {"X": X, "y": y}
        root = self._init_callback_context(max_subtasks=None)
        root.call_on_fit_task_begin(estimator=self, **data)

        def run(estimator, task_name):
            return inner_fit(root, self, estimator, task_name, **data)

        if shares is None:
            trials, decision = _fit_of_a_single_row(inputs, rows, run)
        else:
            trials = self._try(
                candidates,
                inputs,
                rows,
                shares,
                held_out,
                rng,
                Manner(
                    run,
                    columns.categorical,
                    self.n_jobs,
                    began + (self.time_budget or np.inf),
                    cluster=held_out.cluster_of_rows(len(rows.index)),
                ),
            )
            decision = decide(trials, held_out, (inputs, rows, shares, rng))
        used = [
            (each, w) for each, w in zip(trials, decision.weights, strict=True) if w
        ]
        if not used or any(each.form == "plain" for each, _ in used):
            _warn_of_absurd_values(columns, coded, rows, names)
        validate_data(self, table, skip_check_array=True)
        self.classes_ = given.classes
        self.weights_ = {each.name: float(weight) for each, weight in used}
        self.estimators_ = {each.name: each.fit.models for each, _ in used}
        self.choice_ = (
            max(self.weights_, key=lambda name: self.weights_[name])
            if used
            else "constant"
        )
        self.divergence_ = decision.divergence
        self.candidates_ = _table(trials, decision.weights, held_out)
        self.report_ = report(
            decision, [each.name for each in trials], columns, coded, rows
        )
        self.bounds_ = np.array(
            [
                [each.low for each in columns.columns],
                [each.high for each in columns.columns],
            ]
        )
        self._forms = forms
        self._form_of = {each.name: each.form for each, _ in used}
        self._evidence, self._fits = None, []
        if shares is not None:
            self._evidence, self._fits = evidence_of(
                trials, decision.weights, (inputs["plain"], rows, shares, held_out)
            )
        root.call_on_fit_task_end(
            estimator=self, reconstruction_attributes=dict, **data
        )
        return self

    def _check_candidates(self):
        """Name and estimator of each, checked before anything is fitted."""
        if isinstance(self.candidates, str):
            return default_candidates()
        pairs = list(self.candidates)
        if not pairs or not all(
            isinstance(each, tuple | list)
            and len(each) == 2
            and isinstance(each[0], str)
            for each in pairs
        ):
            raise ValueError(
                "candidates must be 'auto' or a list of (name, ratio estimator), got "
                f"{self.candidates!r}."
            )
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names) or "constant" in names:
            raise ValueError(
                "The names of candidates must differ, and none may be 'constant', got "
                f"{names}."
            )
        for name, each in pairs:
            inner = each.estimator if type(each) is NormalScoresRatio else each
            check_is_ratio(inner, f"candidates[{name!r}]")
        return pairs

    def _try(self, candidates, inputs, rows, shares, held_out, rng, manner):
        """Fit one candidate after the other, while there is time."""
        trials, bridges = [], None
        given_forms = [form_and_estimator(each) for _, each in candidates]
        if len({form for form, each in given_forms if _has_bridges(each)}) > 1:
            bridges = form_of_bridges(inputs["plain"], rows.is_numerator, rows.weight)
        for (name, _), (form, estimator) in zip(candidates, given_forms, strict=True):
            seed = draw_seed(rng)
            if trials and manner.is_late:
                continue
            X = inputs[form]
            if not is_worth_a_try(
                estimator, form, trials, held_out, bridges, X.shape[1]
            ):
                continue
            best = best_losses(trials, held_out)
            # The first is fitted to its end, for there has to be an answer.
            deadline = manner.deadline if trials else np.inf
            start = time.perf_counter()
            with warnings.catch_warnings():
                # Of what is one candidate of many, and judged at held-out rows.
                warnings.simplefilter("ignore")
                fit = cross_fit(
                    give_seeds(
                        clone(estimator), np.random.RandomState(seed), replace=False
                    ),
                    X,
                    rows,
                    shares,
                    held_out,
                    replace(manner, best=best, deadline=deadline),
                )
            seconds = time.perf_counter() - start
            if fit is not None:
                trials.append(Trial(name, estimator, form, fit, seconds))
            if self.verbose:
                print(f"{name}: {_said_of(fit, held_out)}, {seconds:.2f} s")
        return trials

    def decision_function(self, X: Rows) -> Floats:
        """Logarithm of the density ratio at the rows of X.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_ratio : ndarray of shape (n_samples,)
            In nats, finite.
        """
        return self._log_ratio(self._inputs(X))

    def _inputs(self, X):
        """Rows in the forms that the candidates take."""
        check_is_fitted(self)
        X = _as_frame(X)
        values = self._validate_rows(X, **_check_params(X))
        with named_columns(X):
            return self._forms(self._forms.columns.coded(values))

    def _log_ratio(self, inputs):
        log_ratio = np.zeros(len(inputs["plain"]))
        for name, weight in self.weights_.items():
            models, form = self.estimators_[name], self._form_of[name]
            log_ratio += weight * mean_log_ratio(models, inputs[form])
        return log_ratio

    def _spread(self, X):
        inputs = self._inputs(X)
        return spread_of(self._log_ratio(inputs), self._fits, self._evidence, inputs)


def _said_of(fit, held_out):
    if fit is None:
        return "not fitted to its end"
    return f"held-out loss {held_out.loss(fit.log_ratio):.4f} nats"


def _has_bridges(estimator):
    return isinstance(estimator, TelescopingRatio)


def _as_frame(X):
    """Tables of pyarrow as data frames, anything else as it is."""
    if hasattr(type(X), "column_names") and hasattr(X, "to_pandas"):
        X = X.to_pandas()
    if is_frame(X):
        refuse_times(X)
    return X


def _check_params(X):
    is_words = not is_frame(X) and np.asarray(X).dtype.kind in "OSU"
    return {
        "dtype": None if is_frame(X) or is_words else np.float64,
        "ensure_all_finite": "allow-nan",
    }


def _pooled(X, rows):
    n_denominator = int((~rows.is_numerator).sum())
    return PooledRows(X, rows.weight, rows.is_atom, n_denominator)


def _prepare(given, X, names):
    """Columns, distinct rows and coded values of a table, absurd values drawn in."""
    rows = distinct_rows(given)
    columns = learn_columns(given.X, X, rows, names)
    plain = _pooled(columns.plain(columns.coded(given.X[rows.index])), rows)
    named = columns.plain_names if names or not columns.are_plain else None
    warn_of_separating_columns(*(part for part, _ in plain.samples()), named)
    # Once for all folds: one that holds out all absurd values knows none.
    columns = columns.drawn_in(column_scales(plain.samples(), named, warn=False))
    coded = columns.coded(given.X)
    if columns.categorical.any():
        # Rows that only rare levels told apart are one.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = distinct_rows(replace(given, X=coded))
    return columns, rows, coded


def _warn_of_absurd_values(columns, coded, rows, names):
    """The warning of what plain columns are drawn in to, where they are used."""
    named = columns.plain_names if names or not columns.are_plain else None
    plain = columns.drawn_in().plain(coded)
    column_scales(_pooled(plain, rows).samples(), named)


def _fit_of_a_single_row(inputs, rows, run):
    """The plug-in alone, where no row can be held out."""
    estimator = GaussianRatio()
    with run(estimator, "fit"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit_weighted(estimator, inputs["plain"], rows.is_numerator, rows.weight, "")
    fit = CrossFit([estimator], np.empty(0))
    trial = Trial("Gaussian plug-in", estimator, "plain", fit, 0.0)
    return [trial], Decision(np.ones(1), np.nan, "single row", np.nan, np.nan)


def _table(trials, weights, held_out):
    if held_out is None:
        return CandidateTable([Candidate(trials[0].name, np.nan, np.nan, 1.0, 0.0)])
    lines = [Candidate("constant", float(np.log(2)), 0.0, 1 - float(sum(weights)), 0.0)]
    for trial, weight in zip(trials, weights, strict=True):
        loss, error = held_out.mean_and_error(held_out.losses(trial.fit.log_ratio))
        lines.append(Candidate(trial.name, loss, error, float(weight), trial.seconds))
    return CandidateTable(lines)
