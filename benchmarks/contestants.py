"""Those who are measured by throughput.py: each in a process of its own, which answers every line with a line.

    python benchmarks/contestants.py NAME THREADS SECONDS

A line asks to "prepare" a job (compile, and find out how much work takes so many seconds), to "measure" it, or for its
"quality": the mean squared error of the first rows or the share of right classes, so that speed is not bought with
nonsense. Everyone draws the order of rows of every epoch anew, leaves a last short batch out and gets the same rows.
"""

import ctypes
import inspect
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

RATES = {"adam": 1e-3, "sgd": 1e-2}
_LOOKED_AT = 4096  # rows that the quality is taken from


@dataclass(frozen=True)
class Job:
    """What is to be measured.

    case: its name.
    kind: "train": epochs, the order of rows included; "steps": training on an order that is ready; "predict"; "fits":
        of a table of 150 x 4, 100 epochs each.
    loss: squared_error, or cross_entropy with the outputs as classes.
    """

    case: str
    kind: str
    features: int
    hidden: tuple[int, ...]
    batch: int
    rows: int = 200_000
    outputs: int = 1
    optimizer: str = "adam"
    activation: str = "relu"
    loss: str = "squared_error"
    dropout: float = 0.0
    precision: str = "float32"

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.features, *self.hidden, self.outputs)


@dataclass(frozen=True)
class Work:
    """A job that one contestant is ready for.

    run:     does about so much (rows, or fits) and says how much it was.
    quality: see above.
    """

    run: Callable[[int], int]
    quality: Callable[[], float]


class UnableError(Exception):
    """This contestant cannot do that job; the message says why."""


@cache
def table(features: int, outputs: int, rows: int) -> tuple[Any, Any]:
    """X [N, F] standard normal, y [N, 1] the sine of the first column, or its place among as many classes; float32."""
    random = np.random.default_rng(0)
    X = random.standard_normal((rows, features), dtype=np.float32)
    if outputs == 1:
        return X, np.sin(X[:, :1])
    borders = np.quantile(X[:_LOOKED_AT, 0], np.arange(1, outputs) / outputs)
    return X, np.digitize(X[:, :1], borders).astype(np.float32)


def _quality(job: Job, y: Any, outputs: Any) -> float:
    """Of outputs [N, K]."""
    if job.loss == "cross_entropy":
        return float(np.mean(np.argmax(outputs, axis=1) == y[:, 0]))
    return float(np.mean(np.square(outputs - y)))


def _rows_and_epochs(job: Job, amount: int) -> tuple[int, int]:
    """Whole batches of an epoch, and how many epochs, for about so many rows."""
    rows = min(max(amount, job.batch), job.rows) // job.batch * job.batch
    return rows, max(1, round(amount / rows))


