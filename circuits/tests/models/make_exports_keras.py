#!/usr/bin/env python3
"""Write exports/NAME.keras.{onnx,npz}: small networks of the usual kinds as tf2onnx writes those of Keras.

    python3 make_exports_keras.py [NAME …]  # made with tensorflow-cpu 2.15.1, keras 2.15.0, tf2onnx 1.16.1, onnx 1.16.2, onnxruntime 1.26.0, numpy 1.26.4 (PyPI)

The .npz holds 300 samples of every input, 40 of a large one, and onnxruntime's outputs for them. Weights are random, but batch normalization has seen some data. Images have
their channels last, as is usual in Keras.
"""
import os
import sys
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
for _v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_v, "1")
from pathlib import Path
import numpy as np
import tensorflow as tf
import tf2onnx
from tensorflow import keras
from tensorflow.keras import layers as L
from exports_samples import run

OUT = Path(__file__).resolve().parent / "exports"


def n_samples(network):
    return 300 if sum(np.prod(x.shape[1:]) for x in network.inputs) <= 100 else 40


def sequential(shape, *layers):
    x = y = keras.Input(shape)
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y)


def mlp():
    return sequential((12,), L.Dense(24, activation="relu"), L.Dropout(0.2), L.Dense(16, activation="tanh"), L.Dense(5, activation="softmax"))


def activations():
    x = keras.Input((10,))
    y = L.Concatenate()([L.Dense(6, activation=a)(x) for a in
                         ("elu", "selu", "softplus", "softsign", "sigmoid", "hard_sigmoid", "swish", "gelu", "exponential", "mish" if hasattr(keras.activations, "mish") else "relu")])
    y = L.Concatenate()([y, L.LeakyReLU()(L.Dense(4)(x)), L.PReLU()(L.Dense(4)(x)), L.ThresholdedReLU(0.3)(L.Dense(4)(x)), L.ReLU(6.0, 0.1, 0.2)(L.Dense(4)(x))])
    return keras.Model(x, L.Dense(4)(L.Dense(8, activation=tf.nn.relu6)(y)))


def cnn():
    return sequential((12, 12, 3), L.Rescaling(1 / 2.0, 0.1), L.Conv2D(8, 3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(),
                      L.Conv2D(12, 3, activation="relu"), L.AveragePooling2D(2), L.Flatten(), L.Dense(10))


def strided():
    """Padding that is larger behind than before."""
    return sequential((11, 12, 3), L.Conv2D(6, 3, 2, padding="same", activation="relu"), L.DepthwiseConv2D(3, 2, padding="same"), L.BatchNormalization(), L.ReLU(6.0),
                      L.MaxPooling2D(3, 2, padding="same"), L.AveragePooling2D(2, 1, padding="same"), L.GlobalAveragePooling2D(), L.Dense(6))


def residual(x, c, stride):
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(c, 3, stride, padding="same")(x)))
    y = L.BatchNormalization()(L.Conv2D(c, 3, padding="same")(y))
    if stride != 1:
        x = L.BatchNormalization()(L.Conv2D(c, 1, stride)(x))
    return L.ReLU()(L.Add()([x, y]))


def resnet():
    x = keras.Input((16, 16, 3))
    y = L.ZeroPadding2D(3)(x)
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 7, 2)(y)))
    y = L.MaxPooling2D(3, 2)(L.ZeroPadding2D(1)(y))
    y = residual(residual(y, 8, 1), 12, 2)
    return keras.Model(x, L.Dense(10, activation="softmax")(L.GlobalAveragePooling2D()(y)))


def excited(x, c):
    y = L.Reshape((1, 1, c))(L.GlobalAveragePooling2D()(x))
    y = L.Conv2D(c // 4, 1, activation="swish")(y)
    return L.Multiply()([x, L.Conv2D(c, 1, activation="sigmoid")(y)])


def inverted(x, c_in, c, stride):
    y = L.Activation("swish")(L.BatchNormalization()(L.Conv2D(4 * c_in, 1, use_bias=False)(x)))
    if stride == 2:
        y = L.ZeroPadding2D(((0, 1), (0, 1)))(y)
    y = L.DepthwiseConv2D(3, stride, padding="valid" if stride == 2 else "same", use_bias=False)(y)
    y = excited(L.Activation("swish")(L.BatchNormalization()(y)), 4 * c_in)
    y = L.BatchNormalization()(L.Conv2D(c, 1, use_bias=False)(y))
    return L.Add()([x, y]) if stride == 1 and c_in == c else y


def efficientnet():
    x = keras.Input((12, 12, 3))
    y = L.Activation("swish")(L.BatchNormalization()(L.Conv2D(8, 3, 2, padding="same", use_bias=False)(x)))
    y = inverted(inverted(y, 8, 8, 1), 8, 12, 2)
    return keras.Model(x, L.Dense(10)(L.Dropout(0.2)(L.GlobalAveragePooling2D()(y))))


def hard_sigmoid(x):
    return L.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)


