#!/usr/bin/env python3
"""Write quantized/: statically quantized forms of the six models, and one small quantized model per operator.

    python3 make_quantized.py        # made with onnx 1.23.2, onnxruntime 1.31.1, numpy 2.4.6 (PyPI)

NAME.onnx with NAME.npz: y, the real outputs of onnxruntime, one row per sample, and x, the samples; a form of one of the six
models has no x where the samples are those of MODEL.heldout.npz. `index.txt` lists the files: name, model whose held-out samples
are used (or -). Run it on a processor with VNNI: without it onnxruntime's kernels for uint8·int8 saturate.
"""
import os
for _v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_v, "1")
import logging
import tempfile
from pathlib import Path
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

HERE = Path(__file__).resolve().parent
OUT = HERE / "quantized"
F = np.float32
U8, S8 = QuantType.QUInt8, QuantType.QInt8
MS = "com.microsoft"


class Samples(CalibrationDataReader):
    def __init__(self, name, x):
        self.rest = iter([{name: v} for v in x])

    def get_next(self):
        return next(self.rest, None)


def run(m, x):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    s = ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = s.get_inputs()[0].name
    return np.stack([s.run(None, {feed: v})[0] for v in x])


def blocks(n, shape):
    """Images of few levels: they compress well."""
    r = np.random.default_rng(11)
    levels = r.integers(0, 4, (n, shape[0], shape[1], shape[2] // 4, shape[3] // 4))
    noise = r.integers(0, 8, (n, *shape)) * (r.random((n, *shape)) < 0.1)
    return ((np.kron(levels, np.ones((1, 1, 1, 4, 4))) * 8 + noise - 16) / 16).astype(F)


# form, model, format, activations, weights, per channel, symmetric activations, and the operators that get scales of their own
LAYERS = ["Conv", "Gemm", "Relu"]
FORMS = [
    ("digits-mlp.qdq-u8", "digits-mlp", QuantFormat.QDQ, U8, S8, True, False),
    ("digits-mlp.qdq-s8", "digits-mlp", QuantFormat.QDQ, S8, S8, True, False),
    ("digits-mlp.qop-u8", "digits-mlp", QuantFormat.QOperator, U8, S8, True, False),
    ("digits-cnn.qdq-u8", "digits-cnn", QuantFormat.QDQ, U8, S8, True, False),
    ("digits-cnn.qdq-s8-symmetric", "digits-cnn", QuantFormat.QDQ, S8, S8, True, True),
    ("digits-cnn.qop-s8", "digits-cnn", QuantFormat.QOperator, S8, S8, True, False),
    ("digits-cnn.qdq-u8-weights-u8", "digits-cnn", QuantFormat.QDQ, U8, U8, False, False),
    # its means are rounded to the scale of what the next layer reads; with the scale of what they are means of, every fourth is a tie
    ("lenet5-mnist-shape.qdq-u8", "lenet5-mnist-shape", QuantFormat.QDQ, U8, S8, True, False, LAYERS),
    ("cnn-cifar-tiny.qdq-u8", "cnn-cifar-tiny", QuantFormat.QDQ, U8, S8, True, False),
    ("cnn-cifar-small.qdq-s8", "cnn-cifar-small", QuantFormat.QDQ, S8, S8, True, False),
    ("mlp-100k.qdq-u8", "mlp-100k", QuantFormat.QDQ, U8, S8, True, False),
]


def forms(index):
    for name, model, fmt, act, weight, per_channel, symmetric, *operators in FORMS:
        calibration = np.load(HERE / f"{model}.calibration.npz")["x"]
        with tempfile.TemporaryDirectory() as d:
            path = Path(d) / "q.onnx"
            quantize_static(HERE / f"{model}.onnx", path, Samples("input", calibration), quant_format=fmt, per_channel=per_channel,
                            activation_type=act, weight_type=weight, op_types_to_quantize=operators[0] if operators else None, extra_options={"ActivationSymmetric": symmetric})
            m = onnx.load(path)
        # names of the calibration's own making are of no use here
        del m.graph.value_info[:]
        held = np.load(HERE / f"{model}.heldout.npz")["x"]
        arrays, shared = {}, len(held) >= 100
        if not shared:
            held = blocks(64, held.shape[1:]) if held.ndim == 5 else np.random.default_rng(3).integers(-16, 17, (64, *held.shape[1:])).astype(F) / 8
            arrays["x"] = held
        write(name, m, held, arrays)
        index.append((name, model if shared else "-"))


def write(name, m, x, arrays):
    if m.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8:
        # both ports hold integers; the arrays hold the real numbers that they stand for
        x = np.random.default_rng(5).integers(0, 256, x.shape).astype(np.uint8)
        y = (run(m, x).astype(F) - 98) * F(0.0433)
        arrays = {"x": (x.astype(F) - 113) * F(0.0117)}
    else:
        y = run(m, x)
    if not m.graph.output[0].type.tensor_type.HasField("shape"):
        m.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", m.graph.output[0].type.tensor_type.elem_type, y.shape[1:]))
    onnx.checker.check_model(m)
    (OUT / f"{name}.onnx").write_bytes(m.SerializeToString())
    np.savez_compressed(OUT / f"{name}.npz", y=y, **arrays)
    print(name, x.shape, y.shape, len(np.unique(y)), "values", (OUT / f"{name}.onnx").stat().st_size)


# One operator each.

class Made:
    """A graph under construction: real x [shape] → quantized tensors → real y."""

    def __init__(self, shape, scale, zero_point, dtype=np.uint8):
        self.inits, self.nodes, self.shape, self.n = [], [], shape, 0
        self.x = self.quantize("x", scale, zero_point, dtype)

    def const(self, value, dtype=None):
        self.n += 1
        self.inits.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{self.n}"))
        return f"c{self.n}"

    def node(self, op, inputs, domain="", **attributes):
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], name=f"{op}_{len(self.nodes)}", domain=domain, **attributes))
        return out

    def q(self, scale, zero_point, dtype=np.uint8):
        """Names of a scale and a zero point."""
        return [self.const(scale, F), self.const(zero_point, dtype)]

    def quantize(self, x, scale, zero_point, dtype=np.uint8):
        return self.node("QuantizeLinear", [x, *self.q(scale, zero_point, dtype)])

    def dequantize(self, x, scale, zero_point, dtype=np.uint8):
        return self.node("DequantizeLinear", [x, *self.q(scale, zero_point, dtype)])

    def whole(self, y_scale, y_zero):
        """The graph without its quantization at both ends: x and y are uint8."""
        m = self.finish(f"t{len(self.nodes) - 1}", y_scale, y_zero)
        first, last = m.graph.node[0], m.graph.node[-1]
        for n in m.graph.node[1:-1]:
            n.input[:] = ["x" if i == first.output[0] else i for i in n.input]
            n.output[:] = ["y" if o == last.input[0] else o for o in n.output]
        m.graph.node.remove(last)
        m.graph.node.remove(first)
        for port in (m.graph.input[0], m.graph.output[0]):
            port.type.tensor_type.elem_type = TensorProto.UINT8
        return m

    def finish(self, y, scale, zero_point, dtype=np.uint8):
        self.dequantize(y, scale, zero_point, dtype)
        return self.model()

    def model(self):
        self.nodes[-1].output[0] = "y"
        g = helper.make_graph(self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], self.inits)
        m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)], producer_name="make_quantized.py")
        m.ir_version = 8
        return m


