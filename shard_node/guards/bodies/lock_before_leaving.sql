-- Locks a row that anchors others FOR UPDATE before it is changed so that it must leave. That a row was changed without
-- the lock is noted, unless this transaction has made its version: then it was noted when it made the first.
IF {early} OR {changed} AND NOT {stays} THEN
    PERFORM FROM {table} t WHERE {same} FOR UPDATE;
ELSIF old.xmin <> pg_current_xact_id()::xid THEN
    PERFORM set_config({too_late}, 'on', true);
END IF;
