"""How fast training goes: seconds that count, and steps that a chunk takes."""

import time

_CHUNK_SECONDS = 0.1  # work between two looks at the clock, at progress and at commands


class Clock:
    """Seconds of training, earlier ones included, and whether the budget is used up. Pauses do not count."""

    def __init__(self, earlier: float, budget: float | None) -> None:
        self._start, self._budget = time.monotonic() - earlier, budget

    def now(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start

    def is_over(self) -> bool:
        """Whether there is no time left."""
        return self._budget is not None and self.now() >= self._budget

    def pause(self, seconds: float) -> None:
        """Waits; that does not count."""
        began = time.monotonic()
        time.sleep(seconds)
        self._start += time.monotonic() - began


class Pace:
    """How many steps a chunk takes, so that it takes about a tenth of a second; learned from chunk to chunk."""

    def __init__(self, parameters: int, batch_size: int) -> None:
        cautious = 1e-4 + 6e-9 * parameters * batch_size  # seconds a step: the call, and 1 GFLOP/s
        self.steps = max(1, int(_CHUNK_SECONDS / cautious))

    def took(self, steps: int, seconds: float) -> None:
        """Takes note of a chunk; the next one has at most four times its steps."""
        wanted = int(steps * _CHUNK_SECONDS / max(seconds, 1e-6))
        self.steps = max(1, min(wanted, 4 * self.steps))
