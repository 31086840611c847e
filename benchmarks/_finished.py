"""A file of finished runs, so that a benchmark can be stopped and go on."""

import csv

import pandas as pd

__all__ = ["Runs"]


class Runs:
    """Rows of a CSV file, one for each finished run, which is not run again.

    Parameters
    ----------
    path : Path
        The file; it need not be there.
    keys : sequence of str
        Columns that name a run.
    columns : sequence of str
        Columns of its results.
    """

    def __init__(self, path, keys, columns):
        self.path, self.keys, self.columns = path, list(keys), list(columns)
        self._finished = set()
        if path.exists():
            found = pd.read_csv(path)
            expected = self.keys + self.columns
            if list(found.columns) != expected:
                raise ValueError(
                    f"{path} has columns {list(found.columns)}, and {expected} are "
                    "wanted: move it away, or give another folder with --out."
                )
            self._finished = set(map(tuple, found[self.keys].astype(str).to_numpy()))

    def _key(self, run):
        return tuple(str(run[name]) for name in self.keys)

    def __contains__(self, run):
        return self._key(run) in self._finished

    def add(self, run):
        """Append a run, a dict of all columns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.keys + self.columns)
            if is_new:
                writer.writeheader()
            writer.writerow(run)
        self._finished.add(self._key(run))

    def frame(self):
        """All runs as a DataFrame, with no rows where there are none."""
        if not self.path.exists():
            return pd.DataFrame(columns=self.keys + self.columns)
        return pd.read_csv(self.path)
