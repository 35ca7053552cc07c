-- Statements that give every sequence of the user's a space of its own on this shard, which is not the first: the other
-- side of zero, dealt out to the shards in turn. Routers draw from the first shard alone; what a trigger or raw SQL draws
-- here is then none of those numbers, and none of another shard's. A sequence on both sides of zero leaves no space.
SELECT format(
    CASE
        WHEN s.seqmin >= 0
            THEN 'ALTER SEQUENCE %%I.%%I INCREMENT BY -%%s NO MINVALUE MAXVALUE -1 START WITH -%%s RESTART NO CYCLE'
        ELSE 'ALTER SEQUENCE %%I.%%I INCREMENT BY %%s MINVALUE 1 NO MAXVALUE START WITH %%s RESTART NO CYCLE'
    END,
    n.nspname,
    c.relname,
    %(shards)s::integer,
    %(shard)s::integer
)
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^(pg_|crosskey)' AND n.nspname <> 'information_schema'
AND (s.seqmin >= 0 OR s.seqmax <= 0)
AND (%(names)s::text[] IS NULL OR n.nspname || '.' || c.relname = ANY (%(names)s::text[]))
ORDER BY n.nspname, c.relname
