"""Methods of public classes that only run an operation."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Final, TypeVar

_ADDED: Final = ("transactions", "vocabulary")

MethodT = TypeVar("MethodT", bound=Callable[..., Any])


def as_method(operation: Callable[..., Any]) -> Callable[[MethodT], MethodT]:
    """Return a decorator for a method that runs an operation.

    It sets the method's name, docstring and signature to the operation's; the signature is
    without the arguments that the method adds.
    """

    def decorate(method: MethodT) -> MethodT:
        update_wrapper(method, operation)
        signature = inspect.signature(operation)
        self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        given = [p for p in signature.parameters.values() if p.name not in _ADDED]
        vars(method)["__signature__"] = signature.replace(parameters=[self, *given])
        return method

    return decorate
