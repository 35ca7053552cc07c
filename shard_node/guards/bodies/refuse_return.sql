-- The deletion of the former row is committed, as the unique key waited for that, and each query sees what is.
IF EXISTS (SELECT FROM {departed} d WHERE {same}) THEN
    RAISE SQLSTATE 'XK008' USING MESSAGE = {message}, SCHEMA = {schema}, TABLE = {table},
        HINT = 'Try again, or use another key. `crosskey cleanups` shows what is under way.';
END IF;
