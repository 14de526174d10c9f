#!/usr/bin/env python3
"""Write exports/: small networks of the usual kinds as PyTorch's two exporters write them.

    python3 make_exports.py [NAME …]  # made with torch 2.6.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.31.1, numpy 2.4.6 (PyPI)

NAME.ts.onnx by tracing, NAME.dynamo.onnx by torch.export, each with an .npz: 40 samples of every input, and onnxruntime's outputs for them. Weights are
random, but batch normalization has seen some data. Where this version of torch.export fails (batch normalization), there is no second file.
"""
import io
import math
import os
import sys
for _v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_v, "1")
import warnings
from pathlib import Path
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn
from exports_samples import run

OUT = Path(__file__).resolve().parent / "exports"
SAMPLES = 40


class Residual(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.a, self.na = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.b, self.nb = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.d = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)) if stride != 1 or i != o else nn.Identity()

    def forward(self, x):
        return F.relu(self.nb(self.b(F.relu(self.na(self.a(x))))) + self.d(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.n, self.p = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.MaxPool2d(3, 2, 1)
        self.r = nn.Sequential(Residual(8, 8, 1), Residual(8, 16, 2))
        self.g, self.f = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 10)

    def forward(self, x):
        return self.f(torch.flatten(self.g(self.r(self.p(F.relu(self.n(self.c(x)))))), 1))


class SqueezeExcite(nn.Module):
    def __init__(self, c, gate):
        super().__init__()
        self.p, self.a, self.b, self.g = nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c // 4, 1), nn.Conv2d(c // 4, c, 1), gate

    def forward(self, x):
        return x * self.g(self.b(F.relu(self.a(self.p(x)))))


class Inverted(nn.Module):
    """A pointwise, a depthwise and a pointwise convolution beside the input."""

    def __init__(self, c, expansion, activation, gate):
        super().__init__()
        m = c * expansion
        self.b = nn.Sequential(nn.Conv2d(c, m, 1, bias=False), nn.BatchNorm2d(m), activation(),
                               nn.Conv2d(m, m, 3, 1, 1, groups=m, bias=False), nn.BatchNorm2d(m), activation(),
                               *([SqueezeExcite(m, gate)] if gate else []), nn.Conv2d(m, c, 1, bias=False), nn.BatchNorm2d(c))

    def forward(self, x):
        return x + self.b(x)


def mobile(activation, gate=None):
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), activation(),
                         Inverted(8, 4, activation, gate), Inverted(8, 4, activation, gate), nn.Conv2d(8, 24, 1), activation(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(24, 10))


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        layer = lambda i: nn.Sequential(nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), nn.Conv2d(8 + 4 * i, 4, 3, 1, 1))
        self.c, self.l = nn.Conv2d(3, 8, 3, 1, 1), nn.ModuleList([layer(i) for i in range(3)])
        self.t, self.f = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 10, 1), nn.AvgPool2d(2)), nn.Linear(10, 10)

    def forward(self, x):
        x = self.c(x)
        for layer in self.l:
            x = torch.cat([x, layer(x)], 1)
        return self.f(self.t(x).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1), nn.ReLU())
        self.b = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 12, 3, 1, 1), nn.ReLU())
        self.c = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(12, 12, 3, 1, 1), nn.ReLU())
        self.u, self.d, self.e = nn.ConvTranspose2d(12, 12, 2, 2), nn.Conv2d(24, 6, 3, 1, 1), nn.Conv2d(12, 2, 3, 1, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(a)
        y = F.relu(self.d(torch.cat([self.u(self.c(b)), b], 1)))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.sigmoid(self.e(torch.cat([y, a], 1)))


class Attention(nn.Module):
    def __init__(self, d, heads, causal):
        super().__init__()
        self.q, self.o, self.h, self.causal = nn.Linear(d, 3 * d), nn.Linear(d, d), heads, causal

    def forward(self, x):
        batch, steps, d = x.shape
        q, k, v = self.q(x).reshape(batch, steps, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.o(y.transpose(1, 2).reshape(batch, steps, d))


class Block(nn.Module):
    def __init__(self, d, heads, causal=False, activation=nn.GELU):
        super().__init__()
        self.n, self.a, self.m = nn.LayerNorm(d), Attention(d, heads, causal), nn.LayerNorm(d)
        self.f = nn.Sequential(nn.Linear(d, 2 * d), activation(), nn.Linear(2 * d, d))

    def forward(self, x):
        x = x + self.a(self.n(x))
        return x + self.f(self.m(x))


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.p = nn.Conv2d(3, 16, 4, 4)
        self.c, self.e = nn.Parameter(torch.randn(1, 1, 16) * 0.1), nn.Parameter(torch.randn(1, 17, 16) * 0.1)
        self.b, self.n, self.f = nn.Sequential(Block(16, 2), Block(16, 2)), nn.LayerNorm(16), nn.Linear(16, 10)

    def forward(self, x):
        x = self.p(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.c.expand(x.shape[0], -1, -1), x], 1) + self.e
        return self.f(self.n(self.b(x))[:, 0])


class Gpt(nn.Module):
    """A causal mask that is added to the scores."""

    def __init__(self, approximate="none"):
        super().__init__()
        activation = lambda: nn.GELU(approximate)
        self.w, self.e = nn.Embedding(20, 16), nn.Embedding(8, 16)
        self.b = nn.Sequential(Block(16, 2, True, activation), Block(16, 2, True, activation))
        self.n, self.f = nn.LayerNorm(16), nn.Linear(16, 20, bias=False)

    def forward(self, x):
        return self.f(self.n(self.b(self.w(x) + self.e(torch.arange(x.shape[1], device=x.device)))))


class RmsNorm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.w = nn.Parameter(torch.ones(d))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.w


class Llama(nn.Module):
    """Rotary positions, grouped queries, a causal mask in place of scores, a gated layer."""

    def __init__(self):
        super().__init__()
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        self.e, self.n, self.m = nn.Embedding(20, 16), RmsNorm(16), RmsNorm(16)
        self.q, self.k, self.v, self.o = linear(16, 16), linear(16, 8), linear(16, 8), linear(16, 16)
        self.g, self.u, self.d, self.f = linear(16, 32), linear(16, 32), linear(32, 16), linear(16, 20)
        t = torch.outer(torch.arange(8.0), 10000 ** (-torch.arange(0, 4) / 4.0))
        self.register_buffer("cos", torch.cat([t, t], -1).cos())
        self.register_buffer("sin", torch.cat([t, t], -1).sin())

    def rotate(self, x):
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin

    def forward(self, x):
        x = self.e(x)
        h = self.n(x)
        batch, steps, _ = h.shape
        q = self.rotate(self.q(h).view(batch, steps, 2, 8).transpose(1, 2))
        k = self.rotate(self.k(h).view(batch, steps, 1, 8).transpose(1, 2)).repeat_interleave(2, 1)
        v = self.v(h).view(batch, steps, 1, 8).transpose(1, 2).repeat_interleave(2, 1)
        a = q @ k.transpose(-1, -2) / math.sqrt(8)
        a = a.masked_fill(torch.triu(torch.ones(steps, steps, dtype=torch.bool), 1), float("-inf")).softmax(-1)
        x = x + self.o((a @ v).transpose(1, 2).reshape(batch, steps, 16))
        h = self.m(x)
        return self.f(x + self.d(F.silu(self.g(h)) * self.u(h)))


class Masked(nn.Module):
    """A mask that is an input."""

    def __init__(self):
        super().__init__()
        self.e, self.q, self.f = nn.Embedding(20, 16), nn.Linear(16, 48), nn.Linear(16, 3)

    def forward(self, x, mask):
        h = self.e(x)
        q, k, v = self.q(h).chunk(3, -1)
        a = (q @ k.transpose(1, 2) / 4).masked_fill(mask[:, None, :] == 0, float("-inf")).softmax(-1)
        m = mask[..., None].float()
        return self.f((a @ v * m).sum(1) / m.sum(1).clamp(min=1))


class Added(nn.Module):
    """A mask of the least float32 that is computed and added, as Hugging Face's models do."""

    def __init__(self):
        super().__init__()
        self.e, self.q, self.f = nn.Embedding(20, 16), nn.Linear(16, 48), nn.Linear(16, 3)

    def forward(self, x, mask):
        h = self.e(x)
        q, k, v = self.q(h).chunk(3, -1)
        inverted = 1.0 - mask[:, None, :].float()
        inverted = inverted.masked_fill(inverted.bool(), torch.finfo(torch.float32).min)
        return self.f(((q @ k.transpose(1, 2) / 4 + inverted).softmax(-1) @ v)[:, 0])


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.r = kind(6, 8, batch_first=True, **options)
        self.f = nn.Linear(16 if options.get("bidirectional") else 8, 4)

    def forward(self, x):
        return self.f(self.r(x)[0][:, -1])


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        layers = lambda: nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.p, self.n, self.t, self.m, self.c = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16), layers(), nn.LayerNorm(16), layers()
        self.f = nn.Linear(16, 10)

    def forward(self, x):
        x = self.p(x).flatten(2).transpose(1, 2)
        x = x + self.t(self.n(x).transpose(1, 2)).transpose(1, 2)
        return self.f((x + self.c(self.m(x))).mean(1))


