-- A hidden row that has the value is cleaned up now. It is not the row itself, which the action of another key may change
-- while it is hidden: that one has the value already.
IF TG_OP = 'INSERT' OR {is_set} THEN
    DELETE FROM {table} WHERE {same} AND ({hidden});
END IF;
