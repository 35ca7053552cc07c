-- A live copy is what the parent has, and NULL without a parent. Who gives another value is refused.
IF crosskey_found OR NOT crosskey_names THEN
    IF NOT crosskey_as_is AND {given} AND record_image_ne(ROW({new}), ROW({value})) THEN
        RAISE check_violation USING MESSAGE = {message}, HINT = {hint}, {names};
    END IF;
    {new} := {value};
ELSIF NOT crosskey_as_is THEN
    {new} := NULL;
END IF;
{not_null}
