-- What every shard's database holds besides the user's own tables.
CREATE SCHEMA IF NOT EXISTS crosskey;

-- Which shard this is: one row. The incarnation changes when the database is replaced, such as by a failover.
CREATE TABLE IF NOT EXISTS crosskey.shard (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    cluster text NOT NULL,
    shard integer NOT NULL,
    shards integer NOT NULL,
    incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
    system_identifier text NOT NULL,
    timeline text NOT NULL
);

-- The server as it is now. The timeline is the first part of a WAL file's name; it changes with every promotion and
-- point-in-time restore.
CREATE OR REPLACE VIEW crosskey.server AS
SELECT system_identifier::text AS system_identifier,
       substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) AS timeline
FROM pg_control_system();

-- The schema in force: one row, or none yet.
CREATE TABLE IF NOT EXISTS crosskey.schema (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sql text NOT NULL,
    fingerprint text NOT NULL,
    description json NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each flip of a migration: the largest epoch is in force, without any it is 1. The primary key arbitrates
-- between flips.
CREATE TABLE IF NOT EXISTS crosskey.epoch (
    epoch bigint PRIMARY KEY CHECK (epoch > 1),
    fingerprint text NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now()
);

-- The journal of migrations, on the first shard: what was asked for, and how far it has come. One at a time is under way.
CREATE TABLE IF NOT EXISTS crosskey.migration (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration bytea NOT NULL,
    epoch bigint NOT NULL,
    old_sql text NOT NULL,
    state integer NOT NULL,
    message text NOT NULL DEFAULT '',
    began_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS migration_under_way ON crosskey.migration ((true)) WHERE ended_at IS NULL;

-- Migrations whose steps are taken back on this shard: one that comes late is not taken any more.
CREATE TABLE IF NOT EXISTS crosskey.given_up_migration (
    id bigint PRIMARY KEY
);

-- Outcomes of the distributed transactions whose home is this shard. The primary key arbitrates between a home
-- transaction that is still in flight and a resolver that decides to abort it.
CREATE TABLE IF NOT EXISTS crosskey.decision (
    gid text CONSTRAINT decision_pkey PRIMARY KEY,
    committed boolean NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Answers of requests with an id, each kept in the transaction of its rows. The primary key arbitrates between a request
-- that is still in flight and its repeat. They are forgotten by age, so rows of one time lie together.
CREATE TABLE IF NOT EXISTS crosskey.request (
    id text CONSTRAINT request_pkey PRIMARY KEY,
    digest bytea NOT NULL,
    answer bytea NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS request_kept_at ON crosskey.request USING brin (kept_at) WITH (autosummarize = on);

-- The batches of loads that are committed, on the first shard. Each is noted in the transaction of its rows, so that a
-- load that was interrupted knows which to send again.
CREATE TABLE IF NOT EXISTS crosskey.loaded_batch (
    load text,
    batch text,
    digest bytea NOT NULL,
    PRIMARY KEY (load, batch)
);

-- What the statements of the running transaction mean for other shards. Filled by triggers, emptied by the node within
-- the same transaction, so that no other transaction ever sees a row.
CREATE TABLE IF NOT EXISTS crosskey.effect (
    place bigint GENERATED ALWAYS AS IDENTITY,
    kind integer NOT NULL,
    referenced_key text NOT NULL,
    shard integer NOT NULL,
    old_key json NOT NULL,
    new_key json
);

-- The outbox: one row for each change of a row in a table with @events, written by triggers in the change's transaction.
-- The first columns are those that Debezium's outbox event router expects; `payload` has the row `before` and `after`.
CREATE TABLE IF NOT EXISTS crosskey.event (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload json NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    time timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id text
);

-- Up to which position events are deleted, as nobody is to read them any more: one row.
CREATE TABLE IF NOT EXISTS crosskey.event_trimmed (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL DEFAULT 0
);
INSERT INTO crosskey.event_trimmed DEFAULT VALUES ON CONFLICT DO NOTHING;

-- How far consumers of events have come, on the first shard, and who leads until when.
CREATE TABLE IF NOT EXISTS crosskey.consumer (
    name text PRIMARY KEY,
    holder text NOT NULL,
    held_until timestamptz NOT NULL,
    resume_token text NOT NULL DEFAULT ''
);

-- What the routers of a cluster sign page tokens with, that of the first shard: random, from two version 4 UUIDs.
CREATE TABLE IF NOT EXISTS crosskey.secret (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    token_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
);
INSERT INTO crosskey.secret DEFAULT VALUES ON CONFLICT DO NOTHING;

-- Locked by a prepared transaction at start-up, to see that this PostgreSQL keeps such locks.
CREATE TABLE IF NOT EXISTS crosskey.canary (id integer PRIMARY KEY);
INSERT INTO crosskey.canary VALUES (1) ON CONFLICT DO NOTHING;

-- Whoever commits with effects that nobody carried out would leave orphans on another shard. Each looks for itself, by
-- its place on disk: one that was taken is dead and cannot be seen, and a search for any other would pass all the dead.
CREATE OR REPLACE FUNCTION crosskey.refuse_effect() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM crosskey.effect WHERE ctid = NEW.ctid) THEN
        RAISE EXCEPTION 'this transaction has effects on other shards that were not carried out'
            USING ERRCODE = 'XK001', HINT = 'Write through the router.';
    END IF;
    RETURN NULL;
END
$$;

-- Takes what triggers noted in this transaction, put together by what it means for whom, in the order of the kinds that
-- is given. Every statement of a coordinated transaction asks, and most have noted nothing.
CREATE OR REPLACE FUNCTION crosskey.take_effects(kinds integer[], releases integer)
RETURNS TABLE (
    kind integer, name text, shard integer, old_keys text, new_keys text, places text,
    keeps_pins boolean
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM crosskey.effect) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH taken AS (
        DELETE FROM crosskey.effect AS e
        RETURNING e.*, (e.kind = releases AND e.new_key::text = 'true') IS TRUE AS keeps
    )
    SELECT t.kind, t.referenced_key, t.shard, json_agg(t.old_key ORDER BY t.place)::text,
           json_agg(t.new_key ORDER BY t.place)::text, json_agg(t.place ORDER BY t.place)::text, t.keeps
    FROM taken AS t GROUP BY t.kind, t.referenced_key, t.shard, t.keeps
    ORDER BY NOT t.keeps, array_position(kinds, t.kind), t.referenced_key, t.shard;
END
$$;

-- Numbers for a router: as many as it needs, and up to as many as it wants as long as the sequence has some. Those that
-- are needed and not there are PostgreSQL's own error.
CREATE OR REPLACE FUNCTION crosskey.draw_numbers(sequence regclass, needed integer, wanted integer)
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    numbers bigint[] := ARRAY(SELECT nextval(sequence) FROM generate_series(1, needed));
BEGIN
    BEGIN
        FOR further IN needed + 1 .. wanted LOOP
            numbers := numbers || nextval(sequence);
        END LOOP;
    EXCEPTION WHEN sequence_generator_limit_exceeded THEN
        NULL;
    END;
    PERFORM crosskey.keep_numbers();
    RETURN numbers;
END
$$;

-- Numbers are used by transactions of other servers. So those drawn must survive a crash of this one: this makes the
-- commit wait for the log, which otherwise it does only if this very transaction was the one to log a further 32.
CREATE OR REPLACE FUNCTION crosskey.keep_numbers() RETURNS void LANGUAGE sql AS $$
    SELECT pg_logical_emit_message(true, 'crosskey', '');
$$;

-- Moves a sequence past a number that rows have. ALTER SEQUENCE waits for whoever is drawing and keeps others from it
-- until the end of the transaction; a bare setval could move the sequence back behind a number that was just drawn.
CREATE OR REPLACE FUNCTION crosskey.advance_sequence(sequence regclass, past bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    settings pg_sequence := (SELECT s FROM pg_sequence AS s WHERE s.seqrelid = sequence);
    last numeric;
    was_given boolean;
BEGIN
    EXECUTE format('ALTER SEQUENCE %s INCREMENT BY %s', sequence, settings.seqincrement);
    EXECUTE format('SELECT last_value, is_called FROM %s', sequence) INTO last, was_given;
    -- How far ahead the number is, in the direction of the sequence.
    IF past BETWEEN settings.seqmin AND settings.seqmax
        AND ((past - last) * sign(settings.seqincrement) > 0 OR (past = last AND NOT was_given))
    THEN
        PERFORM setval(sequence, past);
    END IF;
    PERFORM crosskey.keep_numbers();
END
$$;

-- The copies of a reference table are alike only if all are written alike.
CREATE OR REPLACE FUNCTION crosskey.refuse_one_copy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'relation "%" is a reference table, and this would write the copy of one shard only', TG_TABLE_NAME
        USING ERRCODE = 'XK002', HINT = 'Write it in a request of its own; a trigger of a sharded table cannot.';
END
$$;

-- What a function of the user's writes on each shard may differ: each has its own sequences, clock and rows. A foreign
-- key's action, which PostgreSQL runs without a function, does the same everywhere. In whatever language the lines of
-- the context are: a function's names PL/.. or SQL, an action's has its statement, and Crosskey's own are in its schema.
CREATE OR REPLACE FUNCTION crosskey.refuse_write_of_function() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    context text;
BEGIN
    GET DIAGNOSTICS context = PG_CONTEXT;
    IF EXISTS (
        SELECT FROM regexp_split_to_table(context, E'\n') AS line
        WHERE line ~ 'PL/|SQL' AND line !~ 'crosskey[.]|DELETE FROM |UPDATE '
    ) THEN
        RAISE EXCEPTION 'relation "%" is a reference table, and a trigger or function would write each copy by itself',
            TG_TABLE_NAME USING ERRCODE = 'XK002', HINT = 'Write both tables in one Transact.';
    END IF;
    RETURN NULL;
END
$$;

-- A statement that was made by the plan of an older schema: its table has changed since.
CREATE OR REPLACE FUNCTION crosskey.refuse_old_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'relation "%" has changed since this statement was planned', TG_TABLE_NAME
        USING ERRCODE = 'XK009', TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
END
$$;

-- The rows that a statement answers, within a limit: a statement may be committed before anybody sees what it answers.
CREATE OR REPLACE FUNCTION crosskey.answer(rows_json text, max_bytes integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF octet_length(rows_json) > max_bytes THEN
        RAISE EXCEPTION 'too many rows to answer' USING ERRCODE = 'XK003';
    END IF;
    RETURN rows_json;
END
$$;

-- Whether a column that nobody can set is given the value that it has; another one is refused as PostgreSQL refuses it.
CREATE OR REPLACE FUNCTION crosskey.keep(stored text, given text, message text, detail text)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF stored IS DISTINCT FROM given THEN
        RAISE EXCEPTION USING MESSAGE = message, DETAIL = detail, ERRCODE = 'XK007';
    END IF;
    RETURN true;
END
$$;

-- No foreign key is asked about a TRUNCATE .. CASCADE.
CREATE OR REPLACE FUNCTION crosskey.refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'pins keep rows that other shards reference'
        USING ERRCODE = 'XK001', HINT = 'Delete the rows through the router.';
END
$$;

-- A TRUNCATE tells no trigger which rows there were.
CREATE OR REPLACE FUNCTION crosskey.refuse_truncate_without_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'changes of "%" are told as events, and TRUNCATE tells no rows', TG_TABLE_NAME
        USING ERRCODE = 'XK001', HINT = 'Delete the rows through the router.';
END
$$;

-- A shadow that is dropped as unused takes no row along, whatever the action of its key.
CREATE OR REPLACE FUNCTION crosskey.refuse_change_by_dropping() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of "%" references a shadow that is being dropped as unused', TG_TABLE_NAME
        USING ERRCODE = 'XK001', TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'crosskey_refuse_effect') THEN
        CREATE CONSTRAINT TRIGGER crosskey_refuse_effect AFTER INSERT ON crosskey.effect
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION crosskey.refuse_effect();
    END IF;
END
$$;
