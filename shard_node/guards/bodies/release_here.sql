-- Releases values that this shard has claimed.
DELETE FROM {claims} c USING ({values}) k WHERE {same} AND c.{claiming} = {shard};
