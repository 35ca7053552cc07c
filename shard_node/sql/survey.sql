-- What advice on placement takes beside the schema itself: indexes and counts of each user's table, and the names that SQL
-- must quote; as JSON. Runs with search_path = pg_catalog. Reads only.
WITH user_table AS (
    SELECT c.oid, n.nspname, c.relname, c.reltuples
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p')
    AND n.nspname !~ '^(pg_|crosskey)' AND n.nspname <> 'information_schema'
),
-- The key columns of each index that finds any row by them.
index_columns AS (
    SELECT i.indexrelid, i.indrelid, json_agg(a.attname ORDER BY k.place) AS columns
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, place)
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisvalid AND i.indpred IS NULL AND k.place <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indrelid
    HAVING bool_and(a.attname IS NOT NULL)
),
index_list AS (
    SELECT indrelid, json_agg(columns ORDER BY columns::text) AS indexes
    FROM index_columns
    GROUP BY indrelid
),
column_facts AS (
    SELECT
        schemaname,
        tablename,
        json_agg(
            json_build_object(
                'name', attname, 'distinct', n_distinct, 'top_share', coalesce(most_common_freqs[1], 0)
            )
            ORDER BY attname
        ) AS columns
    FROM pg_stats
    WHERE NOT inherited
    GROUP BY schemaname, tablename
),
table_facts AS (
    SELECT json_agg(
        json_build_object(
            'name', json_build_object('schema', t.nspname, 'name', t.relname),
            'indexes', coalesce(i.indexes, '[]'),
            -- -1 before the first VACUUM or ANALYZE.
            'rows', CASE WHEN t.reltuples >= 0 THEN t.reltuples::bigint ELSE coalesce(s.n_live_tup, 0) END,
            'inserts', coalesce(s.n_tup_ins, 0),
            'updates', coalesce(s.n_tup_upd, 0),
            'deletes', coalesce(s.n_tup_del, 0),
            'columns', coalesce(c.columns, '[]')
        )
        ORDER BY t.nspname, t.relname
    ) AS tables
    FROM user_table t
    LEFT JOIN index_list i ON i.indrelid = t.oid
    LEFT JOIN column_facts c ON c.schemaname = t.nspname AND c.tablename = t.relname
    LEFT JOIN pg_stat_user_tables s ON s.relid = t.oid
),
name AS (
    SELECT nspname::text AS name FROM user_table
    UNION
    SELECT relname FROM user_table
    UNION
    SELECT a.attname FROM pg_attribute a JOIN user_table t ON t.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped
),
quoted AS (
    SELECT json_object_agg(name, quote_ident(name)) AS names FROM name WHERE quote_ident(name) <> name
)
SELECT json_build_object(
    'tables', coalesce(table_facts.tables, '[]'),
    'quoted', coalesce(quoted.names, '{}')
)::text
FROM table_facts, quoted
