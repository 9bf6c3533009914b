SELECT * FROM app.places
--
SELECT $1::int
--
ROLLBACK
--
select b.oid, b.typarray
      from pg_catalog.pg_type a
      left join pg_catalog.pg_type b on b.oid = a.typelem
      where a.typcategory = 'A'
      group by b.oid, b.typarray
      order by b.oid
--
select * from app.places
--
begin
--
select 1
--
savepoint "s0"
--
commit
--
select $1::int[]
