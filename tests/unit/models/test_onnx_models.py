import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

from tiffin.errors import DecodeError, ModelError
from tiffin.models import formats, loading
from tiffin.types import TensorSpec


def load(path):
    return loading.load_file(formats.find(path))


def save(path, nodes, inputs, outputs):
    values = [[helper.make_tensor_value_info(*item) for item in items] for items in (inputs, outputs)]
    graph = helper.make_graph(nodes, "test-graph", *values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def adder(tmp_path):
    return load(
        save(
            tmp_path / "model.onnx",
            [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])],
            [("a", TensorProto.FLOAT, ["n", 2]), ("b", TensorProto.FLOAT, ["n", 2])],
            [("sum", TensorProto.FLOAT, ["n", 2]), ("product", TensorProto.FLOAT, ["n", 2])],
        )
    )


def test_a_graph_has_its_own_names_datatypes_and_shapes(adder):
    assert adder.info.inputs == (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "FP32", (-1, 2)))
    assert [spec.name for spec in adder.info.outputs] == ["sum", "product"]
    assert (adder.info.format, adder.info.estimator, adder.batchable) == ("onnx", "test-graph", True)


def test_several_inputs_go_by_name_and_are_cast(adder):
    arrays = adder.conform(["b", "a"], [np.array([[1, 2]]), np.array([[3.0, 4.0]])])
    total, product = adder.predict(arrays)
    assert (total.tolist(), product.tolist()) == ([[4, 6]], [[3, 8]])
    assert adder.predict(adder.example())[0].shape == (1, 2)


@pytest.mark.parametrize(
    ("names", "shapes", "at"),
    [
        (["a"], [(1, 2)], "inputs"),
        (["a", "c"], [(1, 2), (1, 2)], "inputs"),
        (["a", "b", "c"], [(1, 2)] * 3, "inputs"),
        (["a", "b"], [(1, 2), (2, 2)], "inputs[1].shape"),
        (["a", "b"], [(1, 3), (1, 2)], "inputs[0].shape"),
        (["b", "a"], [(1, 2), (2,)], "inputs[1].shape"),
        (["a", "b"], [(0, 2), (0, 2)], "inputs[0].shape"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(adder, names, shapes, at):
    with pytest.raises(DecodeError) as caught:
        adder.conform(names, [np.zeros(shape, np.float32) for shape in shapes])
    assert caught.value.at == at


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_classifier_gives_labels_and_a_tensor_of_probabilities(zipmap, rows, labels, tmp_path):
    from skl2onnx import to_onnx

    estimator = LogisticRegression(max_iter=500).fit(rows, labels)
    graph = to_onnx(estimator, rows[:1].astype(np.float32), options={"zipmap": zipmap})
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    model = load(tmp_path)
    found = model.predict(model.conform(["anything"], [rows]))
    assert found[0].tolist() == estimator.predict(rows).tolist()
    assert found[1] == pytest.approx(estimator.predict_proba(rows), abs=1e-5)
    assert model.info.outputs[1].shape == (-1, 3)
    assert model.info.outputs[1].datatype == "FP32"
    assert model.info.classes == ((0, 1, 2) if zipmap else ())


def test_a_fixed_batch_dimension_is_not_batched(tmp_path):
    node = helper.make_node("Relu", ["x"], ["y"])
    model = load(
        save(tmp_path / "m.onnx", [node], [("x", TensorProto.FLOAT, [1, 3])], [("y", TensorProto.FLOAT, [1, 3])])
    )
    assert not model.batchable
    assert model.predict(model.conform(["x"], [np.array([[-1, 0, 1]])]))[0].tolist() == [[0, 0, 1]]
    with pytest.raises(DecodeError, match=r"expected \[1, 3\], found \[2, 3\]"):
        model.conform(["x"], [np.zeros((2, 3), np.float32)])
    with pytest.raises(DecodeError, match=r"add the batch dimension: \[1, 3\]"):
        model.conform(["x"], [np.zeros(3, np.float32)])


def test_a_graph_that_mixes_its_rows_is_not_batched(tmp_path):
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1, noop_with_empty_axes=0)
    model = load(
        save(
            tmp_path / "m.onnx", [node], [("x", TensorProto.FLOAT, ["n", 2])], [("y", TensorProto.FLOAT, ["m", 1])]
        )
    )
    assert not model.batchable


def test_text_and_whole_numbers_keep_their_kind(tmp_path):
    nodes = [helper.make_node("Identity", ["s"], ["t"]), helper.make_node("Identity", ["i"], ["j"])]
    model = load(
        save(
            tmp_path / "m.onnx",
            nodes,
            [("s", TensorProto.STRING, ["n"]), ("i", TensorProto.INT32, ["n"])],
            [("t", TensorProto.STRING, ["n"]), ("j", TensorProto.INT32, ["n"])],
        )
    )
    words = np.array([b"caf\xc3\xa9", "tea"], dtype=object)
    found = model.predict(model.conform(["s", "i"], [words, np.array([1, 2])]))
    assert (found[0].tolist(), found[1].tolist(), found[1].dtype) == (["café", "tea"], [1, 2], np.int32)
    for wrong in (np.array([1.5, 2]), np.array([1, 2**40])):
        with pytest.raises(DecodeError):
            model.conform(["s", "i"], [words, wrong])
    with pytest.raises(DecodeError):
        model.conform(["s", "i"], [np.array([1, 2]), np.array([1, 2])])


def test_values_the_graph_cannot_use_are_the_callers_mistake(tmp_path):
    table = helper.make_tensor("table", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    node = [
        helper.make_node("Constant", [], ["t"], value=table),
        helper.make_node("Gather", ["t", "i"], ["y"]),
    ]
    model = load(
        save(tmp_path / "m.onnx", node, [("i", TensorProto.INT64, ["n"])], [("y", TensorProto.FLOAT, ["n"])])
    )
    assert model.predict(model.conform(["i"], [np.array([2])]))[0].tolist() == [3.0]
    with pytest.raises(DecodeError):
        model.predict(model.conform(["i"], [np.array([7])]))


def test_a_damaged_graph_is_a_model_error(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a\x12\x07rubbish!")
    with pytest.raises(ModelError, match=r"model\.onnx cannot be opened by onnxruntime"):
        load(tmp_path)


def test_a_graph_this_runtime_is_too_old_for_is_a_model_error(tmp_path):
    graph = helper.make_graph([], "g", [], [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 999)]), tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="cannot be opened"):
        load(tmp_path)
