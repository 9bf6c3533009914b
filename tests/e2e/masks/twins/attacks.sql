-- What somebody tries who wants to know what is masked. Each line is one string for the server; a
-- line that begins with -- names what follows.


-- reads
SELECT * FROM customers ORDER BY id
SELECT * FROM customers
SELECT ssn, card, email, born, income, visits, doc, tags, mood, secret, token, ip, tag FROM public.customers WHERE id = 3
SELECT c.* FROM public.customers AS c (a, b, d) WHERE a = 3
SELECT id FROM customers WHERE ssn LIKE '%7%'
SELECT id FROM customers WHERE ssn ~ '^[0-4]' OR card SIMILAR TO '[0-4]%'
SELECT id FROM customers WHERE doc @> '{"n": 12}' AND tags && ARRAY['abc']
SELECT id FROM customers WHERE secret > '\x37' OR token::text > '5' OR ip << '10.0.3.0/24'
SELECT id FROM customers WHERE born > '1970-06-01'
SELECT id FROM customers WHERE extract(month FROM born) = 3
SELECT id FROM customers WHERE income > 5500
SELECT id FROM customers WHERE visits % 10000 = 2005 AND visits > 50000000
SELECT id FROM customers ORDER BY ssn, id
SELECT id FROM customers ORDER BY mood, tag
SELECT id, rank() OVER (ORDER BY ssn), lag(card) OVER (PARTITION BY mood ORDER BY email) FROM customers
SELECT ssn, count(*) FROM customers GROUP BY ssn
SELECT mood, grouping(mood, ssn), count(DISTINCT tag) FROM customers GROUP BY ROLLUP (mood, ssn)
SELECT max(ssn), min(card), string_agg(email, ','), array_agg(token), sum(income), avg(visits) FROM customers
SELECT id FROM customers GROUP BY id HAVING max(ssn) > '5'
SELECT DISTINCT ON (ssn) id FROM customers ORDER BY ssn, id
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ssn) FROM customers
SELECT CASE WHEN ssn > '5' THEN 1/0 END FROM customers WHERE id = 1
SELECT 1/(length(ssn) - 8) FROM customers WHERE id = 1
SELECT ssn::int FROM customers
SELECT card::xml FROM customers
SELECT email::inet, doc::text::int FROM customers WHERE id = 2
SELECT (doc->>'k')::int FROM customers WHERE id = 2
SELECT (ssn || '')::mood FROM customers WHERE id = 1
SELECT * FROM places ORDER BY id
SELECT p FROM places p
SELECT zip::zip, upper(zip), to_jsonb(p) FROM places p WHERE zip > '5' OR id = 1
UPDATE places SET zip = zip WHERE id = 1
UPDATE places SET name = zip RETURNING *
SELECT cast(ssn AS date) FROM customers WHERE id = 4
SELECT income::smallint FROM customers
SELECT visits::int FROM customers
SELECT to_jsonb(c) FROM customers c WHERE id = 1
SELECT row_to_json(customers), to_json(customers.*) FROM customers WHERE id = 1
SELECT c FROM customers c WHERE id = 1
SELECT customers FROM customers WHERE id = 1
SELECT (c).ssn, (c).tag FROM (SELECT c FROM customers c) x WHERE (c).id = 1
SELECT (array_agg(c))[1].ssn FROM customers c WHERE id = 2
SELECT c.to_jsonb, c.row_to_json FROM customers c WHERE id = 1
SELECT ssn(c), c.id, upper(c.ssn) FROM customers c WHERE id = 1
SELECT c.text FROM customers c WHERE id = 1
SELECT c::text, textin(record_out(c)) FROM customers c WHERE id = 1
SELECT c.named, named(c) FROM customers c WHERE id = 1
SELECT md5(c::text), hash_record(c), hashtext(ssn), record_eq(c, c) FROM customers c WHERE id = 1
SELECT a.id FROM customers a, customers b WHERE a < b AND a.id = 1
SELECT id FROM customers c WHERE c = (SELECT c FROM customers c WHERE id = 3)
SELECT * FROM (SELECT ctid AS place, * FROM customers) x
SELECT xmin, xmax, cmin, tableoid::regclass FROM customers WHERE id = 1
SELECT tableoid::regclass, id FROM customers ORDER BY id
SELECT pg_column_size(ssn), pg_column_size(c), pg_column_compression(card) FROM customers c WHERE id = 1
SELECT pg_column_size(customers.*) FROM customers WHERE id = 1
SELECT sum(octet_length(secret)) FROM customers
SELECT * FROM customers NATURAL JOIN vips
SELECT id FROM customers JOIN cards USING (ssn)
SELECT o.id, x.ssn FROM orders o LEFT JOIN LATERAL (SELECT c.ssn FROM customers c WHERE c.id = o.customer AND c.ssn > '5') x ON true ORDER BY 1
SELECT o.id, c FROM orders o LEFT JOIN customers c ON c.id = o.customer AND c.ssn > '5' ORDER BY 1
SELECT count(*) FROM orders o FULL JOIN customers c ON c.ssn = o.total::text
WITH c AS (SELECT * FROM customers), d AS NOT MATERIALIZED (SELECT ssn FROM c) SELECT * FROM d
WITH RECURSIVE r (n, s) AS (SELECT 1, ssn FROM customers WHERE id = 1 UNION ALL SELECT n + 1, substr(s, 2) FROM r WHERE s <> '') SELECT * FROM r
SELECT ssn FROM customers UNION SELECT region FROM orders ORDER BY 1
SELECT ssn FROM customers EXCEPT SELECT what FROM notes
SELECT id FROM customers INTERSECT SELECT length(ssn) FROM customers
SELECT (SELECT ssn FROM customers LIMIT 1), ARRAY(SELECT card FROM customers)
SELECT 1 WHERE EXISTS (SELECT FROM customers WHERE ssn > '5')
SELECT id FROM orders WHERE (customer, 'x') IN (SELECT id, ssn FROM customers)
SELECT id FROM orders LIMIT (SELECT length(card) FROM customers WHERE id = 1)
SELECT id FROM orders ORDER BY (SELECT ssn FROM customers WHERE customers.id = orders.customer)
SELECT generate_series(1, (SELECT length(card) FROM customers WHERE id = 2))
VALUES ((SELECT ssn FROM customers WHERE id = 1)), ('x')
TABLE customers
TABLE ONLY customers
TABLE vips
SELECT * FROM ONLY customers WHERE id = 1
SELECT * FROM vips
SELECT level, ssn FROM vips WHERE ssn > '5'
SELECT * FROM payments ORDER BY id
SELECT iban FROM payments_2024 ORDER BY id
SELECT id FROM payments_2025 WHERE iban > '5'
SELECT ssn, number FROM cards
SELECT * FROM customers TABLESAMPLE BERNOULLI (50) REPEATABLE (7)
SELECT id FROM customers TABLESAMPLE SYSTEM (50) REPEATABLE (7)
SELECT id FROM boxes WHERE (kept).ssn > '5'
SELECT kept, (kept).card FROM boxes ORDER BY id
SELECT (kept).* FROM boxes
SELECT null::customers
SELECT (json_populate_record(null::customers, to_json(c))).ssn FROM customers c WHERE id = 1
SELECT * FROM json_populate_recordset(null::customers, (SELECT json_agg(c) FROM customers c))
SELECT * FROM jsonb_to_recordset((SELECT jsonb_agg(c) FROM customers c)) AS x (ssn text, card text)
SELECT * FROM unnest(ARRAY(SELECT c FROM customers c))
SELECT * FROM ROWS FROM (unnest(ARRAY(SELECT ssn FROM customers)), generate_series(1, 3)) WITH ORDINALITY
SELECT xmlelement(name x, xmlattributes(ssn AS s), card), xmlforest(email) FROM customers WHERE id = 1
SELECT * FROM xmltable('/r' PASSING (SELECT xmlelement(name r, ssn) FROM customers WHERE id = 1) COLUMNS s text PATH '.')
SELECT jsonb_path_query(to_jsonb(c), '$.ssn') FROM customers c WHERE id = 1
SELECT format('%s %I', ssn, card), concat(c), concat_ws(',', c.*) FROM customers c WHERE id = 1
SELECT ssn COLLATE "C" < '5', ssn IS DISTINCT FROM 'x', ssn BETWEEN '1' AND '5' FROM customers WHERE id = 1
SELECT coalesce(ssn, 'none'), nullif(card, card), greatest(ssn, '5') FROM customers WHERE id = 9
SELECT ssn IS NULL, card IS NULL, c IS NULL, num_nulls(ssn, card) FROM customers c ORDER BY id
SELECT current_query(), ssn FROM customers WHERE id = 1
SELECT setseed(length(ssn) / 20.0), random() FROM customers WHERE id = 1
SELECT ssn FROM public.customers customers WHERE public.customers.id = 1
SELECT customers.ssn FROM orders, customers WHERE customers.id = orders.id AND public.customers.id = 1
SELECT c.id FROM customers c WHERE NOT EXISTS (SELECT ssn FROM orders WHERE ssn > '5')
SELECT "ssn", U&"\0073sn", c."SSN" FROM customers c WHERE id = 1
SELECT a.ssn = b.ssn, a.id FROM customers a CROSS JOIN cards b WHERE a.id < 3
SELECT id FROM customers c WHERE (c.ssn, c.card) > ('5', '5')
SELECT id FROM customers WHERE ssn IN (SELECT ssn FROM cards)
SELECT id FROM customers WHERE ssn = ANY (ARRAY(SELECT number FROM cards))
SELECT s FROM (SELECT upper(c.ssn) FROM customers c) AS x (s) WHERE s > '5'
SELECT x.* FROM customers c CROSS JOIN LATERAL (VALUES (c.ssn, c.card)) AS x (a, b) WHERE c.id = 1
SELECT (SELECT x FROM (SELECT c.ssn, c.card) x) FROM customers c WHERE c.id = 1
SELECT (SELECT max(c.ssn)) FROM customers c
SELECT c.id FROM customers c GROUP BY c.id, c.ssn HAVING c.ssn > '5' ORDER BY c.ssn DESC, c.id
SELECT DISTINCT c.* FROM customers c WHERE c.id < 3 ORDER BY c.id
SELECT id FROM customers GROUP BY GROUPING SETS ((id, ssn), (ssn)) ORDER BY 1
SELECT count(*) FROM customers a JOIN customers b ON a.ssn < b.ssn
SELECT mode() WITHIN GROUP (ORDER BY ssn), array_agg(id ORDER BY ssn, id) FROM customers
SELECT first_value(id) OVER (ORDER BY card DESC, id) FROM customers LIMIT 1
SELECT id FROM customers ORDER BY id OFFSET (SELECT length(email) FROM customers WHERE id = 1)
SELECT id FROM customers ORDER BY id FETCH FIRST (SELECT count(*) FROM customers WHERE ssn > '5') ROWS WITH TIES
SELECT * FROM generate_series(1, (SELECT count(*) FROM customers WHERE ssn > '5'))
SELECT * FROM customers c, LATERAL jsonb_each_text(to_jsonb(c)) e WHERE c.id = 1
SELECT key, value FROM customers c, json_each(row_to_json(c)) WHERE c.id = 2
SELECT jsonb_object_agg(c.id, c) FROM customers c WHERE id < 3
SELECT json_agg(x) FROM (SELECT * FROM customers ORDER BY id LIMIT 2) x
SELECT to_json(ARRAY(SELECT c FROM customers c WHERE id < 3))
SELECT ROW(c.*), ROW(c.ssn, c.card), (c.*) IS NULL FROM customers c WHERE id = 1
SELECT ROW(c.*)::customers FROM customers c WHERE id = 1
SELECT ((c.*)::text)::customers FROM customers c WHERE id = 1
SELECT (ROW(c.*)::customers).ssn FROM customers c WHERE id = 1
SELECT (c::customers).card FROM customers c WHERE id = 1
SELECT c::vips FROM vips c
SELECT v::customers, (v::customers).ssn FROM vips v
SELECT (kept).ssn, to_jsonb(kept), boxes FROM boxes
SELECT jsonb_populate_record(kept, '{}') FROM boxes
SELECT count(kept), max((kept).ssn) FROM boxes
SELECT * FROM plain p JOIN customers c USING (id) WHERE p.number = c.ssn AND id = 1
SELECT p FROM plain p WHERE p.id = 2
SELECT (p).number FROM plain p WHERE p.id = 2
SELECT nested, plain FROM nested JOIN plain USING (id) WHERE id = 2
SELECT tableoid FROM kept WHERE id = 1
SELECT ctid FROM kept WHERE id = 1
SELECT ctid FROM vips
SELECT ctid FROM payments WHERE id = 1
SELECT id FROM customers WHERE ctid = '(0,1)'
SELECT id FROM customers ORDER BY ctid
SELECT ssn FROM public.customers, (SELECT 1 AS one) customers_1 WHERE id = 1
SELECT "customers"."ssn" FROM "public"."customers" WHERE "customers"."id" = 1
SELECT CUSTOMERS.SSN FROM PUBLIC.CUSTOMERS WHERE ID = 1
SELECT ssn FROM/**/customers/**/c/**/WHERE/**/c.id/**/=/**/1
SELECT E'\'', ssn, $$ FROM customers $$ FROM customers WHERE id = 1
SELECT U&"customers"."ssn" FROM U&"c\0075stomers" WHERE id = 1
SELECT 'é', ssn, 'é' FROM customers WHERE id = 1 AND name <> 'é'
SELECT 'é', ssn + 1 FROM customers
SELECT xmlparse(CONTENT ssn), xmlserialize(CONTENT xmlelement(name a, card) AS text) FROM customers WHERE id = 1
SELECT overlay(ssn PLACING 'x' FROM 2), position('a' IN card), trim(BOTH 'a' FROM card), substring(email FROM '.*@') FROM customers WHERE id = 1
SELECT income * 1.0, income::text, scale(income), trim_scale(income) FROM customers WHERE id = 1
SELECT width_bucket(income, 0, 50000, 1000), histogram FROM customers, (SELECT 1 histogram) h WHERE id = 1
SELECT bit_count(secret), sha256(secret), get_byte(secret, 0), secret || '\x00' FROM customers WHERE id = 1
SELECT host(ip), masklen(ip), ip + 1, inet_same_family(ip, ip) FROM customers WHERE id = 1
SELECT enum_range(mood, NULL), mood < 'quiet', mood::text FROM customers WHERE id = 1
SELECT tags[1], cardinality(tags), array_to_string(tags, ','), unnest(tags) FROM customers WHERE id = 1
SELECT doc ? 'k', doc -> 'k', doc #>> '{k}', doc['k'], jsonb_typeof(doc) FROM customers WHERE id = 1
SELECT regr_slope(visits, income), corr(visits, income), stddev(income), bit_and(visits), every(ssn > '5') FROM customers
SELECT ssn ~<~ '5', ssn ^@ '1', ssn || NULL, ssn LIKE ANY (ARRAY['5%', '6%']) FROM customers WHERE id = 1

