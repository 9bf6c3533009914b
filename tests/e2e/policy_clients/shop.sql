-- A small shop with something of everything that programs look for in a schema.
CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('new', 'paid', 'sent');
CREATE DOMAIN shop.amount AS numeric(10, 2) CHECK (VALUE >= 0);
CREATE TYPE shop.address AS (street text, city text);
CREATE FUNCTION shop.label(word text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT upper(word)';
CREATE PROCEDURE shop.tidy() LANGUAGE sql AS 'SELECT 1';
CREATE SEQUENCE shop.numbers START 100;
CREATE TABLE shop.customers (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text UNIQUE,
    home shop.address,
    shouted text GENERATED ALWAYS AS (upper(name)) STORED
);
CREATE TABLE shop.orders (
    id serial PRIMARY KEY,
    customer_id int NOT NULL REFERENCES shop.customers ON DELETE CASCADE,
    state shop.state NOT NULL DEFAULT 'new',
    total shop.amount DEFAULT 0,
    made timestamptz DEFAULT now(),
    tags text[],
    CONSTRAINT total_is_small CHECK (total < 1000000)
);
COMMENT ON TABLE shop.orders IS 'What was bought';
COMMENT ON COLUMN shop.orders.total IS 'Net';
CREATE INDEX orders_open ON shop.orders (customer_id, abs(id)) WHERE state = 'new';
CREATE STATISTICS shop.orders_stats ON customer_id, state FROM shop.orders;
CREATE TABLE shop.events (id int, at date NOT NULL, what jsonb) PARTITION BY RANGE (at);
CREATE TABLE shop.events_2026 PARTITION OF shop.events
    FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE shop.events_rest PARTITION OF shop.events DEFAULT;
CREATE TABLE shop."Odd Name" ("Id" int PRIMARY KEY, "from" text DEFAULT 'here');
CREATE VIEW shop.open_orders AS
    SELECT o.id, c.name, shop.label(c.name) AS label
    FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE o.state = 'new';
CREATE MATERIALIZED VIEW shop.totals AS
    SELECT customer_id, sum(total) AS total FROM shop.orders GROUP BY customer_id;
CREATE UNIQUE INDEX totals_key ON shop.totals (customer_id);
CREATE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER noted BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.note();
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON shop.customers USING (true);
ALTER TABLE shop.customers ADD COLUMN later int DEFAULT 7;
CREATE RULE nothing_new AS ON INSERT TO shop.open_orders DO INSTEAD NOTHING;
INSERT INTO shop.customers (name, email) VALUES ('Ada', 'ada@example.com'), ('Bo', NULL);
INSERT INTO shop.orders (customer_id, total) VALUES (1, 10), (1, 20), (2, 30);
INSERT INTO shop.events VALUES (1, '2026-05-05', '{"a": 1}'), (2, '2030-01-01', NULL);
REFRESH MATERIALIZED VIEW shop.totals;
