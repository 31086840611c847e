import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_breast_cancer

from skdre.datasets import (
    Shift,
    load_blood_transfusion,
    load_breast_cancer_wisconsin,
    load_white_wine_quality,
    make_ring_shift,
    make_selection_shift,
    make_warped_shift,
)

WARPS = ["identity", "exp", "cubic", "sinh", "banana", "funnel"]
DATA = Path(__file__).parents[2] / "shared/data"
WISCONSIN = DATA / "breast-cancer-wisconsin.data"
BLOOD, WINE = DATA / "transfusion.data", DATA / "winequality-white.csv"


def warp_by_hand(warp, z):
    """One row of the definition of each warp, written out."""
    z1, z2, z3 = z
    return {
        "identity": [z1, z2, z3],
        "exp": [np.exp(1.5 * z1), np.exp(1.5 * z2), np.exp(1.5 * z3)],
        "cubic": [z1**3 + 0.1 * z1, z2**3 + 0.1 * z2, z3**3 + 0.1 * z3],
        "sinh": [np.sinh(2 * z1), np.sinh(2 * z2), np.sinh(2 * z3)],
        "banana": [z1, z2 + 3 * z1**2 - 3, z3],
        "funnel": [1.5 * z1, z2 * np.exp(1.5 * z1), z3 * np.exp(1.5 * z1)],
    }[warp]


