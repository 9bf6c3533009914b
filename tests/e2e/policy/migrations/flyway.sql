-- V2__orders.sql, as a versioned migration is sent: one string, no transaction of its own.
CREATE SCHEMA app;

CREATE TABLE app.orders (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer   text NOT NULL,
    net        numeric(10,2) NOT NULL CHECK (net >= 0),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

CREATE TRIGGER touch BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch();

INSERT INTO app.orders (customer, net) VALUES ('Müller; & sons', 10), ('Meier', 20.5);
UPDATE app.orders SET net = net * 2 WHERE customer = 'Meier';

CREATE VIEW app.large AS SELECT id, customer FROM app.orders WHERE net > 30;
SELECT customer FROM app.large;
