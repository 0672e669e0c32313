"""Threads, forks and memory of the process: what the core takes from it, gives back, and does without."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_rows import at_once, some_rows

from schuss.arrays import Vector
from schuss.descent.optimizers import Adam
from schuss.engine import make_engine
from schuss.engine.native import NativeEngine
from schuss.engine.protocol import Cost, EngineState
from schuss.errors import EngineError
from schuss.losses import loss_named
from schuss.network import Network

COST, RULE = Cost(loss_named("squared_error")), Adam()
NETWORK = Network(20, (128, 64), 1)

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
# AddressSanitizer needs more addresses than a limit leaves.
limited = pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="runs without sanitizers")


def engine(threads: int | None = None, settle: bool = False) -> NativeEngine:
    return NativeEngine(NETWORK, COST, RULE, threads=threads, settle=settle)


ROWS = some_rows(NETWORK, 320)


def trained(native: NativeEngine, batch: int = 32) -> Vector:
    native.load(EngineState.start(NETWORK.initial(seed=1), RULE))
    native.train(ROWS, np.arange(320), batch, np.full(320 // batch, 0.001))
    return native.state().W


def tasks() -> int:
    """Threads of this process. One that was joined a moment ago may still be listed."""
    time.sleep(0.01)
    return len(os.listdir("/proc/self/task"))


def run(code: str, **environment: str) -> str:
    """What a Python process of its own writes; it knows the names of this file."""
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom test_threads import *\n"
    site = ["-S"] if sys.flags.no_site else []  # the same core as here, also where that is not the installed one
    arguments = [sys.executable, *site, "-W", "ignore::DeprecationWarning", "-c", start + textwrap.dedent(code)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=120, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_a_child(work: Callable[[], None]) -> None:
    """Calls it in a fork of this process, which must end well."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # the end of a child that hangs
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fork_beside(work: Callable[[], object], child: Callable[[], None]) -> None:
    """Forks again and again, wherever a thread that repeats the work happens to be.

    Not in the first round, when threads start: that takes memory, and a fork in the middle of the address sanitizer's
    allocator would leave a child that waits for it for ever.
    """
    at_work, stop = threading.Event(), threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            work()
            at_work.set()

    thread = threading.Thread(target=repeat)
    thread.start()
    at_work.wait(60)
    try:
        for _ in range(20):
            in_a_child(child)
    finally:
        stop.set()
        thread.join()


