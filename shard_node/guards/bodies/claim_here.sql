-- Claims values for this shard. Columns have an alias: without one they might be taken for variables of PL/pgSQL, such
-- as found and tg_op.
INSERT INTO {claims} ({columns}, {claiming}) SELECT {columns_of_k}, {shard} FROM ({values}) k
    ON CONFLICT ON CONSTRAINT {once} DO NOTHING;