class Tabular(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.n = nn.ModuleList([nn.Embedding(n, 4) for n in (5, 7)]), nn.BatchNorm1d(6)
        self.f = nn.Sequential(nn.Linear(14, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Dropout(), nn.Linear(32, 2))

    def forward(self, kinds, x):
        return F.softmax(self.f(torch.cat([e(kinds[:, i]) for i, e in enumerate(self.e)] + [self.n(x)], 1)), 1)


class Temporal(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.f = nn.Conv1d(4, 8, 3, padding=2, dilation=2), nn.Conv1d(8, 8, 3, padding=4, dilation=4), nn.Linear(8, 3)

    def forward(self, x):
        x = F.leaky_relu(self.a(x), 0.1)
        x = x + F.elu(self.b(x))
        return F.log_softmax(self.f(F.adaptive_avg_pool1d(x, 1).squeeze(-1)), -1)


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.p, self.d, self.n = nn.Conv2d(3, 12, 4, 4), nn.Conv2d(12, 12, 7, padding=3, groups=12), nn.LayerNorm(12)
        self.a, self.b, self.g, self.f = nn.Linear(12, 48), nn.Linear(48, 12), nn.Parameter(torch.full((12,), 0.5)), nn.Linear(12, 10)

    def forward(self, x):
        x = self.p(x)
        y = self.g * self.b(F.gelu(self.a(self.n(self.d(x).permute(0, 2, 3, 1)))))
        return self.f((x + y.permute(0, 3, 1, 2)).mean((-2, -1)))


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.f = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 10)
        self.b = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.Conv2d(4, 4, 1), nn.ReLU())

    def forward(self, x):
        a, b = self.c(x).chunk(2, 1)
        x = torch.cat([a, self.b(b)], 1)
        n, c, h, w = x.shape
        return self.f(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w).mean([2, 3]))


