-- The pin itself refuses, but not a key that equals the old one and is only spelt differently, as 1.0 and 1.00.
IF EXISTS (SELECT FROM {pin} p WHERE {same}) THEN
    RAISE foreign_key_violation USING MESSAGE = 'other shards reference this row', HINT = {hint};
END IF;
