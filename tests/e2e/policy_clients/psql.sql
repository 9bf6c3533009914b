\set ON_ERROR_STOP off
\d
\d+
\dt+ shop.*
\dti shop.*
\di+ shop.*
\dv+ shop.*
\dm+ shop.*
\ds+ shop.*
\dn+
\d shop.*
\d+ shop.*
\d+ shop."Odd Name"
\df+ shop.*
\dfp shop.*
\dft shop.*
\da shop.*
\dT+ shop.*
\dD+ shop.*
\dC+ shop.*
\do+ shop.*
\dO shop.*
\dX shop.*
\dP+ shop.*
\dPi shop.*
\dp shop.*
\ddp
\dd shop.*
\dg+ *_user
\du scram_user
\db+
\dx+
\dE
\des
\dew
\det
\dF+ shop.*
\dA+
\dAc btree int4
\dAf btree int4
\dy
\dRp
\dl
\dL+
\l template*
\sf shop.label
\sv shop.open_orders
\z shop.orders
\d shop.missing
\encoding
\conninfo
SET search_path = shop;
\d
\dt
\d orders
\dv+
SHOW search_path;
\gdesc
SELECT count(*) FROM orders \gdesc
SELECT * FROM orders ORDER BY id LIMIT 1 \gx
COPY (SELECT id, total FROM orders ORDER BY id) TO STDOUT;
\copy orders (id, total) TO STDOUT
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY id;
FETCH 2 FROM c;
COMMIT;
PREPARE p AS SELECT id FROM orders WHERE id = $1;
EXECUTE p(2);
DEALLOCATE p;
EXPLAIN (COSTS OFF) SELECT * FROM orders WHERE id = 1;
