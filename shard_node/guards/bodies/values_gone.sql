-- The values that old rows had and that no row here has any more.
SELECT DISTINCT {columns_of_o} FROM {rows} WHERE {is_claimed} AND {gone}
