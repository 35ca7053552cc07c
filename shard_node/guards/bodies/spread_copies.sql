-- Gives children what their parent, or its shadow, has now. It is locked FOR UPDATE, so that whoever referenced it
-- meanwhile has committed, and is seen: each statement of a trigger function sees what was committed before it.
DECLARE
    crosskey_before text := coalesce(current_setting('crosskey.copying', true), '');
    crosskey_waits boolean := {waits};
BEGIN
    {updates}
    PERFORM set_config('crosskey.copying', crosskey_before, true);
END;