-- copies
COPY customers TO STDOUT
COPY customers (id, ssn) TO STDOUT WITH (FORMAT csv, HEADER)
COPY vips TO STDOUT
COPY payments_2024 TO STDOUT
COPY payments TO STDOUT
COPY plain TO STDOUT
COPY kept TO STDOUT
COPY boxes TO STDOUT
COPY (SELECT ssn FROM customers ORDER BY id) TO STDOUT WITH (FORMAT csv)
COPY (SELECT c FROM customers c) TO STDOUT
COPY (TABLE customers) TO STDOUT WITH (FORMAT binary)
COPY customers TO STDOUT (FORMAT binary)
COPY BINARY customers TO STDOUT
COPY customers TO '/tmp/x'
COPY customers TO PROGRAM 'cat'

-- explanations
EXPLAIN SELECT ssn FROM customers WHERE id = 1
EXPLAIN VERBOSE SELECT * FROM customers WHERE ssn = 'x'
EXPLAIN (FORMAT json, COSTS ON) SELECT id FROM customers WHERE id < 3
EXPLAIN (FORMAT yaml, SETTINGS) SELECT 1 FROM customers c JOIN orders o ON o.customer = c.id WHERE c.ssn > '5'
EXPLAIN ANALYZE SELECT ssn FROM customers
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, COSTS off) SELECT ssn FROM customers
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, COSTS off) SELECT id FROM plain
EXPLAIN (ANALYZE, TIMING off, SUMMARY off, COSTS off, BUFFERS off) SELECT id, name FROM customers
EXPLAIN SELECT id FROM plain
EXPLAIN SELECT id, name FROM customers
EXPLAIN SELECT * FROM vips
EXPLAIN SELECT id FROM payments WHERE day > '2025-01-01'
EXPLAIN SELECT id FROM payments_2024
EXPLAIN UPDATE customers SET name = 'x' WHERE ssn > '5'
EXPLAIN DELETE FROM customers
EXPLAIN INSERT INTO audit SELECT id, ssn FROM customers
EXPLAIN CREATE TABLE x AS SELECT * FROM customers
EXPLAIN SELECT * FROM kept
EXPLAIN DECLARE c CURSOR FOR SELECT ssn FROM customers
EXPLAIN SELECT id FROM orders
EXPLAIN SELECT id FROM telling

