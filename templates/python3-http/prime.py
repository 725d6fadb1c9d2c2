"""Run once by a zygote after its imports: makes the first ONNX session of every replica quick.

The first session of a process registers onnxruntime's operators and kernels, which takes longer than most models do.
A zygote makes one session and drops it, and the children forked from it find all of that done.
"""

import sys


def _field(number: int, value: "int | str | bytes") -> bytes:
    """One field of a protobuf message: number and wire type, then a small integer, or a length and as many bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(data)]) + data


def _identity_model() -> bytes:
    """The smallest model there is, y = x for one float, in onnx.proto's field numbers."""
    dimension = _field(1, _field(1, 1))  # TensorShapeProto.dim[0].dim_value = 1
    tensor = _field(1, 1) + _field(2, dimension)  # TypeProto.Tensor: elem_type = FLOAT, shape
    kind = _field(2, _field(1, tensor))  # ValueInfoProto.type.tensor_type
    node = _field(1, "x") + _field(2, "y") + _field(4, "Identity")  # NodeProto: input, output, op_type
    graph = _field(1, node) + _field(2, "prime")  # GraphProto: node, name
    graph += _field(11, _field(1, "x") + kind) + _field(12, _field(1, "y") + kind)  # input, output
    opset = _field(2, 13)  # OperatorSetIdProto.version, of the default domain
    return _field(1, 8) + _field(7, graph) + _field(8, opset)  # ModelProto: ir_version, graph, opset_import


def prime() -> None:
    onnxruntime = sys.modules.get("onnxruntime")
    if onnxruntime is None:
        return
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # no thread pool: a thread does not survive the fork
    options.inter_op_num_threads = 1
    onnxruntime.InferenceSession(_identity_model(), options, providers=["CPUExecutionProvider"])


prime()
