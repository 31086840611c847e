"""Tables and files that the benchmarks write. Only the standard library is used."""

import csv
import os
import platform
import re
from pathlib import Path


def threads(number):
    """Environment variables that give every linear algebra library its threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(number))


def machine(n_threads):
    """The machine that the numbers depend on, in one sentence."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {os.cpu_count()} cores, {n_threads} threads."


def markdown(rows, headings):
    """A table in Markdown whose columns also line up on a screen.

    Parameters
    ----------
    rows : list of dict
        A missing value or None leaves its cell empty; a str is shown as it is.
    headings : dict
        Column name to (heading, format).
    """
    lines = [[heading for heading, _ in headings.values()]]
    for row in rows:
        line = []
        for name, (_, form) in headings.items():
            value = row.get(name, "")
            value = "" if value is None else value
            line.append(value if isinstance(value, str) else form.format(value))
        lines.append(line)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines
    )


def write_csv(path, rows):
    """Write dicts as rows; columns are those of all rows."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, dict.fromkeys(name for row in rows for name in row)
        )
        writer.writeheader()
        writer.writerows(rows)


def replace_block(path, name, text):
    """Put text between the comments ``<!-- name -->`` and ``<!-- /name -->``."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"({re.escape(start)}\n).*?({re.escape(end)})", re.DOTALL)
    page, count = pattern.subn(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", path.read_text())
    if count != 1:
        raise ValueError(
            f"{path} must hold one block {start} ... {end}, found {count}."
        )
    path.write_text(page)
