"""A handle on the process of one library, for the process that compares them."""

import os
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from typing import Any, NamedTuple

ENOUGH = 1e-2  # seconds of work in one measurement
PAUSE = 5e-3  # seconds between measurements, enough for spinning threads to go to sleep
PATIENCE = 900  # most seconds for a reply
# Makes the GNU allocator keep its memory. Memory that was returned to the system is allocated again page by page, which
# takes as long as several passes over it, and the time of the return is random.
MEMORY_KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


class Readiness(NamedTuple):
    """The properties of a prepared call.

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
    """Raised if a worker cannot handle a request; the text says why."""


class Worker:
    """A process with one library, connected by a pipe."""

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
        """Return the reply to a request: the name of a method of `process.Bench`, and its arguments."""
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
    """Return the environment variables that set the number of threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), "PYTHONWARNINGS": "ignore"}


def settle(threads: int) -> None:
    """Restart this program with the environment of `make bench` if it was started with another one."""
    settings = {**environment(threads), **MEMORY_KEPT}
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **settings})
