#!/usr/bin/env python3
"""Write quantized/torch/: quantized models as PyTorch's exporters write them.

    python3 make_quantized_torch.py  # made with torch 2.6.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.31.1, numpy 2.4.6, scikit-learn 1.9.1 (PyPI)

NAME.onnx with NAME.npz: y, the real outputs of onnxruntime on the held-out samples of digits-mlp or digits-cnn. `../torch.txt` and
`../torch_ties.txt` list them: name, model whose held-out samples are used. Every model is trained for a moment on the digits that are not held out, or not at all.
Three ways lead from a float model to a file:
* static: a converted eager or FX model, its integer operators exported as float operators between DequantizeLinear and QuantizeLinear;
* qat: a model with FakeQuantize modules, each exported as QuantizeLinear and DequantizeLinear, weights as floats;
* pt2e: quantize_pt2e, exported by way of torch.export.
"""
import io
import os
import sys
for _v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_v, "1")
import warnings
from pathlib import Path
import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.ao.quantization as tq
from sklearn.datasets import load_digits
from torch import nn
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.ao.quantization.quantize_pt2e import convert_pt2e, prepare_pt2e
from torch.ao.quantization.quantizer.x86_inductor_quantizer import X86InductorQuantizer, get_default_x86_inductor_quantization_config
from torch.ao.quantization.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

HERE = Path(__file__).resolve().parent
OUT = HERE / "quantized" / "torch"
F = np.float32


def digits(model):
    """(training images, labels, held-out images): those of the model's held-out file, and all others."""
    held = np.load(HERE / f"{model}.heldout.npz")["x"]
    held = held.reshape(len(held), *held.shape[2:])
    data = load_digits()
    x = (data.data / 16).astype(F)
    out = {v.tobytes() for v in held.reshape(len(held), -1)}
    kept = np.array([v.tobytes() not in out for v in x])
    x, y = torch.tensor(x[kept].reshape(-1, *held.shape[1:])), torch.tensor(data.target[kept])
    return x, y, torch.tensor(held)


def train(m, x, y, steps=200, rate=3e-3):
    m.train()
    optimizer = torch.optim.Adam(m.parameters(), rate)
    for i in range(steps):
        at = torch.randint(0, len(x), (64,), generator=torch.Generator().manual_seed(i))
        optimizer.zero_grad()
        nn.functional.cross_entropy(m(x[at]), y[at]).backward()
        optimizer.step()
    return m.eval()


# The float models. Stubs mark where eager quantization begins and ends.

