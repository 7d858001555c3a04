"""TLS on a server that lets nobody in without it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.databases.test_timeouts import WAYS
from tests.support.servers.server import Server
from threadlog.errors import ConnectionFailedError, StorageError

BOTH = pytest.mark.parametrize("way", ["own", "sync"])
STRANGER = Path(__file__).parents[1] / "support" / "data" / "stranger-ca.pem"


@pytest.fixture
async def secure_url(mysql_url: str) -> AsyncIterator[str]:
    """Yield the database's URL while the server requires TLS."""
    engine = create_async_engine(
        mysql_url.replace("mysql://", "mysql+asyncmy://"), isolation_level="AUTOCOMMIT"
    )
    # The connection that forbids is kept, to allow again: no other would be let in.
    async with engine.connect() as connection:
        await connection.execute(text("SET GLOBAL require_secure_transport = ON"))
        try:
            yield mysql_url
        finally:
            await connection.execute(text("SET GLOBAL require_secure_transport = OFF"))
    await engine.dispose()


@pytest.fixture
def ca(mysql_server: Server) -> Path:
    """Return the CA certificate that the server created when it was initialised."""
    if mysql_server.data_folder is None:
        raise AssertionError("the CA of a server that was not started here cannot be read")
    return mysql_server.data_folder / "ca.pem"


async def enter(way: str, url: str) -> None:
    """Open a checkpointer and use it."""
    async with WAYS[way](url) as checkpointer:
        await checkpointer.save_extra("t", {"key": 1})


@BOTH
@pytest.mark.parametrize("options", ["ssl_mode=DISABLED", "ssl=false"])
async def test_without_tls_nobody_is_let_in(secure_url: str, way: str, options: str) -> None:
    """The server does require it, a typed error that says so, and DISABLED.

    Where nothing is said asyncmy does not encrypt, and PyMySQL does.
    """
    with pytest.raises(StorageError, match=r"3159.*require_secure_transport"):
        await enter(way, f"{secure_url}?{options}")


@BOTH
@pytest.mark.parametrize("options", ["ssl_mode=REQUIRED", "ssl-mode=required", "ssl=true"])
async def test_encryption_without_looking_at_certificates(
    secure_url: str, way: str, options: str
) -> None:
    await enter(way, f"{secure_url}?{options}")


@BOTH
async def test_a_ca_is_checked(secure_url: str, way: str, ca: Path) -> None:
    await enter(way, f"{secure_url}?ssl_mode=VERIFY_CA&ssl_ca={ca}")
    with pytest.raises(ConnectionFailedError, match=r"(?i)certificate"):
        await enter(way, f"{secure_url}?ssl_mode=VERIFY_CA&ssl_ca={STRANGER}")


@BOTH
async def test_the_identity_is_checked(secure_url: str, way: str, ca: Path) -> None:
    for options in ("", "&ssl_mode=VERIFY_IDENTITY"):
        with pytest.raises(ConnectionFailedError, match=r"(?i)certificate|hostname|address"):
            await enter(way, f"{secure_url}?ssl_ca={ca}{options}")
    await enter(way, f"{secure_url}?ssl_ca={ca}&ssl_check_hostname=false")
