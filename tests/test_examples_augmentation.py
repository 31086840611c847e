"""The pieces of examples/papers/featurized/augmentation, and a tiny run."""

import importlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin

from skdre import DensityRatioMixin, make_pipeline, pool

torch = pytest.importorskip("torch")
pytest.importorskip("zuko")
Image = pytest.importorskip("PIL.Image")

FEATURIZED = Path(__file__).parents[1] / "examples/papers/featurized"


def load(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FEATURIZED / "augmentation")
        patch.syspath_prepend(FEATURIZED.parent / "dre_infinity")
        return importlib.import_module(name)


def png(ink):
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="module")
def drawings():
    """Bars whose place tells the character, a little elsewhere in each drawing."""
    rng = np.random.default_rng(0)
    ink = np.zeros((6, 20, 105, 105), bool)
    for character, pages in enumerate(ink):
        for page in pages:
            row, column = 14 * character + 8 + rng.integers(6), rng.integers(30)
            page[row : row + 8, column : column + 70] = True
    return ink


@pytest.fixture(scope="module")
def archives(drawings, tmp_path_factory):
    """Two archives that share a character."""
    folder = tmp_path_factory.mktemp("omniglot")
    for number, characters in ((1, range(4)), (2, range(3, 6))):
        with zipfile.ZipFile(folder / f"omniglot_{number}.zip", "w") as archive:
            for k in characters:
                for drawer, ink in enumerate(drawings[k], start=1):
                    name = f"images_{number}/Latin/character{k:02}/{k}_{drawer:02}.png"
                    archive.writestr(name, png(ink))
    return folder


class TestCharacters:
    def test_shared_characters_are_counted_once(self, archives, drawings):
        module = load("_omniglot")
        ink, names = module.load_characters([archives])
        assert names == [f"Latin/character{k:02}" for k in range(6)]
        np.testing.assert_array_equal(ink, drawings)
        one, names = module.load_characters([archives / "omniglot_2.zip"])
        assert len(names) == 3
        np.testing.assert_array_equal(one, drawings[3:])

    def test_what_is_no_archive(self, archives, tmp_path):
        module = load("_omniglot")
        with pytest.raises(ValueError, match="holds no omniglot"):
            module.load_characters([tmp_path])
        with zipfile.ZipFile(tmp_path / "omniglot_1.zip", "w") as archive:
            archive.writestr("readme.txt", "nothing")
        with pytest.raises(ValueError, match="hold no characters"):
            module.load_characters([tmp_path])
        with zipfile.ZipFile(tmp_path / "omniglot_1.zip", "w") as archive:
            for name in ("a/b/c/1_01.png", "a/b/c/1_02.png", "a/b/d/2_01.png"):
                archive.writestr(name, png(np.zeros((105, 105), bool)))
        with pytest.raises(ValueError, match="from 1 to 2"):
            module.load_characters([tmp_path])

    def test_split_by_drawer(self, drawings):
        parts = load("_omniglot").split_by_drawer(drawings)
        assert [len(part.y) for part in parts] == [60, 30, 30]
        pages_of = slice(10), slice(10, 15), slice(15, 20)
        for part, pages in zip(parts, pages_of, strict=True):
            for k in range(6):
                np.testing.assert_array_equal(part.ink[part.y == k], drawings[k, pages])


class TestRender:
    def test_means_of_blocks(self):
        """Where three points fall on each pixel of the drawing, nothing is blurred."""
        ink = torch.rand(2, 1, 84, 84, generator=torch.Generator().manual_seed(0))
        expected = ink.view(2, 28, 3, 28, 3).mean(dim=(2, 4))
        found = load("_dagan").render(ink)[:, 0]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)

    def test_displacement(self):
        """Ink comes from where the field points: first the column, then the row."""
        module = load("_dagan")
        ink = torch.rand(1, 1, 105, 105, generator=torch.Generator().manual_seed(0))
        still = module.render(ink)[0, 0]
        field = torch.zeros(1, 2, 4, 4)
        # Two pixels of 28, of a side that is 2 long.
        field[:, 0] = 2 * 2 / 28
        moved = module.render(ink, field)[0, 0]
        torch.testing.assert_close(moved[:, :-2], still[:, 2:], atol=1e-3, rtol=0)
        field = field.flip(1)
        moved = module.render(ink, field)[0, 0]
        torch.testing.assert_close(moved[:-2], still[2:], atol=1e-3, rtol=0)

    def test_rows(self, drawings):
        module = load("_dagan")
        rows = module.rendered(drawings[0])
        assert rows.dtype == np.uint8
        assert rows.shape == (20, 28 * 28)
        # The ink is all there, up to the ends of bars between two points.
        ink = drawings[0].mean(axis=(1, 2)) * 255
        np.testing.assert_allclose(rows.mean(axis=1), ink, rtol=0.1)