@pytest.mark.parametrize("warp", WARPS)
def test_rows_are_the_warped_latent_rows(warp):
    shift = make_warped_shift((40, 30), 3, warp=warp, random_state=0)
    for x, z in (
        (shift.numerator, shift.latent_numerator),
        (shift.denominator, shift.latent_denominator),
    ):
        np.testing.assert_allclose(x, [warp_by_hand(warp, row) for row in z])
        np.testing.assert_allclose(shift.inverse(x), z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("warp", WARPS)
def test_log_ratio_against_the_densities_of_x(warp):
    """Both densities of x by change of variables, the Jacobian by differences."""
    shift = make_warped_shift(30, 3, warp=warp, mean_shift=1.3, random_state=0)

    def log_density(x, mean):
        scale = 1e-6 * np.maximum(np.abs(x), 1e-3)
        columns = [
            (shift.inverse(x[None] + h) - shift.inverse(x[None] - h))[0] / (2 * h.sum())
            for h in np.diag(scale)
        ]
        log_determinant = np.linalg.slogdet(np.array(columns).T)[1]
        latent = multivariate_normal(np.full(3, mean))
        return latent.logpdf(shift.inverse(x[None])[0]) + log_determinant

    X = np.concatenate([shift.numerator, shift.denominator])
    mean = 1.3 / np.sqrt(3)
    expected = [log_density(x, mean) - log_density(x, 0) for x in X]
    np.testing.assert_allclose(shift.log_ratio(X), expected, rtol=1e-8, atol=1e-10)
    assert np.ptp(expected) > 1


@pytest.mark.parametrize("warp", WARPS)
def test_ratio_turns_the_denominator_into_the_numerator(warp):
    """Shares of p in regions of x-space, from rows of q weighted by the ratio."""
    shift = make_warped_shift(100_000, 2, warp=warp, random_state=0)
    ratio = np.exp(shift.log_ratio(shift.denominator))
    quantiles = np.quantile(shift.denominator, [0.4, 0.6, 0.8], axis=0)
    for bound in quantiles:
        in_p = (shift.numerator <= bound).all(axis=1)
        in_q = (shift.denominator <= bound).all(axis=1)
        error = np.sqrt(((ratio * in_q).var() + in_p.var()) / 100_000)
        assert abs((ratio * in_q).mean() - in_p.mean()) < 5 * error
        # The region tells p from q: equal shares could not fail.
        assert abs(in_q.mean() - in_p.mean()) > 20 * error


@pytest.mark.parametrize("warp", WARPS)
def test_mean_of_the_ratio_over_the_denominator_is_one(warp):
    shift = make_warped_shift(100_000, 2, warp=warp, random_state=0)
    ratio = np.exp(shift.log_ratio(shift.denominator))
    # Five standard errors: under q the ratio has variance e - 1.
    assert abs(ratio.mean() - 1) < 5 * np.sqrt((np.e - 1) / 100_000)
    inverse_ratio = np.exp(-shift.log_ratio(shift.numerator))
    assert abs(inverse_ratio.mean() - 1) < 5 * np.sqrt((np.e - 1) / 100_000)


def test_cubic_density_of_one_column():
    """The density of x under q from the latent one, against numerical derivatives."""
    shift = make_warped_shift(2000, 1, warp="cubic", random_state=0)
    x = np.linspace(-20, 20, 41)[:, None]
    z = shift.inverse(x)
    np.testing.assert_allclose(z**3 + 0.1 * z, x, rtol=1e-12, atol=1e-14)
    # The distribution function of x under q is that of z.
    share = (shift.denominator <= x[:, 0][:, None].T).mean(axis=0)
    assert np.max(np.abs(share - norm.cdf(z[:, 0]))) < 1.63 / np.sqrt(2000)


def test_latent_moments():
    shift = make_warped_shift((40_000, 20_000), 5, mean_shift=2.0, random_state=0)
    p, q = shift.latent_numerator, shift.latent_denominator
    assert p.shape == (40_000, 5)
    assert q.shape == (20_000, 5)
    np.testing.assert_allclose(p.mean(axis=0), 2 / np.sqrt(5), atol=0.03)
    np.testing.assert_allclose(q.mean(axis=0), 0, atol=0.03)
    for z in (p, q):
        np.testing.assert_allclose(np.cov(z.T), np.eye(5), atol=0.05)


def test_warps_share_the_latent_rows_and_the_seed_decides():
    shifts = [make_warped_shift(20, 2, warp=warp, random_state=3) for warp in WARPS]
    for shift in shifts[1:]:
        np.testing.assert_array_equal(
            shift.latent_numerator, shifts[0].latent_numerator
        )
    again = make_warped_shift(20, 2, random_state=3)
    np.testing.assert_array_equal(again.denominator, shifts[0].denominator)
    other = make_warped_shift(20, 2, random_state=4)
    assert not np.isin(other.denominator, again.denominator).any()


def test_shift_is_pickled_pooled_and_frozen():
    shift = make_warped_shift((5, 7), 2, warp="funnel", random_state=0)
    copy = pickle.loads(pickle.dumps(shift))
    X, y = copy.pool()
    np.testing.assert_array_equal(X[y == 1], shift.numerator)
    np.testing.assert_array_equal(X[y == 0], shift.denominator)
    np.testing.assert_array_equal(copy.log_ratio(X), shift.log_ratio(X))
    with pytest.raises(AttributeError):
        shift.numerator = X


def test_shift_holds_other_distributions():
    """A shift without a latent space, as later data sets have."""
    rows = np.array([[0.5], [1.0]])
    shift = Shift(rows, rows, rows, rows, np.positive, lambda z: -z[:, 0])
    np.testing.assert_allclose(shift.log_ratio(rows), [-0.5, -1.0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_samples": 0}, "n_samples"),
        ({"n_samples": (3, 0)}, "n_samples"),
        ({"n_samples": (1, 2, 3)}, "n_samples"),
        ({"n_samples": 2.5}, "n_samples"),
        ({"n_features": 0}, "n_features"),
        ({"warp": "spiral"}, "warp"),
        ({"warp": "banana", "n_features": 1}, "n_features must be at least 2"),
        ({"warp": "funnel", "n_features": 1}, "n_features must be at least 2"),
        ({"mean_shift": -1.0}, "mean_shift"),
        ({"random_state": "a"}, "random_state"),
    ],
)
def test_warped_shift_rejects(params, message):
    with pytest.raises(ValueError, match=message):
        make_warped_shift(**params)


def test_log_ratio_rejects():
    shift = make_warped_shift(10, 2, warp="exp", random_state=0)
    with pytest.raises(ValueError, match=r"X has 3 features.* shift has 2"):
        shift.log_ratio(np.ones((1, 3)))
    with pytest.raises(ValueError, match="outside the support"):
        shift.log_ratio([[1.0, -1.0]])
    with pytest.raises(ValueError, match="NaN"):
        shift.log_ratio([[1.0, np.nan]])


@pytest.fixture(scope="module")
def diagnostic():
    return load_breast_cancer(return_X_y=True)


def test_selection_takes_the_rows_apart(diagnostic):
    X, y = diagnostic
    shift = make_selection_shift(X, y, score=0, strength=-2, random_state=0)
    source, target = shift.source_index, shift.target_index
    assert len(target) == round(len(X) / 2)
    assert not np.isin(source, target).any()
    assert len(np.unique(source)) == len(source) < len(X) - len(target)
    np.testing.assert_array_equal(shift.X_source, X[source])
    np.testing.assert_array_equal(shift.y_source, y[source])
    np.testing.assert_array_equal(shift.X_target, X[target])
    np.testing.assert_array_equal(shift.y_target, y[target])
    pooled, domain = shift.pool()
    np.testing.assert_array_equal(pooled[domain == 1], shift.X_target)


def test_selection_keeps_rows_with_the_stated_probability():
    X = np.random.default_rng(0).normal(size=(200_000, 1))
    shift = make_selection_shift(
        X, X[:, 0], score=0, strength=-1.5, target_fraction=0.3, random_state=1
    )
    assert len(shift.target_index) == 60_000
    edges = np.linspace(-2, 2, 9)
    rest = np.setdiff1d(np.arange(len(X)), shift.target_index)
    of_rest, of_source = (
        np.histogram(X[rows, 0], edges)[0] for rows in (rest, shift.source_index)
    )
    middle = (edges[1:] + edges[:-1]) / 2
    np.testing.assert_allclose(
        of_source / of_rest, 1 / (1 + np.exp(1.5 * middle)), atol=0.02
    )


def test_selection_log_ratio_turns_the_source_into_the_target():
    X = np.random.default_rng(0).normal(size=(200_000, 2))
    shift = make_selection_shift(X, X[:, 0], score=1, strength=1.5, random_state=1)
    weight = np.exp(shift.source_log_ratio)
    assert abs(weight.mean() - 1) < 0.02
    unweighted = shift.X_source.mean(axis=0)
    weighted = np.average(shift.X_source, axis=0, weights=weight)
    assert unweighted[1] > 0.4
    np.testing.assert_allclose(weighted, shift.X_target.mean(axis=0), atol=0.03)
    inverse = np.exp(-shift.target_log_ratio)
    np.testing.assert_allclose(
        np.average(shift.X_target, axis=0, weights=inverse), unweighted, atol=0.03
    )


def test_selection_does_not_look_at_y(diagnostic):
    X, y = diagnostic
    one = make_selection_shift(X, y, score=0, random_state=0)
    other = make_selection_shift(X, 1 - y, score=0, random_state=0)
    np.testing.assert_array_equal(one.source_index, other.source_index)


def test_selection_by_name_and_by_values(diagnostic):
    pytest.importorskip("pandas")
    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X, _ = diagnostic
    by_name = make_selection_shift(frame, y, score="mean radius", random_state=0)
    by_position = make_selection_shift(X, y, score=0, random_state=0)
    by_values = make_selection_shift(X, y, score=X[:, 0], random_state=0)
    for shift in (by_position, by_values):
        np.testing.assert_array_equal(shift.source_index, by_name.source_index)
    assert list(by_name.X_source.columns) == list(frame.columns)
    assert list(by_name.pool()[0].columns) == list(frame.columns)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"score": np.ones(569)}, "score must be finite"),
        ({"score": np.ones(3)}, "score must hold one value for each of the 569 rows"),
        ({"score": np.r_[np.nan, np.arange(568)]}, "score must be finite"),
        ({"strength": np.inf}, "strength"),
        ({"target_fraction": 0.0}, "target_fraction"),
        ({"target_fraction": 1e-6}, "No row is left for the target"),
        ({"target_fraction": 1 - 1e-6}, "No row is left for the source"),
        ({"y": np.ones(3)}, "inconsistent numbers of samples"),
        ({"score": 30}, "score=30 names no column of X: X has 30 columns"),
        ({"score": -31}, "score=-31 names no column"),
        ({"score": "radius"}, "score='radius' names no column"),
        ({"score": True}, "score=True names no column"),
        ({"score": [1j] * 569}, "score must give a number for each row"),
        ({"score": ["a"] * 569}, "score must give a number for each row"),
        ({"score": np.ma.masked_array(np.arange(569), [1] + [0] * 568)}, "score is a"),
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, "X must have two rows at least"),
    ],
)
def test_selection_rejects(diagnostic, params, message):
    X, y = diagnostic
    with pytest.raises(ValueError, match=message):
        make_selection_shift(**{"X": X, "y": y, "score": 0, **params})