-- views, functions and the code that runs of itself
SELECT * FROM plain ORDER BY id
SELECT id FROM plain WHERE number > '5'
SELECT plain FROM plain WHERE id = 1
SELECT * FROM nested ORDER BY id
SELECT * FROM telling
SELECT * FROM counted
SELECT * FROM made
SELECT id FROM made
SELECT * FROM barrier ORDER BY id
SELECT * FROM kept ORDER BY id
SELECT id FROM kept WHERE ssn > '5'
UPDATE plain SET name = number WHERE id = 1 RETURNING *
UPDATE plain SET name = 'x' WHERE number > '5'
DELETE FROM plain WHERE number > '5'
INSERT INTO plain (id, number) VALUES (60, 'x')
UPDATE barrier SET card = '' WHERE card > '5'
REFRESH MATERIALIZED VIEW kept
REFRESH MATERIALIZED VIEW CONCURRENTLY kept
CREATE OR REPLACE VIEW plain AS SELECT id, ssn AS number, name FROM customers
SELECT opaque(1)
SELECT * FROM opaque(1)
SELECT guess(g) FROM generate_series(1, 20) g
SELECT * FROM everyone()
SELECT everyone()
SELECT (everyone()).ssn
SELECT definer()
SELECT twice(ssn) FROM customers WHERE id = 1
SELECT says(ssn) FROM customers WHERE id = 1
SELECT 3::odd
SELECT g::odd FROM generate_series(1, 20) g
SELECT CAST('4' AS odd)
SELECT odd '5'
SELECT json_populate_record(NULL::domained, '{"id": 4}')
SELECT * FROM json_to_record('{"id": 4}') AS x (id odd)
SELECT ARRAY[1, 2, 3]::odd[]
CREATE TEMP TABLE withodd (id odd); INSERT INTO withodd SELECT generate_series(1, 20)
SELECT * FROM guarded
UPDATE guarded SET what = 'seen'
DELETE FROM guarded
INSERT INTO guarded VALUES (3, 'x')
COPY guarded TO STDOUT
INSERT INTO ruled VALUES (1)
SELECT 1 <~> 1
SELECT g FROM generate_series(1, 20) g WHERE g OPERATOR(public.<~>) g
SELECT pile(id) FROM orders
SELECT pile(g) OVER () FROM generate_series(1, 3) g
SELECT ROW(1)::wrapped::text
SELECT ROW(1)::wrapped || 'x'
SELECT 'x' || ROW(1)::wrapped
SELECT quote_literal(ROW(1)::wrapped), quote_nullable(ROW(1)::wrapped)
SELECT textanycat('x', ROW(1)::wrapped), anytextcat(ROW(1)::wrapped, 'x')
SELECT c || 'x' FROM customers c WHERE id = 1
SELECT 'x' || c, quote_literal(c) FROM customers c WHERE id = 1
SELECT format('%s', ROW(1)::wrapped), string_agg(ROW(1)::wrapped::text, '')
SELECT concat(ROW(1)::wrapped)
INSERT INTO notes VALUES (70, ROW(1)::wrapped)
SELECT * FROM indexed WHERE guess(id)
SELECT count(*) FROM indexed
ALTER TABLE audit ADD COLUMN g bool DEFAULT guess(1)
CREATE TABLE public.mine (id int, g bool GENERATED ALWAYS AS (guess(id)) STORED)
CREATE TABLE public.mine (id int DEFAULT length(opaque(1)))
CREATE INDEX ON orders (guess(customer))
CREATE TEMP TABLE tempdef (id int, what text DEFAULT opaque(2)); INSERT INTO tempdef (id) VALUES (1) RETURNING *
CREATE TEMP TABLE liked (LIKE defaulted INCLUDING ALL); INSERT INTO liked (id) VALUES (1) RETURNING *
CREATE TEMP TABLE inherited () INHERITS (defaulted); INSERT INTO inherited (id) VALUES (1) RETURNING *
CREATE DOMAIN pg_temp.even AS int CHECK (guess(VALUE)); SELECT 2::pg_temp.even
CREATE CAST (int AS text) WITH FUNCTION opaque(int)
CREATE AGGREGATE pg_temp.a(int) (SFUNC = piled, STYPE = text)

