-- A small messenger. This file also runs unchanged on a single PostgreSQL: the tags are comments.

CREATE TABLE languages (
    code text PRIMARY KEY,
    name text NOT NULL
);
COMMENT ON TABLE languages IS E'Languages that users speak.\n@reference';

CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL CHECK (name <> ''),
    language text NOT NULL DEFAULT 'fr' REFERENCES languages ON DELETE RESTRICT
);
COMMENT ON TABLE users IS E'Whoever writes and reads.\n@shard_by id';

-- What one logs in with. A username and an e-mail address are taken once, whichever shard the account lives on.
CREATE TABLE accounts (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username text NOT NULL UNIQUE CHECK (username <> ''),
    email text NOT NULL UNIQUE,
    password_hash text
);
COMMENT ON TABLE accounts IS E'@shard_by id';

-- A user may have several accounts, and several users may share one. The row lives with its user.
CREATE TABLE users_accounts (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    PRIMARY KEY (user_id, account_id)
);
CREATE INDEX ON users_accounts (account_id);
COMMENT ON TABLE users_accounts IS E'@shard_with user_id';

-- One at most for each user, and on the user's shard.
CREATE TABLE profiles (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    bio text NOT NULL DEFAULT ''
);
COMMENT ON TABLE profiles IS E'@shard_with user_id';

-- Who follows whom. A follow lives with its follower; its followee may live on any shard.
CREATE TABLE follows (
    follower_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    followee_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    weight integer NOT NULL DEFAULT 1,
    PRIMARY KEY (follower_id, followee_id)
);
CREATE INDEX ON follows (followee_id);
COMMENT ON TABLE follows IS E'@shard_by follower_id';
COMMENT ON CONSTRAINT follows_follower_id_fkey ON follows IS E'@inverse follows\n@through followers';
COMMENT ON CONSTRAINT follows_followee_id_fkey ON follows IS E'@inverse followed_by\n@through following';

-- Messages live in the inbox of their recipient. Who has sent one cannot vanish; who goes takes the inbox along.
CREATE TABLE messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    recipient_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    sender_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT,
    content text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON messages (recipient_id, sent_at);
CREATE INDEX ON messages (sender_id);
COMMENT ON TABLE messages IS E'@shard_by recipient_id';
COMMENT ON CONSTRAINT messages_recipient_id_fkey ON messages IS '@inverse inbox';
COMMENT ON CONSTRAINT messages_sender_id_fkey ON messages IS '@inverse sent_messages';
