"""An application whose own Alembic history also has threadlog's tables.

In this folder, with Alembic's own command line, on SQLite or on MySQL::

    alembic upgrade head
    alembic -x url=mysql+asyncmy://user:password@host/database upgrade head
    alembic check
    alembic downgrade base

Without ``-x`` the URL is ``SHOP_DATABASE_URL``, or the file ``shop.db`` if it is not set.
"""