-- functions by name
SELECT table_to_xml('customers', true, true, '')
SELECT table_to_xmlschema('customers', true, true, '')
SELECT query_to_xml('SELECT * FROM customers', true, true, '')
SELECT cursor_to_xml('c', 1, true, true, '')
SELECT schema_to_xml('public', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT database_to_xml_and_xmlschema(true, true, '')
SELECT * FROM ts_stat('SELECT to_tsvector(ssn) FROM customers')
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ssn::tsquery FROM customers')
SELECT pg_relation_size('customers'), pg_table_size('customers'), pg_indexes_size('customers')
SELECT pg_total_relation_size('by_mail')
SELECT currtid2('customers', '(0,1)')
SELECT pg_get_viewdef('plain'::regclass), pg_get_indexdef('by_mail'::regclass)
SELECT pg_read_file('/etc/passwd')
SELECT pg_read_binary_file('PG_VERSION')
SELECT lo_export(1, '/tmp/x')
SELECT lo_from_bytea(0, (SELECT secret FROM customers WHERE id = 1))
SELECT pg_stat_get_live_tuples('customers'::regclass)
SELECT n_distinct, most_common_vals, histogram_bounds, correlation FROM pg_stats WHERE tablename = 'customers'
SELECT * FROM pg_stats_ext
SELECT * FROM pg_stats_ext_exprs
SELECT * FROM pg_statistic
SELECT * FROM pg_statistic_ext_data
SELECT stxname FROM pg_statistic_ext
SELECT relpages, reltuples FROM pg_class WHERE relname = 'customers'
SELECT * FROM pg_stat_statements
SELECT * FROM pg_prepared_statements
SELECT name, statement FROM pg_cursors
SELECT * FROM pg_largeobject
SELECT partrelid::regclass, partattrs FROM pg_partitioned_table
SELECT pg_notify('c', ssn) FROM customers WHERE id = 1
SELECT set_config('application_name', ssn, false) FROM customers WHERE id = 1
SELECT set_config('gate.x', ssn, false) FROM customers WHERE id = 1
SELECT current_setting('gate.x', true)
SELECT pg_advisory_lock(length(ssn)) FROM customers WHERE id = 1
SELECT nextval('customers')
SELECT pg_sleep(length(ssn) / 1000.0) FROM customers WHERE id = 1
SELECT pg_logical_emit_message(true, 'x', ssn) FROM customers WHERE id = 1
SELECT pg_input_is_valid(ssn, 'int') FROM customers WHERE id = 1
SELECT min_value FROM pg_sequences WHERE max_value < (SELECT visits FROM customers WHERE id = 1)
SELECT * FROM pg_get_object_address('table', ARRAY(SELECT ssn FROM customers WHERE id = 1), '{}')
SELECT to_regclass(ssn), ssn::regclass FROM customers WHERE id = 1
SELECT to_tsvector(ssn), to_tsquery(card), ts_headline(email, 'a') FROM customers WHERE id = 1
SELECT has_table_privilege(ssn, 'SELECT') FROM customers WHERE id = 1
SELECT pg_get_expr(ssn::pg_node_tree, 0) FROM customers WHERE id = 1
SELECT convert_from(secret, 'UTF8'), convert_from('\xff', 'UTF8') FROM customers WHERE id = 1
SELECT decode(ssn, 'hex'), encode(secret, 'base64') FROM customers WHERE id = 1
SELECT chr(length(ssn) - 200000) FROM customers WHERE id = 1
SELECT repeat('x', (visits * 100000)::int) FROM customers WHERE id = 1
SELECT to_number(ssn, '9'), to_date(ssn, 'YYYY'), make_date(visits::int, 1, 1) FROM customers WHERE id = 1

-- writes
UPDATE customers SET name = ssn WHERE id = 4 RETURNING *
SELECT name FROM customers WHERE id = 4
UPDATE customers SET name = card || email WHERE id = 4 RETURNING name
UPDATE customers SET name = 'same' WHERE ssn > '5'
UPDATE customers SET name = (SELECT ssn FROM customers WHERE id = 5) WHERE id = 4 RETURNING name
UPDATE customers SET (name, region) = (SELECT card, ssn FROM customers WHERE id = 5) WHERE id = 4 RETURNING name, region
UPDATE customers SET (name, region) = ROW (ssn, card) WHERE id = 4 RETURNING name, region
UPDATE customers c SET name = c.tag FROM orders o WHERE o.customer = c.id AND c.ssn > '5' RETURNING c.*
UPDATE customers c SET name = c::text WHERE id = 4 RETURNING c
UPDATE customers SET name = 'noticed' WHERE id = 18
UPDATE customers SET name = repeat('x', length(ssn)) WHERE id = 2 RETURNING name
UPDATE customers SET card = ssn WHERE id = 2
UPDATE customers SET email = card WHERE id = 2 RETURNING email
UPDATE customers SET ssn = '1234' WHERE id = 5
UPDATE customers SET ssn = ssn WHERE id = 5
UPDATE customers SET ssn = NULL WHERE id = 5
UPDATE customers SET ssn = DEFAULT WHERE id = 5
UPDATE customers SET email = '****@example.org' WHERE id = 5
UPDATE customers SET email = 'new@example.org' WHERE id = 5 RETURNING email
UPDATE customers SET email = email WHERE id = 5
UPDATE customers SET income = income + 1 WHERE id = 5
UPDATE customers SET income = income - 6500 WHERE id = 6
UPDATE customers SET income = -1 WHERE id = 6
UPDATE customers SET doc['x'] = '1' WHERE id = 6 RETURNING doc
UPDATE customers SET tags[1] = 'x' WHERE id = 6 RETURNING tags
UPDATE customers SET doc = jsonb_set(doc, '{a}', '1') WHERE id = 6
UPDATE customers SET tags = tags || 'x' WHERE id = 6 RETURNING tags[1]
UPDATE customers SET visits = visits * 1000000000000 WHERE id = 6
UPDATE customers SET id = id + 1 WHERE id = 6
UPDATE customers SET id = NULL WHERE id = 7
UPDATE customers SET region = NULL, id = 3 WHERE id = 7
UPDATE customers SET id = 0 WHERE ssn = '1234'
UPDATE boxes SET kept.name = 'x' WHERE id = 1 RETURNING kept
UPDATE boxes SET kept = (SELECT c FROM customers c WHERE id = 3) RETURNING *
UPDATE notes SET what = (SELECT ssn FROM customers WHERE id = 3) WHERE id = 1 RETURNING *
UPDATE notes SET many = ARRAY(SELECT ssn FROM customers) WHERE id = 1 RETURNING *
UPDATE vips SET name = ssn RETURNING *
UPDATE ONLY customers SET name = 'x' WHERE id = 1 AND ssn = ssn RETURNING tag
UPDATE payments SET day = '2024-07-01' WHERE iban > '5' RETURNING *
UPDATE payments_2024 SET day = '2025-07-01' WHERE id = 1
INSERT INTO customers (id, ssn) VALUES (50, '1234')
INSERT INTO customers (id, name) VALUES (1, 'again')
INSERT INTO customers (id, name) VALUES (50, 'fresh') RETURNING *
INSERT INTO customers SELECT * FROM customers WHERE id = 3
INSERT INTO customers (id, card) SELECT 51, card FROM customers WHERE id = 3 RETURNING card
INSERT INTO customers (id, card) VALUES (52, 'my own card') RETURNING card, c.card
INSERT INTO customers (id, income) VALUES (53, -4)
INSERT INTO customers (id, name) VALUES (54, 'x') ON CONFLICT (id) DO UPDATE SET name = customers.ssn RETURNING name
INSERT INTO customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = customers.ssn RETURNING name
INSERT INTO customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'y' WHERE customers.ssn > '5' RETURNING name
INSERT INTO customers (id, ssn) VALUES (55, 'x') ON CONFLICT (ssn) DO NOTHING
INSERT INTO customers (id, ssn) VALUES (55, 'x') ON CONFLICT DO NOTHING
INSERT INTO customers (id, ssn) VALUES (55, 'x') ON CONFLICT ON CONSTRAINT customers_ssn_key DO NOTHING
INSERT INTO cards VALUES ('n', '1234')
INSERT INTO vips (id, ssn) VALUES (200, '1234')
INSERT INTO notes SELECT 10 + id, ssn FROM customers WHERE id = 3
INSERT INTO notes SELECT 20 + id, email FROM customers WHERE id < 4 ON CONFLICT (what) DO UPDATE SET what = notes.what || excluded.what RETURNING *
INSERT INTO audit SELECT id, ssn FROM customers WHERE ssn > '5'
INSERT INTO audit SELECT id, c::text FROM customers c
SELECT * FROM audit ORDER BY id
INSERT INTO boxes SELECT 10, c FROM customers c WHERE id = 1 RETURNING kept
WITH d AS (DELETE FROM orders WHERE customer IN (SELECT id FROM customers WHERE ssn > '5') RETURNING id) SELECT count(*) FROM d
WITH u AS (UPDATE customers SET name = ssn WHERE id = 3 RETURNING *) SELECT * FROM u
WITH u AS (UPDATE customers SET name = 'x' WHERE id = 3 RETURNING customers) SELECT * FROM u
DELETE FROM customers WHERE id = 1
DELETE FROM customers WHERE id = 19 RETURNING *
DELETE FROM customers WHERE id = 20 AND ssn > '5'
DELETE FROM customers WHERE ssn LIKE '0%'
DELETE FROM orders WHERE customer = 20 RETURNING *
DELETE FROM orders USING customers c WHERE c.id = orders.customer AND c.card > '5' RETURNING c.ssn, orders.*
DELETE FROM payments WHERE iban > '5' RETURNING iban
MERGE INTO customers c USING orders o ON c.id = o.customer AND c.ssn > '5' WHEN MATCHED THEN UPDATE SET name = c.ssn
MERGE INTO audit a USING customers c ON a.id = c.id WHEN MATCHED AND c.ssn > '5' THEN UPDATE SET what = c.ssn WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.card)
SELECT * FROM audit ORDER BY id, what
MERGE INTO customers c USING (VALUES (3)) v (id) ON c.id = v.id WHEN MATCHED AND c.ssn > '5' THEN DO NOTHING WHEN MATCHED THEN DELETE
MERGE INTO customers c USING (VALUES (3)) v (id) ON c.id = v.id WHEN MATCHED THEN UPDATE SET name = c.card
SELECT id, name FROM customers ORDER BY id
TRUNCATE audit
TRUNCATE customers
SELECT id FROM customers WHERE ssn > '5' FOR UPDATE
SELECT ssn FROM customers WHERE id = 1 FOR SHARE NOWAIT
SELECT id FROM customers WHERE card > '5' FOR NO KEY UPDATE SKIP LOCKED
LOCK TABLE customers IN ACCESS EXCLUSIVE MODE NOWAIT

