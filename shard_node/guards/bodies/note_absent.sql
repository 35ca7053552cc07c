-- Notes as missing those of the keys wanted, called k, that meet the condition and are not among those present.
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT {kind}, {id}, {shard}, {key} FROM {wanted}
WHERE ({condition}) AND NOT EXISTS (SELECT FROM {present} s WHERE {same});
