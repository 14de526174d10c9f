#!/usr/bin/env python3
"""Write float/: small ONNX models for the importer alone, with onnxruntime's outputs.

    python3 make_float_ops.py        # needs numpy, onnx, onnxruntime

float/NAME.onnx with float/NAME.npz: two samples of every input and output, by name; float/refused/NAME.onnx: what must be refused;
float/accepted/NAME.onnx: large ones that must be read.
Everything comes from fixed seeds.
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
FLOAT = TensorProto.FLOAT


def node(op, ins, outs="y", **attributes):
    return helper.make_node(op, ins.split(","), outs.split(","), name=op.lower(), **attributes)


def model(name, inputs, nodes, inits, outputs, opset):
    value = lambda n, s: helper.make_tensor_value_info(n, FLOAT, s)
    graph = helper.make_graph(
        nodes, name, [value(n, s) for n, s in inputs.items()], [value(n, None) for n in outputs],
        [numpy_helper.from_array(np.array(v, order="C"), k) for k, v in inits.items()])
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="make_float_ops.py")
    m.ir_version = 8
    return m


def scan_body():
    nodes = [node("Add", "sum_in,next", "sum_out"), node("Mul", "sum_out,next", "made")]
    value = lambda n: helper.make_tensor_value_info(n, FLOAT, [2])
    return helper.make_graph(nodes, "body", [value("sum_in"), value("next")], [value("sum_out"), value("made")])


def body(ins, nodes, outs, inits=None):
    """A body whose ports are named; their types are found by onnxruntime, but for the two ports that every step has."""
    fixed = {"k": (TensorProto.INT64, []), "v": (TensorProto.INT64, [1]), "table": (TensorProto.INT64, [1, 1]), **dict.fromkeys(["go", "on"], (TensorProto.BOOL, []))}
    value = lambda n: helper.make_tensor_value_info(n, *fixed.get(n.rstrip("2"), (FLOAT, None)))
    inits = [numpy_helper.from_array(np.array(v, order="C"), k) for k, v in (inits or {}).items()]
    for i, n in enumerate(nodes):
        n.name = f"{n.op_type.lower()}_{i}_inside"
    return helper.make_graph(nodes, "body", [value(n) for n in ins], [value(n) for n in outs], inits)


def cases():
    """name, input shapes, nodes, initializers; then the outputs and the operator set where they differ from y and 17."""
    r = np.random.default_rng(17)
    w = lambda *s: (r.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(F)
    i64 = lambda *v: np.array(v, np.int64)
    f32 = lambda *v: np.array(v, F)

    def up(name, shape, kernel, bias=True, **k):
        inits = {"w": w(*kernel)}
        if bias:
            inits["b"] = w(kernel[1] * k.get("group", 1), 1)[:, 0]
        return name, {"x": shape}, [node("ConvTranspose", "x,w,b" if bias else "x,w", **k)], inits

    yield up("conv_transpose", [2, 2, 3, 4], (2, 3, 3, 2), strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 2])
    yield up("conv_transpose_group_dilation", [1, 4, 3, 3], (4, 2, 2, 3), group=2, dilations=[2, 1], bias=False)
    yield up("conv_transpose_output_shape", [1, 1, 3, 3], (1, 2, 3, 3), strides=[3, 2], output_shape=[10, 8])
    yield up("conv_transpose_same", [1, 1, 3, 3], (1, 2, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
    yield up("conv_transpose_1d", [1, 2, 5], (2, 3, 4), strides=[2], pads=[1, 2])
    yield up("conv_transpose_3d", [1, 2, 2, 3, 3], (2, 2, 2, 3, 2), strides=[2, 1, 2], pads=[1, 1, 0, 0, 1, 0])
    conv3 = lambda **k: [node("Conv", "x,w,b", **k)]
    yield "conv_3d", {"x": [2, 2, 4, 5, 4]}, conv3(strides=[1, 2, 1], pads=[1, 0, 1, 0, 1, 2]), {"w": w(3, 2, 2, 3, 2), "b": f32(.1, .2, .3)}
    yield "conv_3d_group_dilation", {"x": [1, 4, 4, 4, 5]}, conv3(group=2, dilations=[2, 1, 2]), {"w": w(2, 2, 2, 2, 2), "b": f32(.1, -.2)}
    pool = lambda op, **k: [node(op, "x", **k)]
    yield "max_pool_3d", {"x": [1, 2, 4, 5, 4]}, pool("MaxPool", kernel_shape=[2, 3, 2], strides=[2, 1, 2], pads=[1, 1, 0, 0, 1, 1]), {}
    yield "max_pool_3d_dilation", {"x": [1, 1, 5, 4, 5]}, pool("MaxPool", kernel_shape=[2, 2, 2], dilations=[2, 1, 3]), {}
    yield "max_pool_dilation", {"x": [1, 2, 6, 7]}, pool("MaxPool", kernel_shape=[2, 3], dilations=[3, 2], pads=[1, 1, 1, 1]), {}
    yield "average_pool_3d", {"x": [1, 2, 4, 5, 4]}, pool("AveragePool", kernel_shape=[2, 3, 2], strides=[2, 1, 2], pads=[1, 1, 0, 0, 1, 1]), {}
    yield "average_pool_3d_include_pad", {"x": [1, 2, 4, 5, 4]}, pool("AveragePool", kernel_shape=[2, 3, 2], strides=[2, 1, 2], pads=[1, 1, 0, 0, 1, 1], count_include_pad=1), {}
    yield "average_pool_dilation", {"x": [1, 2, 6, 7]}, pool("AveragePool", kernel_shape=[2, 3], dilations=[3, 2]), {}, ["y"], 19
    yield "average_pool_ceil_include_pad", {"x": [1, 1, 6, 7]}, pool("AveragePool", kernel_shape=[3, 3], strides=[2, 3], pads=[1, 1, 0, 1], ceil_mode=1, count_include_pad=1), {}, ["y"], 19
    yield "average_pool_3d_ceil_include_pad", {"x": [1, 1, 4, 5, 6]}, pool("AveragePool", kernel_shape=[3, 2, 3], strides=[2, 2, 2], pads=[1, 0, 0, 0, 0, 0], ceil_mode=1, count_include_pad=1), {}, ["y"], 19

    def resized(name, shape, scales=None, sizes=None, opset=18, roi=None, **k):
        inits = {"r": f32(*roi)} if roi else {}
        inits |= {"s": f32(*scales)} if scales else {"z": i64(*sizes)}
        ins = f"x,{'r' if roi else ''},{'s' if scales else ',z'}"
        return name, {"x": shape}, [node("Resize", ins, **k)], inits, ["y"], opset

    yield resized("resize_nearest", [1, 2, 3, 4], [1, 1, 2, 3], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    yield resized("resize_nearest_down", [1, 2, 5, 7], sizes=[1, 2, 3, 4], mode="nearest")
    yield resized("resize_nearest_ceil", [1, 2, 3, 4], sizes=[1, 2, 7, 8], mode="nearest", nearest_mode="ceil")
    yield resized("resize_nearest_axes", [1, 2, 3, 4], scales=[2.5, 1.5], axes=[3, 2], mode="nearest", nearest_mode="round_prefer_ceil")
    yield resized("resize_linear", [2, 2, 3, 4], [1, 1, 2, 2], mode="linear")
    yield resized("resize_linear_corners", [1, 3, 3, 4], sizes=[1, 3, 5, 7], mode="linear", coordinate_transformation_mode="align_corners", opset=13)
    yield resized("resize_linear_down", [1, 2, 4, 6], [1, 1, 0.6, 0.6], mode="linear", antialias=1)
    yield resized("resize_crop", [1, 1, 4, 4], sizes=[1, 1, 3, 3], roi=[0, 0, .4, .6, 1, 1, 1.2, 1.7], mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=10.0)
    yield resized("resize_cubic", [1, 2, 4, 4], [1, 1, 2, 1.5], mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1)
    yield "resize_10", {"x": [1, 1, 2, 3]}, [node("Resize", "x,s", mode="nearest")], {"s": f32(1, 1, 3, 2)}, ["y"], 10
    yield "upsample_nearest", {"x": [1, 2, 2, 3]}, [node("Upsample", "x,s", mode="nearest")], {"s": f32(1, 1, 3, 2)}, ["y"], 9
    yield "upsample_linear", {"x": [1, 2, 2, 3]}, [node("Upsample", "x,s", mode="linear")], {"s": f32(1, 1, 2, 2)}, ["y"], 9

    def recurrent(name, op, gates, x, hidden, directions=1, bias=True, state=(), outs="y", peepholes=False, lengths=(), **k):
        """State: the names of the initial states among the inputs, "" for an absent one."""
        inits = {"w": w(directions, gates * hidden, x[-1]), "r": w(directions, gates * hidden, hidden)}
        ins = ["x", "w", "r"]
        if bias or state or peepholes or lengths:
            inits["b"] = (0.3 * r.standard_normal((directions, 2 * gates * hidden))).astype(F)
            ins.append("b")
        inputs = {"x": x}
        batch = x[0 if k.get("layout") else 1]
        if lengths:
            inits["l"] = np.array(lengths, np.int32)
        if state or peepholes or lengths:
            ins += ["l" if lengths else "", *state, *[""] * (2 - len(state) if peepholes else 0)]
            inputs |= {s: [batch, directions, hidden] if k.get("layout") else [directions, batch, hidden] for s in state if s}
        if peepholes:
            inits["p"] = (0.3 * r.standard_normal((directions, 3 * hidden))).astype(F)
            ins.append("p")
        return name, inputs, [node(op, ",".join(ins), outs, hidden_size=hidden, **k)], inits, [o for o in outs.split(",") if o]

    yield recurrent("lstm", "LSTM", 4, [3, 2, 3], 4, outs="y,yh,yc")
    yield recurrent("lstm_state", "LSTM", 4, [3, 1, 3], 4, state=("h", "c"), outs="y,yh")
    yield recurrent("lstm_reverse", "LSTM", 4, [4, 1, 2], 3, direction="reverse")
    yield recurrent("lstm_bidirectional", "LSTM", 4, [3, 2, 2], 3, directions=2, direction="bidirectional", outs="y,yh")
    yield recurrent("gru", "GRU", 3, [3, 2, 3], 4, outs="y,yh")
    yield recurrent("gru_linear_before_reset", "GRU", 3, [5, 2, 3], 4, linear_before_reset=1, outs="y,yh")
    yield recurrent("gru_linear_reverse", "GRU", 3, [5, 1, 3], 4, linear_before_reset=1, bias=False, direction="reverse")
    yield recurrent("gru_wide", "GRU", 3, [4, 1, 2], 66, linear_before_reset=1, outs=",yh")
    yield recurrent("rnn", "RNN", 1, [3, 2, 3], 4, state=("h",), outs="y,yh")
    yield recurrent("rnn_bidirectional", "RNN", 1, [3, 1, 3], 4, directions=2, direction="bidirectional")
    yield "scan", {"s": [2], "x": [3, 2]}, [node("Scan", "s,x", "last,all", num_scan_inputs=1, body=scan_body())], {}, ["last", "all"]
    yield "scan_reverse", {"s": [2], "x": [3, 2]}, [node("Scan", "s,x", "last,all", num_scan_inputs=1, scan_input_directions=[1], scan_output_directions=[1], body=scan_body())], {}, ["last", "all"]

    yield "lrn", {"x": [1, 5, 2, 3]}, [node("LRN", "x", size=3, alpha=0.5, beta=0.6, bias=1.5)], {}
    yield "lrn_even", {"x": [2, 4, 2, 2]}, [node("LRN", "x", size=4, alpha=0.5)], {}
    yield "lp_pool", {"x": [1, 2, 5, 6]}, pool("LpPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1], p=3), {}
    yield "lp_pool_2", {"x": [1, 2, 5, 6]}, pool("LpPool", kernel_shape=[2, 2], auto_pad="SAME_UPPER", p=2), {}
    yield "lp_pool_1d", {"x": [1, 2, 7]}, pool("LpPool", kernel_shape=[3], p=1), {}
    yield "global_lp_pool", {"x": [1, 2, 3, 4]}, pool("GlobalLpPool", p=3), {}
    yield "global_lp_pool_2", {"x": [1, 2, 3, 4]}, pool("GlobalLpPool"), {}
    yield "compress", {"x": [2, 3, 2]}, [node("Compress", "x,c", axis=-2)], {"c": np.array([1, 0, 1], bool)}
    yield "compress_flat", {"x": [3, 2]}, [node("Compress", "x,c")], {"c": np.array([0, 1, 0, 0, 1], bool)}
    yield "reverse_sequence", {"x": [4, 3, 2]}, [node("ReverseSequence", "x,l", batch_axis=1, time_axis=0)], {"l": i64(4, 2, 1)}
    yield "reverse_sequence_batch", {"x": [3, 4]}, [node("ReverseSequence", "x,l", batch_axis=0, time_axis=1)], {"l": i64(1, 4, 3)}

    ein = lambda equation, ins="x": [node("Einsum", ins, equation=equation)]
    yield "einsum_diagonal", {"x": [2, 3, 3]}, ein("...ii->...i"), {}
    yield "einsum_trace", {"x": [3, 3]}, ein("ii->"), {}
    yield "einsum_sum", {"x": [2, 3, 4]}, ein("ijk->kj"), {}
    yield "einsum_transpose", {"x": [3, 4]}, ein("ij->ji"), {}
    yield "einsum_batch", {"x": [2, 3, 4], "z": [2, 4, 2]}, ein("bij,bjk->bik", "x,z"), {}
    yield "einsum_inner", {"x": [5], "z": [5]}, ein("i,i->", "x,z"), {}
    yield "einsum_lonely", {"x": [2, 3], "z": [3, 4]}, ein("ij,jk->i", "x,z"), {}
    yield "einsum_lonely_weights", {"x": [2, 3]}, ein("ij,jk->i", "x,w"), {"w": w(3, 4)}
    yield "einsum_diagonal_product", {"x": [3, 3], "z": [3, 2]}, ein("ii,ij->ij", "x,z"), {}
    yield "matmul_vectors", {"x": [4], "z": [4]}, [node("MatMul", "x,z")], {}
    yield "matmul_vector_matrix", {"x": [4], "z": [2, 4, 3]}, [node("MatMul", "x,z")], {}
    yield "matmul_weights_batch", {"x": [2, 3, 4]}, [node("MatMul", "x,w")], {"w": w(2, 4, 3)}
    yield "celu", {"x": [2, 5]}, [node("Celu", "x", alpha=2.0)], {}
    yield "mod_constant", {"x": [2, 4]}, [node("Mod", "x,m", fmod=1)], {"m": f32(0.75)}
    yield "mean_variance", {"x": [2, 3, 2, 2]}, [node("MeanVarianceNormalization", "x")], {}
    yield "lp_normalization", {"x": [2, 3, 4]}, [node("LpNormalization", "x", axis=1, p=2)], {}
    yield "pad_wrap", {"x": [1, 3, 4]}, [node("Pad", "x,p", mode="wrap")], {"p": i64(0, 1, 2, 0, 2, 1)}, ["y"], 19
    yield "pad_reflect", {"x": [1, 3, 4]}, [node("Pad", "x,p", mode="reflect")], {"p": i64(0, 1, 2, 0, 2, 1)}

    for axis, name in ((-1, "last"), (1, "inner"), (0, "all")):
        shape = [2, 3, 4]
        part = shape[axis:]
        yield f"layer_norm_{name}", {"x": shape}, [node("LayerNormalization", "x,g,b", axis=axis, epsilon=1e-2)], {"g": w(*part) + 1, "b": w(*part)}
    yield "instance_norm", {"x": [2, 3, 2, 4]}, [node("InstanceNormalization", "x,g,b", epsilon=1e-2)], {"g": f32(1, 2, .5), "b": f32(.1, .2, -.3)}
    yield "group_norm", {"x": [2, 4, 2, 3]}, [node("GroupNormalization", "x,g,b", num_groups=2, epsilon=1e-2)], {"g": f32(1, 2, .5, -1), "b": f32(.1, .2, -.3, 0)}, ["y"], 21
    for axis in (-1, 1):
        part = [2, 3, 4][axis:]
        yield f"rms_norm_{'last' if axis < 0 else 'inner'}", {"x": [2, 3, 4]}, [node("RMSNormalization", "x,g", axis=axis, epsilon=1e-2)], {"g": w(*part) + 1}, ["y"], 23
    norm = [node("ReduceMean", "x", "m", axes=[-1]), node("Sub", "x,m", "d"), node("Mul", "d,d", "s"), node("ReduceMean", "s", "v", axes=[-1]),
            node("Add", "v,e", "ve"), node("Sqrt", "ve", "q"), node("Div", "d,q", "n"), node("Mul", "n,g", "t"), node("Add", "t,b", "y")]
    yield "layer_norm_spelled_out", {"x": [1, 3, 4]}, norm, {"e": f32(1e-3), "g": w(4, 1)[:, 0], "b": w(4, 1)[:, 0]}, ["y"], 13
    square = [node("Pow", "d,two", "s") if n.op_type == "Mul" and n.output[0] == "s" else n for n in norm]
    yield "layer_norm_with_pow", {"x": [1, 3, 4]}, square, {"two": f32(2), "e": f32(1e-3), "g": w(4, 1)[:, 0], "b": w(4, 1)[:, 0]}, ["y"], 13

    # behind the others, whose seeded weights stay as they are
    yield recurrent("lstm_cell_only", "LSTM", 4, [3, 2, 3], 4, outs=",,yc")
    yield recurrent("lstm_last_states", "LSTM", 4, [3, 2, 3], 4, bias=False, outs=",yh,yc", direction="reverse")
    yield recurrent("lstm_peepholes", "LSTM", 4, [3, 2, 3], 4, peepholes=True, outs="y,,yc")
    yield recurrent("lstm_bidirectional_state", "LSTM", 4, [3, 2, 3], 4, directions=2, state=("h", "c"), outs="y,yh,yc", direction="bidirectional",
                    activations=["Sigmoid", "Tanh", "Relu", "Sigmoid", "Relu", "Tanh"])
    yield recurrent("lstm_cell_state", "LSTM", 4, [2, 2, 3], 4, state=("", "c"), outs="y,yh,yc", lengths=(2, 2))
    yield recurrent("gru_reverse", "GRU", 3, [3, 2, 3], 4, state=("h",), outs="y,yh", direction="reverse")
    yield recurrent("gru_bidirectional", "GRU", 3, [3, 2, 3], 4, directions=2, state=("h",), outs="y,yh", direction="bidirectional")
    yield recurrent("gru_linear_bidirectional", "GRU", 3, [5, 2, 3], 4, directions=2, linear_before_reset=1, outs="y,yh", direction="bidirectional")
    yield recurrent("gru_linear_short", "GRU", 3, [2, 2, 3], 4, linear_before_reset=1, outs="y,yh")
    yield recurrent("rnn_reverse", "RNN", 1, [3, 2, 3], 4, state=("h",), outs="y,yh", direction="reverse", activations=["Relu"])
    yield recurrent("rnn_bidirectional_state", "RNN", 1, [3, 2, 3], 4, directions=2, state=("h",), outs="y,yh", direction="bidirectional")
    yield recurrent("rnn_batch_first", "RNN", 1, [2, 3, 3], 4, outs="y,yh", layout=1)

    # bounds that were cast or reshaped, the end among them
    end = np.iinfo(np.int64).max
    cut = lambda ends: [node("Slice", f"x,starts,{ends},axes"), node("Relu", "y", "z")]
    bounds = {"starts": i64(4), "axes": i64(1)}
    yield "slice_cast_end", {"x": [2, 7]}, [node("Cast", "e", "ends", to=7), *cut("ends")], bounds | {"e": i64(end)}, ["z"]
    yield "slice_reshaped_end", {"x": [2, 7]}, [node("Cast", "e", "c", to=7), node("Reshape", "c,one", "ends"), *cut("ends")], \
        bounds | {"e": np.array(end), "one": i64(-1)}, ["z"]
    yield "slice_steps", {"x": [5, 7]}, [node("Slice", "x,starts,ends,axes,steps")], \
        {"starts": i64(-1, 1), "ends": i64(-end, 100), "axes": i64(-1, 0), "steps": i64(-2, 3)}

    # members of split sequences
    member = lambda split, at, **k: [node("SplitToSequence", "x,n" if split is not None else "x", "s", **k), node("SequenceAt", "s,at", "m"), node("Relu", "m")]
    for name, split, at, k in [("equal", np.array(3), 1, {"axis": 1}), ("last", np.array(3), 2, {"axis": -1}), ("listed", i64(2, 5), -1, {"axis": 1}),
                               ("single", None, 2, {}), ("single_dropped", None, -1, {"axis": 1, "keepdims": 0})]:
        yield f"split_sequence_{name}", {"x": [4, 7]}, member(split, at, **k), ({"n": split} if split is not None else {}) | {"at": np.array(at)}

    # control flow that is fixed
    true, count = np.array(True), np.array(3)
    step = body(["k", "go", "s"], [node("Identity", "go", "on"), node("Add", "s,x", "t"), node("Tanh", "t", "u"), node("Mul", "u,f", "row")],
                ["on", "u", "row"], {"f": np.array(1.5, F)})
    loop = lambda m, c, b=step, outs="u,y", ins="x": node("Loop", f"{m},{c},{ins}", outs, body=b)
    yield "loop_counted", {"x": [2, 3]}, [loop("n", "c")], {"n": count, "c": true}, ["u", "y"]
    yield "loop_without_condition", {"x": [2, 3]}, [loop("n", "")], {"n": count}
    carry = body(["k", "go", "s"], [node("Identity", "go", "on"), node("Mul", "s,s", "t")], ["on", "t"])
    yield "loop_of_no_step", {"x": [2, 3]}, [loop("n", "c", carry, "u"), node("Tanh", "u")], {"n": count, "c": np.array(False)}
    until = body(["k", "go", "s"], [node("Cast", "k", "f", to=FLOAT), node("Add", "s,f", "t"), node("Less", "f,last", "on")], ["on", "t"], {"last": np.array(4, F)})
    yield "loop_until", {"x": [2, 3]}, [node("Less", "a,b", "c"), loop("", "c", until, "y")], {"a": np.array(0, F), "b": np.array(4, F)}
    rows = body(["k", "go", "s"], [node("Identity", "go", "on"), node("Gather", "x,k", "r"), node("Mul", "s,r", "p"), node("Sub", "p,r", "t"), node("Identity", "t", "row")], ["on", "t", "row"])
    yield "loop_over_rows", {"x": [4, 3], "start": [3]}, [node("Shape", "x", "d"), node("Gather", "d,zero", "n"), loop("n", "c", rows, "u,y", "start")], {"zero": np.array(0), "c": true}
    inner = body(["k2", "go2", "p"], [node("Identity", "go2", "on2"), node("Add", "p,s", "q")], ["on2", "q"])
    outer = body(["k", "go", "s"], [node("Identity", "go", "on"), node("Add", "k,one", "m"), node("Loop", "m,go,s", "a", body=inner), node("Mul", "a,half", "t")],
                 ["on", "t"], {"one": np.array(1), "half": np.array(.25, F)})
    yield "loop_in_loop", {"x": [2, 3]}, [loop("n", "c", outer, "y")], {"n": count, "c": true}
    ranked = body(["v", "go", "s"], [node("Identity", "go", "on"), node("Gather", "x,v", "r", axis=1), node("Add", "s,r", "t")], ["on", "t"])
    yield "loop_of_ranked_steps", {"x": [3, 3]}, [loop("n", "c", ranked, "y")], {"n": count, "c": true}
    branch = lambda then, other, c="c", outs="y": node("If", c, outs, then_branch=then, else_branch=other)
    then, other = body([], [node("Tanh", "x", "t")], ["t"]), body([], [node("Mul", "x,x", "t")], ["t"])
    yield "if_then", {"x": [2, 3]}, [branch(then, other)], {"c": true}
    yield "if_else", {"x": [2, 3]}, [branch(then, other)], {"c": np.array(False)}
    halves = body([], [node("Mul", "s,h", "t")], ["t"], {"h": np.array(.5, F)}), body([], [node("Sub", "s,x", "t")], ["t"])
    early = body(["k", "go", "s"], [node("Identity", "go", "on"), node("Less", "k,two", "first"), branch(*halves, "first", "u")], ["on", "u"], {"two": np.array(2)})
    yield "if_in_loop", {"x": [2, 3]}, [loop("n", "c", early, "y")], {"n": np.array(4), "c": true}

    # statistics that are computed, and lengths of rows
    stats = [node("ReduceMean", "x", "m", axes=[0, 2], keepdims=0), node("ReduceSumSquare", "x", "q", axes=[0, 2], keepdims=0)]
    yield "batch_normalization_computed", {"x": [2, 3, 4]}, [*stats, node("BatchNormalization", "x,g,b,m,q", epsilon=0.01)], {"g": f32(1, 2, -.5), "b": f32(0, .1, .2)}
    yield "rows_of_length_one", {"x": [3, 4]}, \
        [node("Mul", "x,x", "q"), node("ReduceSum", "q,a", "s"), node("Max", "s,e", "l"), node("Sqrt", "l", "r"), node("Div", "x,r")], {"a": i64(-1), "e": np.array(1e-12, F)}
    yield "moments", {"x": [3, 4]}, \
        [node("ReduceMean", "x", "m", axes=[1]), node("Sub", "x,m", "d"), node("Mul", "d,d", "q"), node("ReduceMean", "q", "v", axes=[1]), node("Add", "v,e", "w"),
         node("Sqrt", "w", "r"), node("Reciprocal", "r", "i"), node("Mul", "i,g", "f"), node("Mul", "x,f", "p"), node("Mul", "m,f", "s"), node("Sub", "b,s", "t"), node("Add", "p,t")], \
        {"e": np.array(.001, F), "g": f32(1, .5, 2, -1), "b": f32(.1, .2, -.3, 0)}

    # what is nearly a normalization
    over = lambda square, mean: [*square, *mean, node("Sqrt", "m", "r"), node("Div", "x,r")]
    square, mean = [node("Mul", "x,x", "q")], [node("ReduceMean", "q", "m", axes=[-1])]
    yield "nearly_rms_of_padded_windows", {"x": [1, 1, 2, 4]}, over(square, [node("AveragePool", "q", "m", kernel_shape=[1, 4], pads=[0, 3, 0, 0], strides=[1, 4])]), {}
    yield "nearly_rms_bounded", {"x": [3, 4]}, over(square, [node("ReduceMean", "q", "n", axes=[-1]), node("Min", "n,b", "m")]), {"b": np.array(.5, F)}
    yield "nearly_rms_of_bounded", {"x": [3, 4]}, over([node("Clip", "x,l,h", "c"), node("Mul", "c,c", "q")], mean), {"l": np.array(-.7, F), "h": np.array(.9, F)}
    yield "rows_of_length_one_reshaped_late", {"x": [2, 2, 2]}, \
        [*square, node("ReduceSum", "q,a", "s", keepdims=0), node("Sqrt", "s", "l"), node("Reciprocal", "l", "i"), node("Reshape", "i,c", "j"), node("Gather", "j,z", "f", axis=1),
         node("Reshape", "x,w", "r"), node("Mul", "r,f")], {"a": i64(1, 2), "c": i64(2, 1), "z": i64(0, 0, 0, 0), "w": i64(2, 4)}

    # masks of softmaxes
    low, causal = F(np.finfo(F).min), np.triu(np.ones((4, 4), bool), 1)
    yield "split_sequence_first_axis", {"x": [4, 7]}, member(i64(1, 3), 1, axis=0), {"n": i64(1, 3), "at": np.array(1)}
    yield "mask_nested", {"x": [2, 4, 4], "k": [2, 1, 4]}, \
        [node("Less", "k,zero", "c"), node("Where", "c,v,x", "s"), node("Where", "d,v,s", "t"), node("Softmax", "t")], \
        {"zero": np.array(0, F), "v": np.array(low, F), "d": causal | (np.arange(4)[:, None] == 2)}
    yield "mask_beside_memory", {"x": [2, 4, 4], "m": [2, 4, 2]}, \
        [node("Where", "c,v,x", "s"), node("Sub", "m,far", "n"), node("Concat", "s,n", "t", axis=-1), node("Softmax", "t")], \
        {"c": np.ones((4, 4), bool), "v": np.array(low, F), "far": np.array(30, F)}
    yield "mask_of_a_row", {"x": [2, 4, 4]}, [node("Add", "x,m", "s"), node("Softmax", "s")], {"m": np.where(np.arange(4)[:, None] == 1, low, F(0.5)).astype(F)}
    for name, value in [("infinite", -np.inf), ("least", low), ("ten_thousand", -10000.0)]:
        yield f"mask_added_{name}", {"x": [2, 4, 4]}, [node("Add", "x,m", "s"), node("Softmax", "s")], {"m": np.where(causal, F(value), F(0.5)).astype(F)}
        yield f"mask_chosen_{name}", {"x": [2, 4, 4]}, [node("Where", "c,v,x", "s"), node("Softmax", "s")], {"c": causal, "v": np.array(value, F)}
        yield f"mask_computed_{name}", {"x": [2, 4, 4], "k": [2, 1, 4]}, \
            [node("Less", "k,zero", "c"), node("Where", "c,v,zero", "m"), node("Add", "x,m", "s"), node("Softmax", "s")], \
            {"zero": np.array(0, F), "v": np.array(value, F)}


def refused():
    """As cases: what must be refused, float/refused/NAME.onnx; nothing is computed."""
    w = lambda *s: np.full(s, 0.25, F)
    recur = lambda name, ins="x,w,r", op="LSTM", gates=4, **k: (
        name, {"x": [3, 2, 3]}, [node(op, ins, hidden_size=2, **k)],
        {"w": w(1, gates * 2, 3), "r": w(1, gates * 2, 2), "b": w(1, gates * 4), "l": np.array([3, 2], np.int32)})
    yield recur("lstm_clip", clip=1.0)
    yield recur("lstm_input_forget", input_forget=1)
    yield recur("lstm_lengths", "x,w,r,b,l")
    yield recur("gru_activation", op="GRU", gates=3, activations=["HardSigmoid", "Tanh"])
    yield recur("rnn_direction", op="RNN", gates=1, direction="bidirectional")
    true, step = np.array(True), lambda *nodes, on="on", **k: body(["k", "go", "s"], [node("Identity", "go", "on"), *nodes, node("Add", "s,x", "t")], [on, "t"], k)
    loop = lambda m, c, b: node("Loop", f"{m},{c},x", "y", body=b)
    yield "loop_of_computed_steps", {"x": [2]}, [node("ReduceSum", "x", "f", keepdims=0), node("Cast", "f", "n", to=7), loop("n", "c", step())], {"c": true}
    yield "loop_of_rows", {"x": [2]}, [node("Gather", "m,one", "r"), node("Gather", "r,zero", "n"), loop("n", "c", step())], \
        {"m": np.array([[1, 2], [3, 4]]), "one": np.array(1), "zero": np.array(0), "c": true}
    yield "loop_that_reads_too_early", {"x": [2]}, [node("Tanh", "x", "t"), loop("n", "c", step(node("Mul", "t,x", "u")))], {"n": np.array(2), "c": true}
    yield "loop_of_a_computed_condition", {"x": [2]}, [loop("n", "c", step(node("ReduceSum", "s", "f", keepdims=0), node("Less", "f,n9", "on2"), on="on2", n9=np.array(9, F)))], {"n": np.array(3), "c": true}
    yield "loop_without_end", {"x": [2]}, [loop("", "c", step())], {"c": true}
    yield "loop_of_many_steps", {"x": [2]}, [loop("n", "", step())], {"n": np.array(1 << 40)}
    yield "loop_that_ends_unasked", {"x": [2]}, [loop("n", "", step(node("Less", "k,one", "on2"), on="on2", one=np.array(1)))], {"n": np.array(3)}
    yield "loop_of_a_step_of_two_axes", {"x": [2]}, [loop("n", "c", body(["table", "go", "s"], [node("Identity", "go", "on"), node("Add", "s,x", "t")], ["on", "t"]))], {"n": np.array(2), "c": true}
    yield "loop_with_a_scan", {"x": [2, 2]}, [loop("n", "c", step(node("Scan", "x,x", "e,f", body=scan_body(), num_scan_inputs=1)))], {"n": np.array(2), "c": true}
    collect = body(["k", "go", "s"], [node("Identity", "go", "on"), node("Add", "s,x", "t"), node("Identity", "t", "row")], ["on", "t", "row"])
    yield "loop_that_collects_nothing", {"x": [2]}, [node("Loop", "n,c,x", "e,y", body=collect)], {"n": np.array(0), "c": true}
    yield "loop_that_makes_a_name_of_the_file", {"x": [2]}, [node("Tanh", "x", "loop.0.t"), loop("n", "c", step())], {"n": np.array(2), "c": true}
    one = body([], [node("Tanh", "x", "t")], ["t"])
    yield "if_computed", {"x": [1]}, [node("Cast", "x", "c", to=9), node("If", "c", "y", then_branch=one, else_branch=one)], {}
    yield "batch_normalization_of_a_vector", {"x": [4]}, [node("BatchNormalization", "x,g,g,g,g")], {"g": np.ones(4, F)}
    for name, axis in [("far", 1 << 62), ("negative", -(1 << 62)), ("missing", -3)]:
        yield f"layer_normalization_of_a_{name}_axis", {"x": [2, 4]}, [node("LayerNormalization", "x,g", axis=axis)], {"g": np.ones(4, F)}
    yield "scan_of_more_than_it_reads", {"s": [2], "x": [3, 2]}, [node("Scan", "s,x", "e,y", body=scan_body(), num_scan_inputs=1 << 40)], {}
    yield "pad_wrap_of_a_long_axis", {"x": [1, 8]}, [node("Pad", "x,p", mode="wrap")], {"p": np.array([0, 0, 0, 1 << 21])}
    yield "transposed_convolution_of_large_images", {"x": [1, 1, 64, 64]}, [node("ConvTranspose", "x,w", strides=[64, 64])], {"w": np.ones((1, 1, 2, 2), F)}
    def inner(nodes, ins, outs, inits=None):
        ports = [[helper.make_tensor_value_info(n, FLOAT, s) for n, s in p.items()] for p in (ins, outs)]
        return helper.make_graph(nodes, "body", *ports, [numpy_helper.from_array(v, k) for k, v in (inits or {}).items()])
    wide = [node("Resize", "r,e,e,n", "w", mode="nearest"), node("ReduceMax", "w", "m", keepdims=0)]
    wide = inner(wide, {"r": [1, 1, 1, 2]}, {"m": None}, {"e": np.array([], F), "n": np.array([1, 1, 1, 1 << 30])})
    yield "scan_of_a_huge_image", {"x": [2, 1, 1, 1, 2]}, [node("Scan", "x", body=wide, num_scan_inputs=1)], {}
    symbol = inner([node("Tanh", "r", "m")], {"r": ["(" * 100 + "a" + ")" * 100]}, {"m": None})
    yield "scan_of_a_long_symbol", {"x": [2, 2]}, [node("Scan", "x", body=symbol, num_scan_inputs=1)], {}
    deep = inner([node("Tanh", "r", "m")], {"r": None}, {"m": None})
    for _ in range(4):
        deep = inner([node("Scan", "r", "m", body=deep, num_scan_inputs=1)], {"r": None}, {"m": None})
    yield "scan_of_scans", {"x": [1, 1, 1, 1, 1, 1]}, [node("Scan", "x", body=deep, num_scan_inputs=1)], {}
    one_step = inner([node("Tanh", "r", "m")], {"r": [2]}, {"m": [2]})
    yield "scan_of_more_than_its_body_reads", {"s": [2], "x": [3, 2]}, [node("Scan", "s,x", "e,y", body=one_step, num_scan_inputs=2)], {}
    yield "reshape_to_many_axes", {"x": [2]}, [node("Reshape", "x,s")], {"s": np.array([2] + 99 * [1])}
    yield "constant_of_many_axes", {"x": [2]}, [node("Add", "x,c")], {"c": np.ones([1] * 20 + [2], F)}
    yield "one_hot_of_a_missing_axis", {"x": [3]}, [node("OneHot", "x,d,v", axis=-3)], {"d": np.array(4), "v": np.array([0, 1], F)}
    ones = np.ones(100, np.int64)
    yield "expand_to_many_axes", {"x": [2]}, [node("Expand", "x,s")], {"s": ones}
    yield "unsqueeze_to_many_axes", {"x": [2]}, [node("Unsqueeze", "x,s")], {"s": np.arange(100)}
    yield "constant_of_a_shape_of_many_axes", {"x": [2]}, [node("ConstantOfShape", "s", "c"), node("Add", "x,c")], {"s": ones}
    yield "input_of_many_axes", {"x": [1] * 9}, [node("Tanh", "x")], {}
    yield "node_without_any_name", {"x": [2]}, [helper.make_node("Tanh", ["x"], [""]), node("Tanh", "x")], {}
    yield "pads_beyond_of_a_short_name", {"x": [1, 4]}, [helper.make_node("Pad", ["x", "p"], ["y"], name="a")], {"p": np.array([0, -3, 0, -3])}
    yield "reversed_long_sequences", {"x": [1, 1 << 19]}, [node("ReverseSequence", "x,l", batch_axis=0, time_axis=1)], {"l": np.array([1 << 19])}
    dense = [n for i in range(30) for n in (node("Relu", "x", f"c{i}"), node("Concat", f"{f'd{i - 1}' if i else 'x'},c{i}", f"d{i}", axis=1))]
    yield "dense_block_of_many_moves", {"x": [1, 8, 100, 100]}, [*dense, node("ReduceMean", "d29", axes=[2, 3])], {}
    zeros = [node("Neg" if i % 2 else "Exp", f"e{i}", f"e{i + 1}") for i in range(6)]
    yield "products_with_zero", {"x": [2048, 1]}, [node("MatMul", "x,z", "e0"), *zeros, node("Add", "x,e6")], {"z": np.zeros((1, 2048), F)}
    steps = inner([node("Add", "a,q", "c"), node("Tanh", "c", "b")], {"a": [1], "q": []}, {"b": [1]})
    steps = inner([node("Scan", "s,r", "t", body=steps, num_scan_inputs=1)], {"s": [1], "r": [1000]}, {"t": [1]})
    yield "scan_of_scans_of_many_steps", {"s": [1], "x": [1000, 1000]}, [node("Scan", "s,x", body=steps, num_scan_inputs=1)], {}
    yield "softmax_of_a_missing_axis", {"x": [2, 3]}, [node("Softmax", "x", axis=7)], {}
    yield "minimum_of_a_long_row", {"x": [1, 10000]}, [node("ReduceMin", "x", axes=[1])], {}
    yield "reversed_long_axis", {"x": [1 << 19]}, [node("Slice", "x,a,b,z,s")], {"a": np.array([-1]), "b": np.array([-(1 << 40)]), "z": np.array([0]), "s": np.array([-1])}
    pools = [n for i in range(20) for n in (node("AveragePool", "x", f"a{i}", kernel_shape=[64 - i, 64]), node("ReduceMean", f"a{i}", f"m{i}"))]
    yield "many_pools_of_many_taps", {"x": [1, 1, 96, 96]}, [*pools, node("Sum", ",".join(f"m{i}" for i in range(20)))], {}
    yield "pads_beyond", {"x": [1, 4]}, [node("Pad", "x,p")], {"p": np.array([0, -3, 0, -3])}
    yield "mask_of_a_sum", {"x": [2, 4]}, [node("Add", "x,m", "s"), node("ReduceSum", "s", keepdims=0)], {"m": np.full(4, -np.inf, F)}
    yield "mask_beside_a_softmax", {"x": [2, 4]}, [node("Add", "x,m", "s"), node("Softmax", "s", "t"), node("Mul", "s,t")], {"m": np.array([0, -np.inf, 0, 0], F)}
    yield "mask_in_a_concat", {"x": [2, 8], "k": [2, 4]}, \
        [node("Less", "k,zero", "c"), node("Where", "c,v,zero", "a"), node("Concat", "a,a", "m", axis=1), node("Add", "x,m", "s"), node("Softmax", "s")], \
        {"zero": np.array(0, F), "v": np.array(-np.inf, F)}
    yield "mask_of_a_logarithm", {"x": [2, 4]}, [node("Add", "x,m", "s"), node("LogSoftmax", "s")], {"m": np.array([0, -np.inf, 0, 0], F)}
    yield "transpose_without_permutation", {"x": [2, 3, 4]}, [node("Transpose", "x", perm=[1, 2, 1])], {}
    yield "pool_of_many_taps", {"x": [1, 1, 512, 512]}, [node("MaxPool", "x", kernel_shape=[256, 256])], {}
    yield "pool_of_many_taps_of_volumes", {"x": [1, 1, 40, 40, 40]}, [node("MaxPool", "x", kernel_shape=[8, 8, 8])], {}
    size = lambda *sizes: {"e": np.array([], F), "n": np.array(sizes)}
    yield "resize_of_many_weights", {"x": [1, 1, 1, 4096]}, [node("Resize", "x,e,e,n", mode="linear")], size(1, 1, 1, 8192)
    yield "resize_of_many_samples", {"x": [1, 1, 1, 16384]}, [node("Resize", "x,e,e,n", mode="linear")], size(1, 1, 1, 1000)
    yield "resize_to_a_huge_image", {"x": [1, 1, 8, 8]}, [node("Resize", "x,e,e,n", mode="nearest")], size(1, 1, 8, 1 << 30)
    yield "resize_to_a_large_image", {"x": [1, 1, 8, 8]}, [node("Resize", "x,e,e,n", mode="nearest")], size(1, 1, 1024, 2049)
    yield "input_of_many_elements", {"x": [1 << 23]}, [node("Tanh", "x")], {}
    yield "split_sequence_beyond", {"x": [4, 7]}, [node("SplitToSequence", "x,n", "s"), node("SequenceAt", "s,at")], {"n": np.array(3), "at": np.array(7)}
    yield "split_sequence_negative", {"x": [4, 7]}, [node("SplitToSequence", "x,n", "s"), node("SequenceAt", "s,at")], {"n": np.array(3), "at": np.array(-1)}


def accepted():
    """As refused: large, and read, float/accepted/NAME.onnx; nothing is computed."""
    yield "unet_up_convolution", {"x": [1, 64, 128, 128]}, [node("ConvTranspose", "x,w", strides=[2, 2])], {"w": np.full((64, 1, 2, 2), 0.25, F)}
    yield "convolution_of_volumes", {"x": [1, 16, 16, 56, 56]}, [node("Conv", "x,w", pads=[1] * 6)], {"w": np.full((1, 16, 3, 3, 3), 0.25, F)}
    dense, last = [], "x"
    for i in range(20):
        dense += [node("Relu", "x", f"c{i}"), node("Concat", f"{last},c{i}", f"d{i}", axis=1)]
        last = f"d{i}"
    yield "dense_block", {"x": [1, 8, 100, 100]}, [*dense, node("ReduceMean", last, axes=[2, 3])], {}
    yield "initializer_without_a_name", {"x": [2]}, [node("Tanh", "x")], {"": np.ones(2, F)}
    yield "steps_of_a_long_recurrence", {"x": [2600, 1, 32]}, [node("LSTM", "x,w,r", hidden_size=32)], \
        {"w": np.full((1, 128, 32), 0.25, F), "r": np.full((1, 128, 32), 0.25, F)}


def lrn(x, size, alpha, beta=0.75, bias=1.0):
    """LRN as its definition says: onnxruntime has no even sizes, and onnx's reference reads the batch as the channels."""
    squares, channels = x.astype(np.float64) ** 2, x.shape[1]
    before, after = (size - 1) // 2, size // 2
    sums = np.stack([squares[:, max(0, c - before):min(channels, c + after + 1)].sum(axis=1) for c in range(channels)], axis=1)
    return (x / (bias + alpha / size * sums) ** beta).astype(F)


