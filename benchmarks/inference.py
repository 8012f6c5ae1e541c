# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

# The number of threads has to be set before the imports.
# ruff: noqa: E402

"""Time of the networks on one thread: the kernels that models run with, beside Keras and onnxruntime.

Everything runs in one process, by turns, and the least processor time of each counts; ratios hold where
seconds do not. What Keras on TensorFlow gives is what the others are compared with. Peers that are not
installed are left out. For the map network a run is a view of an image of which footprints cover a quarter.

    python benchmarks/inference.py [--size 2048] [--repeats 3] [--cutouts 2048]
"""

from __future__ import annotations

import os

for _name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"
for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[_name] = "1"

import argparse
import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from lsst.meas.blendid.centers.maps import MapWeights, run_maps
from lsst.meas.blendid.centers.network import N_PLANES, NetworkShape, build_map_network
from lsst.meas.blendid.classifiers._cnn_networks import CutoutNetwork, build_modern_network
from lsst.meas.blendid.classifiers.cnn import CnnClassifier
from lsst.meas.blendid.labels import N_CLASSES
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.networks import MissingKerasError, import_keras, set_arrays

Run = Callable[[], np.ndarray]


def make_image(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Planes with sources, labels of a quarter of the pixels, and context."""
    rng = np.random.default_rng(1)
    blocks = rng.random((size // 16, size // 16)) < 0.25
    labels = blocks.repeat(16, axis=0).repeat(16, axis=1).astype(np.uint16)
    planes = np.arcsinh(rng.normal(size=(size, size, 2)) * (1.0 + 20.0 * labels[..., None]))
    return planes.astype(np.float16), labels, rng.normal(size=9).astype(np.float32)


def run_tensorflow(network: Any, inputs: list[np.ndarray], last: int) -> Run:
    """A Keras network as one function of TensorFlow."""
    tensorflow = importlib.import_module("tensorflow")

    @tensorflow.function(autograph=False)
    def run(tensors: list[Any]) -> Any:
        return network(tensors if len(tensors) > 1 else tensors[0], training=False)

    tensors = [tensorflow.constant(array) for array in inputs]

    def call() -> np.ndarray:
        outputs = run(tensors)
        return np.asarray(outputs[last] if isinstance(outputs, list) else outputs)

    return call


def run_onnx(graph: Any, inputs: Mapping[str, np.ndarray]) -> Run:
    """A graph in onnxruntime."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["tiles"], dict(inputs))[0].transpose(0, 2, 3, 1)


def make_onnx(shape: NetworkShape, arrays: Mapping[str, np.ndarray]) -> Any:
    """The map network as a graph of ONNX, whose images have channels first."""
    onnx = importlib.import_module("onnx")
    helper, numbers = onnx.helper, onnx.numpy_helper
    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numbers.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def convolve(x: str, name: str, step: int = 1, pad: int = 0, *, up: bool = False) -> str:
        # Of a transposed convolution the kernel has its outputs before its inputs.
        kernel = arrays[f"{name}_kernel"].transpose(3, 2, 0, 1)
        inputs = [x, constant(f"{name}_w", kernel), constant(f"{name}_b", arrays[f"{name}_bias"])]
        sides = {"kernel_shape": kernel.shape[2:], "strides": [step] * 2, "pads": [pad] * 4}
        nodes.append(helper.make_node("ConvTranspose" if up else "Conv", inputs, [name], **sides))
        return name

    def apply(kind: str, name: str, *inputs: str) -> str:
        nodes.append(helper.make_node(kind, inputs, [name]))
        return name

    def block(x: str, name: str) -> str:
        y = convolve(apply("Relu", f"{name}_r", convolve(x, f"{name}a", pad=1)), f"{name}b", pad=1)
        return apply("Relu", name, apply("Add", f"{name}_s", x, y))

    x = apply("Add", "stem_s", convolve("planes", "stem", 2, 1), "bias")
    x, kept = apply("Relu", "stem_r", x), []
    for level, n_blocks in enumerate(shape.blocks):
        if level > 0:
            kept.append(x)
            x = apply("Relu", f"down{level}_r", convolve(x, f"down{level}", 2))
        for i in range(n_blocks):
            x = block(x, f"down{level}_{i}")
    for level in range(len(shape.widths) - 2, -1, -1):
        up = convolve(x, f"up{level}", 2, up=True)
        x = block(
            apply("Relu", f"up{level}_r", apply("Add", f"up{level}_s", up, kept[level])), f"up{level}_0"
        )
    apply("Relu", "embedding_r", convolve(x, "embedding"))
    convolve(x, "tiles")

    def value(name: str, *sides: Any) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides)

    images = value("planes", 1, N_PLANES, "y", "x"), value("bias", 1, shape.widths[0], 1, 1)
    outputs = [value("embedding_r", 1, None, None, None), value("tiles", 1, None, None, None)]
    graph = helper.make_graph(nodes, "centers", images, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def compare(title: str, runs: dict[str, Run], repeats: int) -> None:
    """Print the least processor time of each, by turns."""
    outputs = {name: run() for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    first = next(iter(runs))
    print(f"{title:34}{'cpu [s]':>9}{'ratio':>8}   largest difference")
    for name, values in seconds.items():
        difference = np.abs(outputs[name] - outputs[first]).max()
        print(f"{name:34}{min(values):9.3f}{min(values) / min(seconds[first]):8.2f}   {difference:.1e}")


def compare_maps(keras: Any, size: int, repeats: int) -> None:
    """Compare what runs the map network."""
    arrays, shape = ModelPackage.read("centers-i-1").arrays, NetworkShape()
    planes, labels, context = make_image(size)
    pixels = np.concatenate([planes, labels[..., None] > 0], axis=-1, dtype=np.float32)[None]
    weights, wanted = MapWeights(shape, arrays), labels[::2, ::2] > 0
    runs: dict[str, Run] = {}
    if keras is not None:
        network = build_map_network(keras, shape)
        set_arrays(network, arrays)
        whole = run_tensorflow(network, [pixels, context[None]], 1)
        runs["Keras on TensorFlow"] = lambda: whole()[0][wanted]
    runs["kernels of this package"] = lambda: run_maps(weights, planes, labels, context, wanted)[1]
    try:
        graph = make_onnx(shape, arrays)
        bias = context @ arrays["stem_context_kernel"] + arrays["stem_context_bias"]
        inputs = {"planes": pixels.transpose(0, 3, 1, 2), "bias": bias[None, :, None, None]}
        ours = run_onnx(graph, {name: np.ascontiguousarray(array) for name, array in inputs.items()})
        runs["onnxruntime"] = lambda: ours()[0][wanted]
    except ImportError as err:
        print(f"onnxruntime is left out: {err}")
    compare(f"centers-i-1, a view of {size}²", runs, repeats)


def compare_cutouts(keras: Any, n: int, repeats: int) -> None:
    """Compare what runs the network on cutouts."""
    package = ModelPackage.read("cnn-i-1")
    classifier = CnnClassifier.from_package(package)
    rng, size = np.random.default_rng(2), classifier.settings.cutout.size
    images = rng.normal(size=(n, size, size, 3)).astype(np.float32)
    images[..., 2] = images[..., 2] > 0.5
    features = rng.normal(size=(n, len(classifier.settings.features))).astype(np.float32)
    runs: dict[str, Run] = {}
    if keras is not None:
        trained = build_modern_network(
            size, 3, features.shape[1], N_CLASSES, 0, width=classifier.settings.width
        )
        set_arrays(trained, package.arrays, prefix="weights_")
        runs["Keras on TensorFlow"] = run_tensorflow(trained, [images, features], 0)
    weights = {k.removeprefix("weights_"): v for k, v in package.arrays.items() if k.startswith("weights_")}
    network = CutoutNetwork("modern", weights)
    runs["kernels of this package"] = lambda: network.run(images, features)
    compare(f"cnn-i-1, {n} cutouts", runs, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="side of the image, pixels")
    parser.add_argument("--cutouts", type=int, default=2048, help="number of cutouts")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    try:
        keras = import_keras()
    except MissingKerasError as err:
        print(f"Keras is left out: {err}")
        keras = None
    compare_maps(keras, args.size, args.repeats)
    compare_cutouts(keras, args.cutouts, args.repeats)


if __name__ == "__main__":
    main()
