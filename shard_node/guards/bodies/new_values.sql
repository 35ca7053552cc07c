-- The values that new rows have, without those that need not be unique. A transition table has a row as it came, and a
-- trigger of the user's may have changed it since.
SELECT DISTINCT {columns_of_n} FROM {rows} WHERE {is_claimed}{still_there}