-- definitions
CREATE TEMP TABLE t1 AS SELECT * FROM customers
SELECT * FROM t1 ORDER BY id
CREATE TEMP TABLE t2 (LIKE customers INCLUDING ALL)
INSERT INTO t2 SELECT * FROM t1
SELECT * FROM t2
CREATE TEMP TABLE t3 () INHERITS (customers)
CREATE TABLE public.t4 PARTITION OF payments FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
CREATE TEMP TABLE t5 OF customers
CREATE TEMP TABLE t6 (c customers)
INSERT INTO t6 SELECT c FROM customers c
SELECT (c).ssn FROM t6
SELECT ssn INTO TEMP t7 FROM customers
SELECT * FROM t7 ORDER BY 1
CREATE TEMP TABLE t8 (ssn varchar(11) REFERENCES customers (ssn))
CREATE TEMP TABLE t9 (s text GENERATED ALWAYS AS ((SELECT max(ssn) FROM customers)) STORED)
CREATE TABLE public.t10 (id int REFERENCES customers, ssn varchar(11) REFERENCES public.customers (ssn))
ALTER TABLE orders ADD COLUMN ssn varchar(11) REFERENCES customers (ssn)
ALTER TABLE orders ADD FOREIGN KEY (region) REFERENCES customers (ssn)
ALTER TABLE customers ADD FOREIGN KEY (ssn) REFERENCES notes (what)
ALTER TABLE customers ADD CHECK (ssn > '5')
ALTER TABLE customers ADD CHECK (ssn > '5') NOT VALID
ALTER TABLE customers ADD CONSTRAINT c1 CHECK (name <> ssn)
ALTER TABLE customers VALIDATE CONSTRAINT rich
ALTER TABLE customers ADD UNIQUE (card)
ALTER TABLE customers ADD EXCLUDE USING gist (ip inet_ops WITH &&)
ALTER TABLE customers ALTER card SET NOT NULL
ALTER TABLE customers ALTER ssn TYPE int USING ssn::int
ALTER TABLE customers ALTER name TYPE text USING ssn
ALTER TABLE customers ALTER name TYPE varchar(100) USING named(customers)
ALTER TABLE customers ADD COLUMN s text GENERATED ALWAYS AS (ssn || '') STORED
ALTER TABLE customers ADD COLUMN s text DEFAULT 'x'
ALTER TABLE customers ALTER name SET DEFAULT 'y'
ALTER TABLE customers ALTER ssn DROP NOT NULL
ALTER TABLE customers ALTER ssn SET STATISTICS 1000
ALTER TABLE customers ALTER ssn SET STORAGE MAIN
ALTER TABLE customers DROP COLUMN tag
ALTER TABLE customers RENAME ssn TO n
ALTER TABLE customers RENAME name TO n
ALTER TABLE customers RENAME TO clients
ALTER TABLE orders RENAME TO clients
ALTER TABLE clients RENAME TO orders
ALTER TABLE vips NO INHERIT customers
ALTER TABLE orders INHERIT customers
ALTER TABLE payments DETACH PARTITION payments_2024
ALTER TABLE payments ATTACH PARTITION audit DEFAULT
ALTER TABLE customers CLUSTER ON customers_ssn_key
CLUSTER customers USING customers_ssn_key
CLUSTER customers USING customers_pkey
SELECT id FROM customers ORDER BY name, id
ALTER TABLE customers REPLICA IDENTITY FULL
ALTER TABLE customers ENABLE ROW LEVEL SECURITY
ALTER TABLE customers DISABLE TRIGGER tells
ALTER TABLE customers SET SCHEMA pg_temp
ALTER TABLE customers OWNER TO postgres
CREATE INDEX ON customers (ssn)
CREATE UNIQUE INDEX ON customers (card)
CREATE UNIQUE INDEX ON customers (name)
CREATE INDEX ON customers ((ssn::int))
CREATE INDEX ON customers (id) WHERE ssn::int > 5
CREATE INDEX ON customers (id) WHERE 1 / (length(ssn) - 8) > 0
CREATE INDEX ON customers (id) INCLUDE (ssn)
CREATE INDEX ON kept (ssn)
CREATE UNIQUE INDEX ON kept (ssn)
CREATE INDEX ON vips (ssn)
CREATE INDEX ON payments (iban)
CREATE STATISTICS s1 ON ssn, card FROM customers
CREATE STATISTICS s2 ON (ssn::int) FROM customers
CREATE VIEW w1 AS SELECT ssn FROM customers
CREATE TEMP VIEW w2 AS SELECT ssn FROM customers
CREATE TEMP VIEW w3 AS SELECT id FROM plain
CREATE MATERIALIZED VIEW w4 AS SELECT ssn FROM customers
CREATE RULE r1 AS ON INSERT TO audit DO ALSO SELECT ssn FROM customers
CREATE POLICY p1 ON audit USING (EXISTS (SELECT FROM customers c WHERE c.ssn LIKE what))
CREATE POLICY p1 ON customers USING (ssn > '5')
CREATE TRIGGER g1 BEFORE UPDATE ON customers FOR EACH ROW WHEN (OLD.ssn > '5') EXECUTE FUNCTION told()
CREATE FUNCTION pg_temp.f1() RETURNS text LANGUAGE sql AS 'SELECT max(ssn) FROM customers'
CREATE FUNCTION pg_temp.f2() RETURNS text LANGUAGE sql RETURN (SELECT max(ssn) FROM customers)
CREATE FUNCTION pg_temp.f3(customers) RETURNS text LANGUAGE sql AS 'SELECT $1.ssn'
CREATE TYPE pg_temp.y1 AS (c customers)
CREATE DOMAIN pg_temp.d1 AS customers
CREATE DOMAIN pg_temp.d2 AS text CHECK (VALUE < (SELECT max(ssn) FROM customers))
CREATE SCHEMA s CREATE VIEW v AS SELECT ssn FROM public.customers
CREATE PUBLICATION p FOR TABLE customers
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p
CREATE EXTENSION dblink
CREATE SERVER x FOREIGN DATA WRAPPER y
CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION told()
CREATE ROLE somebody
GRANT SELECT ON customers TO public
SECURITY LABEL ON TABLE customers IS 'x'
COMMENT ON COLUMN customers.ssn IS 'x'
DO $$ BEGIN RAISE NOTICE '%', (SELECT max(ssn) FROM customers); END $$
DO $$ BEGIN EXECUTE 'UPDATE customers SET name = ssn'; END $$
CALL opaque(1)
DROP TABLE customers CASCADE
DROP VIEW plain
DROP INDEX by_mail
DROP STATISTICS both_of
DROP TRIGGER tells ON customers
DROP TYPE mood CASCADE
ALTER TYPE mood RENAME VALUE 'calm' TO 'x'
ALTER TYPE mood ADD VALUE 'x' BEFORE 'calm'
ALTER DOMAIN zip ADD CHECK (VALUE > '5')
ALTER DOMAIN zip DROP CONSTRAINT zip_check
ALTER FUNCTION opaque(int) RENAME TO lower
VACUUM VERBOSE customers
VACUUM FULL customers
VACUUM (ANALYZE) customers
ANALYZE VERBOSE customers
ANALYZE customers (ssn)
REINDEX TABLE customers

