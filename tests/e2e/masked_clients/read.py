"""What psycopg and asyncpg read from a table: as text, as binary, prepared and executed again, by a
cursor of the server's and by COPY. Arguments: host, port, user, password, database, and one that is
not used here."""

import asyncio
import sys

import asyncpg
import psycopg

host, port, user, password, database, _ = sys.argv[1:]
ALL = "SELECT * FROM people ORDER BY id"

with psycopg.connect(host=host, port=port, user=user, password=password, dbname=database,
                     autocommit=True, prepare_threshold=2) as connection:
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        cursor.execute(ALL)
        for column in cursor.description:
            # An enum's number is the database's own.
            print(column.name, column.type_code if column.name != "r_mood" else "", column.precision,
                  column.scale, column.display_size, column.internal_size)
        for row in cursor:
            print(row)
        for _ in range(6):
            one = cursor.execute("SELECT r_text, l_big, y_date FROM people WHERE id = %s", (2,))
            print(one.fetchone(), one.fetchone())
        print(cursor.execute("SELECT count(*) FROM people WHERE r_int = %s", (0,)).fetchone())
        copy = "COPY people TO STDOUT" + (" (FORMAT binary)" if binary else "")
        with cursor.copy(copy) as copied:
            print(b"".join(copied))
    with connection.transaction(), connection.cursor("portal") as cursor:
        cursor.itersize = 2
        print(cursor.execute(ALL).fetchall())


async def by_asyncpg():
    connection = await asyncpg.connect(
        host=host, port=int(port), user=user, password=password, database=database, ssl=False
    )
    for record in await connection.fetch(ALL):
        print(dict(record))
    statement = await connection.prepare("SELECT m_text, n_numeric, r_uuid FROM people WHERE id = $1")
    print([column.type.name for column in statement.get_attributes()])
    for _ in range(4):
        print(await statement.fetchrow(1), await statement.fetchrow(3))
    async with connection.transaction():
        print([record["f_text"] async for record in connection.cursor(ALL, prefetch=2)])
    await connection.close()


asyncio.run(by_asyncpg())
