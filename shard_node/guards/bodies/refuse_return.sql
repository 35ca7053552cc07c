-- What the transaction itself deleted is there until after its commit, so that to try again is of no use.
IF EXISTS (SELECT FROM {departed} d WHERE {same} AND {by} = pg_current_xact_id_if_assigned()) THEN
    RAISE SQLSTATE 'XK002' USING MESSAGE = {own_message}, SCHEMA = {schema}, TABLE = {table},
        HINT = 'Update the row instead, or use another key, or insert in a transaction after the clean-up.';
END IF;
-- The deletion of the former row is committed, as the unique key waited for that, and each query sees what is.
IF EXISTS (SELECT FROM {departed} d WHERE {same}) THEN
    RAISE SQLSTATE 'XK008' USING MESSAGE = {message}, SCHEMA = {schema}, TABLE = {table},
        HINT = 'Try again, or use another key. `crosskey cleanups` shows what is under way.';
END IF;
