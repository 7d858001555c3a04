"""threadlog's plugin for Alembic.

Import it in ``env.py`` to register it::

    import threadlog.migrations.plugin

    context.configure(..., autogenerate_plugins=["alembic.autogenerate.*", "threadlog"])

The import registers the directives of `threadlog.migrations.directives`. Naming ``threadlog``
in ``autogenerate_plugins`` is optional: autogenerate and ``alembic check`` then also report
changed partitions, see `threadlog.migrations.autogenerate.partitions`.

The plugin needs Alembic 1.18, the first release with plugins. It has no entry point: before
Alembic 1.20.1, ``import alembic`` itself failed on an entry point that names a module (Alembic
issue 1873), in every project of the environment.
"""

import sys
from typing import TYPE_CHECKING, Final

import alembic

from threadlog.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.runtime.plugins import Plugin

NAME: Final = "threadlog"
"""The plugin's name in ``autogenerate_plugins``."""


def setup(plugin: "Plugin") -> None:
    """Register the directives and the partition comparison; called by Alembic."""
    from threadlog.migrations import directives  # noqa: F401, PLC0415 - registers at import
    from threadlog.migrations.autogenerate import partitions  # noqa: PLC0415 - not before use

    partitions.add_comparator(plugin)


def _register() -> None:
    """Register this module with Alembic, once in a process.

    Raises:
        ConfigurationError: Alembic is older than 1.18.
    """
    try:
        from alembic.runtime.plugins import Plugin  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "threadlog's plugin needs Alembic 1.18 or later; the installed release is "
            f"{alembic.__version__}. Upgrade Alembic, or import threadlog.migrations.directives "
            "instead: the op. directives work, but autogenerate does not compare partitions."
        ) from error
    Plugin.setup_plugin_from_module(sys.modules[__name__], NAME)


_register()