def _repeated(job: Job) -> Callable[[int], Any]:
    """Amount -> an order of so many rows, whole batches, made once."""
    once = np.random.default_rng(1).permutation(job.rows)

    @cache
    def order(amount: int) -> Any:
        return np.resize(once, max(amount // job.batch, 1) * job.batch)

    return order


def _only(job: Job, *kinds: str, loss: bool = True, dropout: bool = True) -> None:
    """Raises UnableError for what a contestant is not written for."""
    if job.kind not in kinds:
        raise UnableError(f"not measured for {job.kind}")
    if job.precision != "float32" or (job.dropout and not dropout) or (job.loss != "squared_error" and not loss):
        raise UnableError("not offered")


def _where_taken(function: Callable[..., Any], **wanted: tuple[Any, Any]) -> dict[str, Any]:
    """Keyword arguments that the function takes, from name=(value, what it means to leave it out)."""
    taken = inspect.signature(function).parameters
    for name, (value, without) in wanted.items():
        if name not in taken and value != without:
            raise UnableError(f"{function.__name__} takes no {name}")
    return {name: value for name, (value, _) in wanted.items() if name in taken}


def schuss(job: Job, threads: int) -> Work:
    """The loop as a user's training runs it; the engine alone for "steps" and "predict"."""
    if job.kind == "fits":
        return _schuss_fits(job)
    from schuss import Adam, Constant, GradientDescent, Network, Rows
    from schuss.engine import make_engine
    from schuss.engine.protocol import Cost, EngineState
    from schuss.losses import loss_named
    from schuss.table.store import MemoryStore
    from schuss.training.events import Finished
    from schuss.training.loop import Plan, descend
    from schuss.training.state import TrainingState

    optimizer = Adam() if job.optimizer == "adam" else GradientDescent()
    chain: dict[str, Any] = {"inputs": job.features, "hidden": job.hidden, "outputs": job.outputs}
    network = Network(**chain, activation=job.activation, **_where_taken(Network, dropout=(job.dropout, 0.0)))
    options = _where_taken(make_engine, threads=(threads, 1), precision=(job.precision, "float32"))
    engine = make_engine(network, Cost(loss_named(job.loss)), optimizer, "native", **options)
    W0 = network.initial(seed=0)
    start = EngineState.start(W0, optimizer)
    engine.load(start)
    X, y = table(job.features, job.outputs, job.rows)
    codes = np.zeros((job.rows, 0), np.int32)
    rows = Rows(X, codes, y)
    order, first_rows = _repeated(job), cache(partial(rows.slice, 0))
    reached = [W0]

    def train(amount: int) -> int:
        count, epochs = _rows_and_epochs(job, amount)
        plan = Plan(RATES[job.optimizer], Constant(), job.batch, epochs)
        for event in descend(engine, TrainingState(start), MemoryStore(first_rows(count)), plan):
            if isinstance(event, Finished):
                reached[0] = event.state.W
        return count * epochs

    def steps(amount: int) -> int:
        chosen = order(amount)
        engine.train(rows, chosen, job.batch, np.full(len(chosen) // job.batch, RATES[job.optimizer]))
        return len(chosen)

    def predict(amount: int) -> int:
        count, repetitions = _rows_and_epochs(job, amount)
        for _ in range(repetitions):
            for start in range(0, count, job.batch):
                engine.outputs(W0, rows.slice(start, start + job.batch))
        return count * repetitions

    def quality() -> float:
        W = engine.state().W if job.kind == "steps" else reached[0]
        return _quality(job, y[:_LOOKED_AT], engine.outputs(W, rows.slice(0, _LOOKED_AT)))

    return Work({"train": train, "steps": steps, "predict": predict}[job.kind], quality)


def prototype(job: Job, threads: int) -> Work:
    """The throw-away core that was written to see how fast a core can be, from the folder in PROTOTYPE."""
    if job.kind != "steps" or job.loss != "squared_error" or job.dropout or job.activation != "relu":
        raise UnableError("not offered")
    folder = Path(os.environ["PROTOTYPE"])
    spec = spec_from_file_location("proto", folder / "proto.py")
    assert spec
    assert spec.loader
    proto: Any = module_from_spec(spec)
    spec.loader.exec_module(proto)
    if job.precision == "bf16":
        proto.lib = SimpleNamespace(train_chunk=ctypes.CDLL(str(folder / "libbf16.so")).train_bf16)
    X, y = table(job.features, job.outputs, job.rows)
    W = proto.init(job.widths)
    vectors = np.zeros_like(W), np.zeros_like(W)
    positions = _repeated(job)
    order = cache(lambda amount: positions(amount).astype(np.int32))
    done = [0]

    def steps(amount: int) -> int:
        chosen, rate = order(amount), RATES[job.optimizer]
        tile = 16 if job.batch < 256 else 64
        arguments = (job.widths, X, y, chosen, job.batch, W, *vectors, job.optimizer, rate)
        proto.train(*arguments, T=threads, RB=tile, mode=0, t0=done[0])
        done[0] += len(chosen) // job.batch
        return len(chosen)

    return Work(steps, lambda: float(proto.ref_grad(job.widths, X[:_LOOKED_AT], y[:_LOOKED_AT], W)[1]))


def sklearn(job: Job, threads: int) -> Work:
    """MLPRegressor and MLPClassifier."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    warnings.filterwarnings("ignore")  # that max_iter was reached is what is wanted
    if job.kind == "fits":
        return _sklearn_fits(job)
    _only(job, "train", dropout=False)
    X, y = table(job.features, job.outputs, job.rows)
    kind = MLPRegressor if job.loss == "squared_error" else MLPClassifier
    descent = {"momentum": 0.0, "nesterovs_momentum": False} if job.optimizer == "sgd" else {}
    model = kind(
        hidden_layer_sizes=job.hidden,
        activation=job.activation,
        solver=job.optimizer,
        batch_size=job.batch,
        learning_rate_init=RATES[job.optimizer],
        alpha=0.0,
        n_iter_no_change=10**9,
        **descent,
    )

    def train(amount: int) -> int:
        rows, epochs = _rows_and_epochs(job, amount)
        model.set_params(max_iter=epochs).fit(X[:rows], y[:rows, 0])
        return rows * epochs

    def quality() -> float:
        found = model.predict(X[:_LOOKED_AT])
        outputs = found[:, np.newaxis] if job.outputs == 1 else found[:, np.newaxis] == np.arange(job.outputs)
        return _quality(job, y[:_LOOKED_AT], outputs)

    return Work(train, quality)


def torch(job: Job, threads: int, compiled: bool = False) -> Work:
    """Eager, or its loss compiled: tensors in memory, rows by index, fused optimiser."""
    _only(job, "train")
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layers: list[Any] = []
    for inputs, outputs in zip(job.widths, job.widths[1:], strict=False):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        layers += [torch.nn.Dropout(job.dropout)] if job.dropout else []
    network = torch.nn.Sequential(*layers[: len(layers) - 1 - bool(job.dropout)])
    kind = torch.optim.Adam if job.optimizer == "adam" else torch.optim.SGD
    optimizer = kind(network.parameters(), RATES[job.optimizer], fused=True)
    X, y = (torch.from_numpy(each) for each in table(job.features, job.outputs, job.rows))
    targets = y[:, 0].long() if job.loss == "cross_entropy" else y
    criterion = getattr(torch.nn.functional, "mse_loss" if job.loss == "squared_error" else job.loss)

    def batch_loss(inputs: Any, actual: Any) -> Any:
        return criterion(network(inputs), actual)

    forward = torch.compile(batch_loss, dynamic=False) if compiled else batch_loss

    def train(amount: int) -> int:
        rows, epochs = _rows_and_epochs(job, amount)
        for _ in range(epochs):
            order = torch.randperm(rows)
            for start in range(0, rows, job.batch):
                chosen = order[start : start + job.batch]
                loss = forward(X[chosen], targets[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return rows * epochs

    def quality() -> float:
        with torch.no_grad():
            network.eval()
            return _quality(job, y[:_LOOKED_AT].numpy(), network(X[:_LOOKED_AT]).numpy())

    return Work(train, quality)


def jax(job: Job, threads: int) -> Work:
    """A whole epoch in one compiled scan; NumPy draws the order."""
    _only(job, "train")
    import jax
    import optax
    from jax import numpy as jnp

    key = jax.random.key(0)
    parameters = []
    for number, (inputs, outputs) in enumerate(zip(job.widths, job.widths[1:], strict=False)):
        weights = jax.random.normal(jax.random.fold_in(key, number), (inputs, outputs)) * np.sqrt(2 / inputs)
        parameters.append((weights, jnp.zeros(outputs)))
    rule = optax.adam(RATES["adam"]) if job.optimizer == "adam" else optax.sgd(RATES["sgd"])
    X, y = table(job.features, job.outputs, job.rows)

    def outputs_of(parameters: Any, x: Any, key: Any = None) -> Any:
        for weights, biases in parameters[:-1]:
            x = jax.nn.relu(x @ weights + biases)
            if key is not None:
                key, mine = jax.random.split(key)
                kept = jax.random.bernoulli(mine, 1 - job.dropout, x.shape)
                x = jnp.where(kept, x / (1 - job.dropout), 0)
        return x @ parameters[-1][0] + parameters[-1][1]

    def batch_loss(parameters: Any, x: Any, actual: Any, key: Any) -> Any:
        outputs = outputs_of(parameters, x, key if job.dropout else None)
        if job.loss == "cross_entropy":
            labels = actual[:, 0].astype(jnp.int32)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()
        return jnp.mean(jnp.square(outputs - actual))

    def step(X: Any, y: Any, carried: Any, chosen: Any) -> Any:
        parameters, vectors, key = carried
        key, mine = jax.random.split(key) if job.dropout else (key, key)
        loss, gradient = jax.value_and_grad(batch_loss)(parameters, X[chosen], y[chosen], mine)
        updates, vectors = rule.update(gradient, vectors)
        return (optax.apply_updates(parameters, updates), vectors, key), loss

    def scan(carried: Any, X: Any, y: Any, order: Any) -> Any:
        carried, losses = jax.lax.scan(partial(step, X, y), carried, order)
        return carried, losses.mean()

    epoch = jax.jit(scan, donate_argnums=0)
    reached = [(parameters, rule.init(parameters), key)]
    on_device, targets, random = jnp.asarray(X), jnp.asarray(y), np.random.default_rng(0)

    def train(amount: int) -> int:
        rows, epochs = _rows_and_epochs(job, amount)
        for _ in range(epochs):
            order = random.permutation(rows).reshape(-1, job.batch).astype(np.int32)
            reached[0], loss = epoch(reached[0], on_device, targets, order)
        loss.block_until_ready()
        return rows * epochs

    def quality() -> float:
        return _quality(job, y[:_LOOKED_AT], np.asarray(outputs_of(reached[0][0], X[:_LOOKED_AT])))

    return Work(train, quality)


def keras(job: Job, threads: int) -> Work:
    """Keras 3 on JAX, as its tutorials show it: compile and fit."""
    _only(job, "train")
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    layers: list[Any] = [keras.Input((job.features,))]
    for width in job.hidden:
        layers.append(keras.layers.Dense(width, activation=job.activation))
        layers += [keras.layers.Dropout(job.dropout)] if job.dropout else []
    model = keras.Sequential([*layers, keras.layers.Dense(job.outputs)])
    kind = keras.optimizers.Adam if job.optimizer == "adam" else keras.optimizers.SGD
    labels = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(kind(RATES[job.optimizer]), loss=labels if job.loss == "cross_entropy" else "mse")
    X, y = table(job.features, job.outputs, job.rows)

    def train(amount: int) -> int:
        rows, epochs = _rows_and_epochs(job, amount)
        model.fit(X[:rows], y[:rows], batch_size=job.batch, epochs=epochs, verbose=0)
        return rows * epochs

    return Work(train, lambda: _quality(job, y[:_LOOKED_AT], model.predict(X[:_LOOKED_AT], verbose=0)))


def onnxruntime(job: Job, threads: int) -> Work:
    """The same network with the same W as one graph."""
    _only(job, "predict")
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    from schuss import Network

    network = Network(inputs=job.features, hidden=job.hidden, outputs=job.outputs)
    W = network.initial(seed=0)
    nodes, numbers, value = [], [], "x"
    for layer in network.dense:
        weights, biases = f"{layer.name}.weights", f"{layer.name}.biases"
        numbers.append(numpy_helper.from_array(network.weights(W, layer.name), weights))
        numbers.append(numpy_helper.from_array(network.biases(W, layer.name), biases))
        nodes.append(helper.make_node("Gemm", [value, weights, biases], [layer.name]))
        value = layer.name
        if layer.activation == "relu":
            nodes.append(helper.make_node("Relu", [value], [f"{value}.relu"]))
            value += ".relu"
    columns = ((name, ["rows", width]) for name, width in (("x", job.features), (value, job.outputs)))
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in columns)
    graph = helper.make_graph(nodes, "network", inputs, outputs, numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    X, y = table(job.features, job.outputs, job.rows)

    def predict(amount: int) -> int:
        rows, repetitions = _rows_and_epochs(job, amount)
        for _ in range(repetitions):
            for start in range(0, rows, job.batch):
                session.run(None, {"x": X[start : start + job.batch]})
        return rows * repetitions

    return Work(predict, lambda: _quality(job, y[:_LOOKED_AT], session.run(None, {"x": X[:_LOOKED_AT]})[0]))


CONTESTANTS: dict[str, Callable[[Job, int], Work]] = {
    "schuss": schuss,
    "jax": jax,
    "torch": torch,
    "torch.compile": partial(torch, compiled=True),
    "keras": keras,
    "sklearn": sklearn,
    "onnxruntime": onnxruntime,
    "prototype": prototype,
}


def _small_table(job: Job) -> tuple[Any, Any]:
    """X [150, 4] and y [150]: three overlapping classes, or a number."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 50)
    X = random.normal(size=(150, 4)) + labels[:, np.newaxis] * [1.0, -1.0, 2.0, 0.5]
    return X, labels if job.loss == "cross_entropy" else np.sin(X[:, 0]) + 0.1 * random.normal(size=150)


def _fits(job: Job, model: Any) -> Work:
    X, y = _small_table(job)

    def run(amount: int) -> int:
        for _ in range(amount):
            model.fit(X, y)
        return amount

    return Work(run, lambda: float(model.score(X, y)))


def _schuss_fits(job: Job) -> Work:
    import schuss

    kind = schuss.SchussClassifier if job.loss == "cross_entropy" else schuss.SchussRegressor
    settings: dict[str, Any] = {"schedule": "constant", "weight_decay": 0.0, "validation": 0.0, "random_state": 0}
    settings |= {"optimizer": "adam", "learning_rate": 1e-3, "activation": "relu", "epochs": 100}
    return _fits(job, kind(hidden=job.hidden, batch_size=job.batch, **settings))


def _sklearn_fits(job: Job) -> Work:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPClassifier if job.loss == "cross_entropy" else MLPRegressor
    return _fits(
        job,
        kind(hidden_layer_sizes=job.hidden, batch_size=job.batch, max_iter=100, n_iter_no_change=10**9, random_state=0),
    )


Prepared: TypeAlias = dict[Job, tuple[Work, int]]


def _prepare(name: str, threads: int, seconds: float, job: Job) -> tuple[Work, int]:
    """The work, and the amount of it that takes about so many seconds."""
    work = CONTESTANTS[name](job, threads)
    amount = 1 if job.kind == "fits" else 4 * job.batch
    while True:
        work.run(amount)  # compiles what has this size
        took, done = _timed(work, amount)
        enough = took >= seconds / 10
        amount = int(done * min(seconds / took, 1e9 if enough else 8)) or 1
        if enough:
            work.run(amount)
            return work, amount


def _timed(work: Work, amount: int) -> tuple[float, int]:
    began = time.perf_counter()
    done = work.run(amount)
    return time.perf_counter() - began, done


def _answer(name: str, threads: int, seconds: float, prepared: Prepared, ask: str, job: Job) -> dict[str, Any]:
    try:
        if ask == "prepare":
            prepared[job] = _prepare(name, threads, seconds, job)
            return {}
        work, amount = prepared[job]
        if ask == "quality":
            return {"quality": work.quality()}
        took, done = _timed(work, amount)
        return {"rate": done / took}
    except UnableError as error:
        return {"skipped": str(error)}
    except Exception as error:  # a rival that fails must not end the others' measurements
        traceback.print_exc()
        return {"skipped": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answers until there are no more lines."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    name, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    prepared: Prepared = {}
    for line in sys.stdin:
        asked = json.loads(line)
        job = Job(**{**asked["job"], "hidden": tuple(asked["job"]["hidden"])})
        print(json.dumps(_answer(name, threads, seconds, prepared, asked["ask"], job)), file=answers, flush=True)


if __name__ == "__main__":
    main()
