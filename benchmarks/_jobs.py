"""A contender's process in its own environment, which answers one job after another."""

import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path

import _report
import numpy as np
import peers

HERE = Path(__file__).resolve().parent


class Worker:
    """The parent's side of ``peers/_serve.py``; a context manager.

    Parameters
    ----------
    environment : str
        A peer, or "skdre".
    script : str
        File name in ``peers/``.
    *arguments : str
        Of the script.
    threads : int
        Of the linear algebra.

    Attributes
    ----------
    versions : dict
        Of the packages that the contender uses; empty if it could not be started.
    """

    def __init__(self, environment, script, *arguments, threads):
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
        # Closed by __exit__.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                str(peers.python(environment)),
                str(HERE / "peers" / script),
                *arguments,
            ],
            env=os.environ | _report.threads(threads) | quiet,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.versions = self._read(None).get("versions", {})

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def ask(self, timeout=None, **job):
        """The answer to a job, or a "note" on why there is none.

        Parameters
        ----------
        timeout : float, default=None
            Seconds after which the process is ended; later jobs get the note as well.
        **job : dict
            With "options" of the contender.

        Returns
        -------
        answer : dict
            With the arrays that were stored, by their names.
        """
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder) / "result.npz"
            try:
                line = json.dumps(job | {"result": str(result)})
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                return {"note": self._last_words()}
            answer = self._read(timeout)
            if result.exists():
                with np.load(result) as arrays:
                    answer |= dict(arrays)
        return answer

    def _read(self, timeout):
        timer = threading.Timer(timeout or threading.TIMEOUT_MAX, self._process.kill)
        timer.daemon = True
        timer.start()
        line = self._process.stdout.readline()
        is_late = not timer.is_alive()
        timer.cancel()
        if line:
            return json.loads(line)
        self._process.wait()
        return {"note": f"over {timeout:g} s" if is_late else self._last_words()}

    def _last_words(self):
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["killed"])[-1]