def test_selection_names_a_column_of_a_frame():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"a": np.arange(40.0), "b": ["u", "v"] * 20})
    X["day"] = pd.Timestamp("2020-01-01")
    y = np.arange(40)
    for score in ("a", 0, -3):
        shift = make_selection_shift(X, y, score=score, random_state=0)
        assert shift.X_source["a"].mean() > shift.X_target["a"].mean()
    for score, message in (
        ("c", r"'c' names no column of X: X has 3 columns, \['a', 'b', 'day'\]"),
        ("b", "score='b' must give a number for each row: could not convert"),
        ("day", "score='day' must give a number for each row: its dtype is datetime"),
    ):
        with pytest.raises(ValueError, match=message):
            make_selection_shift(X, y, score=score)


@pytest.mark.parametrize("make", [make_warped_shift, make_ring_shift])
@pytest.mark.parametrize("bad", [-1, 0, 1.5, True, "a", None])
def test_sizes(make, bad):
    for sizes in (bad, (5, bad), (bad, 5)):
        with pytest.raises(ValueError, match="n_samples"):
            make(sizes)
    with pytest.raises(ValueError, match="n_features"):
        make(5, bad)


LOADERS = [
    load_blood_transfusion,
    load_breast_cancer_wisconsin,
    load_white_wine_quality,
]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.filterwarnings("error")
def test_files_that_are_none_of_theirs(load, tmp_path):
    path = tmp_path / "file.csv"
    with pytest.raises(FileNotFoundError, match=r"path must name a file.*file.csv"):
        load(path)
    with pytest.raises(ValueError, match=r"path must name a file.*folder"):
        load(tmp_path)
    for content in (b"", b"\n\n", b"a,b\nc,d\n", b"1,2\n3\n", bytes(range(256))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="path must name a"):
            load(path)
    for bad in (5, b"file.csv", ["file.csv"], True):
        with pytest.raises((TypeError, ValueError), match="path"):
            load(bad)
    # A hole where there is none in the data set.
    lines = {
        load_blood_transfusion: "h\n1,2,x,4,0\n1,2,3,4,1\n",
        load_breast_cancer_wisconsin: "7,x,2,3,4,5,6,7,8,9,2\n7,1,2,3,4,5,6,7,8,9,4\n",
        load_white_wine_quality: "1" + ";1" * 10 + ";5\n1;x" + ";1" * 9 + ";5\n",
    }
    path.write_text(lines[load])
    with pytest.raises(ValueError, match="path must name a"):
        load(path)


