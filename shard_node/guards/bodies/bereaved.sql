-- Nearly always no parent is dead.
IF {some_dead} THEN
    {keys}
    {conflicts}
END IF;