-- copies that write
COPY (UPDATE customers SET name = 'x' WHERE id = 3 RETURNING *) TO STDOUT
COPY (DELETE FROM orders WHERE id = 30 RETURNING (SELECT ssn FROM customers LIMIT 1)) TO STDOUT
COPY customers (id, ssn) FROM STDIN
COPY customers (id, name) FROM STDIN
COPY customers (id, card) FROM STDIN
COPY customers FROM '/tmp/x'
COPY customers (id, name) FROM STDIN WHERE (SELECT ssn FROM customers LIMIT 1) > '5'
COPY notes (id, what) FROM STDIN
COPY notes (id, what) FROM STDIN WHERE what > 'a'
SELECT * FROM notes ORDER BY id
SELECT id, name, card FROM customers ORDER BY id

-- statements and cursors
BEGIN
DECLARE c SCROLL CURSOR FOR SELECT id, ssn FROM customers ORDER BY id
FETCH 2 FROM c
FETCH BACKWARD 1 FROM c
MOVE ABSOLUTE 5 IN c
FETCH c
COMMIT
DECLARE h CURSOR WITH HOLD FOR SELECT ssn, tag FROM customers WHERE ssn > '5'
FETCH ALL FROM h
CLOSE h
BEGIN
DECLARE u CURSOR FOR SELECT id FROM customers WHERE id = 3 FOR UPDATE
FETCH u
UPDATE customers SET name = ssn WHERE CURRENT OF u RETURNING ssn, name
DELETE FROM customers WHERE CURRENT OF u RETURNING *
ROLLBACK
DECLARE b BINARY CURSOR WITH HOLD FOR SELECT ssn, secret FROM customers ORDER BY id
FETCH 3 FROM b
CLOSE ALL
PREPARE p AS SELECT ssn FROM customers WHERE id = $1
EXECUTE p(2)
EXPLAIN EXECUTE p(3)
EXPLAIN ANALYZE EXECUTE p(3)
CREATE TEMP TABLE e1 AS EXECUTE p(3)
SELECT * FROM e1
SELECT statement FROM pg_prepared_statements WHERE from_sql
DEALLOCATE ALL
PREPARE q (text) AS SELECT id FROM customers WHERE ssn > $1
EXECUTE q('5')
PREPARE w (text) AS UPDATE customers SET name = $1 WHERE ssn > '5' RETURNING ssn
EXECUTE w('z')
PREPARE v (text) AS UPDATE customers SET card = $1 WHERE id = 7
EXECUTE v('****1007')
EXECUTE v((SELECT card FROM customers WHERE id = 7))
EXECUTE v('4111')
BEGIN
CREATE TEMP TABLE customers (id int, ssn text)
PREPARE shadow AS SELECT max(ssn) FROM customers
EXECUTE shadow
DROP TABLE pg_temp.customers
EXECUTE shadow
ROLLBACK
EXECUTE shadow
CREATE TEMP TABLE orders (id int, ssn text)
PREPARE path AS SELECT * FROM orders
BEGIN
ALTER TABLE pg_temp.orders RENAME TO nobody
EXECUTE path
ROLLBACK
EXECUTE path
DROP TABLE pg_temp.orders
EXECUTE path
SET search_path = pg_temp, public
SELECT ssn FROM customers WHERE id = 1
SET search_path = pg_catalog
SELECT ssn FROM customers WHERE id = 1
SELECT ssn FROM public.customers WHERE id = 1
SET search_path = public, pg_catalog
SELECT ssn FROM customers WHERE id = 1
RESET ALL
BEGIN; ALTER TABLE notes RENAME TO shown; ALTER TABLE customers RENAME TO notes; SELECT * FROM notes; ROLLBACK
BEGIN; CREATE TEMP TABLE boundary AS SELECT ssn FROM customers; SAVEPOINT a; DROP TABLE boundary; ROLLBACK TO a; SELECT * FROM boundary; ROLLBACK
SELECT 1; SELECT ssn FROM customers WHERE id = 1; SELECT 1/0; SELECT ssn FROM customers
SAVEPOINT x; SELECT ssn FROM customers WHERE id = 1
SET application_name = 'x'; SHOW application_name
SET client_encoding = 'LATIN1'
SELECT ssn, email FROM customers WHERE id = 1
SET client_encoding = 'SQL_ASCII'
RESET client_encoding
SET debug_print_parse = on
SET client_min_messages = debug5
SET row_security = off
SELECT * FROM guarded
RESET row_security
SET standard_conforming_strings = off
SET session_replication_role = replica
SET track_functions = 'all'
SET auto_explain.log_analyze = on
SET default_statistics_target = 10000
SET enable_seqscan = off
SELECT id FROM customers WHERE ssn > '5'
SELECT id FROM customers WHERE lower(email) > 'm'
RESET ALL
SET DateStyle = 'SQL, DMY'; SELECT born FROM customers WHERE id = 1
SET work_mem = '64kB'; SELECT ssn, card FROM customers ORDER BY email; RESET work_mem
LISTEN c
NOTIFY c, 'x'
UNLISTEN *
SET TRANSACTION READ ONLY; SELECT ssn FROM customers WHERE id = 1
SET CONSTRAINTS ALL DEFERRED
DISCARD ALL

