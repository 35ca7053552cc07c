-- Every piece of a schema and of its guards: its state as text, which is compared; the SQL that makes it, where it is one
-- statement; and facts for who changes it. Run with search_path = pg_catalog, so that definitions name their schemas.
-- `place` grows in the order in which pieces were made. Partitions have no pieces of their own but the table.
WITH own_schema AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
of_extension AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
),
relation AS (
    SELECT c.*, n.nspname || '.' || c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted
    FROM pg_class c
    JOIN own_schema n ON n.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
),
stored AS (
    SELECT * FROM relation WHERE relkind IN ('r', 'p') AND NOT relispartition
),
-- The columns that an index or a constraint depends on, and whether it calls a function of the schema's own.
used AS (
    SELECT
        d.classid,
        d.objid,
        array_agg(DISTINCT a.attname::text) FILTER (WHERE a.attname IS NOT NULL) AS columns,
        count(p.oid) > 0 AS calls
    FROM pg_depend d
    LEFT JOIN pg_attribute a ON d.refclassid = 'pg_class'::regclass AND a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        AND d.refobjsubid > 0
    LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid AND EXISTS (
        SELECT FROM own_schema n WHERE n.oid = p.pronamespace
    )
    WHERE d.classid IN ('pg_class'::regclass, 'pg_constraint'::regclass)
    GROUP BY d.classid, d.objid
),
sequence AS (
    SELECT
        r.oid,
        r.name,
        r.quoted,
        t.name AS owner,
        a.attname::text AS column_name,
        d.deptype = 'i' AS is_identity,
        format_type(s.seqtypid, NULL) AS type,
        format(
            'INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s%s',
            s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END
        ) AS options
    FROM pg_sequence s
    JOIN relation r ON r.oid = s.seqrelid
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    LEFT JOIN relation t ON t.oid = d.refobjid
    LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
),
piece AS (
    SELECT
        'schema' AS kind, '' AS table_name, nspname::text AS name, '' AS state,
        format('CREATE SCHEMA %I', nspname) AS made_by, NULL::json AS facts, oid AS place
    FROM own_schema WHERE nspname <> 'public'
    UNION ALL
    SELECT 'extension', '', e.extname::text, n.nspname::text,
        format('CREATE EXTENSION %I WITH SCHEMA %I', e.extname, n.nspname), NULL, e.oid
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql'
    UNION ALL
    SELECT 'enum', '', t.oid::regtype::text, l.labels,
        format('CREATE TYPE %s AS ENUM (%s)', t.oid::regtype, l.labels), json_build_object('labels', l.list), t.oid
    FROM pg_type t
    JOIN own_schema n ON n.oid = t.typnamespace
    CROSS JOIN LATERAL (
        SELECT coalesce(string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder), '') AS labels,
            json_agg(enumlabel ORDER BY enumsortorder) AS list
        FROM pg_enum WHERE enumtypid = t.oid
    ) l
    WHERE t.typtype = 'e'
        AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
    UNION ALL
    SELECT 'domain', '', t.oid::regtype::text, d.text, format('CREATE DOMAIN %s AS %s', t.oid::regtype, d.text), NULL, t.oid
    FROM pg_type t
    JOIN own_schema n ON n.oid = t.typnamespace
    JOIN pg_type base ON base.oid = t.typbasetype
    CROSS JOIN LATERAL (
        SELECT concat_ws(
            ' ',
            format_type(t.typbasetype, t.typtypmod),
            CASE WHEN t.typcollation <> base.typcollation THEN 'COLLATE ' || t.typcollation::regcollation::text END,
            'DEFAULT ' || t.typdefault,
            CASE WHEN t.typnotnull THEN 'NOT NULL' END,
            (
                SELECT string_agg(format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), ' ' ORDER BY k.conname)
                FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'
            )
        ) AS text
    ) d
    WHERE t.typtype = 'd'
        AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)
    UNION ALL
    SELECT 'composite', '', r.name, c.text, format('CREATE TYPE %s AS (%s)', r.quoted, c.text), NULL, r.oid
    FROM relation r
    CROSS JOIN LATERAL (
        SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum) AS text
        FROM pg_attribute WHERE attrelid = r.oid AND attnum > 0 AND NOT attisdropped
    ) c
    WHERE r.relkind = 'c'
    UNION ALL
    SELECT 'sequence', coalesce(owner, ''), name, concat_ws(' ', type, options, column_name, is_identity),
        CASE WHEN is_identity THEN '' ELSE format('CREATE SEQUENCE %s AS %s %s', quoted, type, options) END,
        json_build_object('column', column_name, 'identity', is_identity, 'options', options, 'quoted', quoted), oid
    FROM sequence
    UNION ALL
    SELECT 'table', '', r.name,
        concat_ws(
            ' ',
            CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED' END,
            'PARTITION BY ' || pg_get_partkeydef(r.oid),
            'PARTITION OF ' || (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = r.oid AND r.relispartition)
                || ' ' || pg_get_expr(r.relpartbound, r.oid),
            'INHERITS ' || (
                SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno) FROM pg_inherits
                WHERE inhrelid = r.oid AND NOT r.relispartition
            ),
            'WITH ' || nullif(array_to_string(r.reloptions, ', '), ''),
            CASE WHEN r.relrowsecurity THEN 'ROW LEVEL SECURITY' END,
            CASE WHEN r.relforcerowsecurity THEN 'FORCED' END,
            'OF ' || nullif(r.reloftype, 0)::regtype::text,
            CASE WHEN r.relreplident <> 'd' THEN 'REPLICA IDENTITY ' || r.relreplident::text END
        ),
        '', json_build_object('quoted', r.quoted), r.oid
    FROM relation r WHERE r.relkind IN ('r', 'p')
    UNION ALL
    SELECT 'column', r.name, a.attname::text, c.text,
        format('%I %s', a.attname, c.text),
        json_build_object(
            'type', format_type(a.atttypid, a.atttypmod),
            'collation', CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
            'not_null', a.attnotnull,
            'not_null_name', (
                SELECT k.conname FROM pg_constraint k
                WHERE k.conrelid = r.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
            ),
            'default', pg_get_expr(d.adbin, d.adrelid),
            'generated', a.attgenerated,
            'identity', a.attidentity
        ),
        a.attnum
    FROM stored r
    JOIN pg_attribute a ON a.attrelid = r.oid
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN sequence s ON a.attidentity <> '' AND s.is_identity AND s.owner = r.name AND s.column_name = a.attname
    CROSS JOIN LATERAL (
        SELECT concat_ws(
            ' ',
            format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation::text END,
            CASE a.attgenerated
                WHEN 's' THEN format('GENERATED ALWAYS AS (%s) STORED', pg_get_expr(d.adbin, d.adrelid))
                WHEN 'v' THEN format('GENERATED ALWAYS AS (%s) VIRTUAL', pg_get_expr(d.adbin, d.adrelid))
                ELSE 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)
            END,
            CASE a.attidentity
                WHEN 'a' THEN format('GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME %s)', s.quoted)
                WHEN 'd' THEN format('GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME %s)', s.quoted)
            END,
            CASE WHEN a.attnotnull THEN
                coalesce('CONSTRAINT ' || (
                    SELECT quote_ident(k.conname) FROM pg_constraint k
                    WHERE k.conrelid = r.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]
                ) || ' NOT NULL', 'NOT NULL')
            END
        ) AS text
    ) c
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'constraint', r.name, k.conname::text, c.definition,
        format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.quoted, k.conname, c.definition),
        json_build_object(
            'type', k.contype,
            'columns', (
                SELECT json_agg(a.attname) FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum = ANY (k.conkey)
            ),
            'calls', coalesce(u.calls, false),
            'valid', k.convalidated,
            'deferring', concat_ws(
                ' ', CASE WHEN k.condeferrable THEN 'DEFERRABLE' END, CASE WHEN k.condeferred THEN 'INITIALLY DEFERRED' END
            ),
            'parent', parent.name,
            'index', CASE WHEN k.contype IN ('p', 'u') THEN pg_get_indexdef(k.conindid) END
        ),
        k.oid
    FROM pg_constraint k
    JOIN stored r ON r.oid = k.conrelid
    LEFT JOIN relation parent ON parent.oid = k.confrelid
    LEFT JOIN used u ON u.classid = 'pg_constraint'::regclass AND u.objid = k.oid
    CROSS JOIN LATERAL (SELECT regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') AS definition) c
    WHERE k.contype IN ('c', 'u', 'p', 'x', 'f') AND k.conparentid = 0 AND k.conislocal
    UNION ALL
    SELECT 'index', r.name, x.name, pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' (INVALID)' END,
        pg_get_indexdef(i.indexrelid),
        json_build_object(
            'columns', coalesce(to_json(u.columns), '[]'::json), 'calls', coalesce(u.calls, false),
            'unique', i.indisunique, 'quoted', x.quoted, 'partitioned', r.relkind = 'p'
        ),
        i.indexrelid
    FROM pg_index i
    JOIN stored r ON r.oid = i.indrelid
    JOIN relation x ON x.oid = i.indexrelid
    LEFT JOIN used u ON u.classid = 'pg_class'::regclass AND u.objid = i.indexrelid
    WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT 'trigger', r.name, g.tgname::text, pg_get_triggerdef(g.oid) || ' ' || g.tgenabled::text, pg_get_triggerdef(g.oid),
        json_build_object('function', g.tgfoid::regprocedure::text, 'enabled', g.tgenabled), g.oid
    FROM pg_trigger g
    JOIN stored r ON r.oid = g.tgrelid
    WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND g.tgname <> '!crosskey_epoch'
    UNION ALL
    SELECT 'function', '', p.oid::regprocedure::text, pg_get_functiondef(p.oid), pg_get_functiondef(p.oid),
        json_build_object(
            'late', EXISTS (
                SELECT FROM pg_depend d
                LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
                WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND (
                    d.refclassid = 'pg_class'::regclass OR EXISTS (
                        SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind IN ('r', 'p', 'v')
                    )
                )
            ),
            'result', pg_get_function_result(p.oid)
        ),
        p.oid
    FROM pg_proc p
    JOIN own_schema n ON n.oid = p.pronamespace
    WHERE p.prokind IN ('f', 'p')
        AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)
    UNION ALL
    SELECT 'view', '', r.name, v.text, format('CREATE VIEW %s%s', r.quoted, v.text), json_build_object('quoted', r.quoted), r.oid
    FROM relation r
    CROSS JOIN LATERAL (
        SELECT coalesce(' WITH (' || array_to_string(r.reloptions, ', ') || ')', '') || ' AS ' || pg_get_viewdef(r.oid) AS text
    ) v
    WHERE r.relkind = 'v'
    UNION ALL
    SELECT 'statistics', r.name, format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid),
        pg_get_statisticsobjdef(s.oid), NULL, s.oid
    FROM pg_statistic_ext s JOIN stored r ON r.oid = s.stxrelid JOIN own_schema n ON n.oid = s.stxnamespace
    UNION ALL
    SELECT 'comment', c.table_name, c.target, d.description,
        format('COMMENT ON %s IS %L', c.target, d.description), NULL, d.objoid
    FROM pg_description d
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN r.relkind IN ('r', 'p') THEN r.name ELSE '' END AS table_name,
            CASE
                WHEN d.objsubid > 0 THEN (
                    SELECT format('COLUMN %s.%I', r.quoted, attname) FROM pg_attribute
                    WHERE attrelid = r.oid AND attnum = d.objsubid AND NOT attisdropped
                )
                WHEN r.relkind IN ('r', 'p') THEN 'TABLE ' || r.quoted
                WHEN r.relkind = 'v' THEN 'VIEW ' || r.quoted
                WHEN r.relkind = 'm' THEN 'MATERIALIZED VIEW ' || r.quoted
                WHEN r.relkind IN ('i', 'I') THEN 'INDEX ' || r.quoted
                WHEN r.relkind = 'S' THEN 'SEQUENCE ' || r.quoted
                WHEN r.relkind = 'c' THEN 'TYPE ' || r.quoted
            END AS target
        FROM relation r WHERE d.classoid = 'pg_class'::regclass AND r.oid = d.objoid
        UNION ALL
        SELECT r.name, format('CONSTRAINT %I ON %s', k.conname, r.quoted)
        FROM pg_constraint k JOIN stored r ON r.oid = k.conrelid
        WHERE d.classoid = 'pg_constraint'::regclass AND k.oid = d.objoid
        UNION ALL
        SELECT '', 'ROUTINE ' || p.oid::regprocedure::text
        FROM pg_proc p JOIN own_schema n ON n.oid = p.pronamespace
        WHERE d.classoid = 'pg_proc'::regclass AND p.oid = d.objoid
            AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = d.classoid AND e.objid = d.objoid)
        UNION ALL
        SELECT '', CASE t.typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || t.oid::regtype::text
        FROM pg_type t JOIN own_schema n ON n.oid = t.typnamespace
        WHERE d.classoid = 'pg_type'::regclass AND t.oid = d.objoid
            AND NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = d.classoid AND e.objid = d.objoid)
        UNION ALL
        SELECT '', format('SCHEMA %I', n.nspname)
        FROM own_schema n
        WHERE d.classoid = 'pg_namespace'::regclass AND n.oid = d.objoid AND n.nspname <> 'public'
        UNION ALL
        SELECT r.name, format('TRIGGER %I ON %s', g.tgname, r.quoted)
        FROM pg_trigger g JOIN stored r ON r.oid = g.tgrelid
        WHERE d.classoid = 'pg_trigger'::regclass AND g.oid = d.objoid
    ) c
    WHERE c.target IS NOT NULL
    UNION ALL
    SELECT 'other', '', 'rule ' || w.rulename, pg_get_ruledef(w.oid), '', NULL, w.oid
    FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'
    UNION ALL
    SELECT 'other', '', format('policy %s on %s', p.polname, r.name),
        concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)),
        '', NULL, p.oid
    FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
    UNION ALL
    SELECT 'other', '', 'materialized view ' || name, pg_get_viewdef(oid), '', NULL, oid
    FROM relation WHERE relkind = 'm'
    UNION ALL
    SELECT 'other', '', 'foreign table ' || name, '', '', NULL, oid FROM relation WHERE relkind = 'f'
    UNION ALL
    SELECT 'other', '', pg_describe_object(o.classid, o.oid, 0), '', '', NULL, o.oid
    FROM (
        SELECT 'pg_operator'::regclass AS classid, oid, oprnamespace AS namespace FROM pg_operator
        UNION ALL
        SELECT 'pg_collation'::regclass, oid, collnamespace FROM pg_collation
        UNION ALL
        SELECT 'pg_conversion'::regclass, oid, connamespace FROM pg_conversion
        UNION ALL
        SELECT 'pg_opclass'::regclass, oid, opcnamespace FROM pg_opclass
        UNION ALL
        SELECT 'pg_opfamily'::regclass, oid, opfnamespace FROM pg_opfamily
        UNION ALL
        SELECT 'pg_ts_config'::regclass, oid, cfgnamespace FROM pg_ts_config
        UNION ALL
        SELECT 'pg_ts_dict'::regclass, oid, dictnamespace FROM pg_ts_dict
        UNION ALL
        SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc WHERE prokind IN ('a', 'w')
        UNION ALL
        SELECT 'pg_type'::regclass, oid, typnamespace FROM pg_type WHERE typtype = 'r'
    ) o
    JOIN own_schema n ON n.oid = o.namespace
    WHERE NOT EXISTS (SELECT FROM of_extension e WHERE e.classid = o.classid AND e.objid = o.oid)
)
SELECT kind, table_name, name, state, made_by, coalesce(facts, '{}'::json)::text, place::bigint FROM piece
