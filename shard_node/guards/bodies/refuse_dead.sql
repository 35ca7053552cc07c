-- What PostgreSQL would say if the shadow were gone by now. Of a row that is changed otherwise, the clean-up is done here.
IF {condition} THEN
    IF TG_OP = 'INSERT' OR {is_set} THEN
        RAISE foreign_key_violation USING MESSAGE = {message}, DETAIL = {detail}, SCHEMA = {schema}, TABLE = {table},
            CONSTRAINT = {constraint};
    END IF;
    {action}
END IF;
