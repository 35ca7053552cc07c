-- Pins a parent's new key instead of the old one, and notes both.
--
-- Row triggers fire in the order in which the rows were changed, so each new key is free of pins by then, as it was of
-- rows. A row may change again before the node hears of it, and is found by its pin then. A key that became NULL
-- references nothing and needs no pin.
WITH gone AS (DELETE FROM {pin} p WHERE {same} RETURNING p.{pin_shard}),
pinned AS (
    INSERT INTO {pin} ({columns}, {pin_shard})
    SELECT {new_columns}, gone.{pin_shard} FROM gone WHERE num_nulls({new_columns}) = 0
    ON CONFLICT DO NOTHING
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
SELECT {kind}, {id}, gone.{pin_shard}, {old}, {new} FROM gone;
