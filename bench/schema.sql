-- Also loaded as it is by the plain sides: the tags are comments.

CREATE TABLE people (
    id uuid PRIMARY KEY,
    name text NOT NULL
);
COMMENT ON TABLE people IS '@shard_by id';

-- The only foreign key, so that the table and its twin differ by nothing else.
CREATE TABLE follows (
    follower_id uuid NOT NULL,
    followee_id uuid NOT NULL REFERENCES people ON DELETE CASCADE,
    weight integer NOT NULL DEFAULT 1,
    PRIMARY KEY (follower_id, followee_id)
);
CREATE INDEX ON follows (followee_id);
COMMENT ON TABLE follows IS '@shard_by follower_id';

CREATE TABLE follows_without_key (
    follower_id uuid NOT NULL,
    followee_id uuid NOT NULL,
    weight integer NOT NULL DEFAULT 1,
    PRIMARY KEY (follower_id, followee_id)
);
CREATE INDEX ON follows_without_key (followee_id);
COMMENT ON TABLE follows_without_key IS '@shard_by follower_id';

-- The username is unique over all shards, and says nothing of its account's shard; in the twin it is not unique.
CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    username text NOT NULL UNIQUE
);
COMMENT ON TABLE accounts IS '@shard_by id';

CREATE TABLE accounts_without_unique (
    id uuid PRIMARY KEY,
    username text NOT NULL
);
CREATE INDEX ON accounts_without_unique (username);
COMMENT ON TABLE accounts_without_unique IS '@shard_by id';

-- Messages with their senders and replies, each of which lives elsewhere.
CREATE TABLE messages (
    id uuid PRIMARY KEY,
    sender_id uuid NOT NULL REFERENCES people,
    content text NOT NULL
);
CREATE INDEX ON messages (sender_id);
COMMENT ON TABLE messages IS '@shard_by id';

CREATE TABLE replies (
    id uuid PRIMARY KEY,
    message_id uuid NOT NULL REFERENCES messages,
    content text NOT NULL
);
CREATE INDEX ON replies (message_id);
COMMENT ON TABLE replies IS '@shard_by id';

CREATE TABLE sales (
    id uuid PRIMARY KEY,
    region integer NOT NULL,
    amount numeric(10, 2) NOT NULL
);
COMMENT ON TABLE sales IS '@shard_by id';

-- What copies, events and eventual clean-up cost, each beside the same without.
CREATE TABLE authors (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    avatar text NOT NULL
);
COMMENT ON TABLE authors IS '@shard_by id';

CREATE TABLE essays (
    id uuid PRIMARY KEY,
    author_id uuid NOT NULL REFERENCES authors ON DELETE CASCADE,
    author_name text,
    author_avatar text
);
CREATE INDEX ON essays (author_id);
COMMENT ON TABLE essays IS '@shard_by id';

CREATE TABLE essays_with_copies (
    id uuid PRIMARY KEY,
    author_id uuid NOT NULL REFERENCES authors ON DELETE CASCADE,
    author_name text,
    author_avatar text
);
CREATE INDEX ON essays_with_copies (author_id);
COMMENT ON TABLE essays_with_copies IS '@shard_by id';
COMMENT ON COLUMN essays_with_copies.author_name IS '@copy author_id.name';
COMMENT ON COLUMN essays_with_copies.author_avatar IS '@copy author_id.avatar';

CREATE TABLE notes (
    id uuid PRIMARY KEY,
    content text NOT NULL
);
COMMENT ON TABLE notes IS '@shard_by id';

CREATE TABLE notes_with_events (
    id uuid PRIMARY KEY,
    content text NOT NULL
);
COMMENT ON TABLE notes_with_events IS E'@shard_by id\n@events';

CREATE TABLE drivers (id uuid PRIMARY KEY);
COMMENT ON TABLE drivers IS '@shard_by id';

CREATE TABLE trips (
    id uuid PRIMARY KEY,
    driver_id uuid NOT NULL CONSTRAINT trips_driver REFERENCES drivers ON DELETE CASCADE
);
CREATE INDEX ON trips (driver_id);
COMMENT ON TABLE trips IS '@shard_by id';
COMMENT ON CONSTRAINT trips_driver ON trips IS '@enforce eventual';
