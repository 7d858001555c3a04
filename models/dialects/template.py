"""SQL expressions whose text differs between dialects."""

from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from threadlog.models.dialects.names import MYSQL


class Template(FunctionElement[Any]):
    """SQL around the arguments, with a text for each dialect in the class's arguments."""

    inherit_cache = True
    _templates: ClassVar[Mapping[str, str]]

    def __init_subclass__(cls, **templates: str) -> None:
        """Keep the texts; ``other`` is that of the dialects without one."""
        super().__init_subclass__()
        cls.inherit_cache = True
        if templates:  # else of a class that the ORM derives for its annotations
            cls._templates = templates

    def template(self, dialect: str) -> str:
        """Return the text for a dialect."""
        name = "mysql" if dialect in MYSQL else dialect
        return self._templates.get(name) or self._templates["other"]


@compiles(Template)
def _render(element: Template, compiler: SQLCompiler, **kw: Any) -> str:
    template = element.template(compiler.dialect.name)
    # What is not in the text is not compiled, or its parameters would be sent.
    arguments = (
        compiler.process(part, **kw) if f"{{{place}}}" in template else ""
        for place, part in enumerate(element.clauses)
    )
    return template.format(*arguments)