def mobilenet_v3():
    x = keras.Input((12, 12, 3))
    y = L.BatchNormalization()(L.Conv2D(8, 3, 2, padding="same", use_bias=False)(x))
    y = L.Multiply()([y, hard_sigmoid(y)])
    z = L.GlobalAveragePooling2D(keepdims=True)(y)
    z = hard_sigmoid(L.Conv2D(8, 1)(L.ReLU()(L.Conv2D(4, 1)(z))))
    y = L.Multiply()([y, z])
    return keras.Model(x, L.Flatten()(L.Conv2D(10, 1)(L.GlobalAveragePooling2D(keepdims=True)(y))))


def xception():
    return sequential((12, 12, 3), L.SeparableConv2D(8, 3, padding="same"), L.BatchNormalization(), L.ReLU(), L.SeparableConv2D(12, 3, 2, padding="same"), L.LeakyReLU(0.1),
                      L.GlobalMaxPooling2D(), L.Dense(6))


def densenet():
    x = keras.Input((10, 10, 3))
    y = L.Conv2D(6, 3, padding="same", use_bias=False)(x)
    for _ in range(2):
        z = L.Conv2D(4, 3, padding="same", use_bias=False)(L.ReLU()(L.BatchNormalization()(y)))
        y = L.Concatenate()([y, z])
    y = L.AveragePooling2D(2)(L.Conv2D(6, 1, use_bias=False)(L.ReLU()(L.BatchNormalization()(y))))
    return keras.Model(x, L.Dense(5)(L.GlobalAveragePooling2D()(y)))


def unet():
    x = keras.Input((12, 12, 2))
    a = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    b = L.Conv2D(8, 3, padding="same", activation="relu")(L.MaxPooling2D()(a))
    c = L.Conv2DTranspose(6, 3, 2, padding="same", activation="relu")(b)
    d = L.UpSampling2D(2)(b)
    e = L.UpSampling2D(2, interpolation="bilinear")(b)
    y = L.Conv2D(4, 3, padding="same", activation="relu")(L.Concatenate()([a, c, d, e]))
    return keras.Model(x, L.Conv2D(1, 1, activation="sigmoid")(L.Cropping2D(1)(y)))


def autoencoder():
    return sequential((8, 8, 2), L.Conv2D(6, 3, 2, padding="same", activation="relu"), L.Flatten(), L.Dense(10), L.Dense(4 * 4 * 4, activation="relu"), L.Reshape((4, 4, 4)),
                      L.Conv2DTranspose(2, 4, 2, padding="same", activation="tanh"))


def volumes():
    return sequential((6, 6, 6, 2), L.Conv3D(4, 3, padding="same", activation="relu"), L.MaxPooling3D(), L.Conv3D(6, 2, activation="relu"), L.GlobalAveragePooling3D(), L.Dense(4))


def tcn():
    x = keras.Input((20, 3))
    y = x
    for dilation in (1, 2, 4):
        y = L.Conv1D(6, 2, padding="causal", dilation_rate=dilation, activation="relu")(y)
    y = L.MaxPooling1D(2)(y)
    return keras.Model(x, L.Dense(4)(L.Concatenate()([L.GlobalMaxPooling1D()(y), L.GlobalAveragePooling1D()(y), L.Flatten()(L.AveragePooling1D(5)(y))])))


def dilated():
    return sequential((12, 12, 2), L.Conv2D(6, 3, dilation_rate=2, padding="same", activation="relu"), L.SpatialDropout2D(0.1),
                      L.DepthwiseConv2D(3, depth_multiplier=2), L.GlobalAveragePooling2D(), L.Dense(3))


def lstm():
    return sequential((8, 4), L.LSTM(8, return_sequences=True), L.LSTM(6), L.Dense(3))


