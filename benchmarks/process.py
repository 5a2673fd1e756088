"""The process of one library: it prepares, checks and times calls on requests from a pipe.

The environment and the set of cores fix the number of threads before any library with threads is imported.
"""

import contextlib
import gc
import importlib
import math
import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.worker import ENOUGH, Readiness


def pin(threads: int) -> None:
    """Restrict this process to as many cores as threads; this also limits libraries without a thread setting."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class Bench:
    """The prepared calls, by the name of their form."""

    def __init__(self, framework: str, device: str) -> None:
        self.library = importlib.import_module(f"benchmarks.contenders.{framework}")
        self.device = device
        self.calls: dict[str, Any] = {}
        self.inputs: tuple[Any, Any] = (None, None)

    def prepare(self, form: str, case: Any) -> Readiness | None:
        """Prepare a call for timing and check its result; return None if the library does not support the case."""
        from benchmarks import reference

        arrays = self._arrays(case)
        start = time.perf_counter()
        prepared = self.library.prepare(form, case, arrays, self.device)
        if prepared is None:
            return None
        result = prepared.call()
        first = time.perf_counter() - start
        parts = result if isinstance(result, tuple) else (result,)
        moved = sum(int(part.nbytes) for part in (*prepared.inputs, *parts))
        wrong = reference.verdict(case, arrays, self.library.to_numpy(result))
        self.calls[form] = prepared.call
        del result, parts
        seconds = min(self.time(form, 1) for _ in range(2))
        if seconds < ENOUGH:
            seconds = self.time(form, 10)
        return Readiness(seconds, first, wrong, prepared.note, moved)

    def _arrays(self, case: Any) -> Any:
        from benchmarks import cases

        of = (case.family, case.shape, case.dtype)
        if self.inputs[0] != of:
            self.inputs = (of, cases.inputs(case))
        return self.inputs[1]

    def time(self, form: str, count: int) -> float:
        """Return the seconds per call, over `count` calls."""
        call = self.calls.get(form)
        if call is None:
            raise LookupError("was lost with its process")
        for _ in range(math.ceil(count / 10) if count > 1 else 0):
            call()  # warms the caches, which are cold after the sleep
        gc.disable()
        try:
            return self.library.time_calls(call, count, self.device)
        finally:
            gc.enable()

    def release(self) -> None:
        """Forget the calls."""
        self.calls.clear()
        self.library.release()
        gc.collect()


def main() -> None:
    pipe, framework, threads, device = sys.argv[1:]
    pin(int(threads))
    connection: Connection[Any, Any] = Connection(int(pipe))
    bench: Bench | None = None
    with contextlib.suppress(EOFError):
        while True:
            name, *arguments = connection.recv()
            try:
                bench = bench or Bench(framework, device)
                connection.send((True, getattr(bench, name)(*arguments)))
            except Exception as error:
                text = str(error).strip().splitlines() or [""]
                connection.send((False, f"{type(error).__name__}: {text[0][:200]}"))


if __name__ == "__main__":
    main()
