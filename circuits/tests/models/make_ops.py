#!/usr/bin/env python3
"""Write ops/ and bad/: one small ONNX model per operator variant, and files that the importer must refuse.

    python3 make_ops.py        # needs numpy, onnx, onnxruntime

ops/NAME.onnx with ops/NAME.npz: x, 24 inputs, and y, onnxruntime's float outputs for them. Everything comes from fixed seeds.
"""
import os
for _v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_v, "1")
from pathlib import Path
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
F = np.float32


def const(name, array):
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def model(name, x_shape, nodes, inits, opset=13, extra_inputs=()):
    """nodes: (op, inputs, attributes) chained by name; the last output is y."""
    made = []
    for i, (op, ins, attrs) in enumerate(nodes):
        out = "y" if i == len(nodes) - 1 else f"t{i}"
        made.append(helper.make_node(op, ins, [out], name=f"{op.lower()}_{i}", **attrs))
    g = helper.make_graph(
        made, name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape), *extra_inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [const(k, v) for k, v in inits.items()])
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)], producer_name="make_ops.py")
    m.ir_version = 8
    return m


def cases():
    r = np.random.default_rng(5)
    w = lambda *s: (r.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(F)
    b = lambda n: (0.3 * r.standard_normal(n)).astype(F)
    conv = lambda **k: ("Conv", ["x", "w", "b"], k)
    yield "conv_stride_pad", [1, 3, 7, 6], [conv(kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1])], {"w": w(4, 3, 3, 3), "b": b(4)}
    yield "conv_asymmetric_pads", [1, 2, 5, 5], [conv(kernel_shape=[3, 2], pads=[0, 1, 2, 0])], {"w": w(3, 2, 3, 2), "b": b(3)}
    yield "conv_group", [1, 4, 5, 5], [conv(kernel_shape=[3, 3], group=2, pads=[1, 1, 1, 1]), ("Relu", ["t0"], {})], {"w": w(6, 2, 3, 3), "b": b(6)}
    yield "conv_depthwise", [1, 4, 6, 6], [conv(kernel_shape=[3, 3], group=4)], {"w": w(4, 1, 3, 3), "b": b(4)}
    yield "conv_dilation", [1, 2, 8, 8], [conv(kernel_shape=[3, 3], dilations=[2, 3])], {"w": w(3, 2, 3, 3), "b": b(3)}
    yield "conv_same_upper", [1, 2, 5, 6], [conv(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")], {"w": w(3, 2, 3, 3), "b": b(3)}
    yield "conv_same_lower", [1, 2, 5, 6], [conv(kernel_shape=[2, 2], auto_pad="SAME_LOWER")], {"w": w(3, 2, 2, 2), "b": b(3)}
    yield "conv_1d", [1, 3, 12], [conv(kernel_shape=[4], strides=[2], pads=[1, 2])], {"w": w(5, 3, 4), "b": b(5)}
    yield "conv_no_bias", [1, 2, 5, 5], [("Conv", ["x", "w"], dict(kernel_shape=[3, 3]))], {"w": w(3, 2, 3, 3)}
    yield "conv_batch", [2, 2, 5, 5], [conv(kernel_shape=[3, 3], pads=[1, 1, 1, 1]), ("MaxPool", ["t0"], dict(kernel_shape=[2, 2]))], {"w": w(3, 2, 3, 3), "b": b(3)}
    yield "conv_pool_relu", [1, 2, 6, 6], [conv(kernel_shape=[3, 3]), ("MaxPool", ["t0"], dict(kernel_shape=[2, 2], strides=[2, 2])), ("Relu", ["t1"], {})], {"w": w(3, 2, 3, 3), "b": b(3)}
    dead = w(4, 2, 3, 3); dead[1] = 0
    yield "conv_dead_channel", [1, 2, 5, 5], [conv(kernel_shape=[3, 3])], {"w": dead, "b": b(4)}
    bn = {"s": (1 + 0.5 * r.standard_normal(4)).astype(F), "o": b(4), "m": b(4), "v": (0.2 + r.random(4)).astype(F)}
    yield "conv_batch_norm_relu", [1, 3, 6, 6], [conv(kernel_shape=[3, 3]), ("BatchNormalization", ["t0", "s", "o", "m", "v"], dict(epsilon=1e-3)), ("Relu", ["t1"], {})], {"w": w(4, 3, 3, 3), "b": b(4), **bn}
    yield "batch_norm_alone", [1, 4, 5, 5], [("BatchNormalization", ["x", "s", "o", "m", "v"], {})], bn
    avg = lambda **k: ("AveragePool", ["x"], k)
    yield "average_pool", [1, 2, 6, 6], [avg(kernel_shape=[2, 2], strides=[2, 2])], {}
    yield "average_pool_exclude_pad", [1, 2, 6, 6], [avg(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=0)], {}
    yield "average_pool_include_pad", [1, 2, 6, 6], [avg(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)], {}
    yield "average_pool_conv", [1, 2, 6, 6], [avg(kernel_shape=[2, 2], strides=[2, 2]), ("Conv", ["t0", "w", "b"], dict(kernel_shape=[2, 2], pads=[1, 1, 0, 0]))], {"w": w(3, 2, 2, 2), "b": b(3)}
    yield "max_pool_padded", [1, 2, 6, 7], [("MaxPool", ["x"], dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))], {}
    yield "max_pool_ceil", [1, 2, 6, 7], [("MaxPool", ["x"], dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1))], {}
    yield "global_average_pool", [1, 3, 5, 7], [("GlobalAveragePool", ["x"], {}), ("Flatten", ["t0"], dict(axis=1)), ("Gemm", ["t1", "w", "b"], dict(transB=1))], {"w": w(4, 3), "b": b(4)}
    yield "global_max_pool", [1, 3, 4, 4], [("GlobalMaxPool", ["x"], {})], {}
    yield "reduce_mean_channels", [1, 4, 3, 5], [("ReduceMean", ["x"], dict(axes=[1], keepdims=0))], {}
    yield "residual_add", [1, 3, 5, 5], [conv(kernel_shape=[3, 3], pads=[1, 1, 1, 1]), ("Add", ["t0", "x"], {}), ("Relu", ["t1"], {})], {"w": w(3, 3, 3, 3), "b": b(3)}
    yield "residual_sub", [1, 6], [("Gemm", ["x", "w", "b"], {}), ("Sub", ["x", "t0"], {})], {"w": w(6, 6), "b": b(6)}
    yield "add_constant", [1, 3, 4, 4], [("Add", ["x", "c"], {})], {"c": (1 + r.random((3, 1, 1))).astype(F)}
    yield "mul_constant", [1, 3, 4], [("Mul", ["x", "c"], {})], {"c": r.standard_normal((3, 4)).astype(F)}
    yield "sigmoid", [1, 6], [("Gemm", ["x", "w", "b"], {}), ("Sigmoid", ["t0"], {})], {"w": w(6, 8) * 3, "b": b(8)}
    yield "tanh_of_input", [1, 8], [("Tanh", ["x"], {})], {}
    yield "sigmoid_of_mean", [1, 3, 4, 4], [("GlobalAveragePool", ["x"], {}), ("Sigmoid", ["t0"], {})], {}
    yield "clip", [1, 6], [("Gemm", ["x", "w", "b"], {}), ("Clip", ["t0", "lo", "hi"], {})], {"w": w(6, 8) * 3, "b": b(8), "lo": np.array(-0.5, F), "hi": np.array(1.0, F)}
    yield "clip_of_input", [1, 8], [("Clip", ["x", "", "hi"], {})], {"hi": np.array(0.7, F)}
    yield "transpose_reshape", [1, 3, 4, 2], [("Transpose", ["x"], dict(perm=[0, 2, 3, 1])), ("Reshape", ["t0", "s"], {}), ("MatMul", ["t1", "w"], {})], {"s": np.array([1, 4, 6], np.int64), "w": w(6, 5)}
    yield "squeeze_unsqueeze", [1, 1, 4, 3], [("Squeeze", ["x", "a"], {}), ("Unsqueeze", ["t0", "a2"], {}), ("Conv", ["t1", "w"], dict(kernel_shape=[2, 2]))], {"a": np.array([1], np.int64), "a2": np.array([1], np.int64), "w": w(2, 1, 2, 2)}
    yield "matmul_3d_bias", [1, 5, 6], [("MatMul", ["x", "w"], {}), ("Add", ["t0", "b"], {}), ("Relu", ["t1"], {})], {"w": w(6, 4), "b": b(4)}
    yield "gemm_alpha_beta", [3, 6], [("Gemm", ["x", "w", "b"], dict(alpha=0.5, beta=2.0))], {"w": w(6, 4), "b": b(4)}
    yield "matmul_weights_first", [1, 6, 5], [("MatMul", ["w", "x"], {})], {"w": w(4, 6)}


