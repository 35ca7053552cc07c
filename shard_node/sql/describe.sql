-- The user's tables and foreign keys as the JSON of a catalog.model.Database. Runs with search_path = pg_catalog, so that
-- types and expressions are printed with their schemas. On every version from 15 on: what only newer ones have
-- (conperiod) is read through to_jsonb.
WITH user_schema AS (
    SELECT oid, nspname
    FROM pg_namespace
    WHERE nspname !~ '^(pg_|crosskey)' AND nspname <> 'information_schema'
),
user_table AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence
    FROM pg_class c
    JOIN user_schema n ON n.oid = c.relnamespace
    -- Partitions, and their partitions, are part of the table that is partitioned.
    WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition
    AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
    )
),
user_view AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind
    FROM pg_class c
    JOIN user_schema n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm')
    AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'
    )
),
-- What lies below a domain, and below that, if it is one too. The outermost modifier that is set is the one in force.
type_below AS (
    WITH RECURSIVE step(type_oid, below, modifier) AS (
        SELECT oid, oid, -1 FROM pg_type
        UNION ALL
        SELECT step.type_oid, t.typbasetype, CASE WHEN step.modifier >= 0 THEN step.modifier ELSE t.typtypmod END
        FROM step
        JOIN pg_type t ON t.oid = step.below AND t.typtype = 'd'
    )
    SELECT
        step.type_oid,
        step.modifier,
        t.oid AS base_oid,
        CASE WHEN n.nspname = 'pg_catalog' THEN t.typname::text ELSE n.nspname || '.' || t.typname END AS base_type
    FROM step
    JOIN pg_type t ON t.oid = step.below AND t.typtype <> 'd'
    JOIN pg_namespace n ON n.oid = t.typnamespace
),
-- What an absent value becomes: the column's default, else that of its domain. Each is an object that depends on what
-- the expression names.
column_default AS (
    SELECT d.adrelid AS table_oid, d.adnum AS attnum, 'pg_attrdef'::regclass AS class_oid, d.oid,
        pg_get_expr(d.adbin, d.adrelid) AS expression
    FROM pg_attrdef d
    UNION ALL
    SELECT a.attrelid, a.attnum, 'pg_type'::regclass, t.oid, pg_get_expr(t.typdefaultbin, 0)
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'd' AND t.typdefaultbin IS NOT NULL
    WHERE a.attnum > 0 AND NOT a.atthasdef AND NOT a.attisdropped
),
-- The sequence behind each column: an identity's own depends on the column, a default depends on those that it names.
drawing AS (
    SELECT d.refobjid AS table_oid, d.refobjsubid AS attnum, d.objid AS sequence_oid
    FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0
    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype = 'i'
    UNION
    SELECT a.table_oid, a.attnum, d.refobjid
    FROM column_default a
    JOIN pg_depend d ON d.classid = a.class_oid AND d.objid = a.oid
    WHERE d.refclassid = 'pg_class'::regclass
),
-- The user's functions that draw from a sequence, or call another one that does, as far as their texts tell.
function_text AS (
    SELECT p.oid, p.proname, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS body
    FROM pg_proc p
    JOIN user_schema n ON n.oid = p.pronamespace
    JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
),
drawing_function AS (
    WITH RECURSIVE drawn AS (
        SELECT oid, proname FROM function_text WHERE body ~* '\mnextval\M'
        UNION
        SELECT caller.oid, caller.proname
        FROM drawn
        JOIN function_text caller
            ON caller.body ~* ('(^|\W)' || regexp_replace(drawn.proname, '(\W)', '\\\1', 'g') || '(\W|$)')
    )
    SELECT oid FROM drawn
),
-- The tables that triggers' functions write, as far as their own texts tell: without comments, and without strings, which
-- may hold statements that are put together.
trigger_write AS (
    SELECT DISTINCT g.tgrelid, g.tgname, t.nspname, t.relname, said.words[1] ~* '^(insert|merge)' AS inserts
    FROM pg_trigger g
    JOIN user_table own ON own.oid = g.tgrelid
    JOIN function_text f ON f.oid = g.tgfoid
    CROSS JOIN LATERAL regexp_matches(
        regexp_replace(f.body, '--[^\n]*|/\*([^*]|\*+[^*/])*\*+/|''[^'']*''', ' ', 'g'),
        '\m(insert\s+into|update(?:\s+only)?|delete\s+from(?:\s+only)?|merge\s+into(?:\s+only)?)\s+'
            '(?:("[^"]+"|\w+)\s*\.\s*)?("[^"]+"|\w+)',
        'gi'
    ) AS said(words)
    JOIN user_table t ON t.relname = CASE WHEN words[3] ~ '^"' THEN trim(words[3], '"') ELSE lower(words[3]) END
        AND (
            t.nspname = CASE WHEN words[2] ~ '^"' THEN trim(words[2], '"') ELSE lower(words[2]) END
            OR words[2] IS NULL AND t.nspname IN ('public', own.nspname)
        )
    WHERE NOT g.tgisinternal
),
trigger_write_list AS (
    SELECT
        tgrelid,
        json_agg(
            json_build_object(
                'trigger', tgname, 'table', json_build_object('schema', nspname, 'name', relname), 'inserts', inserts
            )
            ORDER BY tgname, nspname, relname, inserts
        ) AS trigger_writes
    FROM trigger_write
    GROUP BY tgrelid
),
column_sequence AS (
    SELECT DISTINCT ON (d.table_oid, d.attnum)
        d.table_oid,
        d.attnum,
        json_build_object('schema', n.nspname, 'name', s.relname) AS name
    FROM drawing d
    JOIN pg_class s ON s.oid = d.sequence_oid AND s.relkind = 'S'
    JOIN pg_namespace n ON n.oid = s.relnamespace
    ORDER BY d.table_oid, d.attnum, n.nspname, s.relname
),
-- Types of which no node finds by its name the operator that a default index orders by.
oddly_ordered_type AS (
    SELECT c.opcintype AS type_oid
    FROM pg_opclass c
    JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
    JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 5
        AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
    JOIN pg_operator o ON o.oid = p.amopopr
    JOIN pg_namespace s ON s.oid = o.oprnamespace
    WHERE c.opcdefault AND (o.oprname <> '>' OR s.nspname NOT IN ('pg_catalog', 'public'))
),
column_list AS (
    SELECT
        a.attrelid,
        json_agg(
            json_build_object(
                'name', a.attname,
                'type', format_type(a.atttypid, a.atttypmod),
                'base_type', b.base_type,
                'not_null', a.attnotnull,
                'default', CASE WHEN a.attgenerated = '' THEN d.expression END,
                'generated', a.attgenerated <> '',
                'identity', CASE a.attidentity WHEN 'a' THEN 'ALWAYS' WHEN 'd' THEN 'BY DEFAULT' ELSE '' END,
                'max_length', CASE
                    WHEN b.base_type NOT IN ('varchar', 'bpchar') THEN NULL
                    -- The modifier counts a header of four bytes.
                    WHEN a.atttypmod > 4 THEN a.atttypmod - 4
                    WHEN b.modifier > 4 THEN b.modifier - 4
                END,
                'domain', b.base_oid <> a.atttypid,
                'deterministic_collation', coalesce(l.collisdeterministic, true),
                'collation', CASE WHEN l.collname <> 'default' THEN format('%I.%I', ln.nspname, l.collname) END,
                'comment', col_description(a.attrelid, a.attnum),
                'sequence', q.name,
                'draws_unseen', q.name IS NULL AND a.attgenerated = '' AND coalesce(
                    d.expression ~ '\mnextval\M' OR EXISTS (
                        SELECT FROM pg_depend p
                        JOIN drawing_function f ON p.refclassid = 'pg_proc'::regclass AND f.oid = p.refobjid
                        WHERE p.classid = d.class_oid AND p.objid = d.oid
                    ),
                    false
                ),
                'oddly_ordered', b.base_oid IN (SELECT type_oid FROM oddly_ordered_type)
            )
            ORDER BY a.attnum
        ) AS columns
    FROM pg_attribute a
    JOIN type_below b ON b.type_oid = a.atttypid
    LEFT JOIN column_default d ON d.table_oid = a.attrelid AND d.attnum = a.attnum
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
    LEFT JOIN column_sequence q ON q.table_oid = a.attrelid AND q.attnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
    AND (a.attrelid IN (SELECT oid FROM user_table) OR a.attrelid IN (SELECT oid FROM user_view))
    GROUP BY a.attrelid
),
-- The key columns of each unique or exclusion index that are compared just as the column itself is: not an expression,
-- not under a collation or operator class of the index's own that calls more values equal. A type of an extension's, such
-- as citext, is compared by the operator class that is its default: so does `=`, where the search path shows it.
index_column AS (
    SELECT
        i.indexrelid,
        k.place,
        a.attname,
        coalesce(
            a.attname IS NOT NULL
            AND (l.oid = a.attcollation OR l.collisdeterministic IS NOT FALSE)
            AND (o.oid < 16384 OR i.indisexclusion)
            AND (o.opcintype <> 'bpchar'::regtype OR b.base_oid = 'bpchar'::regtype),
            false
        ) AS alike,
        coalesce(l.oid IS NOT DISTINCT FROM nullif(a.attcollation, 0) AND o.opcdefault AND o.opcintype = b.base_oid, false)
            AS by_default
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indcollation::oid[], i.indclass::oid[])
        WITH ORDINALITY AS k(attnum, collation_oid, class_oid, place)
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    LEFT JOIN type_below b ON b.type_oid = a.atttypid
    LEFT JOIN pg_collation l ON l.oid = k.collation_oid
    LEFT JOIN pg_opclass o ON o.oid = k.class_oid
    WHERE i.indrelid IN (SELECT oid FROM user_table)
    AND (i.indisunique OR i.indisexclusion) AND k.place <= i.indnkeyatts
),
index_columns AS (
    SELECT
        indexrelid,
        coalesce(json_agg(attname ORDER BY place) FILTER (WHERE alike OR by_default), '[]') AS columns,
        bool_and(alike) AS plain,
        bool_and(alike OR by_default) AS by_equals
    FROM index_column
    GROUP BY indexrelid
),
-- What indexes that are partial, or over expressions, keep unique. A value is called as its column in the index is, or
-- the table's own that it is: the latter may have got another name since.
computed_key AS (
    SELECT
        i.indexrelid,
        json_build_object(
            'columns', json_agg(
                json_build_object(
                    'name', CASE
                        WHEN k.attname IS NOT NULL THEN k.attname
                        WHEN a.attname ~ '^crosskey_' OR EXISTS (
                            SELECT FROM index_column o WHERE o.indexrelid = i.indexrelid AND o.attname = a.attname
                        ) THEN ('value_' || a.attnum)::name
                        ELSE a.attname
                    END,
                    'type', format_type(a.atttypid, a.atttypmod),
                    'base_type', b.base_type,
                    'not_null', false,
                    'deterministic_collation', coalesce(l.collisdeterministic, true),
                    'oddly_ordered', b.base_oid IN (SELECT type_oid FROM oddly_ordered_type)
                )
                ORDER BY a.attnum
            ),
            'expressions', json_agg(pg_get_indexdef(i.indexrelid, a.attnum, false) ORDER BY a.attnum),
            'reads', (
                SELECT coalesce(json_agg(r.attname ORDER BY r.attnum), '[]')
                FROM pg_attribute r
                WHERE r.attrelid = i.indrelid AND EXISTS (
                    SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = r.attnum
                )
            ),
            -- Messages show no schema of the search path.
            'shown', regexp_replace(
                string_agg(pg_get_indexdef(i.indexrelid, a.attnum, true), ', ' ORDER BY a.attnum), '\mpublic\.', '', 'g'
            ),
            'predicate', coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
            'of_whole_rows', strpos(
                string_agg(pg_get_indexdef(i.indexrelid, a.attnum, false), ' ')
                    || coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
                quote_ident(c.relname) || '.*'
            ) > 0,
            'alike', bool_and(
                CASE
                    WHEN k.attname IS NOT NULL THEN k.alike
                    ELSE coalesce(l.collisdeterministic, true) AND o.oid < 16384
                        AND (o.opcintype <> 'bpchar'::regtype OR b.base_oid = 'bpchar'::regtype)
                END
            )
        ) AS computed
    FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum <= i.indnkeyatts
    JOIN type_below b ON b.type_oid = a.atttypid
    JOIN index_column k ON k.indexrelid = i.indexrelid AND k.place = a.attnum
    JOIN pg_opclass o ON o.oid = (i.indclass::oid[])[a.attnum - 1]
    JOIN pg_class c ON c.oid = i.indrelid
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    WHERE i.indisunique AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL)
    GROUP BY i.indexrelid, i.indrelid, i.indpred::text, i.indpred, c.relname
),
unique_list AS (
    SELECT
        i.indrelid,
        json_agg(
            json_build_object(
                'name', c.relname,
                'columns', k.columns,
                'primary', i.indisprimary,
                'constraint', con.oid IS NOT NULL,
                'plain', k.plain AND i.indpred IS NULL,
                'by_equals', NOT k.plain AND k.by_equals AND i.indpred IS NULL,
                'computed', m.computed,
                'nulls_not_distinct', i.indnullsnotdistinct,
                'without_overlaps', coalesce((to_jsonb(con) ->> 'conperiod')::boolean, false),
                'deferrable', NOT i.indimmediate,
                'initially_deferred', coalesce(con.condeferred, false)
            )
            ORDER BY c.relname
        ) AS unique_keys
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN index_columns k ON k.indexrelid = i.indexrelid
    LEFT JOIN computed_key m ON m.indexrelid = i.indexrelid
    LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u')
    WHERE i.indisunique
    GROUP BY i.indrelid
),
exclusion_list AS (
    SELECT
        con.conrelid,
        json_agg(
            json_build_object(
                'name', con.conname,
                'equal_columns', (
                    SELECT coalesce(json_agg(a.attname ORDER BY k.place), '[]')
                    FROM unnest(con.conkey, con.conexclop) WITH ORDINALITY AS k(attnum, operator_oid, place)
                    JOIN pg_operator o ON o.oid = k.operator_oid AND o.oprname = '=' AND o.oid < 16384
                    JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.attnum
                    JOIN pg_index i ON i.indexrelid = con.conindid
                    LEFT JOIN pg_collation l ON l.oid = (i.indcollation::oid[])[k.place - 1]
                    WHERE l.oid IS NULL OR l.oid = a.attcollation OR l.collisdeterministic
                )
            )
            ORDER BY con.conname
        ) AS exclusions
    FROM pg_constraint con
    WHERE con.contype = 'x'
    GROUP BY con.conrelid
),
-- What single partitions have, or others have onto them, that the table which is partitioned has not.
key_of_partition AS (
    SELECT i.indrelid AS table_oid, format('%s of %s', x.relname, c.relname) AS name
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid AND c.relispartition
    JOIN pg_class x ON x.oid = i.indexrelid
    WHERE (i.indisunique OR i.indisexclusion) AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
    UNION ALL
    SELECT c.oid, format('%s of %s', con.conname, r.relname)
    FROM pg_constraint con
    JOIN pg_class r ON r.oid = con.conrelid
    JOIN pg_class c ON c.oid IN (con.conrelid, con.confrelid) AND c.relispartition
    WHERE con.contype = 'f' AND con.conparentid = 0
),
table_list AS (
    SELECT json_agg(
        json_build_object(
            'name', json_build_object('schema', t.nspname, 'name', t.relname),
            'columns', coalesce(c.columns, '[]'),
            'unique_keys', coalesce(u.unique_keys, '[]'),
            'exclusions', coalesce(x.exclusions, '[]'),
            'comment', obj_description(t.oid, 'pg_class'),
            'kind', t.relkind,
            'inherits', EXISTS (
                SELECT FROM pg_inherits h WHERE t.oid = h.inhrelid OR (t.oid = h.inhparent AND t.relkind <> 'p')
            ),
            'partition_key', (
                SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]')
                FROM pg_partitioned_table p
                JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum > 0
                WHERE p.partrelid = t.oid AND (
                    a.attnum = ANY (p.partattrs::smallint[])
                    -- Of an expression, PostgreSQL notes the columns that it reads.
                    OR EXISTS (
                        SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = t.oid AND d.objsubid = 0
                        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.refobjsubid = a.attnum
                    )
                )
            ),
            'keys_of_partitions', (
                SELECT coalesce(json_agg(o.name ORDER BY o.name), '[]')
                FROM pg_partition_tree(t.oid) r
                JOIN key_of_partition o ON o.table_oid = r.relid
            ),
            'unlogged', t.relpersistence = 'u',
            -- Of the type's bits, the first three are: for each row, before, on insert.
            'acts_on_new_rows', EXISTS (
                SELECT FROM pg_trigger g
                WHERE (g.tgrelid = t.oid OR g.tgrelid IN (SELECT relid FROM pg_partition_tree(t.oid)))
                AND NOT g.tgisinternal AND g.tgtype & 7 = 5
            ),
            'acts_on_inserts', EXISTS (
                SELECT FROM pg_trigger g
                WHERE (g.tgrelid = t.oid OR g.tgrelid IN (SELECT relid FROM pg_partition_tree(t.oid)))
                AND NOT g.tgisinternal AND g.tgtype & 4 = 4
            ),
            'acts_after_rows', EXISTS (
                SELECT FROM pg_trigger g
                WHERE (g.tgrelid = t.oid OR g.tgrelid IN (SELECT relid FROM pg_partition_tree(t.oid)))
                AND NOT g.tgisinternal AND g.tgtype & 3 = 1
            ),
            'trigger_writes', coalesce(w.trigger_writes, '[]')
        )
        ORDER BY t.nspname, t.relname
    ) AS tables
    FROM user_table t
    LEFT JOIN column_list c ON c.attrelid = t.oid
    LEFT JOIN unique_list u ON u.indrelid = t.oid
    LEFT JOIN exclusion_list x ON x.conrelid = t.oid
    LEFT JOIN trigger_write_list w ON w.tgrelid = t.oid
),
action(code, name) AS (
    VALUES ('a', 'NO ACTION'), ('r', 'RESTRICT'), ('c', 'CASCADE'), ('n', 'SET NULL'), ('d', 'SET DEFAULT')
),
foreign_key AS (
    SELECT con.*, t.nspname, t.relname
    FROM pg_constraint con
    JOIN user_table t ON t.oid = con.conrelid
    -- The keys of partitions are copies of their parent's.
    WHERE con.contype = 'f' AND con.conparentid = 0
),
-- The operators by which each foreign key compares, column by column, with what a value is cast to where its column is of
-- another type than the operator takes. Of an operator class that is not the default one of the parent's column, a key
-- onto a copy of the parent would not choose the same ones again.
equality AS (
    SELECT o.oid, format('OPERATOR(%I.%s)', n.nspname, o.oprname) AS sql, o.oprleft, o.oprright
    FROM pg_operator o
    JOIN pg_namespace n ON n.oid = o.oprnamespace
),
default_equality AS (
    SELECT c.opcintype AS type_oid, m.amopopr AS operator_oid
    FROM pg_opclass c
    JOIN pg_am am ON am.oid = c.opcmethod AND am.amname = 'btree'
    JOIN pg_amop m ON m.amopfamily = c.opcfamily
        AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype AND m.amopstrategy = 3
    WHERE c.opcdefault
),
foreign_key_equality AS (
    SELECT
        con.oid,
        json_agg(
            json_build_object(
                'operator', of_child.sql,
                'left', CASE WHEN of_child.oprleft <> p.atttypid THEN format_type(of_child.oprleft, -1) ELSE '' END,
                'right', CASE WHEN of_child.oprright <> c.atttypid THEN format_type(of_child.oprright, -1) ELSE '' END
            )
            ORDER BY k.place
        ) AS of_child,
        json_agg(
            json_build_object(
                'operator', of_parent.sql,
                'left', CASE WHEN of_parent.oprleft <> p.atttypid THEN format_type(of_parent.oprleft, -1) ELSE '' END,
                'right', CASE WHEN of_parent.oprright <> p.atttypid THEN format_type(of_parent.oprright, -1) ELSE '' END
            )
            ORDER BY k.place
        ) AS of_parent,
        bool_and(of_parent.oid IN (
            SELECT d.operator_oid
            FROM default_equality d
            WHERE d.type_oid = CASE
                WHEN b.base_type = 'varchar' THEN 'text'::regtype
                WHEN EXISTS (SELECT FROM default_equality own WHERE own.type_oid = b.base_oid) THEN b.base_oid
                -- One that is taken for another type, as an array is for anyarray.
                ELSE d.type_oid
            END
        )) AS by_default
    FROM foreign_key con
    CROSS JOIN LATERAL unnest(con.conkey, con.confkey, con.conpfeqop, con.conppeqop)
        WITH ORDINALITY AS k(child_attnum, parent_attnum, of_child_oid, of_parent_oid, place)
    JOIN pg_attribute c ON c.attrelid = con.conrelid AND c.attnum = k.child_attnum
    JOIN pg_attribute p ON p.attrelid = con.confrelid AND p.attnum = k.parent_attnum
    JOIN type_below b ON b.type_oid = p.atttypid
    JOIN equality of_child ON of_child.oid = k.of_child_oid
    JOIN equality of_parent ON of_parent.oid = k.of_parent_oid
    GROUP BY con.oid
),
foreign_key_list AS (
    SELECT json_agg(
        json_build_object(
            'name', con.conname,
            'table', json_build_object('schema', con.nspname, 'name', con.relname),
            'columns', (
                SELECT json_agg(a.attname ORDER BY k.place)
                FROM unnest(con.conkey) WITH ORDINALITY AS k(attnum, place)
                JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.attnum
            ),
            'parent', json_build_object('schema', n.nspname, 'name', p.relname),
            'parent_columns', (
                SELECT json_agg(a.attname ORDER BY k.place)
                FROM unnest(con.confkey) WITH ORDINALITY AS k(attnum, place)
                JOIN pg_attribute a ON a.attrelid = con.confrelid AND a.attnum = k.attnum
            ),
            'match', CASE con.confmatchtype WHEN 's' THEN 'SIMPLE' WHEN 'f' THEN 'FULL' ELSE 'PARTIAL' END,
            'on_delete', (SELECT name FROM action WHERE code = con.confdeltype),
            'on_update', (SELECT name FROM action WHERE code = con.confupdtype),
            'on_delete_columns', (
                SELECT coalesce(json_agg(a.attname ORDER BY k.place), '[]')
                FROM unnest(con.confdelsetcols) WITH ORDINALITY AS k(attnum, place)
                JOIN pg_attribute a ON a.attrelid = con.conrelid AND a.attnum = k.attnum
            ),
            'deferrable', con.condeferrable,
            'initially_deferred', con.condeferred,
            'validated', con.convalidated,
            'period', coalesce((to_jsonb(con) ->> 'conperiod')::boolean, false),
            'equalities', q.of_child,
            'parent_equalities', q.of_parent,
            'by_default', q.by_default,
            'comment', obj_description(con.oid, 'pg_constraint')
        )
        ORDER BY con.nspname, con.relname, con.conname
    ) AS foreign_keys
    FROM foreign_key con
    JOIN foreign_key_equality q ON q.oid = con.oid
    JOIN pg_class p ON p.oid = con.confrelid
    JOIN pg_namespace n ON n.oid = p.relnamespace
),
-- Comments with a tag on anything else, which the planner refuses. 16384 is the first oid that is not PostgreSQL's own.
other_comment AS (
    SELECT pg_describe_object(d.classoid, d.objoid, d.objsubid) AS object, d.description
    FROM pg_description d
    CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
    WHERE d.objoid >= 16384
    AND d.description ~ '(^|\n)\s*@'
    AND NOT (d.classoid = 'pg_class'::regclass AND d.objoid IN (SELECT oid FROM user_table))
    AND NOT (d.classoid = 'pg_constraint'::regclass AND d.objoid IN (SELECT oid FROM foreign_key))
    AND i.identity !~ '(^| on )"?crosskey[^. ]*\.'
    AND NOT EXISTS (
        SELECT FROM pg_depend e
        WHERE e.classid = d.classoid AND e.objid = d.objoid AND e.objsubid = 0 AND e.deptype = 'e'
    )
),
other_comment_list AS (
    SELECT json_agg(
        json_build_object('object', object, 'comment', description) ORDER BY object, description
    ) AS other_comments
    FROM other_comment
),
-- Whether a function may catch errors: one that says EXCEPTION WHEN, whatever comment is between, and every one of a
-- language that nobody looks into. What an extension brings does not write the user's tables.
catching AS (
    SELECT EXISTS (
        SELECT FROM pg_proc p
        JOIN user_schema n ON n.oid = p.pronamespace
        JOIN pg_language l ON l.oid = p.prolang
        WHERE (
            l.lanname NOT IN ('internal', 'c', 'sql', 'plpgsql')
            OR p.prosrc ~* '\mexception(\s|--[^\n]*\n|/\*.*\*/)+when\M'
        )
        AND NOT EXISTS (
            SELECT FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.objsubid = 0 AND d.deptype = 'e'
        )
    ) AS catches_errors
),
view_list AS (
    SELECT json_agg(json_build_object('schema', nspname, 'name', relname) ORDER BY nspname, relname) AS views
    FROM user_view
),
-- What a view depends on: the tables and views that it reads, and functions of the user's that may read some.
view_need AS (
    SELECT v.oid AS view_oid, d.refclassid, d.refobjid
    FROM user_view v
    JOIN pg_rewrite w ON w.ev_class = v.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
    WHERE v.relkind = 'v' AND d.refobjid <> v.oid
),
view_relation AS (
    SELECT DISTINCT v.view_oid, c.oid, c.relname, c.relkind, n.nspname, s.oid IS NOT NULL AS of_user,
        CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid ELSE c.oid END AS root_oid
    FROM view_need v
    JOIN pg_class c ON v.refclassid = 'pg_class'::regclass AND c.oid = v.refobjid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN user_schema s ON s.oid = n.oid
),
view_relation_list AS (
    SELECT
        v.view_oid,
        json_object_agg(
            v.oid,
            CASE WHEN v.relkind IN ('r', 'p', 'v') AND v.of_user THEN
                json_build_object(
                    'name', json_build_object('schema', n.nspname, 'name', c.relname),
                    'columns', (
                        SELECT json_object_agg(a.attnum, a.attname)
                        FROM pg_attribute a
                        WHERE a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped
                    )
                )
            ELSE
                json_build_object(
                    'name', NULL,
                    'columns', (SELECT json_object_agg(a.attnum, a.attname) FROM pg_attribute a WHERE a.attrelid = v.oid),
                    'other', CASE v.relkind WHEN 'm' THEN 'the materialized view ' WHEN 'S' THEN 'the sequence ' ELSE '' END
                        || quote_ident(v.relname)
                )
            END
        ) AS relations
    FROM view_relation v
    JOIN pg_class c ON c.oid = v.root_oid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    GROUP BY v.view_oid
),
view_call_list AS (
    SELECT v.view_oid, json_agg(DISTINCT p.oid::regprocedure::text) AS calls
    FROM view_need v
    LEFT JOIN pg_operator o ON v.refclassid = 'pg_operator'::regclass AND o.oid = v.refobjid
    JOIN pg_proc p ON p.oid = CASE WHEN v.refclassid = 'pg_proc'::regclass THEN v.refobjid ELSE o.oprcode END
    JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
    WHERE p.provolatile <> 'i'
    AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.objsubid = 0 AND d.deptype = 'e'
    )
    GROUP BY v.view_oid
),
view_text_list AS (
    SELECT json_agg(
        json_build_object(
            'name', json_build_object('schema', v.nspname, 'name', v.relname),
            'columns', coalesce(c.columns, '[]'),
            'query', w.ev_action::text,
            'calls', coalesce(f.calls, '[]'),
            'relations', coalesce(r.relations, '{}')
        )
        ORDER BY v.nspname, v.relname
    ) AS view_texts
    FROM user_view v
    JOIN pg_rewrite w ON w.ev_class = v.oid AND w.ev_type = '1'
    LEFT JOIN column_list c ON c.attrelid = v.oid
    LEFT JOIN view_relation_list r ON r.view_oid = v.oid
    LEFT JOIN view_call_list f ON f.view_oid = v.oid
    WHERE v.relkind = 'v'
)
SELECT json_build_object(
    'tables', coalesce(table_list.tables, '[]'),
    'foreign_keys', coalesce(foreign_key_list.foreign_keys, '[]'),
    'other_comments', coalesce(other_comment_list.other_comments, '[]'),
    'catches_errors', catching.catches_errors,
    'views', coalesce(view_list.views, '[]'),
    'view_texts', coalesce(view_text_list.view_texts, '[]')
)::text
FROM table_list, foreign_key_list, other_comment_list, catching, view_list, view_text_list
