-- Gives shadows new keys, one by one in the order in which their parents got them. A shadow whose key became NULL in
-- part has had its ON UPDATE action by then, and nothing can reference it.
DECLARE
    k record;
BEGIN
    FOR k IN
        SELECT * FROM ROWS FROM (
            json_populate_recordset(NULL::{shadow}, old_keys),
            json_populate_recordset(NULL::{shadow}, new_keys)
        ) WITH ORDINALITY AS k({old}, {new}, place)
        ORDER BY place
    LOOP
        UPDATE {shadow} s SET ({columns}) = ROW({new_of_k}) WHERE {same};
        IF NOT ROW({new_of_k}) IS NOT NULL THEN
            DELETE FROM {shadow} s WHERE {unreferenced};
        END IF;
    END LOOP;
END
