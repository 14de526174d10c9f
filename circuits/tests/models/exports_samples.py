"""What make_exports.py and make_exports_keras.py write beside a network: samples of its inputs, and onnxruntime's outputs for them."""
import numpy as np
import onnxruntime as ort


def run(model, samples):
    """By name: inputs and outputs of a list of samples, each an array for every input."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = [i.name for i in session.get_inputs()]
    outputs = [session.run(None, dict(zip(inputs, x))) for x in samples]
    arrays = {n: np.stack([x[i] for x in samples]) for i, n in enumerate(inputs)}
    return arrays | {o.name: np.stack([y[i] for y in outputs]) for i, o in enumerate(session.get_outputs())}
