"""Tables of pages that scripts have written, and numbers as a page has them."""

import re
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "Table", "listed", "rounded", "short", "spanned", "table"]

ROOT = Path(__file__).resolve().parents[2]


def cells(line):
    return [each.strip() for each in line.strip().strip("|").split("|")]


class Table:
    """Cells by the start of their line, several columns joined by ", ", and column."""

    def __init__(self, lines, n_keys):
        head, _, *rest = map(cells, lines)
        self.lines = {
            ", ".join(line[:n_keys]): dict(zip(head, line, strict=True))
            for line in rest
        }

    def text(self, line, column):
        return self.lines[line][column]

    def numbers(self, line, column):
        """All numbers of a cell: a mean and its error, as a rule."""
        found = re.findall(
            r"[-+]?(?:\d[\d,]*)?\.?\d+(?:e[-+]?\d+)?", self.text(line, column)
        )
        return [float(each.replace(",", "")) for each in found]

    def __getitem__(self, key):
        return self.numbers(*key)[0]

    def column(self, name, only=""):
        """First numbers of the lines that begin so."""
        return [self[line, name] for line in self.lines if line.startswith(only)]


@cache
def table(page, where, number=0, n_keys=1):
    """A table of a page: of a block of a name, or below a heading that begins so."""
    text = (ROOT / page).read_text()
    if (start := f"<!-- {where} -->") in text:
        text = text.split(start)[1].split(f"<!-- /{where} -->")[0]
    else:
        pattern = rf"^#+ {re.escape(where)}.*?$(.*?)(?=^# |^## |\Z)"
        text = re.search(pattern, text, re.MULTILINE | re.DOTALL)[1]
    found = [part.splitlines() for part in re.findall(r"(?:^\|.*\n?)+", text, re.M)]
    return Table(found[number], n_keys)


def short(value, digits=3):
    """As the page writes numbers: .439, -.002, 1.00."""
    return re.sub(r"^(-?)0\.(?=\d*[1-9])", r"\1.", f"{value:.{digits}f}")


def listed(values, digits=3):
    return ", ".join(short(each, digits) for each in values)


def spanned(values, digits=3):
    low, high = short(min(values), digits), short(max(values), digits)
    return low if low == high else f"{low} to {high}"


def rounded(value, digits=2):
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}g}")