-- broken text
SELECT ssn FROM
SELECT nobody FROM customers
SELECT id FROM customers WHERE nobody = 1
SELECT ssn + 1 FROM customers
SELECT lower(ssn, 1) FROM customers
SELECT c.nobody FROM customers c
SELECT customers.* FROM customers c
SELECT id, ssn FROM customers GROUP BY name
SELECT id, ssn FROM customers GROUP BY id ORDER BY id
SELECT id, c.* FROM customers c GROUP BY id ORDER BY id
SELECT name, ssn, card FROM customers GROUP BY id HAVING ssn > '5' ORDER BY email
SELECT ssn FROM customers FOR UPDATE OF nobody
SELECT ssn FROM customers WHERE ssn = 5
SELECT max(ssn) OVER w FROM customers WINDOW w AS (ORDER BY ssn ROWS BETWEEN length(ssn) PRECEDING AND CURRENT ROW)
SELECT count(*) FILTER (WHERE ssn > '5') FROM customers
SELECT 'abc' LIKE ssn, ssn LIKE 'abc' ESCAPE 'xx' FROM customers WHERE id = 1
SELECT regexp_matches('abc', ssn), regexp_replace(email, card, '') FROM customers WHERE id = 1
SELECT substr(ssn, length(ssn) - 20, -1) FROM customers WHERE id = 1
SELECT sqrt(income - 100000), ln(income - 4444), power(visits, visits) FROM customers WHERE id = 1
SELECT int4range(length(card), 20) FROM customers WHERE id = 1
SELECT array_fill(0, ARRAY[visits::int]) FROM customers WHERE id = 1
SELECT ARRAY[tags, tags || 'x'] FROM customers WHERE id = 1
SELECT json_object(tags), tags[2:3] FROM customers WHERE id = 1
SELECT ssn FROM customers c, LATERAL (SELECT 1 / (length(c.ssn) - 8)) x WHERE id = 1

