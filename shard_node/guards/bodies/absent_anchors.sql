-- The effects for those of the values, called k, that no anchor among those present has, and one elsewhere may have.
SELECT {kind}, {claim}, {place}, {key} FROM {values} k
WHERE NOT EXISTS (SELECT FROM {present} r WHERE {same}) AND {fits}
