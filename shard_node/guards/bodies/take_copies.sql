-- Looks for the parent that a row names, and takes what the row copies of it.
--
-- The parent, or its shadow, is locked: who changes what is copied locks it FOR UPDATE first, and so either comes
-- before, and is seen here, or afterwards, and sees this row. A parent that is not here may still come, in this
-- transaction; then the copies are taken when it does. If it does not, the foreign key refuses the row.
DECLARE
    crosskey_parent {target}%%ROWTYPE;
    crosskey_found boolean := false;
    crosskey_names boolean := num_nulls({key}) = 0;
    crosskey_as_is boolean := {as_is};
    crosskey_set boolean := {set};
    crosskey_loads boolean := {loads};
BEGIN
    IF crosskey_names THEN
        SELECT p.* INTO crosskey_parent FROM {target} p WHERE {same} FOR KEY SHARE;
        crosskey_found := FOUND;
    END IF;
    IF crosskey_names AND NOT crosskey_found AND NOT crosskey_as_is THEN
        PERFORM set_config('crosskey.copies_wait', 'on', true);
        {note}
    END IF;
    {copies}
END;
