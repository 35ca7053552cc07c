-- Notes parents of which a copied column changed, for each shard with a pin. The key is the one that the row has now:
-- its pins have followed. Which values it has is asked when all triggers are done.
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT {kind}, {id}, p.{pin_shard}, {key} FROM {pin} p WHERE {same};
