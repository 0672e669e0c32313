"""What this machine can do at best: fused multiply-adds, and bytes read from a cache or from memory.

The kernels are compiled for the processor they run on, by `cc` or what CC names, and last a few hundredths of a second.
"""

import ctypes
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

_SOURCE = """
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float vector __attribute__((vector_size(4 * LANES)));
enum { CHAINS = 12 }; /* enough to hide the latency, few enough for 16 registers */

static float sum(const vector *chains) {
  vector all = {0};
  for (int i = 0; i < CHAINS; i++) all += chains[i];
  float total = 0;
  for (int i = 0; i < LANES; i++) total += all[i];
  return total;
}

long operations_a_round(void) { return 2L * LANES * CHAINS; }

float multiply_add(long rounds, float factor, float addend) {
  vector chains[CHAINS];
  for (int i = 0; i < CHAINS; i++) chains[i] = (float)i + (vector){0}; /* all different, or the compiler keeps one */
  const vector a = factor + (vector){0}, b = addend + (vector){0};
  for (long round = 0; round < rounds; round++)
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) chains[i] = chains[i] * a + b;
  return sum(chains);
}

float read_all(const float *numbers, long count, long rounds) {
  vector chains[CHAINS] = {0};
  for (long round = 0; round < rounds; round++)
    for (long start = 0; start + CHAINS * LANES <= count; start += CHAINS * LANES)
#pragma GCC unroll 12
      for (int i = 0; i < CHAINS; i++) chains[i] += *(const vector *)(numbers + start + i * LANES);
  return sum(chains);
}
"""


class Peak:
    """Measures; each call lasts about `seconds`."""

    def __init__(self, seconds: float = 0.05) -> None:
        self._seconds = seconds
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder) / "peak.c", Path(folder) / "peak.so"
            source.write_text(_SOURCE)
            options = ["-O3", "-march=native", "-fPIC", "-shared", "-Wno-psabi"]
            subprocess.run([os.environ.get("CC", "cc"), *options, source, "-o", library], check=True)
            self._kernels = ctypes.CDLL(str(library))
        self._kernels.operations_a_round.restype = ctypes.c_long

    def gigaflops(self, threads: int) -> float:
        """Fused multiply-adds of float32, each counted as two operations, on so many threads at once: GFLOP/s."""
        operations = int(self._kernels.operations_a_round())

        def run(rounds: int) -> None:
            self._kernels.multiply_add(ctypes.c_long(rounds), ctypes.c_float(0.5), ctypes.c_float(1.0))

        return operations * self._rate(run, threads) / 1e9

    def gigabytes(self, size: int, threads: int = 1) -> float:
        """Bytes read again and again from `size` bytes a thread: GB/s."""
        buffers = [np.ones(size // 4 + 16, np.float32) for _ in range(threads)]
        starts = [each.ctypes.data + -each.ctypes.data % 64 for each in buffers]

        def run(rounds: int) -> None:
            start = starts[int(threading.current_thread().name)]
            self._kernels.read_all(ctypes.c_void_p(start), ctypes.c_long(size // 4), ctypes.c_long(rounds))

        return size * self._rate(run, threads) / 1e9

    def _rate(self, run: Callable[[int], None], threads: int) -> float:
        """Rounds a second, of all threads together."""
        rounds, seconds = 1, 0.0
        while seconds < self._seconds / 2:
            rounds = rounds * 4 if seconds < self._seconds / 20 else int(rounds * self._seconds / seconds)
            seconds = _timed(run, rounds, threads)
        return threads * rounds / seconds


def _timed(run: Callable[[int], None], rounds: int, threads: int) -> float:
    """Seconds until all threads are through."""
    workers = [threading.Thread(target=run, args=(rounds,), name=str(number)) for number in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began
