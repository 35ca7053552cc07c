-- The column is NOT NULL, and was left to be so until the parent came.
IF num_nulls({value}) > 0 AND crosskey_waits AND EXISTS (SELECT FROM {child} c WHERE {same} AND num_nulls({copy}) > 0) THEN
    {refuse}
END IF;
