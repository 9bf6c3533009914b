-- Rows for the schema, and a table with a column of each kind of type that masks go over.
INSERT INTO app.customers (id, name, ssn, email, region, extra) VALUES
    (1, 'Anna', '123-45-6789', 'anna@example.com', 'north', '{"a": 1}'),
    (2, 'Bert', '987-65-4321', 'bert@example.org', 'south', '{"b": [1, 2]}'),
    (3, 'Cleo', NULL, 'cleo@example.com', 'north', NULL),
    (4, 'Dora', '111-22-3333', NULL, NULL, '{}'),
    (5, 'Emil', '5', 'emil@example.net', 'west', '{"a": 5}');
INSERT INTO app.orders (id, customer_id, total, placed, note) VALUES
    (1, 1, 10.5, '2024-01-02 03:04:05+00', 'first of anna'),
    (2, 1, 200, '2024-02-02 03:04:05+00', NULL),
    (3, 2, 300.25, '2024-03-02 03:04:05+00', 'for bert'),
    (4, 5, NULL, NULL, 'no total'),
    (5, NULL, 7, '2024-05-02 03:04:05+00', 'nobody''s');
INSERT INTO app.items (order_id, id, product, amount, price) VALUES
    (1, 1, 'pen', 3, 1.5), (1, 2, 'ink', 1, 6), (2, 3, 'desk', 1, 200), (3, 4, 'pen', 200, 1.5);
INSERT INTO public.orders VALUES (1, 'one'), (9, 'nine');
INSERT INTO public.only_public VALUES (1, 'first of anna'), (2, 'x');
INSERT INTO app."Mixed Case" VALUES (1, 'here', 2), (2, 'there', 1);
INSERT INTO app.parent VALUES (1, 'p one'), (2, 'p two');
INSERT INTO app.child VALUES (3, 'c three', 'more'), (4, 'c four', NULL);
INSERT INTO app.measures VALUES ('2024-01-01', 11), ('2024-06-01', 12), ('2024-12-31', NULL);
INSERT INTO app.places VALUES (1, ROW('high street', 'here'), ARRAY[ROW('low street', 'there')::app.address]),
    (2, NULL, NULL);
CREATE TABLE app.typed (id int PRIMARY KEY, v varchar(11), n numeric(8,2), c char(5), d date, ts timestamptz(3),
    b bytea, a text[], dom app.positive, u uuid, gone int, j json, k int DEFAULT 7);
ALTER TABLE app.typed DROP COLUMN gone;
INSERT INTO app.typed VALUES
    (1, 'abcdefghijk', 123456.78, 'abc', '2001-02-03', '2001-02-03 04:05:06.789+00', '\x0102', '{a,b}', 5,
     '11111111-2222-3333-4444-555555555555', '{"x": 1}', 1),
    (2, 'short', -1.5, 'vwxyz', 'infinity', '-infinity', '\x', '{}', 1,
     '99999999-2222-3333-4444-555555555555', '[]', 2),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
ANALYZE;
