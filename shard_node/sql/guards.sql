-- Every constraint, trigger and function that a schema and its guards make, each with its state as text: its definition,
-- and whether it is switched off. Run with search_path = pg_catalog, so that definitions name tables with their schemas.
WITH guarded_schema AS (
    SELECT oid, nspname
    FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
guarded_table AS (
    SELECT c.oid, n.nspname || '.' || c.relname AS name
    FROM pg_class c
    JOIN guarded_schema n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p')
),
-- A foreign key is enforced by internal triggers on both of its tables. `O` and `A` are the two ways to be enabled.
foreign_key_off AS (
    SELECT tgconstraint AS constraint_oid
    FROM pg_trigger
    WHERE tgisinternal AND tgenabled NOT IN ('O', 'A')
    GROUP BY tgconstraint
)
SELECT
    'constraint' AS kind,
    t.name AS table_name,
    con.conname::text AS name,
    -- Says NOT VALID and NOT ENFORCED too.
    pg_get_constraintdef(con.oid) || CASE WHEN off.constraint_oid IS NULL THEN '' ELSE ' (DISABLED)' END AS state
FROM pg_constraint con
JOIN guarded_table t ON t.oid = con.conrelid
LEFT JOIN foreign_key_off off ON off.constraint_oid = con.oid
UNION ALL
SELECT
    'trigger',
    t.name,
    tg.tgname::text,
    pg_get_triggerdef(tg.oid) || CASE WHEN tg.tgenabled IN ('O', 'A') THEN '' ELSE ' (DISABLED)' END
FROM pg_trigger tg
JOIN guarded_table t ON t.oid = tg.tgrelid
WHERE NOT tg.tgisinternal
    -- It tells when a table changed, which no schema says.
    AND tg.tgname <> '!crosskey_epoch'
UNION ALL
SELECT 'function', '', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
FROM pg_proc p
JOIN guarded_schema n ON n.oid = p.pronamespace
WHERE n.nspname = 'crosskey' AND p.prokind = 'f'
ORDER BY 1, 2, 3