def computed(m, samples, outputs):
    """The outputs for each sample, from onnxruntime where it has the operator, else from onnx's reference."""
    try:
        session = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
        return [session.run(outputs, sample) for sample in samples]
    except Exception as e:
        from onnx.reference import ReferenceEvaluator
        print(m.graph.name, "onnx reference:", str(e)[:120])
        session = ReferenceEvaluator(m)
        return [session.run(outputs, sample) for sample in samples]


def main():
    out = HERE / "float"
    out.mkdir(exist_ok=True)
    for case in cases():
        name, inputs, nodes, inits, outputs, opset = (*case, *([["y"], 17][len(case) - 4:]))
        for i, n in enumerate(nodes):
            n.name = f"{n.op_type.lower()}_{i}"
        m = model(name, inputs, nodes, inits, outputs, opset)
        r = np.random.default_rng(len(name))
        samples = {n: r.uniform(-1, 2, (2, *s)).astype(F) for n, s in inputs.items()}
        parts = [{n: v[i] for n, v in samples.items()} for i in range(2)]
        if name == "lrn_even":
            results = [[lrn(part["x"], size=4, alpha=0.5)] for part in parts]
        else:
            results = computed(m, parts, outputs)
        made = {n: np.stack([result[i] for result in results]).astype(F) for i, n in enumerate(outputs)}
        (out / f"{name}.onnx").write_bytes(m.SerializeToString())
        np.savez_compressed(out / f"{name}.npz", **samples, **made)
    for folder, models in [("refused", refused()), ("accepted", accepted())]:
        (out / folder).mkdir(exist_ok=True)
        for name, inputs, nodes, inits in models:
            for i, n in enumerate(nodes):
                if [m.name for m in nodes].count(n.name) > 1:
                    n.name += f"_{i}"
            m = model(name, inputs, nodes, inits, ["y"], 17)
            (out / folder / f"{name}.onnx").write_bytes(m.SerializeToString())
    print(len(list(out.glob("*.onnx"))), "models")


if __name__ == "__main__":
    main()
