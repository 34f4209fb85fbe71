"""MySQL, PostgreSQL and Oracle checks: log in, ask the query, get a row.

ldirectord ``service=mysql``, ``pgsql``, ``oracle``. The official or best-kept asyncio driver of
each (extras ``mysql``, ``pgsql``, ``oracle``), imported when the first check of its kind is made.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from struct import error as struct_error
from typing import Any

from heartbus.model import CheckService, Endpoint

from . import excerpt
from .script import Failed
from .task import Exchange, Say


def sql(
    service: CheckService, endpoint: Endpoint, login: str, password: str, database: str, query: str
) -> Exchange:
    """Return the exchange of one check."""
    make = {
        CheckService.MYSQL: _mysql,
        CheckService.PGSQL: _pgsql,
        CheckService.ORACLE: _oracle,
    }[service]
    return make(endpoint, login, password, database, query)


def _mysql(endpoint: Endpoint, login: str, password: str, database: str, query: str) -> Exchange:
    # No library of these ships types that mypy can use.
    driver: Any = importlib.import_module("aiomysql")
    errors: Any = importlib.import_module("pymysql.err")

    async def exchange(say: Say) -> str:
        connection = None
        try:
            say(f"login as {login}")
            connection = await driver.connect(
                host=endpoint.address,
                port=endpoint.port,
                user=login,
                password=password,
                db=database or None,
            )
            say(query)
            async with connection.cursor() as cursor:
                await cursor.execute(query)
                row = await cursor.fetchone()
        except (errors.MySQLError, asyncio.IncompleteReadError) as error:
            raise Failed(_words(error)) from None
        except (IndexError, ValueError, AssertionError, struct_error, RuntimeError) as error:
            raise Failed(f"not MySQL: {error}") from None
        finally:
            if connection is not None:
                connection.close()
        return _judged(row)

    return exchange


def _pgsql(endpoint: Endpoint, login: str, password: str, database: str, query: str) -> Exchange:
    driver: Any = importlib.import_module("asyncpg")

    async def exchange(say: Say) -> str:
        connection = None
        try:
            say(f"login as {login}")
            connection = await driver.connect(
                host=endpoint.address,
                port=endpoint.port,
                user=login,
                password=password,
                database=database or login,
                ssl=False,
                timeout=None,
                statement_cache_size=0,
                passfile="/dev/null",
            )
            say(query)
            row = await connection.fetchrow(query)
        except (driver.PostgresError, driver.InterfaceError, driver.InternalClientError) as error:
            raise Failed(_words(error)) from None
        except (ValueError, IndexError, KeyError, UnicodeError, BufferError) as error:
            raise Failed(f"not PostgreSQL: {error}") from None
        finally:
            if connection is not None:
                connection.terminate()
        return _judged(row)

    return exchange


def _oracle(endpoint: Endpoint, login: str, password: str, database: str, query: str) -> Exchange:
    driver: Any = importlib.import_module("oracledb")

    async def exchange(say: Say) -> str:
        connection = None
        try:
            say(f"login as {login}")
            connection = await driver.connect_async(
                host=endpoint.address,
                port=endpoint.port,
                user=login,
                password=password,
                service_name=database,
                retry_count=0,
            )
            say(query)
            row = await connection.fetchone(query)
        except driver.Error as error:
            raise Failed(_words(error)) from None
        finally:
            if connection is not None:
                await connection.close()
        return _judged(row)

    return exchange


def _judged(row: object) -> str:
    if row is None:
        raise Failed("no row")
    return f"a row, {excerpt(repr(row).encode())}"


def _words(error: BaseException) -> str:
    """Return what a driver says; where the system said no, what that was."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(part) for part in error.args) or type(error).__name__
    # Oracle's driver says "cannot connect", then who refused and why, then where to read of it.
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("Help:")]
    text = lines[-1] if lines else text
    return excerpt(text.encode())[1:-1]
