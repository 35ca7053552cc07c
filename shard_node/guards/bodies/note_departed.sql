-- Removes the pins of parents that went and notes them: deleted ones, or ones that move to another shard.
--
-- A trigger function sees what was committed while its statement waited; a CTE of the statement itself would not.
WITH gone AS (DELETE FROM {pin} p USING old_rows o WHERE {same} RETURNING p.*)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
SELECT
    CASE WHEN {relocating} THEN {moved} ELSE {deleted} END,
    {id},
    CASE WHEN {relocating} THEN {new_shard} ELSE gone.{pin_shard} END,
    {key},
    to_json(gone.{pin_shard})
FROM gone;
