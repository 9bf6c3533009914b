SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass ORDER BY nspname
--
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr, pg_catalog.pg_get_partkeydef(c.oid) AS partition_key FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE c.relnamespace = $1 AND c.relkind NOT IN ('i', 'I', 'c')
--
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid WHERE NOT a.attisdropped AND c.oid = $1 ORDER BY a.attnum
--
SELECT i.*, i.indkey AS keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname AS tabrelname, dsc.description, pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr, pg_catalog.pg_relation_size(i.indexrelid) AS index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS index_num_scans FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid WHERE i.indrelid = 4711 ORDER BY tabrelname, c.relname
--
SELECT table_schema, table_name, column_name, ordinal_position, is_nullable = 'YES' AS nullable, COALESCE(domain_name, udt_name) FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 4
--
SELECT kcu.column_name, ccu.table_schema AS foreign_schema, ccu.table_name AS foreign_table, ccu.column_name AS foreign_column FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu USING (constraint_schema, constraint_name) JOIN information_schema.constraint_column_usage ccu USING (constraint_schema, constraint_name) WHERE tc.constraint_type = 'FOREIGN KEY' AND tc.table_name = 'orders'
--
SELECT p.oid, p.proname, pg_get_function_identity_arguments(p.oid), pg_get_functiondef(p.oid), l.lanname, format_type(p.prorettype, NULL), (p.proargmodes::text[])[1], unnest(p.proargnames) FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.prokind IN ('f', 'p') AND p.pronamespace = 'app'::regnamespace::oid
--
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')
--
SELECT db.oid, db.*, pg_encoding_to_char(db.encoding), shobj_description(db.oid, 'pg_database'), has_database_privilege(db.oid, 'CONNECT') FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate
--
SELECT rolname, rolsuper, ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles b ON m.roleid = b.oid WHERE m.member = r.oid) AS memberof FROM pg_catalog.pg_roles r WHERE pg_has_role(current_user, r.oid, 'member')
--
WITH RECURSIVE inh AS (SELECT i.inhrelid, i.inhparent, 1 AS depth FROM pg_catalog.pg_inherits i WHERE inhparent = 'app.measures'::regclass UNION ALL SELECT i.inhrelid, i.inhparent, depth + 1 FROM inh JOIN pg_catalog.pg_inherits i ON i.inhparent = inh.inhrelid) SELECT c.relname, inh.depth FROM inh JOIN pg_class c ON c.oid = inh.inhrelid
--
SELECT current_schema(), session_user, current_setting('server_version_num')::int, current_schemas(true), version(), inet_server_port(), pg_backend_pid(), pg_is_in_recovery(), txid_current_if_assigned()
--
SELECT set_config('bytea_output', 'hex', false) FROM pg_show_all_settings() WHERE name = 'bytea_output'
--
SELECT rel.relname, att.attname, format_type(ty.oid, att.atttypmod) AS displaytypname, coalesce(coll.collname, ''), EXISTS (SELECT 1 FROM pg_catalog.pg_constraint WHERE conrelid = att.attrelid AND contype = 'p' AND att.attnum = ANY (conkey)) AS is_pk, (CASE WHEN att.attidentity IN ('a', 'd') THEN 'i' WHEN att.attgenerated IN ('s') THEN 'g' ELSE 'n' END) AS colconstype, ty.typstorage AS defaultstorage FROM pg_catalog.pg_attribute att JOIN pg_catalog.pg_type ty ON ty.oid = att.atttypid JOIN pg_catalog.pg_class rel ON rel.oid = att.attrelid LEFT OUTER JOIN pg_catalog.pg_collation coll ON att.attcollation = coll.oid WHERE att.attnum > 0 AND NOT att.attisdropped