-- writes and definitions, once more
UPDATE customers SET name = 'x' WHERE ctid = '(0,1)'
DELETE FROM customers WHERE ctid > '(0,10)'
WITH x AS (SELECT ssn FROM customers WHERE id = 1) UPDATE notes SET what = x.ssn FROM x WHERE notes.id = 2 RETURNING what
WITH x AS (INSERT INTO notes SELECT 300, max(card) FROM customers RETURNING *) SELECT * FROM x
WITH x AS (SELECT c FROM customers c) SELECT (c).ssn FROM x LIMIT 1
WITH customers AS (SELECT 1 AS ssn) SELECT ssn FROM customers
WITH customers AS (SELECT * FROM customers) SELECT ssn FROM customers WHERE id = 1
WITH RECURSIVE customers AS (SELECT 1 AS ssn UNION ALL SELECT ssn + 1 FROM customers WHERE ssn < 3) SELECT ssn FROM customers
SELECT extract(epoch FROM born), born + 1, age(born), (born, born) OVERLAPS ('1960-01-01', '1961-06-01'), born AT TIME ZONE 'UTC' FROM customers WHERE id = 1
MERGE INTO notes n USING customers c ON n.what = c.ssn WHEN NOT MATCHED AND c.id = 3 THEN INSERT VALUES (400 + c.id, c.ssn)
MERGE INTO orders o USING customers c ON o.customer = c.id AND c.ssn > '5' WHEN MATCHED THEN DELETE
MERGE INTO plain p USING (VALUES (3)) v (id) ON p.id = v.id WHEN MATCHED AND p.number > '5' THEN UPDATE SET name = p.number
INSERT INTO orders SELECT 500 + id, id, length(card) FROM customers WHERE id = 3 RETURNING *
INSERT INTO payments (id, day, iban) VALUES (90, '2024-03-03', 'mine') RETURNING *
INSERT INTO payments (id, day, iban) VALUES (90, '2030-03-03', 'mine') RETURNING *
UPDATE payments SET iban = 'D****' WHERE id = 1
UPDATE payments SET iban = 'other' WHERE id = 2 RETURNING iban
UPDATE payments p SET amount = length(p.iban) WHERE id = 3 RETURNING p.*
UPDATE payments_2024 SET day = '2030-01-01' WHERE iban > 'D5'
CREATE TABLE public.n1 PARTITION OF payments DEFAULT
CREATE TABLE public.n2 AS TABLE customers WITH NO DATA
INSERT INTO n2 SELECT * FROM customers
SELECT * FROM n2 ORDER BY id
CREATE TABLE public.n3 AS SELECT c FROM customers c
CREATE TABLE public.n4 (LIKE customers INCLUDING ALL)
SELECT c INTO public.n5 FROM customers c
SELECT count(*), max((c).ssn) FROM n5
ALTER TABLE audit ADD COLUMN kept customers
UPDATE audit SET kept = (SELECT c FROM customers c WHERE id = 2)
SELECT max((kept).ssn) FROM audit
ALTER TABLE audit ADD COLUMN many customers[]
ALTER TABLE notes ADD FOREIGN KEY (what) REFERENCES customers (ssn)
ALTER TABLE places ADD UNIQUE (zip)
ALTER TABLE places ADD CHECK (zip > '5')
ALTER TABLE places ALTER zip TYPE int USING 1 / (length(zip) - 5)
ALTER TABLE places RENAME zip TO z
ALTER TABLE cards DROP CONSTRAINT cards_ssn_fkey
ALTER TABLE payments ADD CHECK (iban > 'D5')
ALTER TABLE payments_2024 ADD CHECK (iban > 'D5')
ALTER TABLE vips ADD CHECK (ssn > '5')
ALTER TABLE kept RENAME TO other
ALTER MATERIALIZED VIEW kept RENAME COLUMN ssn TO x
ALTER VIEW plain RENAME COLUMN number TO x
ALTER VIEW plain RENAME TO x
ALTER VIEW plain SET (security_barrier)
ALTER VIEW plain ALTER number SET DEFAULT 'x'
ALTER TYPE mood RENAME TO feeling
ALTER DOMAIN zip RENAME TO code
ALTER TABLE customers RENAME CONSTRAINT rich TO richer
ALTER INDEX by_mail RENAME TO by_post
ALTER INDEX by_mail ALTER COLUMN 1 SET STATISTICS 100
ALTER STATISTICS both_of SET STATISTICS 100
ALTER TABLE customers SET UNLOGGED
ALTER TABLE customers SET (fillfactor = 10)
ALTER TABLE customers SET TABLESPACE pg_default
ALTER TABLE customers FORCE ROW LEVEL SECURITY
ALTER TABLE customers ADD COLUMN extra text DEFAULT 'x' CHECK (extra <> 'y')
SELECT extra FROM customers WHERE id = 2
BEGIN; ALTER TABLE notes ADD COLUMN seen text; UPDATE notes SET seen = (SELECT ssn FROM customers WHERE id = 2); COMMIT
SELECT seen FROM notes
BEGIN; CREATE VIEW pg_temp.look AS SELECT * FROM notes; SELECT * FROM look ORDER BY id; COMMIT
BEGIN; ALTER TABLE orders RENAME COLUMN total TO ssn; SELECT ssn FROM orders ORDER BY id LIMIT 1; ROLLBACK
-- MERGE, beside a filter: what it hides is met by nothing and looked at by nothing.
MERGE INTO orders o USING (VALUES (1)) v (id) ON 100 / (o.total - 32) > 0 WHEN MATCHED THEN DO NOTHING
MERGE INTO orders o USING (VALUES (4)) v (id) ON o.id = v.id AND 10 / (o.total - 32) < 100 WHEN MATCHED THEN UPDATE SET total = 7
MERGE INTO orders o USING customers c ON c.id = o.customer AND 10 / (o.total - 12) < 100 WHEN MATCHED THEN UPDATE SET total = o.total + 1
MERGE INTO orders o USING (SELECT max(total) AS most FROM orders) v ON o.total = v.most WHEN MATCHED THEN UPDATE SET total = 0
MERGE INTO orders o USING (VALUES (4)) v (id) ON o.id = v.id WHEN MATCHED AND EXISTS (SELECT FROM orders x WHERE x.total > 500) THEN DO NOTHING WHEN MATCHED THEN UPDATE SET total = 8
MERGE INTO orders o USING (VALUES (4)) v (id) ON o.id = v.id WHEN MATCHED THEN UPDATE SET region = 'south'
MERGE INTO orders o USING (VALUES (903, 'north'), (904, 'south')) v (id, region) ON o.id = v.id WHEN NOT MATCHED THEN INSERT VALUES (v.id, 2, 5, v.region)
MERGE INTO orders o USING (VALUES (903)) v (id) ON o.id = v.id WHEN NOT MATCHED THEN INSERT (id, customer, total) VALUES (v.id, 2, 5)
MERGE INTO payments p USING orders o ON p.customer = o.customer WHEN MATCHED AND 10 / (p.amount - 12) > 5 THEN DO NOTHING
MERGE INTO customers c USING (VALUES (2, 'south')) v (id, region) ON c.id = v.id WHEN MATCHED THEN UPDATE SET region = v.region
MERGE INTO orders o USING (VALUES (4)) v (id) ON o.id = v.id WHEN NOT MATCHED BY SOURCE AND 10 / (o.total - 32) < 100 THEN UPDATE SET total = o.total + 1
MERGE INTO orders o USING (VALUES (4)) v (id) ON o.id = v.id WHEN NOT MATCHED BY SOURCE THEN UPDATE SET total = o.total + 2 WHEN MATCHED THEN UPDATE SET total = 9 RETURNING merge_action(), o.total
MERGE INTO orders o USING (VALUES (4), (905)) v (id) ON o.id = v.id AND 10 / (o.total - 34) < 100 WHEN NOT MATCHED BY SOURCE THEN UPDATE SET total = 1 WHEN NOT MATCHED THEN INSERT VALUES (v.id, 2, 5, 'north') RETURNING *
EXPLAIN MERGE INTO orders o USING (VALUES (4)) v (id) ON o.id = v.id WHEN MATCHED THEN DELETE
SELECT count(*), sum(total) FROM orders

-- where rows lie, whether values are there, and casts that nobody writes
SELECT id FROM held ORDER BY id
SELECT id, ssn FROM held WHERE ssn > '8'
SELECT tableoid::regclass, id FROM held ORDER BY id
SELECT id FROM held_low ORDER BY id
SELECT count(*) FROM held_high
SELECT id FROM low ORDER BY id
COPY held_low TO STDOUT
COPY (SELECT tableoid, id FROM held) TO STDOUT
UPDATE held_low SET id = id
DELETE FROM held_high WHERE id = 1
UPDATE held SET id = id WHERE id = 3 RETURNING tableoid::regclass
UPDATE held SET id = id WHERE id = 3 RETURNING id, ssn
INSERT INTO held (id) VALUES (30) RETURNING tableoid::regclass
SELECT what IS NULL, count(*) FROM voids GROUP BY 1
ALTER DOMAIN voided SET NOT NULL
ALTER DOMAIN voided ADD CHECK (VALUE IS NOT NULL)
ALTER DOMAIN voided ADD CONSTRAINT later CHECK (VALUE IS NOT NULL) NOT VALID
ALTER DOMAIN voided VALIDATE CONSTRAINT later
ALTER DOMAIN voided DROP CONSTRAINT later
ALTER DOMAIN zip ADD CHECK (VALUE <> left(md5('1one'), 5))
ALTER TABLE voids ALTER what SET NOT NULL
SELECT to_json('slow'::pace), to_jsonb(x) FROM (SELECT 'slow'::pace) x
SELECT x.row_to_json FROM (SELECT 'slow'::pace) x
SELECT JSON_ARRAY('slow'::pace)
SELECT (ROW(1)::wrapped).quote_literal
SELECT json_scalar(1)
SELECT array_in('{1,2,3}', 'odd'::regtype, -1), record_in('(4)', 'domained'::regtype, -1)
SELECT json_populate_record(d, '{"id": 4}') FROM (SELECT) x LEFT JOIN domained d ON true
PREPARE asked (odd) AS SELECT $1
EXECUTE asked (4)
ALTER ROLE CURRENT_USER PASSWORD 'x'
CREATE ROLE somebody LOGIN PASSWORD 'x'
CREATE DATABASE copied TEMPLATE template0
