"""What users of scikit-learn expect of every estimator: names, frames and links."""

import sys
from pathlib import Path

import numpy as np
import pytest
from instances import make_instances, one_of_each
from sklearn.base import clone
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import _get_feature_names

from skdre import (
    Dequantizer,
    FlowFeaturizer,
    KMMRatio,
    make_pipeline,
)
from skdre.base import DOCUMENTATION_URL
from skdre.datasets import make_warped_shift
from skdre.utils import all_estimators

X, Y = make_warped_shift(60, 2, random_state=0).pool()

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*still (fell|rose):Warning"),
    pytest.mark.filterwarnings("ignore:.*separates"),
]


# --- links to the documentation ---------------------------------------------------


def documented():
    """Addresses of the pages of the API reference, as the build makes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "doc" / "_ext")
        from api_pages import public_api

        sys.modules.pop("api_pages")
    return {
        f"{DOCUMENTATION_URL}/generated/api/objects/{module}.{name}.html"
        for _, module, _, names in public_api()
        for name in names
    }


def test_html_representations_link_to_the_documentation():
    pages = documented()
    seen = set()
    for estimator in make_instances():
        link = estimator._get_doc_link()
        assert link in pages, type(estimator)
        assert link in estimator_html_repr(estimator)
        seen.add(type(estimator).__name__)
    assert seen == {name for name, _ in all_estimators()}


def test_classes_of_others_get_no_link_of_ours():
    class TheirRatio(KMMRatio):
        pass

    assert TheirRatio()._get_doc_link() == ""


def frames_of(library):
    """The library, if this scikit-learn reads the names of its columns."""
    frames = pytest.importorskip(library)
    if _get_feature_names(frames.DataFrame({"height": [1.0]})) is None:
        pytest.skip(f"scikit-learn reads no names from {library} {frames.__version__}")
    return frames


# --- set_output -------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_features_in_frames(library):
    frames = frames_of(library)
    frame = frames.DataFrame({"height": X[:, 0], "width": X[:, 1]})
    flow = (
        FlowFeaturizer("gaussian", random_state=0)
        .set_output(transform=library)
        .fit(frame, Y)
    )
    out = flow.transform(frame)
    assert isinstance(out, frames.DataFrame)
    assert list(out.columns) == list(flow.get_feature_names_out())
    np.testing.assert_allclose(
        out.to_numpy(),
        FlowFeaturizer("gaussian", random_state=0).fit(X, Y).transform(X),
    )
    # The frame is what the next step of a pipeline sees.
    ratio = make_pipeline(
        FlowFeaturizer("gaussian", random_state=0), KMMRatio(gamma=0.5)
    )
    ratio.set_output(transform=library).fit(frame, Y)
    assert list(ratio[-1].feature_names_in_) == list(out.columns)
    plain = clone(ratio).set_output(transform="default").fit(X, Y)
    np.testing.assert_allclose(
        ratio.decision_function(frame), plain.decision_function(X)
    )


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_pixels_in_frames(library):
    frames = frames_of(library)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 2))
    frame = frames.DataFrame({"left": pixels[:, 0], "right": pixels[:, 1]})
    out = Dequantizer(random_state=0).set_output(transform=library).fit_transform(frame)
    assert isinstance(out, frames.DataFrame)
    assert list(out.columns) == ["left", "right"]


# --- feature names ----------------------------------------------------------------


def ratios_and_transformers():
    """One instance of each class."""
    classes = one_of_each("ratio") | one_of_each("transformer")
    del classes["Dequantizer"]  # takes whole numbers only
    return [pytest.param(each, id=name) for name, each in classes.items()]


@pytest.mark.parametrize("estimator", ratios_and_transformers())
def test_feature_names_are_checked(estimator):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["height", "width"])
    fitted = clone(estimator).fit(frame, Y)
    assert list(fitted.feature_names_in_) == ["height", "width"]
    method = "transform" if hasattr(fitted, "transform") else "decision_function"
    predict = getattr(fitted, method)
    assert len(predict(frame)) == len(frame)
    with pytest.raises(ValueError, match=r"(?s)feature names.*order"):
        predict(frame[["width", "height"]])
    with pytest.raises(ValueError, match=r"(?s)feature names.*depth"):
        predict(frame.rename(columns={"width": "depth"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        predict(X)


def test_names_of_polars_frames():
    pl = frames_of("polars")
    frame = pl.DataFrame({"height": X[:, 0], "width": X[:, 1]})
    for fitted in (
        KMMRatio(gamma=0.5).fit(frame, Y),
        FlowFeaturizer("gaussian").fit(frame),
    ):
        rows = getattr(fitted, "transform", getattr(fitted, "decision_function", None))
        assert list(fitted.feature_names_in_) == ["height", "width"]
        with pytest.raises(ValueError, match=r"(?s)feature names.*order"):
            rows(frame.select("width", "height"))