def limit_addresses(more_bytes: int) -> None:
    """Leaves this process so many bytes of addresses beyond those it has."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


# ---- how many --------------------------------------------------------------------------------------------------------


@linux
def test_an_engine_has_the_threads_it_was_given_until_it_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_THREADS", "5")
    before = tasks()
    one = engine(threads=3)
    assert tasks() == before  # none before there is work
    expected = trained(one)
    assert tasks() == before + 2
    two = engine()
    np.testing.assert_array_equal(trained(two), expected)
    assert tasks() == before + 2 + 4
    time.sleep(0.05)  # they sleep by now
    del one
    assert tasks() == before + 4
    np.testing.assert_array_equal(trained(two), expected)
    del two
    assert tasks() == before


@linux
def test_engines_that_come_and_go_leave_no_threads_and_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_THREADS", "3")

    def resident_bytes() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def come_and_go(count: int) -> None:
        for _ in range(count):
            trained(engine(), batch=160)

    before = tasks()
    come_and_go(100)
    resident = resident_bytes()
    come_and_go(1000)
    assert tasks() == before
    if "asan" not in os.environ.get("LD_PRELOAD", ""):
        assert resident_bytes() - resident < 4 << 20  # one engine holds 0.5 MB


@pytest.mark.parametrize("wrong", ["0", "-1", "1025", "99999999999", "abc", "2.5", "2 "])
def test_a_number_of_threads_that_makes_no_sense_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_THREADS", wrong)
    with pytest.raises(EngineError, match=f"SCHUSS_THREADS is {wrong}: .*from 1 to 1024"):
        make_engine(NETWORK, COST, RULE)


def test_the_environment_is_read_when_an_engine_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_THREADS", "2")
    native = engine()
    monkeypatch.setenv("SCHUSS_THREADS", "abc")
    assert np.isfinite(trained(native)).all()


# ---- side by side ----------------------------------------------------------------------------------------------------


def test_engines_that_all_want_all_threads_give_the_bits_they_give_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHUSS_THREADS", "4")
    expected, engines = trained(engine(threads=1)), [engine(settle=number % 2 == 0) for number in range(4)]
    found: list[Vector] = []

    def work(number: int) -> None:
        found.extend(trained(engines[number]) for _ in range(20))

    at_once(4, work)
    assert len(found) == 80
    for W in found:
        np.testing.assert_array_equal(W, expected)


# ---- forks -----------------------------------------------------------------------------------------------------------


@linux
def test_a_forked_child_trains_with_threads_of_its_own() -> None:
    code = """
        native, other = engine(), engine()
        expected = trained(native)
        trained(other)

        def child(generation):
            assert tasks() == 1
            assert (trained(native) == expected).all()
            assert tasks() == 4
            assert (trained(engine()) == expected).all()
            if generation == 2:
                globals().pop("other")  # goes without its threads, which are the first parent's
            else:
                in_a_child(lambda: child(generation + 1))

        in_a_child(lambda: child(1))
        assert (trained(other) == expected).all()
    """
    run(code, SCHUSS_THREADS="4")


@linux
def test_a_child_does_not_wait_for_what_a_thread_of_the_parent_held() -> None:
    code = """
        busy, expected = engine(), trained(engine())

        def child():
            assert (trained(busy) == expected).all()
            assert tasks() == 4

        fork_beside(lambda: trained(busy), child)
        assert (trained(busy) == expected).all()
    """
    run(code, SCHUSS_THREADS="4")


@linux
def test_a_child_that_is_forked_in_the_middle_of_a_prediction_predicts_every_row() -> None:
    code = """
        busy, W, many = engine(), NETWORK.initial(seed=1), some_rows(NETWORK, 20_000)
        expected = busy.outputs(W, many)

        def child():
            assert (busy.outputs(W, many) == expected).all()

        fork_beside(lambda: busy.outputs(W, many), child)
    """
    run(code, SCHUSS_THREADS="4")


@linux
def test_workers_of_multiprocessing_use_the_engine_that_they_inherit() -> None:
    code = """
        import multiprocessing
        native = engine()
        expected = trained(native)

        def trained_again(_):
            return trained(native)

        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map(trained_again, range(4))
        assert all((W == expected).all() for W in found)
    """
    run(code, SCHUSS_THREADS="4")


# ---- what the system does not give -----------------------------------------------------------------------------------


@linux
@limited
@pytest.mark.parametrize(("stacks", "threads"), [(0.5, 1), (3.5, 4)])
def test_where_no_more_threads_are_to_be_had_those_that_there_are_do_the_work(stacks: float, threads: int) -> None:
    code = f"""
        import resource
        stack = 256 << 20
        if resource.getrlimit(resource.RLIMIT_STACK)[0] != stack:  # new threads have what the process began with
            resource.setrlimit(resource.RLIMIT_STACK, (stack, resource.getrlimit(resource.RLIMIT_STACK)[1]))
            os.execv(sys.executable, sys.orig_argv)
        os.environ["SCHUSS_THREADS"] = "1"
        expected = trained(engine())
        os.environ["SCHUSS_THREADS"] = "7"
        native = engine()
        before = tasks()
        limit_addresses(int({stacks} * stack))
        for _ in range(3):
            assert (trained(native) == expected).all()
        print(tasks() - before + 1)
    """
    assert int(run(code, OPENBLAS_NUM_THREADS="1")) == threads


@linux
@limited
def test_a_batch_without_room_is_refused_with_its_size_and_a_smaller_one_goes_on() -> None:
    code = """
        NETWORK = Network(20, (4096,), 1)
        rows, W = some_rows(NETWORK, 2000), NETWORK.initial(seed=0)
        native = NativeEngine(NETWORK, COST, RULE)
        native.load(EngineState.start(W, RULE))
        small = native.outputs(W, rows.slice(0, 64)), native.gradient(W, rows.slice(0, 64))
        limit_addresses(20 << 20)  # a batch of 1,000 takes 32 MiB
        for attempt in (lambda: native.train(rows, np.arange(1000), 1000, np.array([0.1])),
                        lambda: native.gradient(W, rows)):
            try:
                attempt()
            except MemoryError as error:
                print(error)
            assert len(native.train(rows, np.arange(0), 1000, np.empty(0))) == 0
            assert (native.state().W == W).all()
            assert (native.outputs(W, rows.slice(0, 64)) == small[0]).all()
            total, gradient = native.gradient(W, rows.slice(0, 64))
            assert total == small[1][0] and (gradient == small[1][1]).all()
        assert np.isfinite(native.train(rows, np.arange(64), 64, np.array([0.001]))).all()
    """
    lines = run(code, SCHUSS_THREADS="1").splitlines()
    assert len(lines) == 2
    assert all("could not get" in line and "smaller network or batch" in line for line in lines)


@pytest.mark.parametrize("hidden", [(10**7, 10**7), (2**31, 2**31), (2**40, 2**40), (10**30,)])
def test_a_network_without_room_is_refused_with_its_size(hidden: tuple[int, ...]) -> None:
    with pytest.raises(MemoryError, match=r"take a smaller network") as caught:
        make_engine(Network(1, hidden), COST, RULE)
    assert any(character.isdigit() for character in str(caught.value))
