"""A process with one library, as the process that compares them sees it."""

import os
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from typing import Any, NamedTuple

ENOUGH = 1e-2  # seconds of work in one measurement
PAUSE = 5e-3  # seconds between measurements, after which threads that spin while they wait have gone to sleep
PATIENCE = 900  # seconds that a reply may take
# For the GNU allocator. Memory that went back to the system is got again page by page, which takes as long as several
# passes over it; and which process gives what back when is chance.
MEMORY_KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


class Readiness(NamedTuple):
    """What is known of a prepared call.

    seconds: Of one call.
    compiled: Seconds of its preparation and first call.
    wrong: What is wrong with its result, or "".
    note: What a reader of its times should know.
    moved: Bytes that it reads and writes at least.
    """

    seconds: float
    compiled: float
    wrong: str
    note: str
    moved: int


class Failure(Exception):
    """A worker could not do what it was told; the text says why."""


class Worker:
    """A process with one library, at the other end of a pipe."""

    def __init__(self, framework: str, threads: int, device: str, **variables: str) -> None:
        self.arguments = (framework, threads, device)
        self.variables = variables
        self._start()

    def _start(self) -> None:
        framework, threads, device = self.arguments
        self.connection, theirs = Pipe()
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.process", str(theirs.fileno()), framework, str(threads), device],
            env={**os.environ, **environment(threads), **MEMORY_KEPT, **self.variables},
            pass_fds=[theirs.fileno()],
            stdout=self.errors,
            stderr=self.errors,
        )
        theirs.close()

    def ask(self, *request: Any) -> Any:
        """Return the reply to a request, the name of a method of `process.Bench` and its arguments."""
        try:
            self.connection.send(request)
            if not self.connection.poll(PATIENCE):
                raise EOFError
            succeeded, reply = self.connection.recv()
        except (EOFError, OSError):
            last = self._last_words()
            self.stop()
            self._start()
            raise Failure(f"died: {last}" if last else "died or took too long") from None
        if not succeeded:
            raise Failure(reply)
        return reply

    def _last_words(self) -> str:
        self.errors.seek(0)
        return ([line.strip() for line in self.errors.read().splitlines() if line.strip()] or [""])[-1]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()
        self.errors.close()


def environment(threads: int) -> dict[str, str]:
    """Return the variables that settle the number of threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), "PYTHONWARNINGS": "ignore"}


def settle(threads: int) -> None:
    """Begin this program again where it has other settings than `make bench`, which have to be there from the start."""
    settings = {**environment(threads), **MEMORY_KEPT}
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **settings})
