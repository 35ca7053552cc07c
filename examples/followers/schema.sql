-- Who follows whom. This file also runs unchanged on a single PostgreSQL: the tags are comments.

CREATE TABLE users (
    id bigint PRIMARY KEY,
    handle text NOT NULL UNIQUE CHECK (handle <> '')
);
COMMENT ON TABLE users IS E'Whoever follows and is followed.\n@shard_by id';

-- A follow lives with its follower. Its followee may live on any shard, and is a real foreign key all the same.
CREATE TABLE follows (
    follower_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    followee_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (follower_id, followee_id),
    CHECK (follower_id <> followee_id)
);
CREATE INDEX ON follows (followee_id);
COMMENT ON TABLE follows IS E'@shard_with follower_id';
COMMENT ON CONSTRAINT follows_follower_id_fkey ON follows IS E'@inverse follows\n@through followers';
COMMENT ON CONSTRAINT follows_followee_id_fkey ON follows IS E'@inverse followed_by\n@through following';

-- The same as it is done where foreign keys end at the shard: just ids, which the application has checked before.
CREATE TABLE unchecked_follows (
    follower_id bigint NOT NULL,
    followee_id bigint NOT NULL,
    PRIMARY KEY (follower_id, followee_id)
);
COMMENT ON TABLE unchecked_follows IS E'@shard_by follower_id';
