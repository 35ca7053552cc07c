-- Slots, as in catalog/slots.py: 14 bits of SHA-256. They stand in CHECK constraints, so they run for every row: each is
-- one expression over immutable functions, which PostgreSQL inlines (a function call would cost four times as much).
-- The first two bytes of the digest become a number by way of hex, which is cheaper than hashing twice. The cast to
-- bytea, with backslashes doubled, gives the bytes of a text in a UTF-8 database; convert_to is only STABLE.
CREATE OR REPLACE FUNCTION crosskey.slot(value text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    ('x' || encode(substr(sha256(replace(value COLLATE "C", E'\\', E'\\\\')::bytea), 1, 2), 'hex'))::bit(16)::integer
    & 16383;

CREATE OR REPLACE FUNCTION crosskey.slot(value bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    ('x' || encode(substr(sha256(value::text::bytea), 1, 2), 'hex'))::bit(16)::integer & 16383;

CREATE OR REPLACE FUNCTION crosskey.slot(value uuid) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    (
        ('x' || encode(substr(sha256(substr(uuid_send(value), 1, 14)), 1, 2), 'hex'))::bit(16)::integer
        # (get_byte(uuid_send(value), 14) << 8 | get_byte(uuid_send(value), 15))
    ) & 16383;
