"""The servers that threadlog is tested on."""

from collections.abc import Mapping
from typing import Final

from tests.support.servers.product import Product
from tests.support.servers.products.mariadb import MARIADB
from tests.support.servers.products.mysql import MYSQL
from tests.support.servers.products.postgres import POSTGRES

__all__ = ["MARIADB", "MYSQL", "POSTGRES", "PRODUCTS"]

PRODUCTS: Final[Mapping[str, Product]] = {
    product.name: product for product in (MYSQL, MARIADB, POSTGRES)
}
"""Each by its name."""
