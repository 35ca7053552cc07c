-- Outside of a coordinated transaction nobody would tell the other shards. Not a foreign key's error, which functions
-- catch.
IF EXISTS (SELECT FROM {pin} p WHERE {same}) THEN
    RAISE assert_failure USING MESSAGE = 'other shards copy this row', CONSTRAINT = {elsewhere}, HINT = {hint};
END IF;
