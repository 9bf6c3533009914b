LOCK TABLE app.customers, app.orders, app.items, public.orders, public.only_public, app."Mixed Case", app.parent, app.child, app.measures, app.measures_2024, app.places IN ACCESS SHARE MODE
--
SELECT tableoid, oid, typname, typnamespace, typacl, acldefault('T', typowner) AS acldefault, typowner, typelem, typrelid, typarray, CASE WHEN typrelid = 0 THEN ' '::"char" ELSE (SELECT relkind FROM pg_class WHERE oid = typrelid) END AS typrelkind, typtype, typisdefined, typname[0] = '_' AND typelem != 0 AND (SELECT typarray FROM pg_type te WHERE oid = pg_type.typelem) = oid AS isarray FROM pg_type
--
PREPARE getDomainConstraints(pg_catalog.oid) AS
SELECT tableoid, oid, conname, pg_catalog.pg_get_constraintdef(oid) AS consrc, convalidated, contype FROM pg_catalog.pg_constraint WHERE contypid = $1 AND contype IN ('c') ORDER BY conname
--
SELECT t.tgrelid, t.tgname, pg_catalog.pg_get_triggerdef(t.oid, false) AS tgdef, t.tgenabled, t.tableoid, t.oid, t.tgparentid <> 0 AS tgispartition
FROM unnest('{}'::pg_catalog.oid[]) AS src(tbloid)
JOIN pg_catalog.pg_trigger t ON (src.tbloid = t.tgrelid) LEFT JOIN pg_catalog.pg_trigger u ON (u.oid = t.tgparentid) WHERE ((NOT t.tgisinternal AND t.tgparentid = 0) OR t.tgenabled != u.tgenabled) ORDER BY t.tgrelid, t.tgname
--
SELECT oid, lomowner, lomacl, acldefault('L', lomowner) AS acldefault FROM pg_largeobject_metadata ORDER BY lomowner, lomacl::pg_catalog.text, oid
--
SELECT seqrelid, format_type(seqtypid, NULL), seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle, NULL, 'f' FROM pg_catalog.pg_sequence ORDER BY seqrelid
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT "Id", "from", lower FROM ONLY app."Mixed Case"
--
FETCH 100 FROM _pg_dump_cursor
--
CLOSE _pg_dump_cursor
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, kind, extra FROM ONLY app.child
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, name, ssn, email, region, extra, NULL FROM ONLY app.customers
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT order_id, id, product, amount, price FROM ONLY app.items
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT at, value FROM ONLY app.measures_2024
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, customer_id, total, placed, note FROM ONLY app.orders
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, kind FROM ONLY app.parent
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, home, work FROM ONLY app.places
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, value FROM ONLY public.only_public
--
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, other FROM ONLY public.orders
