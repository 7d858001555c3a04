"""The servers that threadlog is tested on."""

from collections.abc import Mapping
from typing import Final

from tests.support.servers.product import Product
from tests.support.servers.products.mariadb import MARIADB
from tests.support.servers.products.mongodb import MONGODB
from tests.support.servers.products.mysql import MYSQL
from tests.support.servers.products.postgres import POSTGRES
from tests.support.servers.products.redis import REDIS

__all__ = ["EVERY_PRODUCT", "MARIADB", "MONGODB", "MYSQL", "POSTGRES", "PRODUCTS", "REDIS"]

PRODUCTS: Final[Mapping[str, Product]] = {
    product.name: product for product in (MYSQL, MARIADB, POSTGRES)
}
"""Each server with SQL, by its name."""

EVERY_PRODUCT: Final[Mapping[str, Product]] = {
    **PRODUCTS,
    MONGODB.name: MONGODB,
    REDIS.name: REDIS,
}
"""Each by its name."""