def main():
    (HERE / "ops").mkdir(exist_ok=True)
    (HERE / "bad").mkdir(exist_ok=True)
    for name, shape, nodes, inits in cases():
        m = model(name, shape, nodes, inits)
        m = onnx.shape_inference.infer_shapes(m)
        onnx.checker.check_model(m)
        (HERE / "ops" / f"{name}.onnx").write_bytes(m.SerializeToString())
        s = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        r = np.random.default_rng(len(name))
        x = r.uniform(-1, 2, (24, *shape)).astype(F)
        y = np.stack([s.run(None, {"x": v})[0] for v in x])
        np.savez_compressed(HERE / "ops" / f"{name}.npz", x=x, y=y)
        print(name, x.shape, y.shape)

    def bad(name, m):
        (HERE / "bad" / f"{name}.onnx").write_bytes(m.SerializeToString())

    w = np.ones((4, 3), F)
    gemm = [("Gemm", ["x", "w"], {})]
    bad("unsupported_op", model("m", [1, 4], [("BitShift", ["x"], {})], {}))
    bad("unsupported_domain", model("m", [1, 4], [("Relu", ["x"], dict(domain="com.example"))], {}))
    bad("dynamic_batch", model("m", ["batch", 4], gemm, {"w": w}))
    bad("unknown_rank", model("m", None, gemm, {"w": w}))
    bad("integer_input", (lambda m: (setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT8), m)[1])(model("m", [1, 4], gemm, {"w": w})))
    nan, inf = w.copy(), w.copy()
    nan[2, 1], inf[0, 2] = np.nan, -np.inf
    bad("nan_weight", model("m", [1, 4], gemm, {"w": nan}))
    bad("infinite_weight", model("m", [1, 4], gemm, {"w": inf}))
    claim = model("m", [1, 4], gemm, {"w": w})
    claim.graph.initializer[0].dims[:] = [16384, 16384]
    bad("claims_1_gb", claim)
    huge = model("m", [1 << 40, 1 << 20], gemm, {"w": w})
    bad("huge_input", huge)
    external = model("m", [1, 4], gemm, {"w": w})
    t = external.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    t.external_data.add(key="location", value="../../../../etc/passwd")
    bad("external_data", external)
    bad("missing_input", model("m", [1, 4], [("Gemm", ["x", "nowhere"], {})], {}))
    bad("weights_do_not_fit", model("m", [1, 5], gemm, {"w": w}))
    bad("batch_norm_training", model("m", [1, 4], [("BatchNormalization", ["x", "s", "s", "s", "s"], dict(training_mode=1))], {"s": np.ones(4, F)}, opset=15))
    bad("always_zero", model("m", [1, 4], [("Gemm", ["x", "w"], {}), ("Clip", ["t0", "", "hi"], {}), ("Relu", ["t1"], {})], {"w": w, "hi": np.array(-1, F)}))


if __name__ == "__main__":
    main()
