"""Schemas of well-known kinds, without a word on placement."""

MESSENGER = """
CREATE TABLE languages (code text PRIMARY KEY, name text NOT NULL);
COMMENT ON TABLE languages IS E'Languages that users speak; it''s a list.\\nC:\\\\n';
CREATE TABLE users (id uuid PRIMARY KEY, name text NOT NULL, language text NOT NULL REFERENCES languages);
CREATE TABLE accounts (id uuid PRIMARY KEY, username text NOT NULL UNIQUE, email text NOT NULL UNIQUE);
CREATE TABLE users_accounts (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    PRIMARY KEY (user_id, account_id)
);
CREATE TABLE follows (
    follower_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    followee_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (follower_id, followee_id)
);
CREATE TABLE messages (
    id uuid PRIMARY KEY,
    recipient_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    sender_id uuid NOT NULL REFERENCES users ON DELETE RESTRICT
)
"""

TENANTS = """
CREATE TABLE tenants (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE projects (
    tenant_id bigint NOT NULL REFERENCES tenants,
    id bigserial NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE tasks (
    tenant_id bigint NOT NULL,
    project_id bigint NOT NULL,
    id bigserial NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects ON DELETE CASCADE
);
CREATE TABLE notes (
    tenant_id bigint NOT NULL,
    task_id bigint NOT NULL,
    id uuid PRIMARY KEY,
    FOREIGN KEY (tenant_id, task_id) REFERENCES tasks ON DELETE CASCADE
);
"""

INSTAGRAM = """
CREATE TABLE users (id uuid PRIMARY KEY, username text NOT NULL UNIQUE);
CREATE TABLE media (id uuid PRIMARY KEY, owner_id uuid NOT NULL REFERENCES users ON DELETE CASCADE);
CREATE TABLE comments (
    id uuid PRIMARY KEY,
    author_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    media_id uuid NOT NULL REFERENCES media ON DELETE CASCADE
);
CREATE TABLE likes (
    liker_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    comment_id uuid NOT NULL REFERENCES comments ON DELETE CASCADE,
    PRIMARY KEY (comment_id, liker_id)
);
"""

DISCORD = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE guilds (id bigint PRIMARY KEY, owner_id bigint NOT NULL REFERENCES users);
CREATE TABLE channels (id uuid PRIMARY KEY, guild_id bigint NOT NULL REFERENCES guilds ON DELETE CASCADE);
CREATE TABLE messages (
    id uuid PRIMARY KEY,
    author_id bigint NOT NULL REFERENCES users,
    channel_id uuid NOT NULL REFERENCES channels ON DELETE CASCADE,
    content text NOT NULL
);
"""

ORDERS = """
CREATE SCHEMA shop;
CREATE TABLE shop."user" (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE countries (code char(2) PRIMARY KEY, name text NOT NULL);
CREATE TABLE products (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE "Order" (
    id uuid PRIMARY KEY,
    "Customer" bigint NOT NULL REFERENCES shop."user",
    country char(2) NOT NULL REFERENCES countries,
    placed_at timestamptz NOT NULL
);
CREATE TABLE order_items (
    order_id uuid NOT NULL REFERENCES "Order" ON DELETE CASCADE,
    product_id bigint NOT NULL REFERENCES products,
    line integer NOT NULL,
    PRIMARY KEY (order_id, line)
);
"""
