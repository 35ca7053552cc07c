-- What the transaction has touched that is no schema's: what it is, its name, and its state. Compared before and after a
-- text; what is new then, or gone, or has another state, was touched. Locks are kept until the end of a transaction, so that
-- none hides behind a function or a DO block.
WITH own_lock AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, lock.relation, lock.mode
    FROM pg_locks AS lock
    LEFT JOIN pg_class AS c ON c.oid = lock.relation
    LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE lock.pid = pg_backend_pid() AND lock.locktype = 'relation' AND lock.mode LIKE '%Exclusive%'
),
own_role AS (
    SELECT oid FROM pg_roles WHERE rolname = current_user
)
SELECT
    'the session or the transaction' AS touched,
    '' AS name,
    format('%s %s %s', current_user, session_user, pg_current_xact_id()) AS state
UNION ALL
-- Who writes roles, databases or their settings locks these catalogs. The roles' own cannot be read, for its passwords.
SELECT 'roles or databases', relname::text, mode
FROM own_lock
WHERE relation IN (
    'pg_authid'::regclass, 'pg_database'::regclass, 'pg_db_role_setting'::regclass, 'pg_auth_members'::regclass,
    'pg_tablespace'::regclass, 'pg_subscription'::regclass
)
UNION ALL
-- GRANT gives its lock back at once.
SELECT 'a database', datname::text, format('%s %s %s', xmin, datdba, datacl)
FROM pg_database WHERE datdba = (SELECT oid FROM own_role)
UNION ALL
SELECT 'settings of the role', setdatabase::text, array_to_string(setconfig, ',')
FROM pg_db_role_setting WHERE setrole = (SELECT oid FROM own_role)
UNION ALL
-- A table that was dropped is told by its lock, too.
SELECT 'Crosskey''s own', relname::text, mode FROM own_lock WHERE nspname ~ '^crosskey'
UNION ALL
SELECT 'Crosskey''s own', c.relname::text, format('%s %s', c.oid, c.xmin)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname ~ '^crosskey'
UNION ALL
SELECT 'Crosskey''s own', p.proname::text, format('%s %s', p.oid, p.xmin)
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname ~ '^crosskey'
UNION ALL
SELECT 'a schema of Crosskey''s', nspname::text, format('%s %s', xmin, nspacl)
FROM pg_namespace WHERE nspname ~ '^crosskey'
UNION ALL
-- A write is told also if its rows are gone again. A lock would not tell it: the body of an SQL function takes one, too.
SELECT 'rows', CASE t.schemaname WHEN 'public' THEN '' ELSE t.schemaname || '.' END || t.relname, ''
FROM pg_stat_xact_user_tables AS t JOIN pg_class AS c ON c.oid = t.relid
WHERE t.n_tup_ins + t.n_tup_upd + t.n_tup_del > 0 AND c.relkind IN ('r', 'p') AND t.schemaname !~ '^crosskey'
