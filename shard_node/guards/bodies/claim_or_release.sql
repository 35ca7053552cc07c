-- Claims or releases values of a unique key. In a coordinated transaction that is noted, as an effect for the shard
-- with the claims of each value. In any other, this shard does it by itself, if it has the claims of all of them.
IF {coordinated} THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT {kind}, {id}, {place}, {key}, {keeps_pins} FROM ({values}) k;
ELSIF EXISTS (SELECT FROM ({values}) k WHERE {place} <> {shard}) THEN
    RAISE assert_failure USING
        MESSAGE = 'another shard holds the claim on a value of this row', CONSTRAINT = {elsewhere}, HINT = {hint};
ELSE
    {here}
END IF;
