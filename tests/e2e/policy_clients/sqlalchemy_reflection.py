"""Everything that SQLAlchemy's inspector finds out about a schema, as text; then, where the second
argument says so, that a write is refused and the session goes on. The first argument is a URL."""

import sys

from sqlalchemy import MetaData, create_engine, inspect, text
from sqlalchemy.exc import ProgrammingError

url, refused = sys.argv[1], sys.argv[2] == "refused"
engine = create_engine(url)
looks = inspect(engine)

METHODS = (
    "columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints",
    "check_constraints", "table_comment", "table_options",
)


def spelled(value):
    """With keys in order and without the places of objects in memory."""
    if isinstance(value, dict):
        return {str(key): spelled(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [spelled(one) for one in value]
    return str(value)


print(sorted(looks.get_schema_names()))
for schema in ("shop", "public"):
    print(sorted(looks.get_table_names(schema)), sorted(looks.get_view_names(schema)))
    print(looks.get_materialized_view_names(schema), sorted(looks.get_sequence_names(schema)))
    print(looks.get_foreign_table_names(schema), spelled(looks.get_enums(schema)))
    print(spelled(looks.get_domains(schema)), looks.get_temp_table_names())
    for method in METHODS:
        found = getattr(looks, "get_multi_" + method)(schema=schema)
        print(method, spelled({str(key): found[key] for key in found}))
    for view in sorted(looks.get_view_names(schema)):
        print(looks.get_view_definition(view, schema))
print(looks.has_table("orders", "shop"), looks.has_sequence("numbers", "shop"))
print(looks.has_table("nothing", "shop"), looks.has_index("orders", "orders_open", "shop"))
metadata = MetaData()
metadata.reflect(engine, schema="shop", views=True)
for table in metadata.sorted_tables:
    print(table, table.columns.keys(), sorted(str(key) for key in table.foreign_keys))
with engine.connect() as connection:
    orders = metadata.tables["shop.orders"]
    print(connection.execute(orders.select().where(orders.c.id == 2)).one().total)

if refused:
    with engine.connect() as connection:
        for write in (orders.insert().values(customer_id=1), orders.update().values(total=1),
                      orders.delete(), text("TRUNCATE shop.orders")):
            try:
                connection.execute(write)
                raise AssertionError(f"{write} passes")
            except ProgrammingError as error:
                assert error.orig.sqlstate == "42501", error.orig.sqlstate
            connection.rollback()
            assert connection.execute(text("SELECT count(*) FROM shop.orders")).scalar() == 3
