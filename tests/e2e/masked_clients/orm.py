"""What SQLAlchemy and Django make of a table's rows, and of a row that they write: the value of a
column that the last argument gives comes back with it. Before that: host, port, user, password,
database."""

import sys

import django
from django.conf import settings
from sqlalchemy import URL, MetaData, Table, create_engine, select
from sqlalchemy.orm import Session, registry

host, port, user, password, database, given = sys.argv[1:]

engine = create_engine(URL.create(
    "postgresql+psycopg", user, password, host, int(port), database
))
people = Table("people", MetaData(), autoload_with=engine)


class Person:
    pass


registry().map_imperatively(Person, people)
with Session(engine) as session:
    for person in session.scalars(select(Person).order_by(people.c.id)):
        print([getattr(person, column.name) for column in people.columns])
    print(session.execute(select(people.c.r_text, people.c.n_int)
                          .where(people.c.m_text == "****@example.com")).all())
    one = Person()
    one.r_text, one.plain = given, "written"
    session.add(one)
    session.flush()
    session.refresh(one)
    print(one.id, one.r_text, one.plain)
    insert = people.insert().values(r_text=given, plain="seen")
    print(session.execute(insert.returning(people.c.r_text, people.c.plain)).one())
    session.commit()

settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": host, "PORT": port, "USER": user,
        "PASSWORD": password, "NAME": database,
    }},
    USE_TZ=True,
)
django.setup()

from django.db import models  # noqa: E402


class DjangoPerson(models.Model):
    r_text = models.TextField(null=True)
    r_numeric = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    r_json = models.JSONField(null=True)
    r_uuid = models.UUIDField(null=True)
    y_stamp = models.DateTimeField(null=True)
    m_text = models.TextField(null=True)
    plain = models.TextField(null=True)

    class Meta:
        app_label = "people"
        db_table = "people"
        managed = False


print(list(DjangoPerson.objects.order_by("id").values_list()))
print(DjangoPerson.objects.filter(m_text__endswith="example.com").count())
written = DjangoPerson.objects.create(r_text=given, plain="by django")
print(written.id)
written.refresh_from_db()
print(written.r_text, written.plain)
print([one.r_text for one in DjangoPerson.objects.order_by("id").iterator(chunk_size=2)])
