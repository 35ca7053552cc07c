-- A snapshot is taken when the key is set, and stays then, whatever becomes of the parent and of the key. A value that
-- the client gives is refused, unless it is the parent's at that moment, the copy is overridable, or rows are loaded,
-- which were stored elsewhere before. A row that moved to where its parent is may have had none to take it from.
IF NOT crosskey_as_is THEN
    IF {given} AND {fixed} AND (NOT crosskey_set OR NOT crosskey_names
       OR crosskey_found AND record_image_ne(ROW({new}), ROW({value}))) THEN
        RAISE check_violation USING MESSAGE = {message}, HINT = {hint}, {names};
    END IF;
    IF crosskey_set AND crosskey_names THEN
        IF {fixed} OR NOT ({given}) THEN
            {new} := {value};
        END IF;
    ELSIF {fixed} AND num_nulls({new}) > 0 THEN
        {new} := {before};
    END IF;
ELSIF {moved} AND crosskey_found AND num_nulls({new}) > 0 THEN
    {new} := {value};
END IF;
{not_null}
