"""What was tried, as a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

__all__ = ["Candidate", "CandidateTable"]

_HEADER = ("candidate", "held-out loss", "error", "weight", "seconds")


@dataclass(frozen=True)
class Candidate:
    """A line of the table.

    Attributes
    ----------
    name : str
    loss : float
        Balanced log loss at held-out rows, in nats; log(2) for knowing nothing.
    error : float
        Its standard error.
    weight : float
        Of its log ratio in the answer; 0 where it is not used.
    seconds : float
        What its fits took.
    """

    name: str
    loss: float
    error: float
    weight: float
    seconds: float

    @property
    def _shown(self):
        return (
            self.name,
            f"{self.loss:.4f}",
            f"{self.error:.4f}",
            f"{self.weight:.2f}" if self.weight else "",
            f"{self.seconds:.2f}",
        )


@dataclass(frozen=True)
class CandidateTable:
    """What :class:`skdre.AutoRatio` tried, in the order in which it did.

    Attributes
    ----------
    rows : list of Candidate
        With the attributes ``name``, ``loss``, ``error``, ``weight``, ``seconds``.
    """

    rows: list[Candidate]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Candidate:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_frame(self) -> Any:
        """The table as a pandas DataFrame, indexed by the names.

        Returns
        -------
        frame : pandas.DataFrame
            With the columns loss, error, weight and seconds.
        """
        import pandas as pd

        frame = pd.DataFrame([vars(row) for row in self.rows])
        return frame.set_index("name")

    def __str__(self) -> str:
        lines = [_HEADER, *(row._shown for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                [first.ljust(widths[0])]
                + [
                    each.rjust(width)
                    for each, width in zip(rest, widths[1:], strict=True)
                ]
            ).rstrip()
            for first, *rest in lines
        )

    def _repr_html_(self) -> str:
        def line(cells, tag):
            found = "".join(f"<{tag}>{escape(each)}</{tag}>" for each in cells)
            return f"<tr>{found}</tr>"

        body = "".join(line(row._shown, "td") for row in self.rows)
        return (
            f"<table><thead>{line(_HEADER, 'th')}</thead><tbody>{body}</tbody></table>"
        )
