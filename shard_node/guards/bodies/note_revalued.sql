-- Notes old and new key of a row that is known by its claim, for the shard where the pins on that claim are.
IF num_nulls({old_columns}) = 0 THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    VALUES ({kind}, {id}, {place}, {old}, {new});
END IF;
