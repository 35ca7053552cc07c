-- Notes the anchors of new or changed rows that are not here, and locks those that are until the transaction ends.
--
-- One statement tells which are here and locks these: of two, the second might find an anchor that has just come, and
-- that the first has not locked.
{refuse}
WITH held AS (SELECT r.{column} FROM {root} r JOIN {values} k ON {same} ORDER BY r.{column} FOR KEY SHARE OF r)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
{absent};
