-- Channels and what is said in them. This file also runs unchanged on a single PostgreSQL: the tags are comments.

-- Ids are made by the application, as Discord's snowflakes are.
CREATE TABLE users (
    id bigint PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    avatar text NOT NULL DEFAULT 'grey.png'
);
COMMENT ON TABLE users IS E'Whoever writes.\n@shard_by id';

CREATE TABLE channels (
    id bigint PRIMARY KEY,
    name text NOT NULL CHECK (name <> '')
);
COMMENT ON TABLE channels IS E'Where one writes.\n@shard_by id';

-- A message lives with its channel, so a channel's history is read on one shard. Its author may live on any. When an
-- author leaves, the messages stay, as those of a deleted user.
CREATE TABLE messages (
    channel_id bigint NOT NULL REFERENCES channels ON DELETE CASCADE,
    id bigint NOT NULL,
    author_id bigint REFERENCES users ON DELETE SET NULL,
    content text NOT NULL,
    PRIMARY KEY (channel_id, id)
);
CREATE INDEX ON messages (author_id, id);
COMMENT ON TABLE messages IS E'@shard_with channel_id';
