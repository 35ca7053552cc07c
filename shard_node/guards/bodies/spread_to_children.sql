-- The children by one key: all live copies, and the snapshots of those that came before their parent. In one statement,
-- as a row is complete only then.
PERFORM set_config('crosskey.copying', 'on', true);
UPDATE {child} c SET {assigned} WHERE {same} AND ({outdated});
