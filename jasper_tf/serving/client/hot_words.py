"""Hot words in the requests of a client."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from jasper_tf.serving.client.server_error import ServerError

INPUTS = ("hot_words", "hot_word_weights")
"""Inputs of an export with a beam search."""

_Answer = TypeVar("_Answer")

# predict_util.cc, predict_impl.cc and json_tensor.cc of TensorFlow Serving, about inputs that lack or are too many.
_OTHER_INPUTS = re.compile(
    r"(input size does not match signature|do not match required inputs|Missing named input).*hot_word", re.DOTALL
)


class RequestHotWords:
    """The hot words of a client's requests.

    TensorFlow Serving wants a value for each input of a signature. A model with a beam search refuses the first request
    of a client that has no hot words; it is sent again with none of them, and so are all requests after it.

    Args:
        hot_words: words or phrases with their weights; None or empty: none.
        where: the server and the model, for messages.
    """

    def __init__(self, hot_words: Mapping[str, float] | None, where: str):
        self.values = dict(hot_words or {})
        self._where = where
        self._required = bool(self.values)

    def call(self, request: Callable[[Mapping[str, float] | None], _Answer]) -> _Answer:
        """Returns `request(hot_words)`; None: without these inputs.

        Raises:
            ServerError: of `request`; the model takes no hot words.
        """
        try:
            return request(self.values if self._required else None)
        except ServerError as error:
            if not _OTHER_INPUTS.search(str(error)):
                raise
        if self.values:
            raise self.not_taken()
        self._required = True
        return request({})

    def not_taken(self) -> ServerError:
        """The error of a model that has no such inputs."""
        return ServerError(
            f"{self._where} takes no hot words; export it with --lm or decoding.strategy=beam, without --batchable",
            concerns_all=True,
        )
