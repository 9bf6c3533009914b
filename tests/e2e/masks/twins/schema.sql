-- What both twins have. Rows come after, and differ in what is masked.
CREATE TYPE mood AS ENUM ('calm', 'cross', 'quiet');
CREATE DOMAIN zip AS text CHECK (length(VALUE) < 30);
CREATE TABLE customers (
    id int PRIMARY KEY, name text, ssn varchar(11) UNIQUE, card text, email text, born date,
    income numeric(12,2), visits bigint, doc jsonb, tags text[], mood mood, secret bytea, token uuid,
    ip inet, region text, tag text GENERATED ALWAYS AS (name || ':' || ssn) STORED,
    CHECK (length(ssn) < 12), CONSTRAINT rich CHECK (income >= 0));
CREATE INDEX by_mail ON customers (lower(email));
CREATE STATISTICS both_of ON ssn, card FROM customers;
CREATE TABLE vips (level int) INHERITS (customers);
CREATE TABLE payments (id int, day date, iban text, amount numeric, customer int, region text)
    PARTITION BY RANGE (day);
CREATE TABLE payments_2024 PARTITION OF payments FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE payments_2025 PARTITION OF payments FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE cards (number text, ssn varchar(11) REFERENCES customers (ssn) ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total int, region text);
CREATE TABLE audit (id int, what text);
CREATE TABLE places (id int PRIMARY KEY, zip zip, name text);
CREATE TABLE notes (id int PRIMARY KEY, what text UNIQUE, many text[]);
CREATE TABLE boxes (id int, kept customers);
CREATE VIEW plain AS SELECT id, ssn AS number, name FROM customers;
CREATE VIEW nested AS SELECT id, number FROM plain;
CREATE VIEW telling AS SELECT id FROM customers WHERE ssn LIKE '%7%';
CREATE VIEW counted AS SELECT count(DISTINCT ssn) AS n FROM customers;
CREATE VIEW made AS SELECT id, upper(email) AS mail FROM customers;
CREATE VIEW barrier WITH (security_barrier) AS SELECT id, card FROM customers WHERE id < 10;
CREATE MATERIALIZED VIEW kept AS SELECT id, ssn FROM customers;
CREATE FUNCTION opaque(int) RETURNS text STABLE LANGUAGE sql
    AS 'SELECT ssn::text FROM public.customers WHERE id = $1';
CREATE FUNCTION guess(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql
    AS $$ BEGIN RETURN EXISTS (SELECT FROM public.customers WHERE id = $1 AND ssn > '5'); END $$;
CREATE FUNCTION everyone() RETURNS SETOF customers STABLE LANGUAGE sql AS 'SELECT * FROM public.customers';
CREATE FUNCTION definer() RETURNS text SECURITY DEFINER LANGUAGE sql AS 'SELECT max(ssn) FROM public.customers';
CREATE FUNCTION named(customers) RETURNS text LANGUAGE sql AS $$ SELECT $1.ssn || '!' $$;
CREATE FUNCTION twice(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT $1 || $1 $$;
CREATE FUNCTION says(text) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'heard %', $1; RETURN $1; END $$;
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE NOTICE 'was %', OLD.ssn; RETURN NEW; END $$;
CREATE TRIGGER tells BEFORE UPDATE ON customers FOR EACH ROW WHEN (OLD.id > 15) EXECUTE FUNCTION told();
CREATE FUNCTION thrown() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'was %', OLD.ssn USING DETAIL = OLD.card, HINT = OLD.email, COLUMN = OLD.ssn; END $$;
CREATE TRIGGER throws BEFORE DELETE ON customers FOR EACH ROW WHEN (OLD.id > 17) EXECUTE FUNCTION thrown();
-- Code that the database runs of itself, where nobody calls it.
CREATE DOMAIN odd AS int CHECK (guess(VALUE));
CREATE TABLE defaulted (id int, what text DEFAULT opaque(1));
CREATE TABLE computed (id int, what bool GENERATED ALWAYS AS (guess(id)) STORED);
CREATE TABLE domained (id odd);
CREATE TABLE guarded (id int, what text);
INSERT INTO guarded SELECT g, 'guarded' FROM generate_series(1, 20) g;
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY seen ON guarded USING (EXISTS (SELECT FROM customers c WHERE c.id = guarded.id AND c.ssn > '5'));
CREATE TABLE ruled (id int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO SELECT ssn FROM customers WHERE id = NEW.id;
CREATE FUNCTION matches(int, int) RETURNS bool LANGUAGE sql AS 'SELECT public.guess($1)';
CREATE OPERATOR <~> (LEFTARG = int, RIGHTARG = int, FUNCTION = matches);
CREATE FUNCTION piled(text, int) RETURNS text LANGUAGE sql AS $$ SELECT coalesce($1, '') || public.opaque($2) $$;
CREATE AGGREGATE pile(int) (SFUNC = piled, STYPE = text);
CREATE TYPE wrapped AS (id int);
CREATE FUNCTION unwrapped(wrapped) RETURNS text LANGUAGE sql AS 'SELECT public.opaque($1.id)';
CREATE CAST (wrapped AS text) WITH FUNCTION unwrapped(wrapped);
CREATE TABLE indexed (id int);
CREATE INDEX on_guess ON indexed (guess(id));
-- In which partition a row lies is told by what is masked.
CREATE TABLE held (id int, ssn text) PARTITION BY RANGE (ssn);
CREATE TABLE held_low PARTITION OF held FOR VALUES FROM (MINVALUE) TO ('8');
CREATE TABLE held_high PARTITION OF held FOR VALUES FROM ('8') TO (MAXVALUE);
CREATE VIEW low AS SELECT id FROM held_low;
-- Whether there is a value is masked, too.
CREATE DOMAIN voided AS text;
CREATE TABLE voids (id int, what voided, other text);
-- Casts of one's own that nobody writes.
CREATE TYPE pace AS ENUM ('slow', 'fast');
CREATE FUNCTION paced(pace) RETURNS json LANGUAGE sql AS 'SELECT to_json(public.opaque(1))';
CREATE CAST (pace AS json) WITH FUNCTION paced(pace);
CREATE FUNCTION "json_scalar"(int) RETURNS text LANGUAGE sql AS 'SELECT public.opaque($1)';
