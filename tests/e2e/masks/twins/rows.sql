-- The rows of both twins. SALT stands for what tells them apart; masks that keep a part agree on it.
-- Rows are of one length, for else they would lie in another order once some were changed.
CREATE FUNCTION public.salted(g int, n int) RETURNS text LANGUAGE sql
    AS $$ SELECT left(md5(g || SALT), n) $$;
INSERT INTO customers SELECT g, 'name ' || g, salted(g, 8), salted(g, LENGTH) || '-' || 1000 + g,
    salted(g, LENGTH) || '@example.org', make_date(1960 + g, 1 + MONTH, 1 + g % 20), g * 1000 + RICH,
    VISITS + g, jsonb_build_object('k', salted(g, 6), 'n', 12), ARRAY[salted(g, 3), salted(g + 1, 3)],
    (ARRAY['calm', 'cross', 'quiet']::mood[])[1 + (g + MONTH) % 3], left(repeat(md5(g || SALT), 2), 60 - 2 * LENGTH)::bytea,
    md5(g || SALT)::uuid, ('10.0.' || MONTH || '.' || g)::inet, CASE g % 2 WHEN 0 THEN 'north' ELSE 'south' END
    FROM generate_series(1, 20) g;
UPDATE customers SET card = NULL, income = NULL WHERE id = 9;
INSERT INTO vips (id, name, ssn, card, email, region, level)
    SELECT 100 + g, 'vip ' || g, salted(g, 9), salted(g, 12) || '2000', 'v' || salted(g, 4) || '@vip.org', 'north', g
    FROM generate_series(1, 3) g;
INSERT INTO payments SELECT g, '2024-06-01'::date + g * 20, 'D' || salted(g, 9), g * 10, g % 20 + 1,
    CASE g % 2 WHEN 0 THEN 'north' ELSE 'south' END FROM generate_series(1, 20) g;
INSERT INTO cards SELECT 'n' || id, ssn FROM customers WHERE id < 6;
INSERT INTO orders SELECT g, g % 20 + 1, g * 10, CASE g % 2 WHEN 0 THEN 'north' ELSE 'south' END
    FROM generate_series(1, 40) g;
INSERT INTO places SELECT g, salted(g, 5), 'place ' || g FROM generate_series(1, 5) g;
INSERT INTO notes VALUES (1, 'one'), (2, 'two');
INSERT INTO boxes SELECT id, c FROM customers c WHERE id < 4;
INSERT INTO held SELECT g, salted(g, 5) FROM generate_series(1, 20) g;
INSERT INTO voids SELECT g, CASE WHEN salted(g, 1) < '8' THEN 'v' END, 'other' FROM generate_series(1, 8) g;
INSERT INTO indexed SELECT generate_series(1, 20);
REFRESH MATERIALIZED VIEW kept;
DROP FUNCTION salted;
ANALYZE;
