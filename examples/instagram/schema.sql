-- Photos, what is said about them, and who likes that. This file also runs unchanged on a single PostgreSQL.

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username text NOT NULL UNIQUE CHECK (username <> '')
);
COMMENT ON TABLE users IS E'Whoever posts and looks.\n@shard_by id';

-- A user's photos and films, with the user.
CREATE TABLE media (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    caption text NOT NULL DEFAULT '',
    posted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON media (owner_id, posted_at);
COMMENT ON TABLE media IS E'@shard_with owner_id';

-- Comments live with what they are about, so a page is read on one shard. Their authors may live on any.
CREATE TABLE comments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    media_id uuid NOT NULL REFERENCES media ON DELETE CASCADE,
    author_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    content text NOT NULL CHECK (content <> ''),
    written_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON comments (media_id, written_at);
CREATE INDEX ON comments (author_id);
COMMENT ON TABLE comments IS E'@shard_with media_id';

-- Likes live with what is liked.
CREATE TABLE media_likes (
    media_id uuid NOT NULL REFERENCES media ON DELETE CASCADE,
    liker_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (media_id, liker_id)
);
CREATE INDEX ON media_likes (liker_id);
COMMENT ON TABLE media_likes IS E'@shard_with media_id';
COMMENT ON CONSTRAINT media_likes_media_id_fkey ON media_likes IS '@through liked_media';
COMMENT ON CONSTRAINT media_likes_liker_id_fkey ON media_likes IS '@through likers';

CREATE TABLE comment_likes (
    comment_id uuid NOT NULL REFERENCES comments ON DELETE CASCADE,
    liker_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (comment_id, liker_id)
);
CREATE INDEX ON comment_likes (liker_id);
COMMENT ON TABLE comment_likes IS E'@shard_with comment_id';
COMMENT ON CONSTRAINT comment_likes_comment_id_fkey ON comment_likes IS '@through liked_comments';
COMMENT ON CONSTRAINT comment_likes_liker_id_fkey ON comment_likes IS '@through likers';

-- A follow lives with its follower.
CREATE TABLE follows (
    follower_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    followee_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (follower_id, followee_id),
    CHECK (follower_id <> followee_id)
);
CREATE INDEX ON follows (followee_id);
COMMENT ON TABLE follows IS E'@shard_with follower_id';
COMMENT ON CONSTRAINT follows_follower_id_fkey ON follows IS E'@inverse follows\n@through followers';
COMMENT ON CONSTRAINT follows_followee_id_fkey ON follows IS E'@inverse followed_by\n@through following';
