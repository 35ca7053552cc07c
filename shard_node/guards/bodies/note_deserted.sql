-- Takes the pins of parents that went, of a key whose children are cleaned up later. Those of parents that move to another
-- shard go with them. Of deleted ones it is kept which shards are to be told: that replaces the pin, in the same transaction.
WITH gone AS (DELETE FROM {pin} p USING old_rows o WHERE {same} RETURNING p.*),
departed AS (INSERT INTO {departed} ({columns}, {pin_shard}) SELECT {columns}, {pin_shard} FROM gone WHERE NOT {relocating})
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
SELECT {moved}, {id}, {new_shard}, {key}, to_json(gone.{pin_shard}) FROM gone WHERE {relocating};
