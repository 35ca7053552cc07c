-- Locks the shadows that new children rely on, and notes the parents that have none here.
--
-- A shadow is locked until the foreign key is checked and does so itself: it may have had no child before, and be
-- dropped as unused meanwhile. One that went while it was waited for is missing. Whatever way PostgreSQL takes, a
-- parent that is not noted was found among those held, so its shadow was locked.
WITH k AS MATERIALIZED ({references}),
held AS MATERIALIZED (
    SELECT {shadow_columns} FROM {shadow} s JOIN k ON {same} ORDER BY {shadow_columns} FOR KEY SHARE OF s
)
{note}