class Yolo(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.SiLU())
        self.p, self.h = nn.MaxPool2d(5, 1, 2), nn.Conv2d(64, 21, 1)
        places = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
        self.register_buffer("grid", torch.stack(places, -1)[None, None])
        self.register_buffer("anchor", torch.rand(1, 3, 1, 1, 2) + 1)

    def forward(self, x):
        x = self.c(x)
        a = self.p(x)
        b = self.p(a)
        x = self.h(torch.cat([x, a, b, self.p(b)], 1))
        y = x.view(x.shape[0], 3, 7, 4, 4).permute(0, 1, 3, 4, 2).sigmoid()
        center, size = (y[..., :2] * 2 - 0.5 + self.grid) * 8, (y[..., 2:4] * 2) ** 2 * self.anchor
        return torch.cat([center, size, y[..., 4:]], -1).view(x.shape[0], -1, 7)


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.g, self.i = nn.Conv2d(3, 8, 3, 1, 1), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True)
        self.p, self.b, self.f = nn.PReLU(8), nn.Conv2d(8, 8, 3, 2, 1, padding_mode="reflect"), nn.Linear(8, 4)

    def forward(self, x):
        x = F.mish(self.i(self.b(self.p(self.g(self.a(x))))))
        return self.f(F.adaptive_max_pool2d(x, 1).flatten(1))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)
        self.f = nn.Linear(16, 4)

    def forward(self, x):
        return self.f(self.e(x).mean(1))


