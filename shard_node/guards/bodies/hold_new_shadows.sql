-- Locks the shadows that updated children newly rely on, as those of new children are. One that an updated row
-- referenced already cannot be dropped, and is left alone.
PERFORM FROM {shadow} s JOIN ({references} EXCEPT {old}) k ON {same} ORDER BY {columns} FOR KEY SHARE OF s;
