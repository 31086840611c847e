"""Real data sets, from a file or from OpenML."""

import warnings
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skdre._compat import StrOptions, validate_params
from skdre._core.docs import shared_docs

_WISCONSIN_FEATURES = (
    "clump_thickness",
    "cell_size_uniformity",
    "cell_shape_uniformity",
    "marginal_adhesion",
    "single_epithelial_cell_size",
    "bare_nuclei",
    "bland_chromatin",
    "normal_nucleoli",
    "mitoses",
)


@shared_docs
@validate_params(
    {
        "path": [str, PathLike, None],
        "missing": [StrOptions({"drop", "keep"})],
        "return_X_y": ["boolean"],
        "as_frame": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_breast_cancer_wisconsin(
    path: str | PathLike[str] | None = None,
    *,
    missing: str = "drop",
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load the breast cancer Wisconsin (Original) data set.

    699 biopsies, nine cytological grades from 1 to 10 each, benign or malignant. It is
    the older set of nine features [1]_, not the Diagnostic one of thirty that
    :func:`sklearn.datasets.load_breast_cancer` loads.

    Parameters
    ----------
    path : str or path-like, default=None
        The file ``breast-cancer-wisconsin.data`` of the UCI repository (CSV without
        header: id, nine features, class 2 or 4). By default the data are fetched from
        OpenML (set 15, "breast-w") and cached there.
    missing : {"drop", "keep"}, default="drop"
        What becomes of the 16 rows without ``bare_nuclei``: left out, which leaves 683
        rows, or kept with NaN.
    %(return_X_y)
    %(as_frame)

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` of shape (683, 9), ``target`` of shape (683,), 0 benign and 1
        malignant, ``feature_names``, ``target_names`` and ``frame``, a DataFrame of
        data and target or None; or ``(data, target)`` if `return_X_y`.

    Raises
    ------
    %(no_such_file)

    References
    ----------
    .. [1] Wolberg and Mangasarian, "Multisurface method of pattern separation for
       medical diagnosis applied to breast cytology", PNAS 87 (1990).

    Examples
    --------
    >>> from skdre.datasets import load_breast_cancer_wisconsin
    >>> data = load_breast_cancer_wisconsin()  # doctest: +SKIP
    >>> data.data.shape  # doctest: +SKIP
    (683, 9)
    """
    data, target = _fetch_wisconsin() if path is None else _read_wisconsin(path)
    if missing == "drop":
        complete = ~np.isnan(data).any(axis=1)
        data, target = data[complete], target[complete]
    return _returned(
        data,
        target,
        _WISCONSIN_FEATURES,
        ["benign", "malignant"],
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def _read_wisconsin(path):
    table = _read_table(path, missing_values="?")
    n_columns = len(_WISCONSIN_FEATURES) + 2
    if table.shape[1] != n_columns or not np.isin(table[:, -1], (2, 4)).all():
        raise ValueError(
            f"path must name a CSV file of {n_columns} columns, id, nine features and "
            f"class 2 or 4, got a table of shape {table.shape} from {path}."
        )
    data = table[:, 1:-1]
    _check_numbers(data, path, may_miss=[_WISCONSIN_FEATURES.index("bare_nuclei")])
    return data, (table[:, -1] == 4).astype(int)


def _fetch_wisconsin():
    data, target = _fetch(15)
    return data, (target == "malignant").astype(int)


_BLOOD_FEATURES = ("recency", "frequency", "monetary", "time")


@shared_docs
@validate_params(
    {
        "path": [str, PathLike, None],
        "return_X_y": ["boolean"],
        "as_frame": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_blood_transfusion(
    path: str | PathLike[str] | None = None,
    *,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load the Blood Transfusion Service Center data set.

    748 blood donors [1]_: months since the last donation (recency), number of
    donations (frequency), blood given in c.c. (monetary, 250 times the frequency) and
    months since the first donation (time); and whether they gave blood in March 2007.

    Parameters
    ----------
    path : str or path-like, default=None
        The file ``transfusion.data`` of the UCI repository (CSV, one line of header).
        By default the data are fetched from OpenML (set 1464,
        "blood-transfusion-service-center") and cached there.
    %(return_X_y)
    %(as_frame)

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` of shape (748, 4), ``target`` of shape (748,), 1 where blood was
        given and 0 elsewhere, ``feature_names``, ``target_names`` and ``frame``, a
        DataFrame of data and target or None; or ``(data, target)`` if `return_X_y`.

    Raises
    ------
    %(no_such_file)

    References
    ----------
    .. [1] Yeh, Yang and Ting, "Knowledge discovery on RFM model using Bernoulli
       sequence", Expert Systems with Applications 36 (2009).

    Examples
    --------
    >>> from skdre.datasets import load_blood_transfusion
    >>> load_blood_transfusion().data.shape  # doctest: +SKIP
    (748, 4)
    """
    if path is None:
        data, target = _fetch(1464)
        target = (target == "2").astype(int)
    else:
        table = _read_table(path, skip_header=1)
        if table.shape[1] != 5 or not np.isin(table[:, -1], (0, 1)).all():
            raise ValueError(
                "path must name a CSV file of 5 columns with a header, four features "
                f"and 0 or 1, got a table of shape {table.shape} from {path}."
            )
        data, target = table[:, :-1], table[:, -1].astype(int)
        _check_numbers(data, path)
    return _returned(
        data,
        target,
        _BLOOD_FEATURES,
        ["none given", "given"],
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


_WINE_FEATURES = (
    "fixed_acidity",
    "volatile_acidity",
    "citric_acid",
    "residual_sugar",
    "chlorides",
    "free_sulfur_dioxide",
    "total_sulfur_dioxide",
    "density",
    "pH",
    "sulphates",
    "alcohol",
)


@shared_docs
@validate_params(
    {
        "path": [str, PathLike, None],
        "return_X_y": ["boolean"],
        "as_frame": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_white_wine_quality(
    path: str | PathLike[str] | None = None,
    *,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load the white wines of the Wine Quality data set.

    4898 Portuguese white wines [1]_, eleven physical and chemical measurements of each
    and its quality by taste. :func:`sklearn.datasets.load_wine` loads another set.

    Parameters
    ----------
    path : str or path-like, default=None
        The file ``winequality-white.csv`` of the UCI repository, separated by
        semicolons or commas, with or without its line of header. By default the data
        are fetched from OpenML (set 40498, "wine-quality-white") and cached there.
    %(return_X_y)
    %(as_frame)

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` of shape (4898, 11), ``target`` of shape (4898,), the quality, an
        integer from 3 to 9, ``feature_names``, ``target_names`` (the grades) and
        ``frame``, a DataFrame of data and target or None; or ``(data, target)`` if
        `return_X_y`.

    Raises
    ------
    %(no_such_file)

    References
    ----------
    .. [1] Cortez, Cerdeira, Almeida, Matos and Reis, "Modeling wine preferences by
       data mining from physicochemical properties", Decision Support Systems 47 (2009).

    Examples
    --------
    >>> from skdre.datasets import load_white_wine_quality
    >>> load_white_wine_quality().data.shape  # doctest: +SKIP
    (4898, 11)
    """
    if path is None:
        data, target = _fetch(40498)
        # OpenML numbers the grades that occur, 3 to 9, from 1.
        target = target.astype(int) + 2
    else:
        with _reading(path), open(path) as file:
            first = file.readline()
        header = first[:1].isalpha() or first.startswith('"')
        delimiter = ";" if ";" in first else ","
        table = _read_table(path, delimiter=delimiter, skip_header=int(header))
        n_columns = len(_WINE_FEATURES) + 1
        if table.shape[1] != n_columns or not np.isin(table[:, -1], range(11)).all():
            raise ValueError(
                f"path must name a CSV file of {n_columns} columns, eleven features "
                f"and a quality from 0 to 10, got a table of shape {table.shape} from "
                f"{path}."
            )
        data, target = table[:, :-1], table[:, -1].astype(int)
        _check_numbers(data, path)
    return _returned(
        data,
        target,
        _WINE_FEATURES,
        [str(grade) for grade in range(3, 10)],
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


class _NoFileError(FileNotFoundError, ValueError):
    """The argument `path` names no file: an error of a file and of an argument."""


@contextmanager
def _reading(path):
    """Say in words what is wrong with a file."""
    try:
        yield
    except FileNotFoundError as error:
        raise _NoFileError(
            f"path must name a file, but there is no {path!r}."
        ) from error
    except IsADirectoryError as error:
        raise ValueError(f"path must name a file, but {path!r} is a folder.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"path must name a text file, which {path} is not.") from error


def _read_table(path, *, delimiter=",", skip_header=0, missing_values=None):
    with _reading(path), open(path) as file, warnings.catch_warnings():
        # An empty file is a table of the wrong shape.
        warnings.filterwarnings("ignore", "genfromtxt: Empty input", UserWarning)
        try:
            return np.genfromtxt(
                file,
                delimiter=delimiter,
                skip_header=skip_header,
                missing_values=missing_values,
                ndmin=2,
            )
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            raise ValueError(
                "path must name a CSV file whose lines have as many columns each, "
                f"which {path} is not: {error}"
            ) from error


def _check_numbers(data, path, *, may_miss=()):
    """Refuse a table with entries that are no numbers, which are read as NaN."""
    missing = np.isnan(data)
    missing[:, list(may_miss)] = False
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise ValueError(
            f"path must name a file of numbers, but {path} has none in row {row} and "
            f"column {column} of its features, counted from 0."
        )


def _fetch(data_id):
    from sklearn.datasets import fetch_openml

    data, target = fetch_openml(
        data_id=data_id, return_X_y=True, as_frame=False, parser="liac-arff"
    )
    return data.astype(np.float64), target


def _returned(data, target, feature_names, target_names, *, return_X_y, as_frame):
    """What a loader returns, in the form asked for."""
    feature_names = list(feature_names)
    frame = None
    if as_frame:
        import pandas as pd

        frame = pd.DataFrame(data, columns=feature_names)
        frame["target"] = target
        data, target = frame[feature_names], frame["target"]
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=feature_names,
        target_names=np.array(target_names),
    )