needs_file = pytest.mark.skipif(not WISCONSIN.exists(), reason="no data file")


@needs_file
def test_wisconsin_file():
    data = load_breast_cancer_wisconsin(WISCONSIN)
    assert data.data.shape == (683, 9)
    assert len(data.feature_names) == 9
    assert data.data.min() == 1
    assert data.data.max() == 10
    # The counts of the repository's description, less the 16 incomplete rows.
    assert np.bincount(data.target).tolist() == [444, 239]
    assert data.target_names.tolist() == ["benign", "malignant"]
    assert data.frame is None
    # Malignant cells are graded higher on every feature.
    assert (
        data.data[data.target == 1].mean(0) > data.data[data.target == 0].mean(0)
    ).all()


@needs_file
def test_wisconsin_missing_rows():
    X, y = load_breast_cancer_wisconsin(str(WISCONSIN), missing="keep", return_X_y=True)
    assert X.shape == (699, 9)
    assert np.isnan(X).sum(axis=0).tolist() == [0, 0, 0, 0, 0, 16, 0, 0, 0]
    assert np.bincount(y).tolist() == [458, 241]


@needs_file
def test_wisconsin_frame():
    pytest.importorskip("pandas")
    data = load_breast_cancer_wisconsin(WISCONSIN, as_frame=True)
    assert list(data.data.columns) == data.feature_names
    assert data.frame.shape == (683, 10)
    X, y = load_breast_cancer_wisconsin(WISCONSIN, as_frame=True, return_X_y=True)
    assert X.equals(data.data)
    assert y.equals(data.target)


