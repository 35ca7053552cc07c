-- Only a key without pins may change, and only the shard with its claim knows whether there are.
IF num_nulls({old_columns}) = 0 AND ({place} <> {shard} OR EXISTS (SELECT FROM {pin} p WHERE {same})) THEN
    RAISE assert_failure USING MESSAGE = 'other shards may reference this row', CONSTRAINT = {elsewhere}, HINT = {hint};
END IF;
