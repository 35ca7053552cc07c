-- The shard keys of rows that belong to another shard: all rows here that have them are to move there.
SELECT {kind}, {table}, {belongs}, {key} FROM (SELECT DISTINCT n.{column} FROM new_rows n) k WHERE {belongs} <> {shard}
