-- Everything by user, and edges between users both ways. This file also runs unchanged on a single PostgreSQL.

CREATE TABLE users (
    id bigint PRIMARY KEY,
    name text NOT NULL CHECK (name <> '')
);
COMMENT ON TABLE users IS E'Whom everything belongs to.\n@shard_by id';

CREATE TABLE profiles (
    user_id bigint PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    bio text NOT NULL DEFAULT ''
);
COMMENT ON TABLE profiles IS E'@shard_with user_id';

CREATE TABLE posts (
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    id bigint NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (user_id, id)
);
COMMENT ON TABLE posts IS E'@shard_with user_id';

-- A friendship is two edges, one with each of the two, so that everyone's friends are with them. The last key says that
-- each edge has its other half; it is checked at the end of the transaction that writes both.
CREATE TABLE friends (
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    friend_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    since date NOT NULL,
    PRIMARY KEY (user_id, friend_id),
    CHECK (user_id <> friend_id),
    CONSTRAINT friends_both_ways FOREIGN KEY (friend_id, user_id) REFERENCES friends (user_id, friend_id)
        ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX ON friends (friend_id, user_id);
COMMENT ON TABLE friends IS E'@shard_with user_id';
COMMENT ON CONSTRAINT friends_user_id_fkey ON friends IS E'@inverse edges\n@through friend_of';
COMMENT ON CONSTRAINT friends_friend_id_fkey ON friends IS E'@inverse edges_back\n@through friends';
COMMENT ON CONSTRAINT friends_both_ways ON friends IS E'@relation other_half\n@inverse other_half_of';

-- A like lives with what is liked. Who likes it may live on any shard.
CREATE TABLE likes (
    author_id bigint NOT NULL,
    post_id bigint NOT NULL,
    liker_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (author_id, post_id, liker_id),
    CONSTRAINT likes_post FOREIGN KEY (author_id, post_id) REFERENCES posts ON DELETE CASCADE
);
CREATE INDEX ON likes (liker_id);
COMMENT ON TABLE likes IS E'@shard_by author_id';
COMMENT ON CONSTRAINT likes_liker_id_fkey ON likes IS E'@through likers';
COMMENT ON CONSTRAINT likes_post ON likes IS E'@relation post\n@through liked_posts';
