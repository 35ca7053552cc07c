-- Articles and their authors. This file also runs unchanged on a single PostgreSQL: the tags are comments.

CREATE TABLE authors (
    id bigint PRIMARY KEY,
    name text NOT NULL CHECK (name <> '')
);
COMMENT ON TABLE authors IS '@shard_by id';

-- The name is a live copy, so a change of it is a change of each article, and the index hears of it.
CREATE TABLE articles (
    id bigint PRIMARY KEY,
    author_id bigint NOT NULL REFERENCES authors ON DELETE CASCADE,
    author_name text NOT NULL,
    title text NOT NULL,
    body text NOT NULL
);
CREATE INDEX ON articles (author_id);
COMMENT ON TABLE articles IS E'@shard_by id\n@events';
COMMENT ON COLUMN articles.author_name IS '@copy author_id.name';