class TestGenerator:
    def test_pairs(self):
        y = np.array([2, 0, 0, 2, 0, 1, 1])
        draw = load("_dagan").PairDrawer(y, np.random.default_rng(0))
        first, second = draw(6000)
        np.testing.assert_array_equal(y[first], y[second])
        assert (first != second).all()
        pairs, counts = np.unique([first, second], axis=1, return_counts=True)
        # Six of class 0, two of each other class, the classes equally often.
        assert pairs.shape[1] == 10
        share = np.where(y[pairs[0]] == 0, 1 / 18, 1 / 6)
        np.testing.assert_allclose(counts / 6000, share, atol=0.02)
        with pytest.raises(ValueError, match="two rows"):
            load("_dagan").PairDrawer(np.array([0, 0, 1]), np.random.default_rng(0))

    @pytest.mark.parametrize("learner", ["generator", "critic"])
    def test_each_lowers_its_loss(self, drawings, learner):
        module = load("_dagan")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            networks = [kind(8) for kind in (module.Generator, module.Critic)]
            if learner == "generator":
                # In training the spectral norm itself moves from step to step.
                networks[1].eval()
            rates = (1e-2, 0.0) if learner == "generator" else (0.0, 1e-2)
            optimizers = [
                torch.optim.Adam(network.parameters(), lr=rate)
                for network, rate in zip(networks, rates, strict=True)
            ]
            ink = torch.tensor(drawings[:, :2], dtype=torch.float32)
            pairs = ink[:, :1], ink[:, 1:]
            losses = np.array(
                [module._step(*networks, pairs, optimizers) for _ in range(20)]
            )
        which = 0 if learner == "generator" else 1
        first, last = losses[:4, which], losses[-4:, which]
        assert last.max() < first.min() - 0.01

    def test_repeatable(self, drawings):
        module = load("_dagan")
        ink, y = drawings[:3, :5].reshape(-1, 105, 105), np.repeat(np.arange(3), 5)
        torch.manual_seed(1)
        state = torch.random.get_rng_state()
        made = []
        for seed in (0, 0, 1):
            generator = module.train_generator(
                ink, y, n_steps=3, width=8, batch_size=8, seed=seed
            )
            made.append(module.generate(generator, ink, seed=7))
        assert torch.equal(torch.random.get_rng_state(), state)
        np.testing.assert_array_equal(made[0], made[1])
        assert (made[0] != made[2]).any()
        # The noise counts, and so does the drawing.
        assert (module.generate(generator, ink, seed=8) != made[2]).any()
        assert made[2].shape == (15, 784)


class TestNetworks:
    def test_as_many_batches_as_asked_for(self):
        rows = torch.arange(10)
        for n_batches in (2, 8):
            loader = load("_networks").StepsLoader(
                rows, batch_size=3, n_batches=n_batches
            )
            batches = list(loader)
            assert [len(batch) for batch in batches] == [3] * n_batches
            _, counts = np.unique(torch.cat(batches), return_counts=True)
            assert counts.max() - counts.min() <= 1

    @pytest.fixture
    def rows(self):
        """Images that are dark above (class 0) or below (1)."""
        rng = np.random.default_rng(0)
        y = np.repeat([0, 1], 30)
        X = 0.3 * rng.random((60, 28, 28))
        X[:30, :14] += 0.5
        X[30:, 14:] += 0.5
        return X.reshape(60, -1), y

    @pytest.mark.parametrize("truth", [True, False])
    def test_weights_choose_the_labels_that_count(self, rows, truth):
        X, y = rows
        network = load("_networks").class_network(
            2, (X, y if truth else 1 - y), n_steps=40, width=8
        )
        weight = np.repeat([1.0, 0.0] if truth else [0.0, 1.0], 60)
        torch.manual_seed(1)
        state = torch.random.get_rng_state()
        both = np.tile(X, (2, 1)), np.concatenate([y, 1 - y])
        network.fit(*both, sample_weight=weight)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert np.mean(network.predict(X) == y) == (1.0 if truth else 0.0)
        if truth:
            again = load("_networks").class_network(2, (X, y), n_steps=40, width=8)
            again.fit(*both, sample_weight=weight)
            np.testing.assert_array_equal(
                again.predict_proba(X), network.predict_proba(X)
            )

    def test_loss(self, rows):
        network = (
            load("_networks").class_network(2, rows, n_steps=1, width=4).initialize()
        )
        scores = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        weight = torch.tensor([1.0, 3.0])
        loss = network.get_loss(scores, torch.tensor([0, 0]), {"weight": weight})
        expected = (np.log1p(np.exp(-2)) + 3 * np.log1p(np.exp(1))) / 2
        assert loss.item() == pytest.approx(expected, rel=1e-5)

    def test_keeps_the_best_look(self, rows, monkeypatch):
        X, y = rows
        module = load("_networks")
        monkeypatch.setattr(module, "LOOK_EVERY", 20)
        # Validation labels that training unlearns: the best look is not the last.
        noisy = np.where(np.arange(60) % 3, 1 - y, y)
        network = module.class_network(2, (X, noisy), n_steps=60, width=4).fit(X, y)
        looks = network.history[:, "valid_acc"]
        assert len(looks) == 3
        assert np.mean(network.predict(X) == noisy) == pytest.approx(max(looks))


