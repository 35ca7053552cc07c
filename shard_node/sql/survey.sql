-- What advice on placement takes beside the schema itself: indexes and counts of each user's table, and the names that SQL
-- must quote; as JSON. Runs with search_path = pg_catalog. Reads only.
WITH user_table AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND n.nspname !~ '^(pg_|crosskey)' AND n.nspname <> 'information_schema'
),
-- What holds the rows of a table: itself, or its partitions, which are no tables of their own.
stored_table AS (
    SELECT oid AS table_oid, oid FROM user_table WHERE relkind = 'r'
    UNION ALL
    SELECT t.oid, p.relid FROM user_table t CROSS JOIN LATERAL pg_partition_tree(t.oid) p WHERE t.relkind = 'p' AND p.isleaf
),
table_count AS (
    SELECT
        o.table_oid,
        -- -1 before the first VACUUM or ANALYZE.
        sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint ELSE coalesce(s.n_live_tup, 0) END)::bigint AS rows,
        coalesce(sum(s.n_tup_ins), 0)::bigint AS inserts,
        coalesce(sum(s.n_tup_upd), 0)::bigint AS updates,
        coalesce(sum(s.n_tup_del), 0)::bigint AS deletes
    FROM stored_table o
    JOIN pg_class c ON c.oid = o.oid
    LEFT JOIN pg_stat_user_tables s ON s.relid = o.oid
    GROUP BY o.table_oid
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
    FROM pg_stats s
    JOIN user_table t ON t.nspname = s.schemaname AND t.relname = s.tablename
    -- Of a table that is partitioned, they are over all partitions.
    WHERE inherited = (t.relkind = 'p')
    GROUP BY schemaname, tablename
),
table_facts AS (
    SELECT json_agg(
        json_build_object(
            'name', json_build_object('schema', t.nspname, 'name', t.relname),
            'indexes', coalesce(i.indexes, '[]'),
            'rows', coalesce(s.rows, 0),
            'inserts', coalesce(s.inserts, 0),
            'updates', coalesce(s.updates, 0),
            'deletes', coalesce(s.deletes, 0),
            'columns', coalesce(c.columns, '[]')
        )
        ORDER BY t.nspname, t.relname
    ) AS tables
    FROM user_table t
    LEFT JOIN index_list i ON i.indrelid = t.oid
    LEFT JOIN column_facts c ON c.schemaname = t.nspname AND c.tablename = t.relname
    LEFT JOIN table_count s ON s.table_oid = t.oid
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