def gru():
    return sequential((8, 4), L.GRU(8, return_sequences=True), L.GRU(6, reset_after=False), L.Dense(3))


def bilstm():
    return sequential((8, 4), L.Bidirectional(L.LSTM(6, return_sequences=True)), L.TimeDistributed(L.Dense(5, activation="relu")), L.Bidirectional(L.GRU(4)), L.Dense(3))


def rnn():
    return sequential((6, 4), L.SimpleRNN(8, return_sequences=True), L.SimpleRNN(5, go_backwards=True), L.Dense(3))


def stateful_outputs():
    x = keras.Input((6, 4))
    y, h, c = L.LSTM(6, return_sequences=True, return_state=True)(x)
    z = L.LSTM(6)(L.RepeatVector(3)(h), initial_state=[h, c])
    return keras.Model(x, [L.Dense(3)(y), L.Dense(2)(z)])


def text():
    x = keras.Input((10,), dtype="int32")
    y = L.Embedding(20, 8)(x)
    return keras.Model(x, L.Dense(2, activation="softmax")(L.LSTM(6)(L.Dropout(0.1)(y))))


def masked_text():
    """Zeros at the end of a sequence are skipped."""
    x = keras.Input((8,), dtype="int32")
    y = L.Embedding(20, 6, mask_zero=True)(x)
    return keras.Model(x, L.Dense(2)(L.GRU(5)(y)))


def text_cnn():
    x = keras.Input((12,), dtype="int32")
    y = L.Embedding(20, 8)(x)
    y = L.Concatenate()([L.GlobalMaxPooling1D()(L.Conv1D(5, k, activation="relu")(y)) for k in (2, 3, 4)])
    return keras.Model(x, L.Dense(1, activation="sigmoid")(y))


def transformed(y, dim, causal=False):
    a = L.MultiHeadAttention(2, dim // 2)(y, y, use_causal_mask=causal)
    y = L.LayerNormalization(epsilon=1e-6)(L.Add()([y, a]))
    z = L.Dense(dim)(L.Dense(2 * dim, activation="gelu")(y))
    return L.LayerNormalization(epsilon=1e-6)(L.Add()([y, z]))


def transformer():
    x = keras.Input((8,), dtype="int32")
    y = L.Embedding(20, 12)(x) + L.Embedding(8, 12)(tf.range(8))
    return keras.Model(x, L.Dense(3)(L.GlobalAveragePooling1D()(transformed(y, 12))))


def decoder():
    x = keras.Input((8,), dtype="int32")
    y = L.Embedding(20, 12)(x)
    return keras.Model(x, L.Dense(20)(transformed(transformed(y, 12, True), 12, True)))


def vit():
    x = keras.Input((12, 12, 3))
    y = L.Reshape((9, 12))(L.Conv2D(12, 4, 4)(x))
    y = transformed(y, 12)
    return keras.Model(x, L.Dense(10)(L.Flatten()(y)))


def attention():
    """Luong's, with a mask of the memory."""
    q, v = keras.Input((5, 6)), keras.Input((7, 6))
    y = L.Attention(use_scale=True)([L.Dense(6)(q), L.Dense(6)(v)])
    z = L.AdditiveAttention()([q, v])
    return keras.Model([q, v], L.Dense(3)(L.Concatenate()([y, z])))


def norms():
    x = keras.Input((8, 8, 4))
    y = L.Conv2D(8, 3, padding="same")(x)
    a = L.LayerNormalization()(y)
    b = L.LayerNormalization(axis=[1, 2, 3])(y)
    c = L.GroupNormalization(4)(y) if hasattr(L, "GroupNormalization") else y
    y = L.Conv2D(6, 3, activation="relu")(L.Concatenate()([a, b, c]))
    return keras.Model(x, L.Dense(4)(L.GlobalAveragePooling2D()(y)))


def tabular():
    """Features of their own units, wide and deep, one of them a category."""
    x, k = keras.Input((6,)), keras.Input((1,), dtype="int32")
    norm = L.Normalization()
    norm.adapt(np.random.default_rng(5).normal([0, 10, -300, 5, 1000, 1], [1, 5, 100, 2, 400, 3], (200, 6)).astype("float32"))
    y = L.Concatenate()([norm(x), L.Flatten()(L.Embedding(7, 3)(k))])
    deep = L.Dense(8, activation="relu")(L.Dense(12, activation="relu")(y))
    return keras.Model([x, k], L.Dense(1)(L.Concatenate()([y, deep])))


def two_towers():
    a, b = keras.Input((8,)), keras.Input((8,))
    tower = keras.Sequential([L.Dense(10, activation="relu"), L.Dense(6), L.UnitNormalization()])
    x, y = tower(a), tower(b)
    return keras.Model([a, b], [L.Dot(1)([x, y]), L.Subtract()([x, y]), L.Maximum()([x, y]), L.Average()([x, y])])


def highway():
    x = keras.Input((10,))
    t, h = L.Dense(10, activation="sigmoid")(x), L.Dense(10, activation="relu")(x)
    y = t * h + (1.0 - t) * x
    return keras.Model(x, L.Dense(3)(L.Permute((2, 1))(L.Reshape((5, 2))(y))))


def detector():
    """Boxes and classes of a grid, split and decoded."""
    x = keras.Input((16, 16, 3))
    y = L.LeakyReLU(0.1)(L.Conv2D(8, 3, 2, padding="same")(x))
    y = L.LeakyReLU(0.1)(L.Conv2D(12, 3, 2, padding="same")(y))
    y = tf.reshape(L.Conv2D(2 * 7, 1)(y), (-1, 4, 4, 2, 7))
    xy, wh, p = tf.split(y, (2, 2, 3), axis=-1)
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).astype("float32")[None, :, :, None]
    xy = (tf.sigmoid(xy) + grid) / 4.0
    wh = tf.exp(wh) * np.array([[1.0, 2.0], [0.5, 0.7]], "float32")
    return keras.Model(x, [tf.concat([xy - wh / 2, xy + wh / 2], -1), tf.sigmoid(p)])


