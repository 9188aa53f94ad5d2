"""Validates the graph of a SavedModel, which is a program, before it is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import attr_value_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from jasper_tf.errors import UserError, one_line

# The operations that `export` writes for any model of this package, and similar ones: they compute from inputs and
# variables only. No files, network, Python or printing.
_ALLOWED = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin AsString Assert BatchMatMulV2 BatchToSpaceND BesselI0 BiasAdd Bitcast
    BitwiseAnd BitwiseOr BroadcastArgs BroadcastTo Case Cast Ceil CheckNumerics ClipByValue Complex ComplexAbs Concat
    ConcatV2 Const Conv2D Cos Cumprod Cumsum DecodeRaw DepthwiseConv2dNative DivNoNan Einsum Elu EnsureShape Equal Erf
    Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual
    IRFFT Identity IdentityN If Imag InvertPermutation IsFinite IsInf IsNan LeakyRelu LeftShift Less LessEqual LinSpace
    Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr LowerBound MatMul Max Maximum Mean Min Minimum MirrorPad Mul
    MulNoNan Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2 PartitionedCall Placeholder PlaceholderWithDefault Pow
    PreventGradient Prod RFFT RaggedRange RaggedTensorToTensor Range Rank ReadVariableOp Real RealDiv Reciprocal
    ReduceJoin Relu Relu6 Reshape ResourceGather ReverseV2 RightShift Rint Roll Round Rsqrt ScatterNd SegmentSum Select
    SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToBatchND Split SplitV Sqrt
    Square SquaredDifference Squeeze StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile
    StaticRegexFullMatch StaticRegexReplace StopGradient StridedSlice StringFormat StringJoin StringLength StringLower
    StringUpper Sub Substr Sum Tan Tanh TensorListConcatV2 TensorListFromTensor TensorListGetItem TensorListLength
    TensorListReserve TensorListSetItem TensorListStack TensorScatterUpdate Tile TopKV2 Transpose UnicodeDecode Unpack
    UnsortedSegmentJoin UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentSum VarHandleOp VarIsInitializedOp Where
    While Xdivy Xlogy ZerosLike
    """.split()
)
# Every SavedModel has two functions that write and read its variables.
_OF_SAVER = frozenset("AssignVariableOp DisableCopyOnRead MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename".split())


def validate_graph(folder: Path) -> None:
    """Reads `saved_model.pb` and rejects operations with side effects; nothing is loaded.

    The operations that read and write the variables' files are allowed in the two functions of the saver, if only the
    saver uses these functions.

    Raises:
        UserError: damaged, or such an operation; names the operation and its node.
    """
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(file.read_bytes())
        # The loader prints a traceback for a damaged fingerprint and continues; a missing one is valid.
        with contextlib.suppress(FileNotFoundError):
            tf.saved_model.experimental.read_fingerprint(str(folder))
    except (OSError, DecodeError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: cut off or damaged ({one_line(error)}); export it anew") from None
    if len(saved.meta_graphs) != 1:
        raise UserError(f"{file}: holds {len(saved.meta_graphs)} graphs, export.py writes one; export it again")
    graph = saved.meta_graphs[0]
    saver = _saver_functions(graph)
    for function in graph.graph_def.library.function:
        name = function.signature.name
        _validate_nodes(function.node_def, _ALLOWED | _OF_SAVER if name in saver else _ALLOWED, name, file)
    _validate_nodes(graph.graph_def.node, _ALLOWED, "the main graph", file)
    reachable = saver & set(_used_functions(graph))
    if reachable:
        raise _refusal(file, "a use of the saver's function", min(reachable))


def _validate_nodes(nodes: Iterable[node_def_pb2.NodeDef], allowed: frozenset[str], where: str, file: Path) -> None:
    for node in nodes:
        if node.op not in allowed:
            raise _refusal(file, f"the operation {node.op[:80]!r}", f"{node.name} of {where}")


def _refusal(file: Path, what: str, where: str) -> UserError:
    return UserError(
        f"{file}: a SavedModel is code, and this one has {what} ({where[:160]!r}), which export.py never writes; "
        "do not trust this file"
    )


def _saver_nodes(graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    return {_node(name) for name in (graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name) if name}


def _saver_functions(graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    names = _saver_nodes(graph)
    return {name for node in graph.graph_def.node if node.name in names for name in _functions(node.attr.values())}


def _used_functions(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    """Names of the functions used outside the saver's nodes, or by nodes that other nodes use."""
    library, saved, saver = graph.graph_def.library, graph.object_graph_def, _saver_nodes(graph)
    for function in library.function:
        yield from _functions(function.attr.values())
        for node in function.node_def:
            yield node.op
            yield from _functions(node.attr.values())
    for gradient in library.gradient:
        yield from (gradient.function_name, gradient.gradient_func)
    yield from saved.concrete_functions
    for item in saved.nodes:
        yield item.bare_concrete_function.concrete_function_name
        yield from item.function.concrete_functions
    used_nodes = {name for values in graph.collection_def.values() for name in values.node_list.value}
    for signature in graph.signature_def.values():
        for tensor in (*signature.inputs.values(), *signature.outputs.values()):
            used_nodes |= {tensor.name, *_composite_names(tensor)}
    for node in graph.graph_def.node:
        used_nodes |= set(node.input)
        if node.name not in saver:
            yield node.op
            yield from _functions(node.attr.values())
    reached = {_node(name) for name in used_nodes} & saver
    for node in graph.graph_def.node:
        if node.name in reached:
            yield from _functions(node.attr.values())


def _composite_names(tensor: meta_graph_pb2.TensorInfo) -> set[str]:
    sparse = tensor.coo_sparse
    names = {sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name}
    return names.union(*({part.name} for part in tensor.composite_tensor.components))


def _functions(attributes: Iterable[attr_value_pb2.AttrValue]) -> Iterator[str]:
    """Names of the functions in attributes, nested ones included."""
    for attribute in attributes:
        for function in (attribute.func, *attribute.list.func):
            if function.name:
                yield function.name
                yield from _functions(function.attr.values())


def _node(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]
