-- Notes as missing those of the keys wanted, called k, that are not among those present; answers them.
WITH noted AS (
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
    SELECT {kind}, {id}, {shard}, {key} FROM {wanted}
    WHERE NOT EXISTS (SELECT FROM {present} s WHERE {same})
    RETURNING old_key
)
SELECT count(*), coalesce(json_agg(old_key), '[]'::json)::text FROM noted
