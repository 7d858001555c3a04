"""A host with Alembic migrations of its own, in whose history threadlog's tables are too.

In this folder, with Alembic's own command line, on SQLite or on MySQL::

    alembic upgrade head
    alembic -x url=mysql+asyncmy://user:password@host/database upgrade head
    alembic check
    alembic downgrade base

Without ``-x`` the URL is taken from ``SHOP_DATABASE_URL``, or else it is the file ``shop.db``.
"""