class Stubbed(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()

    def forward(self, x):
        return self.dequant(self.inside(self.quant(x)))


class Mlp(Stubbed):
    """Dense layers."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))
        self.fused = [["inside.0", "inside.1"], ["inside.2", "inside.3"]]


class Lenet(Stubbed):
    """Padded convolutions and max pooling."""

    def __init__(self, norm=True):
        super().__init__()
        bn = [nn.BatchNorm2d(6), nn.BatchNorm2d(12)] if norm else [nn.Identity(), nn.Identity()]
        self.inside = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), bn[0], nn.ReLU(), nn.MaxPool2d(2),
                                    nn.Conv2d(6, 12, 3, padding=1), bn[1], nn.ReLU(), nn.MaxPool2d(2),
                                    nn.Flatten(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 10))
        two = (lambda i: [f"inside.{i}", f"inside.{i + 1}", f"inside.{i + 2}"]) if norm else (lambda i: [])
        self.fused = [f for f in [two(0), two(4), ["inside.9", "inside.10"]] if f]


class Residual(Stubbed):
    """A residual sum, a rectified residual sum, a concatenation and a mean."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.relu, self.relu_b, self.relu_d = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.pool, self.last = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 10)
        functional = torch.ao.nn.quantized.FloatFunctional
        self.sum, self.rectified, self.cat = functional(), functional(), functional()
        self.fused = [["a", "relu"], ["b", "relu_b"], ["d", "relu_d"]]

    def inside(self, x):
        a = self.relu(self.a(x))
        s = self.rectified.add_relu(self.c(self.relu_b(self.b(a))), a)
        t = self.sum.add(s, a)
        u = self.relu_d(self.d(self.cat.cat([s, t], dim=1)))
        return self.last(torch.flatten(self.pool(u), 1))


class Activations(Stubbed):
    """Activations that are not rectifiers, a product, a grouped convolution. PyTorch's exporter has no quantized ReLU6 and Transpose."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.leaky, self.swish, self.sigmoid = nn.LeakyReLU(0.1), nn.Hardswish(), nn.Sigmoid()
        self.relu, self.pool, self.last = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(128, 10)
        self.product = torch.ao.nn.quantized.FloatFunctional()
        self.fused = []

    def inside(self, x):
        a = self.leaky(self.a(x))
        b = self.swish(self.b(a))
        c = self.product.mul(b, self.sigmoid(self.c(b)))
        return self.last(torch.flatten(self.pool(self.relu(c)), 1))


class Tanh(Stubbed):
    """Activations with scales of their own."""

    def __init__(self):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 16), nn.Hardsigmoid(), nn.Linear(16, 10))
        self.fused = []


def fused(m, qat=False):
    if not m.fused:
        return m
    return (tq.fuse_modules_qat if qat else tq.fuse_modules)(m, m.fused)


# From a float model to a model that torch.onnx.export takes.

def eager(m, x, y, engine):
    torch.backends.quantized.engine = engine
    m = fused(train(m, x, y).eval())
    m.qconfig = tq.get_default_qconfig(engine)
    m = tq.prepare(m)
    m(x[:200])
    return tq.convert(m)


def fx(m, x, y, engine):
    torch.backends.quantized.engine = engine
    m = prepare_fx(train(m, x, y), tq.get_default_qconfig_mapping(engine), (x[:1],))
    m(x[:200])
    return convert_fx(m)


def qat(m, x, y, engine, fuse=False):
    torch.backends.quantized.engine = engine
    m = train(m, x, y).train()
    m = fused(m, True) if fuse else m
    m.qconfig = tq.get_default_qat_qconfig(engine, version=0)
    m = train(tq.prepare_qat(m), x, y, 30, 1e-3)
    m.apply(tq.disable_observer)
    return m


def pt2e(m, x, y, quantizer):
    train(m, x, y)
    m.quant, m.dequant = nn.Identity(), nn.Identity()
    captured = torch.export.export_for_training(m, (x[:1],)).module()
    captured = prepare_pt2e(captured, quantizer)
    for v in x[:64]:
        captured(v[None])
    return convert_pt2e(captured)


def xnnpack(per_channel=True):
    return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=per_channel))


def inductor():
    return X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())


# name, float model, way, its argument, opset
MODELS = [
    ("mlp.eager-fbgemm", Mlp, eager, "fbgemm", 13),
    ("mlp.fx-x86", Mlp, fx, "x86", 17),
    ("mlp.eager-qnnpack", Mlp, eager, "qnnpack", 17),
    ("mlp.qat-fbgemm", Mlp, qat, "fbgemm", 17),
    ("mlp.qat-qnnpack", Mlp, qat, "qnnpack", 13),
    ("mlp.pt2e-xnnpack", Mlp, pt2e, xnnpack, None),
    ("mlp.pt2e-x86", Mlp, pt2e, inductor, None),
    ("lenet.eager-x86", Lenet, eager, "x86", 17),
    ("lenet.eager-qnnpack", Lenet, eager, "qnnpack", 17),
    ("lenet.fx-fbgemm", Lenet, fx, "fbgemm", 13),
    ("lenet.qat-x86", lambda: Lenet(False), qat, "x86", 17),
    ("lenet.qat-qnnpack", lambda: Lenet(False), qat, "qnnpack", 17),
    ("lenet.qat-norm", Lenet, lambda *a: qat(*a, fuse=True), "qnnpack", 17),
    ("lenet.pt2e-xnnpack", Lenet, pt2e, xnnpack, None),
    ("lenet.pt2e-tensor", Lenet, pt2e, lambda: xnnpack(False), None),
    ("residual.eager-x86", Residual, eager, "x86", 17),
    ("residual.eager-qnnpack", Residual, eager, "qnnpack", 17),
    ("residual.fx-x86", Residual, fx, "x86", 17),
    ("residual.qat-qnnpack", Residual, qat, "qnnpack", 17),
    ("residual.pt2e-xnnpack", Residual, pt2e, xnnpack, None),
    ("activations.eager-x86", Activations, eager, "x86", 17),
    ("activations.eager-qnnpack", Activations, eager, "qnnpack", 17),
    ("activations.pt2e-xnnpack", Activations, pt2e, xnnpack, None),
    ("tanh.fx-x86", Tanh, fx, "x86", 17),
]


# its last layer stays real: the file gives the output no quantization
REAL_OUTPUT = ["mlp.pt2e-x86"]
# `torch_ties.txt` lists files whose mean has the scale of what it is the mean of: every sixteenth mean of 16 is a tie, which onnxruntime's float32
# sum lets fall by its summands. Beside each stands a file that differs only in the mean's scale.
TIES = ["residual.pt2e-xnnpack"]
OWN_SCALE = ".mean"


def export(m, x, opset):
    to = io.BytesIO()
    if opset is None:
        return torch.onnx.export(m, (x,), dynamo=True, verbose=False).model_proto
    torch.onnx.export(m, (x,), to, opset_version=opset, input_names=["x"], output_names=["y"], dynamo=False)
    return onnx.load_from_string(to.getvalue())


def with_own_scale_of_mean(m):
    """The model with a scale of its own behind its ReduceMean, and behind what moves that."""
    m = onnx.load_from_string(m.SerializeToString())
    means = {n.output[0] for n in m.graph.node if n.op_type == "ReduceMean"}
    for n in m.graph.node:
        if n.input and n.input[0] in means and n.op_type in ("QuantizeLinear", "DequantizeLinear", "Reshape"):
            means.add(n.output[0])
            if n.op_type != "Reshape":
                n.input[1] = "scale_of_mean"
    m.graph.initializer.append(onnx.numpy_helper.from_array(F(0.132), "scale_of_mean"))
    return m


def run(m, x):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    s = ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = s.get_inputs()[0].name
    return np.stack([s.run(None, {feed: v[None].numpy()})[0] for v in x])


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    only, index = sys.argv[1:], []
    for name, model, way, argument, opset in MODELS:
        samples = "digits-mlp" if name.startswith(("mlp", "tanh")) else "digits-cnn"
        if name not in REAL_OUTPUT:
            index.append(f"torch/{name} {samples}\n")
        if name in TIES:
            index.append(f"torch/{name}{OWN_SCALE} {samples}\n")
        if only and not any(o in name for o in only):
            continue
        x, y, held = digits(samples)
        torch.manual_seed(7)
        try:
            m = way(model(), x, y, argument() if callable(argument) else argument)
            m = export(m, held[:1], opset)
            # names of this file's lines are of no use in the model's
            for node in m.graph.node:
                node.ClearField("doc_string")
                del node.metadata_props[:]
            del m.graph.value_info[:]
            del m.graph.metadata_props[:]
            models = {name: m}
            if name in TIES:
                models[name + OWN_SCALE] = with_own_scale_of_mean(m)
            for name, m in models.items():
                (OUT / f"{name}.onnx").write_bytes(m.SerializeToString())
                got = run(m, held)
                np.savez_compressed(OUT / f"{name}.npz", y=got)
                print(name, got.shape, len(np.unique(got)), "values", (OUT / f"{name}.onnx").stat().st_size, "bytes", flush=True)
        except Exception as e:
            print(name, "FAILED", type(e).__name__, str(e)[:600], flush=True)
    has_ties = lambda line: any(line.startswith(f"torch/{name} ") for name in TIES)
    (OUT.parent / "torch.txt").write_text("".join(v for v in index if not has_ties(v)))
    (OUT.parent / "torch_ties.txt").write_text("".join(v for v in index if has_ties(v)))


if __name__ == "__main__":
    main()
