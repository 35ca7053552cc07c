-- The statement that makes a scratch database with the locale of the current one; %(name)s is its name, %(owner)s its
-- owner's. It is a copy of %(template)s, if there is such a database of the same owner. The columns for
-- the locale of ICU and of PostgreSQL's own provider changed their names, hence the detour through JSON.
SELECT format(
    'CREATE DATABASE %%I OWNER %%I TEMPLATE %%I ENCODING ''UTF8'' LC_COLLATE %%L LC_CTYPE %%L LOCALE_PROVIDER %%s',
    %(name)s::text,
    %(owner)s::text,
    coalesce((SELECT t.datname FROM pg_database t WHERE t.datname = %(template)s AND t.datdba = d.datdba), 'template0'),
    d.datcollate,
    d.datctype,
    CASE d.datlocprovider
        WHEN 'i' THEN format('icu ICU_LOCALE %%L', coalesce(j ->> 'datlocale', j ->> 'daticulocale'))
        WHEN 'b' THEN format('builtin BUILTIN_LOCALE %%L', j ->> 'datlocale')
        ELSE 'libc'
    END
)
FROM pg_database d, to_jsonb(d) AS j
WHERE d.datname = current_database()
