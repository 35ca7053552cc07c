-- Unique indexes that are partial or over expressions, for the golden file of their claims.
CREATE TABLE patrons (
    id bigint PRIMARY KEY,
    email text,
    name text,
    data json,
    left_at date
);
CREATE UNIQUE INDEX patrons_lower_idx ON patrons (lower(email));
CREATE UNIQUE INDEX patrons_name_idx ON patrons (name) WHERE left_at IS NULL;
CREATE UNIQUE INDEX patrons_code_idx ON patrons ((data ->> 'code'), left_at) NULLS NOT DISTINCT WHERE name LIKE 'A%';
COMMENT ON TABLE patrons IS '@shard_by id';