class Graph(nn.Module):
    """Two layers over an adjacency matrix that is an input."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x, edges):
        degree = edges.sum(-1, keepdim=True).clamp(min=1)
        return self.b(edges @ F.relu(edges @ self.a(x) / degree) / degree).max(1).values


def autoencoder():
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8), nn.Linear(8, 32), nn.Softplus(), nn.Linear(32, 64), nn.Sigmoid())


def image(size=16):
    return (torch.rand(1, 3, size, size),)


def tokens():
    return (torch.randint(0, 20, (1, 8)),)


def masked_tokens():
    return *tokens(), (torch.arange(8)[None] < torch.randint(3, 9, (1, 1))).long()


NETWORKS = {
    "resnet": (ResNet, lambda: image(32)),
    "mobilenet_v2": (lambda: mobile(nn.ReLU6), image),
    "mobilenet_v3": (lambda: mobile(nn.Hardswish, nn.Hardsigmoid()), image),
    "efficientnet": (lambda: mobile(nn.SiLU, nn.Sigmoid()), image),
    "densenet": (DenseNet, image),
    "unet": (UNet, image),
    "vit": (ViT, image),
    "gpt": (Gpt, tokens),
    "gpt_tanh": (lambda: Gpt("tanh"), tokens),
    "llama": (Llama, tokens),
    "masked": (Masked, masked_tokens),
    "added": (Added, masked_tokens),
    "encoder": (Encoder, lambda: (torch.randn(1, 6, 16),)),
    "lstm": (lambda: Recurrent(nn.LSTM), lambda: (torch.randn(1, 7, 6),)),
    "bilstm": (lambda: Recurrent(nn.LSTM, bidirectional=True, num_layers=2), lambda: (torch.randn(1, 7, 6),)),
    "gru": (lambda: Recurrent(nn.GRU), lambda: (torch.randn(1, 7, 6),)),
    "mixer": (Mixer, image),
    "tabular": (Tabular, lambda: (torch.stack([torch.randint(0, 5, (1,)), torch.randint(0, 7, (1,))], 1), torch.randn(1, 6))),
    "temporal": (Temporal, lambda: (torch.randn(1, 4, 16),)),
    "convnext": (ConvNeXt, image),
    "shuffle": (Shuffle, image),
    "yolo": (Yolo, image),
    "autoencoder": (autoencoder, lambda: (torch.rand(1, 64),)),
    "norms": (Norms, image),
    "graph": (Graph, lambda: (torch.randn(1, 6, 5), (torch.rand(1, 6, 6) < 0.4).float())),
}


def export(network, x, way):
    if way == "dynamo":
        model = torch.onnx.export(network, x, dynamo=True, verbose=False).model_proto
    else:
        to = io.BytesIO()
        torch.onnx.export(network, x, to, opset_version=17, dynamo=False)
        model = onnx.load_from_string(to.getvalue())
    # names of this file's lines are of no use in the model's
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    return model


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    only = sys.argv[1:]
    for name, (make, draw) in NETWORKS.items():
        if only and name not in only:
            continue
        torch.manual_seed(3)
        network = make().train()
        with torch.no_grad():
            for _ in range(20):
                network(*[torch.cat(v) for v in zip(*[draw() for _ in range(8)])])
        network.eval()
        samples = [draw() for _ in range(SAMPLES)]
        for way in ("ts", "dynamo"):
            try:
                model = export(network, samples[0], way)
            except torch.onnx.errors.OnnxExporterError as e:
                print(name, way, "not exported:", type(e).__name__, flush=True)
                continue
            (OUT / f"{name}.{way}.onnx").write_bytes(model.SerializeToString())
            np.savez_compressed(OUT / f"{name}.{way}.npz", **run(model, [[x.numpy() for x in sample] for sample in samples]))
            print(name, way, sorted({n.op_type for n in model.graph.node}), flush=True)


if __name__ == "__main__":
    main()
