-- What an agent sent in a week.
SELECT id, name FROM customers WHERE region = 'eu';
SELECT iban FROM customers;
SELECT count(*) FROM orders; DELETE FROM orders WHERE id = 7;
UPDATE orders SET status = 'paid';
this is no SQL;
SELECT 1 FROM nothing_there;
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
SET search_path = mart;
