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
