"""What Django's inspectdb makes of a schema; then, where the last argument says so, that a write is
refused and the session goes on. Before it: host, port, user, password, database."""

import sys

import django
from django.conf import settings

host, port, user, password, database, then = sys.argv[1:]
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": host, "PORT": port, "USER": user,
        "PASSWORD": password, "NAME": database, "OPTIONS": {"options": "-c search_path=shop"},
    }},
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.db.utils import ProgrammingError  # noqa: E402

call_command("inspectdb", include_views=True, include_partitions=True)
call_command("showmigrations", "contenttypes")
with connection.cursor() as cursor:
    looks = connection.introspection
    for table in looks.table_names(cursor, include_views=True):
        print(table, looks.get_table_description(cursor, table))
        if table not in ("open_orders", "totals"):
            print(sorted(looks.get_constraints(cursor, table).items()))
            print(looks.get_relations(cursor, table), looks.get_sequences(cursor, table))


class Order(models.Model):
    customer_id = models.IntegerField()

    class Meta:
        app_label = "shop"
        db_table = "orders"
        managed = False


print(list(Order.objects.order_by("id").values_list("id", "customer_id")))
def make_a_table():
    with connection.schema_editor() as editor:
        editor.execute("CREATE TABLE made ()")


if then == "refused":
    for write in (lambda: Order.objects.create(customer_id=1), Order.objects.all().delete,
                  lambda: Order.objects.update(customer_id=2), make_a_table):
        try:
            write()
            raise AssertionError("a write passes")
        except ProgrammingError as error:
            assert error.__cause__.sqlstate == "42501", error.__cause__.sqlstate
        assert Order.objects.count() == 3