def depth_to_space():
    x = keras.Input((6, 6, 3))
    y = L.Conv2D(12, 3, padding="same", activation="relu")(x)
    return keras.Model(x, L.Conv2D(2, 3, padding="same")(tf.nn.depth_to_space(y, 2)) + tf.image.resize(L.Conv2D(2, 1)(x), (12, 12)))


NETWORKS = {f.__name__: f for f in (
    mlp, activations, cnn, strided, resnet, efficientnet, mobilenet_v3, xception, densenet, unet, autoencoder, volumes, tcn, dilated, lstm, gru, bilstm, rnn,
    stateful_outputs, text, masked_text, text_cnn, transformer, decoder, vit, attention, norms, tabular, two_towers, highway, detector, depth_to_space)}


def draw(rng, network, n):
    def one(x):
        shape = (n, *x.shape[1:])
        if x.dtype == tf.int32 or x.dtype == "int32":
            values = rng.integers(1, 7 if shape[1] == 1 else 20, shape)
            if network.name_of == "masked_text":
                lengths = rng.integers(1, shape[1] + 1, n)
                values[np.arange(shape[1])[None] >= lengths[:, None]] = 0
            return values.astype("int32")
        if network.name_of == "tabular":
            return rng.normal([0, 10, -300, 5, 1000, 1], [1, 5, 100, 2, 400, 3], shape).astype("float32")
        return rng.normal(size=shape).astype("float32")
    return [one(x) for x in network.inputs]


def export(network):
    signature = [tf.TensorSpec((1, *x.shape[1:]), x.dtype, name=f"x{i}") for i, x in enumerate(network.inputs)]
    model, _ = tf2onnx.convert.from_keras(network, input_signature=signature, opset=17)
    for node in model.graph.node:
        node.ClearField("doc_string")
    del model.graph.value_info[:]
    return model


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    only = sys.argv[1:]
    for name, make in NETWORKS.items():
        if only and name not in only:
            continue
        keras.utils.set_random_seed(3)
        keras.backend.clear_session()
        network = make()
        network.name_of = name
        rng = np.random.default_rng(7)
        for _ in range(20):
            network(draw(rng, network, 8), training=True)
        model = export(network)
        (OUT / f"{name}.keras.onnx").write_bytes(model.SerializeToString())
        drawn = draw(rng, network, n_samples(network))
        samples = [[x[i:i + 1] for x in drawn] for i in range(len(drawn[0]))]
        np.savez_compressed(OUT / f"{name}.keras.npz", **run(model, samples))
        print(name, sorted({n.op_type for n in model.graph.node}), flush=True)


if __name__ == "__main__":
    main()
