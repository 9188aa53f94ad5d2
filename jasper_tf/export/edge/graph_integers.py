"""Whole numbers in a graph that is being written: formulas of the package take them in place of tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Integer:
    """An int32 (or bool) tensor of a graph, with the operators of Python. Division is of numbers not below 0.

    Args:
        graph: that it is in.
        tensor: its name or number there.
    """

    def __init__(self, graph: GraphIntegers, tensor: Any):
        self.graph, self.tensor = graph, tensor

    def __add__(self, other: Any) -> Integer:
        return self.graph.apply("add", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Integer:
        return self.graph.apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Integer:
        return self.graph.apply("subtract", other, self)

    def __mul__(self, other: Any) -> Integer:
        return self.graph.apply("multiply", self, other)

    def __floordiv__(self, other: Any) -> Integer:
        return self.graph.apply("divide", self, other)

    def __mod__(self, other: Any) -> Integer:
        return self.graph.apply("remainder", self, other)

    def __abs__(self) -> Integer:
        return self.graph.maximum(self, 0 - self)

    def __lt__(self, other: Any) -> Integer:
        return self.graph.apply("less", self, other)

    def __gt__(self, other: Any) -> Integer:
        return self.graph.apply("greater", self, other)

    def __ge__(self, other: Any) -> Integer:
        return self.graph.apply("greater_equal", self, other)


class GraphIntegers(ABC):
    """Array namespace (`xp`) with which the length formulas write graph nodes instead of computing numbers."""

    @abstractmethod
    def add(self, kind: str, tensors: list[Any]) -> Any:
        """Adds an operator, such as "add", "less" or "where"; operands are broadcast. Returns its output."""

    @abstractmethod
    def constant(self, value: int) -> Any:
        """Returns the tensor of a number."""

    def apply(self, kind: str, *operands: Any) -> Integer:
        """Adds an operator to the graph; operands are `Integer` or int."""
        tensors = [one.tensor if isinstance(one, Integer) else self.constant(one) for one in operands]
        return Integer(self, self.add(kind, tensors))

    def where(self, condition: Any, x: Any, y: Any) -> Integer:
        return self.apply("where", condition, x, y)

    def minimum(self, x: Any, y: Any) -> Integer:
        return self.apply("minimum", x, y)

    def maximum(self, x: Any, y: Any) -> Integer:
        return self.apply("maximum", x, y)

    def logical_and(self, x: Any, y: Any) -> Integer:
        return self.apply("logical_and", x, y)

    def logical_or(self, x: Any, y: Any) -> Integer:
        return self.apply("logical_or", x, y)