def mixture(rng, n_rows, share_above):
    """Whole-number images, dark above with a given share, else below."""
    X = rng.integers(60, size=(n_rows, 28, 28))
    above = np.arange(n_rows) < share_above * n_rows
    X[above, :14] += 120
    X[~above, 14:] += 120
    return X.reshape(n_rows, -1).astype(np.uint8), above


class TestRatios:
    @pytest.mark.parametrize("space", ["x", "z"])
    def test_known_ratio(self, space):
        """80 % over 20 % of one kind, and the other way round of the other."""
        rng = np.random.default_rng(0)
        (real, _), (synthetic, _) = (mixture(rng, 400, s) for s in (0.8, 0.2))
        ratio = load("_ratios").make_ratio(
            space, n_steps=100, width=8, max_epochs=2, flow=(1, 8), seed=0
        )
        ratio.fit(*pool(numerator=real, denominator=synthetic))
        X, above = mixture(rng, 100, 0.5)
        found = ratio.decision_function(X)
        assert np.mean((found > 0) == above) > 0.95
        for kind, truth in ((above, np.log(4)), (~above, -np.log(4))):
            assert found[kind].mean() == pytest.approx(truth, abs=0.4)

    def test_apart(self):
        """Each part sees its half of both samples."""
        seen = {}

        class Features(TransformerMixin, BaseEstimator):
            def fit(self, X, y):
                seen["features"] = X.ravel(), y
                self.fitted_ = True
                return self

            def transform(self, X):
                return X + 100

        class Ratio(DensityRatioMixin, BaseEstimator):
            def fit(self, X, y):
                seen["ratio"] = X.ravel(), y
                self.fitted_ = True
                return self

            def decision_function(self, X):
                return X.ravel()

        fit_ratio = load("augmentation").fit_ratio
        numerator, denominator = np.arange(4.0)[:, None], np.arange(10.0, 16)[:, None]
        ratio = make_pipeline(Features(), Ratio())
        fitted = fit_ratio(ratio, numerator, denominator, apart=True)
        X, y = seen["features"]
        np.testing.assert_array_equal(X, [0, 2, 10, 12, 14])
        np.testing.assert_array_equal(y, [1, 1, 0, 0, 0])
        X, y = seen["ratio"]
        np.testing.assert_array_equal(X, [101, 103, 111, 113, 115])
        np.testing.assert_array_equal(y, [1, 1, 0, 0, 0])
        np.testing.assert_array_equal(fitted.decision_function(np.ones((1, 1))), [101])
        fit_ratio(ratio, numerator, denominator)
        assert len(seen["features"][0]) == len(seen["ratio"][0]) == 10

    def test_weights(self):
        ratio = np.array([0.5, 2.0, 32.0])
        weightings = load("_ratios").WEIGHTINGS
        np.testing.assert_allclose(
            weightings["self-normalised"](ratio), 3 * ratio / 34.5
        )
        np.testing.assert_allclose(weightings["flattened"](ratio), ratio**0.2)


@pytest.fixture(scope="module")
def experiment(drawings, tmp_path_factory):
    script = load("augmentation")
    parts = load("_omniglot").split_by_drawer(drawings)
    prefix = tmp_path_factory.mktemp("results") / "augmentation"
    return script.Experiment(parts, script.QUICK, prefix, "cpu")