def operators():
    r = np.random.default_rng(21)
    s8 = lambda *s: r.integers(-127, 128, s).astype(np.int8)
    u8 = lambda *s: r.integers(0, 256, s).astype(np.uint8)
    channels = lambda n: (0.002 + 0.01 * r.random(n)).astype(F)
    bias = lambda n: r.integers(-4000, 4000, n).astype(np.int32)

    def conv(shape, w, w_scale, w_zero, y, x=(0.0117, 113), dtype=np.uint8, b=True, **attributes):
        m = Made(shape, *x, dtype)
        ins = [m.x, *m.q(*x, dtype), m.const(w), m.const(w_scale, F), m.const(w_zero, w.dtype), *m.q(*y, dtype)]
        out = m.node("QLinearConv", ins + ([m.const(bias(w.shape[0]))] if b else []), **attributes)
        return m.finish(out, *y, dtype)

    zeros = lambda n: np.zeros(n, np.int8)
    yield "qlinear_conv_pad", conv([1, 3, 7, 6], s8(4, 3, 3, 3), channels(4), zeros(4), (0.0531, 90), kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1])
    yield "qlinear_conv_pad_s8", conv([1, 3, 7, 6], s8(4, 3, 3, 3), channels(4), zeros(4), (0.0631, 17), x=(0.0117, -37), dtype=np.int8, kernel_shape=[3, 3], pads=[1, 0, 2, 1])
    yield "qlinear_conv_group", conv([1, 4, 6, 6], s8(6, 2, 3, 3), channels(6), zeros(6), (0.041, 131), kernel_shape=[3, 3], group=2, pads=[1, 1, 1, 1])
    yield "qlinear_conv_depthwise", conv([1, 4, 6, 6], s8(4, 1, 3, 3), channels(4), zeros(4), (0.033, 77), kernel_shape=[3, 3], group=4, pads=[0, 1, 1, 0], b=False)
    yield "qlinear_conv_dilated", conv([1, 2, 9, 9], s8(3, 2, 3, 3), 0.0071, 0, (0.047, 140), kernel_shape=[3, 3], dilations=[2, 3], pads=[2, 2, 2, 2])
    yield "qlinear_conv_weights_u8", conv([1, 3, 6, 6], u8(4, 3, 3, 3), 0.0057, 121, (0.051, 120), kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    x, y = (0.0117, 113), (0.0433, 98)
    m = Made([1, 5, 12], *x)
    yield "qlinear_matmul", m.finish(m.node("QLinearMatMul", [m.x, *m.q(*x), m.const(s8(12, 7)), *m.q(0.0071, 0, np.int8), *m.q(*y)]), *y)
    m = Made([1, 5, 12], *x)
    yield "qlinear_matmul_channels", m.finish(m.node("QLinearMatMul", [m.x, *m.q(*x), m.const(s8(12, 7)), m.const(channels(7)), m.const(zeros(7)), *m.q(*y)]), *y)
    m = Made([1, 5, 12], *x)
    yield "qlinear_matmul_weights_u8", m.finish(m.node("QLinearMatMul", [m.x, *m.q(*x), m.const(u8(12, 7)), *m.q(0.0071, 133), *m.q(*y)]), *y)
    m = Made([3, 12], *x)
    yield "qgemm", m.finish(m.node("QGemm", [m.x, *m.q(*x), m.const(s8(12, 7)), m.const(channels(7)), m.const(zeros(7)), m.const(bias(7)), *m.q(*y)], MS), *y)
    m = Made([3, 12], *x)
    m.node("QGemm", [m.x, *m.q(*x), m.const(s8(12, 7)), m.const(channels(7)), m.const(zeros(7)), m.const(bias(7)), *m.q(*y)], MS)
    yield "integer_ports", m.whole(*y)
    m = Made([3, 12], *x)
    yield "qgemm_transposed", m.finish(m.node("QGemm", [m.x, *m.q(*x), m.const(s8(7, 12)), m.const(channels(7)), m.const(zeros(7)), m.const(bias(7)), *m.q(*y)], MS, transB=1), *y)

    def two(op, y, constant=None):
        m = Made([1, 3, 5, 5], *x)
        second = (0.0213, 61)
        other = m.quantize(m.node("Relu", [m.dequantize(m.x, *x)]), *second) if constant is None else m.const(constant)
        return m.finish(m.node(op, [m.x, *m.q(*x), other, *m.q(*second), *m.q(*y)], MS), *y)

    yield "qlinear_add", two("QLinearAdd", (0.0297, 101))
    yield "qlinear_add_constant", two("QLinearAdd", (0.0297, 101), u8(3, 1, 1))
    yield "qlinear_mul", two("QLinearMul", (0.0219, 40))
    yield "qlinear_mul_constant", two("QLinearMul", (0.0219, 90), u8(3, 1, 1))

    def pool(op, y, shape=(1, 3, 6, 6), **attributes):
        m = Made(list(shape), *x)
        return m.finish(m.node(op, [m.x, *m.q(*x), *m.q(*y)], MS, **attributes), *y)

    yield "qlinear_global_average_pool", pool("QLinearGlobalAveragePool", (0.0053, 87), (1, 6, 7, 7))
    yield "qlinear_average_pool", pool("QLinearAveragePool", (0.0101, 117), kernel_shape=[3, 3], strides=[1, 1])
    yield "qlinear_average_pool_pad", pool("QLinearAveragePool", (0.0101, 117), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=0)
    # one scale on both sides: means of two and of four, many of them ties
    yield "ties_average_pool", pool("QLinearAveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    yield "ties_average_pool_row", pool("QLinearAveragePool", x, kernel_shape=[1, 2], strides=[1, 2])
    yield "qlinear_sigmoid", pool("QLinearSigmoid", (1 / 256, 0))
    yield "qlinear_leaky_relu", pool("QLinearLeakyRelu", (0.0093, 51), alpha=0.1)

    m = Made([1, 3, 4, 4], *x)
    other = m.quantize(m.node("Relu", [m.dequantize(m.x, *x)]), 0.0213, 61)
    yield "qlinear_concat", m.finish(m.node("QLinearConcat", [*m.q(0.0171, 99), m.x, *m.q(*x), other, *m.q(0.0213, 61)], MS, axis=1), 0.0171, 99)

    def real(op, y, *inputs, shape=(1, 3, 6, 6), y_dtype=np.uint8, **attributes):
        m = Made(list(shape), *x)
        out = m.node(op, [m.dequantize(m.x, *x), *[m.const(i) for i in inputs]], **attributes)
        return m.finish(m.quantize(out, *y, y_dtype), *y, y_dtype)

    yield "qdq_relu", real("Relu", (0.0093, 0))
    yield "qdq_clip", real("Clip", (0.0071, -30), np.array(-0.3, F), np.array(0.9, F), y_dtype=np.int8)
    yield "qdq_sigmoid_s8", real("Sigmoid", (1 / 256, -128), y_dtype=np.int8)
    yield "qdq_tanh", real("Tanh", (2 / 255, 128))
    yield "qdq_max_pool", real("MaxPool", (0.0131, 71), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    yield "qdq_transpose", real("Transpose", x, perm=[0, 2, 3, 1])
    yield "qdq_global_average_pool", real("GlobalAveragePool", (0.0061, 90))
    yield "qdq_mul_constant", real("Mul", (0.0071, 100), (0.5 + r.random((3, 1, 1))).astype(F))

    # a residual block, its bias a float, its sum rectified: the forms that PyTorch writes
    m = Made([1, 3, 5, 5], *x)
    real_x = m.dequantize(m.x, *x)
    w = (0.1 * r.standard_normal((3, 3, 3, 3))).astype(F)
    scales, zero = m.const(channels(3) / 5), m.const(zeros(3))
    w = m.node("QuantizeLinear", [m.const(w), scales, zero], axis=0)
    w = m.node("DequantizeLinear", [w, scales, zero], axis=0)
    c = m.node("Conv", [real_x, w, m.const((0.3 * r.standard_normal(3)).astype(F))], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    c = m.dequantize(m.quantize(c, 0.0153, 111), 0.0153, 111)
    s = m.node("Relu", [m.node("Add", [c, real_x])])
    yield "qdq_residual_float_bias", m.finish(m.quantize(s, 0.0147, 0), 0.0147, 0)

    m = Made([1, 5, 12], *x)
    a = m.node("MatMulInteger", [m.x, m.const(s8(12, 7)), m.const(113, np.uint8)])
    a = m.node("Mul", [m.node("Cast", [a], to=TensorProto.FLOAT), m.const(np.array(0.0117 * 0.0071, F))])
    yield "matmul_integer", m.finish(m.quantize(a, *y), *y)
    m = Made([1, 3, 6, 6], *x)
    a = m.node("ConvInteger", [m.x, m.const(u8(4, 3, 3, 3)), m.const(113, np.uint8), m.const(127, np.uint8)], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    a = m.node("Mul", [m.node("Cast", [a], to=TensorProto.FLOAT), m.const(np.array(0.0117 * 0.0071, F))])
    yield "conv_integer", m.finish(m.quantize(a, 0.061, 127), 0.061, 127)

    # what PyTorch's exporter leaves to the runtime: zero points, scales and integers of a bias; a cast to the same type, a clip to seven bits
    m = Made([3, 12], *x)
    a = m.node("Cast", [m.node("Clip", [m.x, "", m.const(127, np.uint8)])], to=TensorProto.UINT8)
    a = m.dequantize(a, *x)
    w_scale = m.node("Cast", [m.const(channels(7), np.float64)], to=TensorProto.FLOAT)
    w = m.node("DequantizeLinear", [m.const(s8(7, 12)), w_scale, m.node("Cast", [m.const(zeros(7), np.int64)], to=TensorProto.INT8)], axis=0)
    b_scale = m.node("Mul", [w_scale, m.node("Identity", [m.const(x[0], F)])])
    b = m.node("Cast", [m.node("Div", [m.const(0.3 * r.standard_normal(7), F), b_scale])], to=TensorProto.INT32)
    zero = m.node("ConstantOfShape", [m.node("Shape", [b_scale])], value=helper.make_tensor("zero", TensorProto.INT64, [1], [0]))
    b = m.node("DequantizeLinear", [b, b_scale, m.node("Cast", [zero], to=TensorProto.INT32)], axis=0)
    m.node("Gemm", [a, w, b], transB=1)
    yield "qdq_computed_bias", m.finish(m.quantize(f"t{len(m.nodes) - 1}", *y), *y)


def refused():
    """Files that must be refused, each with one thing wrong."""
    x, y = (0.0117, 113), (0.0433, 98)
    w = np.arange(-42, 42, dtype=np.int8).reshape(12, 7)

    def dense(scale=0.01, zero=0, zero_type=np.int8, y=y, axis=1, edit=lambda m: None, operand=None):
        m = Made([1, 12], *x)
        s = m.const(scale, F)
        ins = [m.const(w), s, m.const(zero, zero_type)]
        weights = m.node("DequantizeLinear", ins, axis=axis)
        out = m.node("MatMul", [m.dequantize(m.x, *x), weights])
        if operand is not None:
            operand(m)
        made = m.finish(m.quantize(out, *y), *y)
        edit(made)
        return made

    def rename(index, operand, to):
        def edit(m):
            m.graph.node[index].input[operand] = to
        return edit

    yield "scale_missing", dense(edit=rename(1, 1, ""))
    yield "scale_computed", dense(edit=rename(4, 1, "x"))
    yield "scale_zero", dense(scale=0.0)
    yield "scale_negative", dense(scale=-0.01)
    yield "scale_nan", dense(scale=np.nan)
    yield "scales_of_wrong_length", dense(scale=np.full(5, 0.01), zero=np.zeros(5))
    yield "scales_on_no_axis", dense(scale=np.full(7, 0.01), zero=np.zeros(7), axis=4)
    yield "scales_of_summed_axis", dense(scale=np.linspace(0.01, 0.02, 12), zero=np.zeros(12), axis=0)
    yield "zero_point_of_other_type", dense(zero_type=np.uint8)
    yield "zero_points_too_few", dense(scale=np.full(7, 0.01), zero=np.zeros(3))
    yield "activation_per_channel", dense(y=(np.full(7, 0.04, F), np.full(7, 98)))

    def odd(m):
        m.graph.initializer.append(numpy_helper.from_array(np.array(0.5, F), "odd"))
        m.graph.node[2].input[1] = "odd"
    yield "read_with_other_scale", dense(edit=odd)
    yield "integers_read_as_reals", dense(edit=rename(3, 0, "t0"))
    m = Made([1, 12], *x)
    m.nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic")]
    m.node("DequantizeLinear", ["q", "s", "z"])
    yield "dynamic", m.model()

    def between(op, *bounds, **attributes):
        """An operator on integers, before they are read as real numbers."""
        m = Made([1, 12], *x)
        out = m.node(op, [m.x, *[b if isinstance(b, str) else m.const(b, np.uint8) for b in bounds]], **attributes)
        return m.finish(out, *x)

    yield "cast_to_other_range", between("Cast", to=TensorProto.INT8)
    yield "clip_leaves_nothing", between("Clip", 200, 100)
    yield "clip_bound_computed", between("Clip", "t0")

    def short(m):
        m.graph.initializer[3].raw_data = m.graph.initializer[3].raw_data[:-3]
    yield "weights_too_short", dense(edit=short)


def main():
    logging.disable(logging.WARNING)
    OUT.mkdir(exist_ok=True)
    index = []
    forms(index)
    for name, m in operators():
        shape = [d.dim_value for d in m.graph.input[0].type.tensor_type.shape.dim]
        # multiples of 1/64: they compress, and reach past both ends of the input's range
        x = (np.random.default_rng(len(name)).integers(-96, 128, (24, *shape)) / 64).astype(F)
        write(name, m, x, {"x": x})
        index.append((name, "-"))
    (OUT / "bad").mkdir(exist_ok=True)
    for name, m in refused():
        (OUT / "bad" / f"{name}.onnx").write_bytes(m.SerializeToString())
    (OUT / "index.txt").write_text("".join(f"{n} {m}\n" for n, m in index))


if __name__ == "__main__":
    main()
