BEGIN;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE people (id serial PRIMARY KEY, name text NOT NULL, current mood DEFAULT 'ok');
CREATE OR REPLACE FUNCTION greeting(who text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''Hello, '' || who';
CREATE INDEX people_greeted ON people (greeting(name));
INSERT INTO people (name) VALUES ('Ada'), ('Grace');
SELECT greeting(name) FROM people ORDER BY id;
COMMIT;
