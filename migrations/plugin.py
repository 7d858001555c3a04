"""threadlog's plugin for Alembic.

Importing it, in ``env.py``, registers it::

    import threadlog.migrations.plugin

    context.configure(..., autogenerate_plugins=["alembic.autogenerate.*", "threadlog"])

The import gives migrations the directives of `threadlog.migrations.directives`. Naming
``threadlog`` among the plugins is up to the host: autogenerate and ``alembic check`` then
notice changed partitions too, see `threadlog.migrations.autogenerate.partitions`.

It needs Alembic 1.18, the first that has plugins. There is no entry point: before its release
1.20.1 ``import alembic`` itself failed on one that names a module (its issue 1873), in every
project of an environment that threadlog were installed in.
"""

import sys
from typing import TYPE_CHECKING, Final

import alembic

from threadlog.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.runtime.plugins import Plugin

NAME: Final = "threadlog"
"""What the plugin is called in ``autogenerate_plugins``."""


def setup(plugin: "Plugin") -> None:
    """Register everything; called by Alembic."""
    from threadlog.migrations import directives  # noqa: F401, PLC0415
    from threadlog.migrations.autogenerate import partitions  # noqa: PLC0415

    partitions.add_comparator(plugin)


def _register() -> None:
    """Hand this module to Alembic, once in a process.

    Raises:
        ConfigurationError: this Alembic has no plugins.
    """
    try:
        from alembic.runtime.plugins import Plugin  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"threadlog's plugin needs Alembic 1.18 or later, this is {alembic.__version__}. "
            "Upgrade it, or import threadlog.migrations.directives instead: the op. directives "
            "work with this one too, but autogenerate cannot be told to look at partitions."
        ) from error
    Plugin.setup_plugin_from_module(sys.modules[__name__], NAME)


_register()
