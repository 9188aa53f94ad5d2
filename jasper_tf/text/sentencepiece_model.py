"""Reads the file of a SentencePiece model: its pieces, and how they become text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from jasper_tf.errors import UserError, shorten

SPACE = "▁"
"""Stands for a space in a piece (U+2581)."""
MOST_PIECES = 100_000

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_ALGORITHMS: dict[int, Literal["unigram", "bpe", "word", "char"]] = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
# Name, number and type of the fields that are used here (sentencepiece_model.proto). Described here: the package's own
# class needs protobuf 7, and TensorFlow 2.17 has protobuf 4.
_MESSAGES = {
    "Piece": "piece 1 string, score 2 float, type 3 int32",
    "Trainer": "model_type 3 int32, treat_whitespace_as_suffix 24 bool, byte_fallback 35 bool, unk_surface 44 string",
    "Normalizer": "add_dummy_prefix 3 bool, remove_extra_whitespaces 4 bool, escape_whitespaces 5 bool",
    "Model": "pieces 1 *Piece, trainer_spec 2 Trainer, normalizer_spec 3 Normalizer",
}


@dataclass(frozen=True)
class SentencePieceModel:
    """What a `.model` file says about its V pieces.

    Attributes:
        pieces: as the file has them, with `SPACE` for a space.
        scores: of the pieces.
        unknown: the piece that stands for what no piece can write.
        controls: pieces that write nothing, such as `<s>`.
        user_defined: pieces that always stay whole.
        unknown_text: what `unknown` is decoded to.
        algorithm: how texts are divided.
        leading_spaces: how many spaces decoding removes at the beginning of a text.
    """

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    unknown: int
    controls: frozenset[int]
    user_defined: frozenset[int]
    unknown_text: str
    algorithm: Literal["unigram", "bpe", "word", "char"]
    leading_spaces: Literal["all", "one", "none"]


def read_sentencepiece_model(content: bytes, name: str) -> SentencePieceModel:
    """Reads the content of a `.model` file.

    Args:
        content: a ModelProto.
        name: of the file, for messages.

    Raises:
        UserError: not such a file, damaged, or a model whose text does not follow from its pieces one by one.
    """
    name = shorten(name)
    try:
        model = _Model.FromString(content)
    except DecodeError:
        raise UserError(f"{name}: not a SentencePiece model, or damaged; train one with tokenizer train") from None
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    for is_set, key in (
        (trainer.byte_fallback, "byte_fallback"),
        (trainer.treat_whitespace_as_suffix, "treat_whitespace_as_suffix"),
        (normalizer.HasField("escape_whitespaces") and not normalizer.escape_whitespaces, "escape_whitespaces=false"),
    ):
        if is_set:
            raise UserError(f"{name}: was trained with {key}, which is not supported; train it without")
    pieces = tuple(piece.piece for piece in model.pieces)
    kinds = [piece.type if piece.HasField("type") else _NORMAL for piece in model.pieces]
    if not 1 < len(pieces) <= MOST_PIECES or len(set(pieces)) != len(pieces) or "" in pieces:
        raise UserError(f"{name}: not a SentencePiece model of 2 to {MOST_PIECES:,} different pieces")
    for piece in pieces:
        if {" ", SPACE} & {*piece.lstrip(SPACE)}:
            raise UserError(
                f"{name}: the piece {shorten(repr(piece), 60)} is of several words, which is not supported; "
                "train it with split_by_whitespace"
            )
    if kinds.count(_UNKNOWN) != 1:
        raise UserError(f"{name}: not a SentencePiece model: {kinds.count(_UNKNOWN)} of its pieces are unknown, not 1")
    removes_all = _default(normalizer, "remove_extra_whitespaces", True)
    removes_one = _default(normalizer, "add_dummy_prefix", True)
    return SentencePieceModel(
        pieces,
        tuple(piece.score for piece in model.pieces),
        kinds.index(_UNKNOWN),
        frozenset(at for at, kind in enumerate(kinds) if kind == _CONTROL),
        frozenset(at for at, kind in enumerate(kinds) if kind == _USER_DEFINED),
        _default(trainer, "unk_surface", " \u2047 "),
        _ALGORITHMS.get(_default(trainer, "model_type", 1), "unigram"),
        "all" if removes_all else "one" if removes_one else "none",
    )


def _default(message: Any, field: str, value: Any) -> Any:
    """The field, or the default that the schema (proto2) gives it."""
    return getattr(message, field) if message.HasField(field) else value


def _model_class() -> Any:
    file = FileDescriptorProto(name="pieces.proto", package="pieces", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            field_name, number, kind = text.split()
            field = message.field.add(name=field_name, number=int(number))
            field.label = cast(Any, FieldDescriptorProto).LABEL_OPTIONAL
            if kind.startswith("*"):
                field.label = cast(Any, FieldDescriptorProto).LABEL_REPEATED
            kind = kind.removeprefix("*")
            if kind.islower():
                field.type = getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
            else:
                field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".pieces.{kind}"
    pool = DescriptorPool()  # its own: the default one may hold the official messages
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("pieces.Model"))


_Model = _model_class()