class TestExperiment:
    def test_synthetic_rows(self, experiment):
        rows = experiment.synthetic(0, 12)
        np.testing.assert_array_equal(np.bincount(rows.y), [12] * 6)
        np.testing.assert_array_equal(rows.X, experiment.synthetic(0, 12).X)
        assert (rows.X != experiment.synthetic(1, 12).X).any()

    def test_training_rows(self, experiment):
        real, synthetic = experiment.training, experiment.synthetic(3)
        n = len(real.y)
        columns = load("augmentation").COLUMNS
        weighted = [name for name, column in columns.items() if column.space]
        for name in weighted:
            X, y, weight = experiment.training_rows(name, 3)
            np.testing.assert_array_equal(X[:n], np.float32(real.X) / 255)
            np.testing.assert_array_equal(X[n:], np.float32(synthetic.X) / 255)
            np.testing.assert_array_equal(y, np.concatenate([real.y, synthetic.y]))
            assert (weight[:n] == 1).all()
            column = columns[name]
            ratio = np.exp(experiment.ratio(column.space, 3)["log_ratio"])
            expected = ratio / ratio.mean()
            if "flattened" in name or "IW(z)" in name:
                expected = ratio**0.2
            if "self-normalised" in name:
                expected = ratio / ratio.mean()
            found = weight[n:]
            if name.endswith("permuted"):
                assert (found != expected).any()
                found, expected = np.sort(found), np.sort(expected)
            np.testing.assert_allclose(found, expected)
        assert len(weighted) == 9
        _, _, weight = experiment.training_rows("Mixture-only", 3)
        assert (weight == 1).all()
        assert len(weight) == n + len(synthetic.y)
        for column, rows in (("Data-only", real), ("Synthetic-only", synthetic)):
            X, y, weight = experiment.training_rows(column, 3)
            np.testing.assert_array_equal(X, np.float32(rows.X) / 255)
            np.testing.assert_array_equal(y, rows.y)
            assert (weight == 1).all()

    def test_what_is_done_is_read_again(self, experiment, monkeypatch):
        script = load("augmentation")
        first = experiment.ratio("x", 0)
        made = experiment.synthetic(0).X
        for name in ("make_ratio", "train_generator"):
            monkeypatch.setattr(script, name, None)
        again = script.Experiment(
            load("_omniglot").split_by_drawer(
                np.zeros((2, 20, 105, 105), bool), (10, 5, 5)
            ),
            script.QUICK,
            experiment.prefix,
            "cpu",
        )
        np.testing.assert_array_equal(
            again.ratio("x", 0)["log_ratio"], first["log_ratio"]
        )
        again.drawings = experiment.drawings
        np.testing.assert_array_equal(again.synthetic(0).X, made)


def test_tables():
    script = load("augmentation")
    columns = ["Data-only", "Mixture-only"]
    runs = pd.DataFrame(
        {
            "column": columns * 2,
            "seed": [0, 0, 1, 1],
            "accuracy": [0.5, 0.7, 0.6, 0.7],
            "validation_accuracy": 0.5,
            "rows": 10,
            "fit_seconds": 1.0,
        }
    )
    text = script.report(runs, [])
    lines = {
        line.split("|")[1].strip(): line for line in text.splitlines() if "|" in line
    }
    assert "0.550 ± 0.050 | 0.756 ± 0.001" in lines["Data-only"]
    assert "0.700 ± 0.000 | 0.767 ± 0.003" in lines["Mixture-only"]
    assert "+0.150 ± 0.050" in lines["Mixture-only - Data-only"]
    assert "Mixture + IW(x)" not in lines


def test_quick(archives, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib").use("agg")
    script = load("augmentation")
    arguments = ["--quick", "--data", str(archives), "--out", str(tmp_path)]
    script.main(arguments)
    printed = capsys.readouterr().out
    assert all(column in printed for column in script.COLUMNS)
    runs = pd.read_csv(tmp_path / "augmentation_quick.csv")
    assert runs["column"].tolist() == list(script.COLUMNS)
    assert (tmp_path / "augmentation_quick.png").stat().st_size > 5_000
    # Finished runs are not run again.
    monkeypatch.setattr(script.Experiment, "run", None)
    script.main(arguments)
    assert len(pd.read_csv(tmp_path / "augmentation_quick.csv")) == len(script.COLUMNS)
