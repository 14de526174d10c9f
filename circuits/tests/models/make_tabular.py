"""Makes tabular/*.onnx and *.npz: scikit-learn's models of its bundled data sets, as skl2onnx 1.20 writes them, with onnxruntime's outputs.

pip install scikit-learn==1.9.1 skl2onnx==1.20.0 onnxruntime==1.31.1
The .npz hold `x` (samples), `y` (scores or predictions, with batch axis 1 taken out), and `label` where there is one.
"""

import pathlib

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn import datasets, ensemble, linear_model, neural_network, pipeline, preprocessing, tree

OUT = pathlib.Path(__file__).parent / "tabular"


def save(name, model, data, n=48, **options):
    x, y = data(return_X_y=True)
    x = x.astype(np.float32)
    model.fit(x, y)
    options = {id(model): options} if options else None
    file = to_onnx(model, x[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
    file.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    (OUT / f"{name}.onnx").write_bytes(file.SerializeToString())
    session = onnxruntime.InferenceSession(file.SerializeToString())
    rows = x[np.random.default_rng(8).permutation(len(x))[:n]]
    runs = [session.run(None, {session.get_inputs()[0].name: row[None]}) for row in rows]

    def scores(value):
        return [list(value[0].values())] if isinstance(value, list) else value

    arrays = {"X": rows[:, None]}
    if len(runs[0]) == 2:
        arrays["label"] = np.array([run[0] for run in runs])
    arrays["scores"] = np.array([scores(run[-1]) for run in runs], dtype=np.float32)
    np.savez_compressed(OUT / f"{name}.npz", **arrays)
    print(name, [n.op_type for n in file.graph.node], arrays["scores"].shape, (OUT / f"{name}.onnx").stat().st_size)


def scaled(model):
    return pipeline.make_pipeline(preprocessing.StandardScaler(), model)


save("linear_regression", linear_model.LinearRegression(), datasets.load_diabetes)
save("logistic_regression", scaled(linear_model.LogisticRegression()), datasets.load_iris)
save("logistic_binary", scaled(linear_model.LogisticRegression()), datasets.load_breast_cancer, zipmap=False)
save("normalized", pipeline.make_pipeline(preprocessing.Normalizer(), linear_model.LogisticRegression()), datasets.load_iris)
save("logistic_raw", linear_model.LogisticRegression(max_iter=20000), datasets.load_wine)
save("linear_raw", linear_model.LinearRegression(), lambda **k: (datasets.load_wine(**k)[0][:, :-1], datasets.load_wine(**k)[0][:, -1]))
save("decision_tree", tree.DecisionTreeClassifier(max_depth=4, random_state=1), datasets.load_wine, zipmap=False)
save("random_forest", ensemble.RandomForestClassifier(12, max_depth=5, random_state=1), datasets.load_wine)
save("forest_binary", ensemble.RandomForestClassifier(10, max_depth=4, random_state=1), datasets.load_breast_cancer, zipmap=False)
save("forest_regression", ensemble.RandomForestRegressor(10, max_depth=4, random_state=1), datasets.load_diabetes)
save("boosting", ensemble.GradientBoostingClassifier(n_estimators=12, max_depth=3, random_state=1), datasets.load_iris, zipmap=False)
save("boosting_binary", ensemble.GradientBoostingClassifier(n_estimators=12, max_depth=3, random_state=1), datasets.load_breast_cancer, zipmap=False)
save("boosting_regression", ensemble.GradientBoostingRegressor(n_estimators=12, max_depth=3, random_state=1), datasets.load_diabetes)
save("perceptron", scaled(neural_network.MLPClassifier((16,), max_iter=400, random_state=1)), datasets.load_wine)
save("perceptron_regression", scaled(neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=400, random_state=1)), datasets.load_diabetes)
