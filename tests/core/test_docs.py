"""Texts that docstrings share are written in where they are named."""

import inspect

import pytest

from skdre import KMMRatio
from skdre._core.docs import SHARED, fill_class, shared_docs


def test_entry_with_words_of_its_own():
    @shared_docs
    def function():
        """Do something.

        Parameters
        ----------
        %(random_state) Draws the centres of
            the kernels.
        other : int
            The next.
        %(y)
        """

    lines = function.__doc__.splitlines()
    at = lines.index(f"        {SHARED['random_state'][0]}")
    text = " ".join(
        line.strip() for line in lines[at + 1 : lines.index("        other : int")]
    )
    assert text == f"Draws the centres of the kernels. {SHARED['random_state'][1]}"
    assert all(line.startswith(" " * 12) for line in lines[at + 1 : at + 3])
    assert lines[-3:-1] == [
        f"        {SHARED['y'][0]}",
        f"            {SHARED['y'][1]}",
    ]
    assert max(map(len, lines)) <= 88


def test_unknown_text():
    with pytest.raises(KeyError, match="no_such_text"):

        @shared_docs
        def function():
            """Do something.

            %(no_such_text)
            """


def test_methods_of_a_class():
    class Documented:
        def fit(self):
            """%(y)"""

        @staticmethod
        def other():
            """%(y)"""

        def bare(self):
            pass

    fill_class(Documented)
    assert Documented.fit.__doc__ == Documented.other.__doc__ != "%(y)"
    assert Documented.bare.__doc__ is None


def test_estimators_elsewhere_keep_their_docstrings():
    class Mine(KMMRatio):
        """%(y)"""

    assert Mine.__doc__ == "%(y)"


def test_what_a_base_class_describes():
    class Base:
        """The one.

        Parameters
        ----------
        a, b : int
            Numbers, \
of some
            length.

        random_state : int
        """

    # As in a module, where the entries are indented by four.
    Base.__doc__ = inspect.cleandoc(Base.__doc__).replace("\n", "\n    ") + "\n    "
    Base.__module__ = "skdre.some"

    class Derived(Base):
        """The other.

        %(a) Beside
            others.
        %(y)
        """

    fill_class(Derived)
    assert inspect.cleandoc(Derived.__doc__).splitlines() == [
        "The other.",
        "",
        "a, b : int",
        "    Beside others. Numbers, of some length.",
        SHARED["y"][0],
        f"    {SHARED['y'][1]}",
    ]
