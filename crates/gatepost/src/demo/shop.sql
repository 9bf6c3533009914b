-- The demo's database: a small shop, and the role that Gatepost logs in as.
CREATE ROLE gatepost LOGIN PASSWORD :'password';
CREATE DATABASE shop OWNER gatepost;
\connect shop
SET ROLE gatepost;

CREATE TABLE customers (
    id int PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    ssn text NOT NULL,
    card_number text,
    region text NOT NULL
);
CREATE TABLE orders (
    id int PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    placed_on date NOT NULL,
    total numeric(10, 2) NOT NULL
);
CREATE TABLE payments (
    id int PRIMARY KEY,
    order_id int NOT NULL REFERENCES orders,
    amount numeric(10, 2) NOT NULL,
    status text NOT NULL,
    note text
);
CREATE TABLE notes (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int REFERENCES customers,
    body text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO customers VALUES
    (1, 'Ada Moreau', 'ada.moreau@example.com', '078-05-1120', '4111111111111111', 'EU'),
    (2, 'Bo Lindqvist', 'bo@example.net', '219-09-9999', '5500005555555559', 'EU'),
    (3, 'Chidi Okafor', 'chidi.okafor@example.org', '457-55-5462', NULL, 'AF'),
    (4, 'Dana Whitfield', 'dana.w@example.com', '856-45-6789', '340000000000009', 'US'),
    (5, 'Emi Tanaka', 'emi@example.jp', '123-45-6781', '3530111333300000', 'APAC');
INSERT INTO orders
    SELECT n, 1 + n % 5, date '2026-01-01' + n * 3, 10 + n * 7.25 FROM generate_series(1, 40) n;
INSERT INTO payments
    SELECT n, n, 10 + n * 7.25, CASE WHEN n % 7 = 0 THEN 'open' ELSE 'paid' END, NULL
    FROM generate_series(1, 40) n;