@needs_file
def test_wisconsin_from_openml_is_the_file(monkeypatch):
    X, y = load_breast_cancer_wisconsin(WISCONSIN, missing="keep", return_X_y=True)

    def fetch_openml(*, data_id, return_X_y, as_frame, parser):
        assert data_id == 15
        return X, np.where(y == 1, "malignant", "benign").astype(object)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    fetched, target = load_breast_cancer_wisconsin(missing="keep", return_X_y=True)
    np.testing.assert_array_equal(fetched, X)
    np.testing.assert_array_equal(target, y)


def test_wisconsin_rejects(tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match="path must name a CSV file of 11 columns"):
        load_breast_cancer_wisconsin(other)
    with pytest.raises(FileNotFoundError):
        load_breast_cancer_wisconsin(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="missing"):
        load_breast_cancer_wisconsin(other, missing="mean")


needs_blood = pytest.mark.skipif(not BLOOD.exists(), reason="no data file")
needs_wine = pytest.mark.skipif(not WINE.exists(), reason="no data file")


@needs_blood
def test_blood_transfusion_file():
    data = load_blood_transfusion(BLOOD)
    X, y = data.data, data.target
    assert X.shape == (748, 4)
    assert data.feature_names == ["recency", "frequency", "monetary", "time"]
    # The counts of the repository's description.
    assert np.bincount(y).tolist() == [570, 178]
    np.testing.assert_array_equal(X[0], [2, 50, 12500, 98])
    np.testing.assert_array_equal(X[:, 2], 250 * X[:, 1])
    assert data.frame is None
    # Those who gave blood lately give again.
    assert X[y == 1, 0].mean() < X[y == 0, 0].mean()


@needs_wine
def test_white_wine_quality_file():
    data = load_white_wine_quality(WINE)
    X, y = data.data, data.target
    assert X.shape == (4898, 11)
    assert np.bincount(y).tolist() == [0, 0, 0, 20, 163, 1457, 2198, 880, 175, 5]
    assert data.target_names.tolist() == ["3", "4", "5", "6", "7", "8", "9"]
    alcohol = X[:, data.feature_names.index("alcohol")]
    assert alcohol.min() == 8
    assert np.corrcoef(alcohol, y)[0, 1] > 0.4


@needs_wine
def test_white_wine_quality_as_the_repository_has_it(tmp_path):
    rows = WINE.read_text().splitlines()
    header = ";".join(f'"column {number}"' for number in range(12))
    other = tmp_path / "winequality-white.csv"
    other.write_text("\n".join([header, *rows]).replace(",", ";"))
    for found, expected in zip(
        load_white_wine_quality(other, return_X_y=True),
        load_white_wine_quality(WINE, return_X_y=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


@needs_blood
@needs_wine
@pytest.mark.parametrize(
    ("load", "path", "data_id", "as_fetched"),
    [
        (load_blood_transfusion, BLOOD, 1464, lambda y: y + 1),
        (load_white_wine_quality, WINE, 40498, lambda y: y - 2),
    ],
)
def test_openml_is_the_file(load, path, data_id, as_fetched, monkeypatch):
    X, y = load(path, return_X_y=True)

    def fetch_openml(**parameters):
        assert parameters["data_id"] == data_id
        assert not parameters["as_frame"]
        return X, as_fetched(y).astype(str).astype(object)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    fetched, target = load(return_X_y=True)
    np.testing.assert_array_equal(fetched, X)
    np.testing.assert_array_equal(target, y)


@needs_blood
@needs_wine
@pytest.mark.parametrize(
    ("load", "path"), [(load_blood_transfusion, BLOOD), (load_white_wine_quality, WINE)]
)
def test_real_data_as_frame(load, path):
    pytest.importorskip("pandas")
    data = load(path, as_frame=True)
    assert list(data.data.columns) == data.feature_names
    assert list(data.frame.columns) == [*data.feature_names, "target"]
    X, y = load(path, return_X_y=True)
    np.testing.assert_array_equal(data.data, X)
    np.testing.assert_array_equal(data.target, y)


@pytest.mark.parametrize(
    ("load", "n_columns"), [(load_blood_transfusion, 5), (load_white_wine_quality, 12)]
)
def test_real_data_rejects(load, n_columns, tmp_path):
    other = tmp_path / "other.csv"
    for text in ("1,2,3\n4,5,6\n", 3 * (",".join(["0.5"] * n_columns) + "\n")):
        other.write_text(text)
        with pytest.raises(ValueError, match=f"CSV file of {n_columns} columns"):
            load(other)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="as_frame"):
        load(other, as_frame="yes")
