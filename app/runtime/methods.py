"""Methods of public classes that only run an operation."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, TypeVar

MethodT = TypeVar("MethodT", bound=Callable[..., Any])


def as_method(operation: Callable[..., Any]) -> Callable[[MethodT], MethodT]:
    """Give a method the name, the docstring and the signature of the operation that it runs."""

    def decorate(method: MethodT) -> MethodT:
        update_wrapper(method, operation)
        signature = inspect.signature(operation)
        transactions, *others = signature.parameters.values()
        self = transactions.replace(name="self", annotation=inspect.Parameter.empty)
        vars(method)["__signature__"] = signature.replace(parameters=[self, *others])
        return method

    return decorate
