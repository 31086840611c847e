"""What the Displays share in drawing. matplotlib is imported inside functions only."""

from skdre._core.docs import fill_class

__all__ = ["COLORS", "Display", "add_diagonal", "add_legend", "new_axes", "styled"]

# Numerator and denominator: vermilion and blue of K. Okabe and M. Ito, "Color
# Universal Design", 2008, which are told apart with any colour vision.
COLORS = {"numerator": "#D55E00", "denominator": "#0072B2"}


def new_axes(ax, name):
    """The axes given, or new ones in a figure of their own."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{name}.plot requires matplotlib, which is not installed: pip install "
            "'skdre[plot]'."
        ) from error
    if ax is None:
        _, ax = plt.subplots()
    return ax


class Display:
    """What the Displays share: the texts of their docstrings, and where they draw."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        fill_class(cls)

    def _set_axes(self, ax):
        self.ax_ = new_axes(ax, type(self).__name__)
        self.figure_ = self.ax_.figure


def add_diagonal(ax):
    """Line of equal values, as long as the axes are."""
    return ax.axline((0, 0), slope=1, color="k", linestyle=":", linewidth=1)


def add_legend(ax, title):
    ax.legend(title=title, fontsize="small", title_fontsize="small")


def styled(defaults, given, artist):
    """Keywords of an artist: the defaults, overridden by those given.

    Those given may use the short names that the artist's class knows, such as ``lw``.
    """
    from matplotlib.cbook import normalize_kwargs

    return defaults | normalize_kwargs(given, artist)
