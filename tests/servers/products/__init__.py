"""The servers that threadlog is tested on."""

from collections.abc import Mapping
from typing import Final

from tests.servers.product import Product
from tests.servers.products.mariadb import MARIADB
from tests.servers.products.mysql import MYSQL
from tests.servers.products.postgres import POSTGRES

__all__ = ["MARIADB", "MYSQL", "POSTGRES", "PRODUCTS"]

PRODUCTS: Final[Mapping[str, Product]] = {
    product.name: product for product in (MYSQL, MARIADB, POSTGRES)
}
"""Each by its name."""
