CREATE SCHEMA "crosskey_claim_public";
CREATE TABLE "crosskey_claim_public"."users" AS SELECT "username", 0 AS "crosskey_shard" FROM "public"."users" r WITH NO DATA;
ALTER TABLE "crosskey_claim_public"."users" ADD CONSTRAINT "users_username_key" UNIQUE  ("username") DEFERRABLE INITIALLY IMMEDIATE, ADD CONSTRAINT "crosskey_once_users_username_key" UNIQUE  ("username", "crosskey_shard");
CREATE FUNCTION "crosskey"."insert_claims_users_username_key_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.users_username_key'', coalesce(crosskey.slot("k"."username"::text), 0) % 3, json_build_object(''username'', "k"."username"), NULL FROM (SELECT DISTINCT "n"."username" FROM new_rows n WHERE num_nulls("n"."username") = 0) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "n"."username" FROM new_rows n WHERE num_nulls("n"."username") = 0) k WHERE coalesce(crosskey.slot("k"."username"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public"."users" ("username", "crosskey_shard") SELECT "k"."username", 0 FROM (SELECT DISTINCT "n"."username" FROM new_rows n WHERE num_nulls("n"."username") = 0) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_users_username_key" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_insert_claims_users_username_key" AFTER INSERT ON "public"."users" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."insert_claims_users_username_key_public.users"();
CREATE FUNCTION "crosskey"."delete_claims_users_username_key_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.users_username_key'', coalesce(crosskey.slot("k"."username"::text), 0) % 3, json_build_object(''username'', "k"."username"), to_json(coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'') FROM (SELECT DISTINCT "o"."username" FROM old_rows o WHERE num_nulls("o"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."users" t WHERE "t"."username" OPERATOR(pg_catalog.=) "o"."username")) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "o"."username" FROM old_rows o WHERE num_nulls("o"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."users" t WHERE "t"."username" OPERATOR(pg_catalog.=) "o"."username")) k WHERE coalesce(crosskey.slot("k"."username"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public"."users" c USING (SELECT DISTINCT "o"."username" FROM old_rows o WHERE num_nulls("o"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."users" t WHERE "t"."username" OPERATOR(pg_catalog.=) "o"."username")) k WHERE "c"."username" OPERATOR(pg_catalog.=) "k"."username" AND c."crosskey_shard" = 0;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_delete_claims_users_username_key" AFTER DELETE ON "public"."users" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."delete_claims_users_username_key_public.users"();
CREATE FUNCTION "crosskey"."update_claims_users_username_key_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.users_username_key'', coalesce(crosskey.slot("k"."username"::text), 0) % 3, json_build_object(''username'', "k"."username"), to_json(true) FROM (SELECT OLD."username" WHERE num_nulls("old"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."users" t WHERE "t"."username" OPERATOR(pg_catalog.=) "old"."username")) k;
ELSIF EXISTS (SELECT FROM (SELECT OLD."username" WHERE num_nulls("old"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."users" t WHERE "t"."username" OPERATOR(pg_catalog.=) "old"."username")) k WHERE coalesce(crosskey.slot("k"."username"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public"."users" c USING (SELECT OLD."username" WHERE num_nulls("old"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."users" t WHERE "t"."username" OPERATOR(pg_catalog.=) "old"."username")) k WHERE "c"."username" OPERATOR(pg_catalog.=) "k"."username" AND c."crosskey_shard" = 0;
END IF;
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.users_username_key'', coalesce(crosskey.slot("k"."username"::text), 0) % 3, json_build_object(''username'', "k"."username"), NULL FROM (SELECT NEW."username" WHERE num_nulls("new"."username") = 0) k;
ELSIF EXISTS (SELECT FROM (SELECT NEW."username" WHERE num_nulls("new"."username") = 0) k WHERE coalesce(crosskey.slot("k"."username"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public"."users" ("username", "crosskey_shard") SELECT "k"."username", 0 FROM (SELECT NEW."username" WHERE num_nulls("new"."username") = 0) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_users_username_key" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_update_claims_users_username_key" AFTER UPDATE ON "public"."users" FOR EACH ROW WHEN (ROW(OLD."username") IS DISTINCT FROM ROW(NEW."username")) EXECUTE FUNCTION "crosskey"."update_claims_users_username_key_public.users"();
CREATE SCHEMA "crosskey_shadow_public";
CREATE TABLE "crosskey_shadow_public"."users" AS SELECT "id" FROM "public"."users" WITH NO DATA;
ALTER TABLE "crosskey_shadow_public"."users" ADD CONSTRAINT "users_pkey" UNIQUE ("id");
CREATE TABLE "crosskey"."pin_public_users_id" AS SELECT "id", 0 AS "crosskey_shard" FROM "public"."users" WITH NO DATA;
ALTER TABLE "crosskey"."pin_public_users_id" ADD PRIMARY KEY ("id", "crosskey_shard"), ADD CONSTRAINT "crosskey_pinned" FOREIGN KEY ("id") REFERENCES "public"."users" ("id") DEFERRABLE INITIALLY IMMEDIATE;
CREATE TRIGGER crosskey_kept BEFORE TRUNCATE ON "crosskey"."pin_public_users_id" EXECUTE FUNCTION crosskey.refuse_truncate();
ALTER TABLE "public"."comment_likes" ALTER CONSTRAINT "comment_likes_comment_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."comment_likes" DROP CONSTRAINT "comment_likes_liker_id_fkey";
ALTER TABLE "public"."comment_likes" ADD CONSTRAINT "comment_likes_liker_id_fkey" FOREIGN KEY ("liker_id") REFERENCES "crosskey_shadow_public"."users" ("id") MATCH SIMPLE ON DELETE CASCADE ON UPDATE NO ACTION DEFERRABLE INITIALLY IMMEDIATE;
COMMENT ON CONSTRAINT "comment_likes_liker_id_fkey" ON "public"."comment_likes" IS '@through likers';
ALTER TABLE "public"."comments" DROP CONSTRAINT "comments_author_id_fkey";
ALTER TABLE "public"."comments" ADD CONSTRAINT "comments_author_id_fkey" FOREIGN KEY ("author_id") REFERENCES "crosskey_shadow_public"."users" ("id") MATCH SIMPLE ON DELETE CASCADE ON UPDATE NO ACTION DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."comments" ALTER CONSTRAINT "comments_media_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."follows" DROP CONSTRAINT "follows_followee_id_fkey";
ALTER TABLE "public"."follows" ADD CONSTRAINT "follows_followee_id_fkey" FOREIGN KEY ("followee_id") REFERENCES "crosskey_shadow_public"."users" ("id") MATCH SIMPLE ON DELETE CASCADE ON UPDATE NO ACTION DEFERRABLE INITIALLY IMMEDIATE;
COMMENT ON CONSTRAINT "follows_followee_id_fkey" ON "public"."follows" IS '@inverse followed_by
@through following';
ALTER TABLE "public"."follows" ALTER CONSTRAINT "follows_follower_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."media" ALTER CONSTRAINT "media_owner_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."media_likes" DROP CONSTRAINT "media_likes_liker_id_fkey";
ALTER TABLE "public"."media_likes" ADD CONSTRAINT "media_likes_liker_id_fkey" FOREIGN KEY ("liker_id") REFERENCES "crosskey_shadow_public"."users" ("id") MATCH SIMPLE ON DELETE CASCADE ON UPDATE NO ACTION DEFERRABLE INITIALLY IMMEDIATE;
COMMENT ON CONSTRAINT "media_likes_liker_id_fkey" ON "public"."media_likes" IS '@through likers';
ALTER TABLE "public"."media_likes" ALTER CONSTRAINT "media_likes_media_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
CREATE FUNCTION "crosskey"."rekey_crosskey_shadow_public.users"(old_keys json, new_keys json) RETURNS void LANGUAGE plpgsql AS 'DECLARE
    k record;
BEGIN
    FOR k IN
        SELECT * FROM ROWS FROM (
            json_populate_recordset(NULL::"crosskey_shadow_public"."users", old_keys),
            json_populate_recordset(NULL::"crosskey_shadow_public"."users", new_keys)
        ) WITH ORDINALITY AS k("old_0", "new_0", place)
        ORDER BY place
    LOOP
        UPDATE "crosskey_shadow_public"."users" s SET ("id") = ROW("k"."new_0") WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."old_0";
        IF NOT ROW("k"."new_0") IS NOT NULL THEN
            DELETE FROM "crosskey_shadow_public"."users" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."new_0" AND NOT ROW("s"."id") IS NOT NULL;
        END IF;
    END LOOP;
END';
CREATE FUNCTION "crosskey"."left_by_update_crosskey_shadow_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM old_rows k
WHERE (EXISTS (SELECT FROM "public"."comment_likes" c WHERE "k"."id" OPERATOR(pg_catalog.=) "c"."liker_id") OR EXISTS (SELECT FROM "public"."comments" c WHERE "k"."id" OPERATOR(pg_catalog.=) "c"."author_id") OR EXISTS (SELECT FROM "public"."follows" c WHERE "k"."id" OPERATOR(pg_catalog.=) "c"."followee_id") OR EXISTS (SELECT FROM "public"."media_likes" c WHERE "k"."id" OPERATOR(pg_catalog.=) "c"."liker_id")) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."users" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_left_by_update" AFTER UPDATE ON "crosskey_shadow_public"."users" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."left_by_update_crosskey_shadow_public.users"();
ALTER TABLE "public"."comment_likes" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("comment_id"::uuid) % 3 = 0);
CREATE FUNCTION "crosskey"."arrived_insert_public.comment_likes"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH k AS MATERIALIZED (SELECT DISTINCT "n"."liker_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."liker_id") = 0),
held AS MATERIALIZED (
    SELECT "s"."id" FROM "crosskey_shadow_public"."users" s JOIN k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM k
WHERE (true) AND NOT EXISTS (SELECT FROM held s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.comment_likes'', crosskey.slot("k"."comment_id"::uuid) % 3, json_build_object(''comment_id'', "k"."comment_id") FROM (SELECT DISTINCT n."comment_id" FROM new_rows n) k WHERE crosskey.slot("k"."comment_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "comment_likes", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.comment_likes'', crosskey.slot("k"."comment_id"::uuid) % 3, json_build_object(''comment_id'', "k"."comment_id") FROM (SELECT DISTINCT n."comment_id" FROM new_rows n) k WHERE crosskey.slot("k"."comment_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."comment_likes" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.comment_likes"();
CREATE FUNCTION "crosskey"."arrived_update_public.comment_likes"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
PERFORM FROM "crosskey_shadow_public"."users" s JOIN (SELECT DISTINCT "n"."liker_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."liker_id") = 0 EXCEPT SELECT DISTINCT "n"."liker_id" AS "id" FROM "old_rows" n WHERE num_nulls("n"."liker_id") = 0) k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s;
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT "n"."liker_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."liker_id") = 0) k
WHERE (true) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."users" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.comment_likes'', crosskey.slot("k"."comment_id"::uuid) % 3, json_build_object(''comment_id'', "k"."comment_id") FROM (SELECT DISTINCT n."comment_id" FROM new_rows n) k WHERE crosskey.slot("k"."comment_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "comment_likes", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.comment_likes'', crosskey.slot("k"."comment_id"::uuid) % 3, json_build_object(''comment_id'', "k"."comment_id") FROM (SELECT DISTINCT n."comment_id" FROM new_rows n) k WHERE crosskey.slot("k"."comment_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."comment_likes" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.comment_likes"();
CREATE TRIGGER crosskey_not_dropped AFTER UPDATE OR DELETE ON "public"."comment_likes" FOR EACH ROW WHEN (coalesce(current_setting('crosskey.dropping', true), '') = 'on') EXECUTE FUNCTION crosskey.refuse_change_by_dropping();
ALTER TABLE "public"."comments" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("media_id"::uuid) % 3 = 0), ADD CONSTRAINT "crosskey_slot" CHECK (crosskey.slot("id"::uuid) = crosskey.slot("media_id"::uuid));
CREATE FUNCTION "crosskey"."arrived_insert_public.comments"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH k AS MATERIALIZED (SELECT DISTINCT "n"."author_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."author_id") = 0),
held AS MATERIALIZED (
    SELECT "s"."id" FROM "crosskey_shadow_public"."users" s JOIN k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM k
WHERE (true) AND NOT EXISTS (SELECT FROM held s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.comments'', crosskey.slot("k"."media_id"::uuid) % 3, json_build_object(''media_id'', "k"."media_id") FROM (SELECT DISTINCT n."media_id" FROM new_rows n) k WHERE crosskey.slot("k"."media_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "comments", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.comments'', crosskey.slot("k"."media_id"::uuid) % 3, json_build_object(''media_id'', "k"."media_id") FROM (SELECT DISTINCT n."media_id" FROM new_rows n) k WHERE crosskey.slot("k"."media_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."comments" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.comments"();
CREATE FUNCTION "crosskey"."arrived_update_public.comments"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
PERFORM FROM "crosskey_shadow_public"."users" s JOIN (SELECT DISTINCT "n"."author_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."author_id") = 0 EXCEPT SELECT DISTINCT "n"."author_id" AS "id" FROM "old_rows" n WHERE num_nulls("n"."author_id") = 0) k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s;
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT "n"."author_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."author_id") = 0) k
WHERE (true) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."users" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.comments'', crosskey.slot("k"."media_id"::uuid) % 3, json_build_object(''media_id'', "k"."media_id") FROM (SELECT DISTINCT n."media_id" FROM new_rows n) k WHERE crosskey.slot("k"."media_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "comments", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.comments'', crosskey.slot("k"."media_id"::uuid) % 3, json_build_object(''media_id'', "k"."media_id") FROM (SELECT DISTINCT n."media_id" FROM new_rows n) k WHERE crosskey.slot("k"."media_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."comments" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.comments"();
CREATE TRIGGER crosskey_not_dropped AFTER UPDATE OR DELETE ON "public"."comments" FOR EACH ROW WHEN (coalesce(current_setting('crosskey.dropping', true), '') = 'on') EXECUTE FUNCTION crosskey.refuse_change_by_dropping();
ALTER TABLE "public"."follows" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("follower_id"::uuid) % 3 = 0);
CREATE FUNCTION "crosskey"."arrived_insert_public.follows"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH k AS MATERIALIZED (SELECT DISTINCT "n"."followee_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."followee_id") = 0),
held AS MATERIALIZED (
    SELECT "s"."id" FROM "crosskey_shadow_public"."users" s JOIN k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM k
WHERE (true) AND NOT EXISTS (SELECT FROM held s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.follows'', crosskey.slot("k"."follower_id"::uuid) % 3, json_build_object(''follower_id'', "k"."follower_id") FROM (SELECT DISTINCT n."follower_id" FROM new_rows n) k WHERE crosskey.slot("k"."follower_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "follows", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.follows'', crosskey.slot("k"."follower_id"::uuid) % 3, json_build_object(''follower_id'', "k"."follower_id") FROM (SELECT DISTINCT n."follower_id" FROM new_rows n) k WHERE crosskey.slot("k"."follower_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."follows" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.follows"();
CREATE FUNCTION "crosskey"."arrived_update_public.follows"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
PERFORM FROM "crosskey_shadow_public"."users" s JOIN (SELECT DISTINCT "n"."followee_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."followee_id") = 0 EXCEPT SELECT DISTINCT "n"."followee_id" AS "id" FROM "old_rows" n WHERE num_nulls("n"."followee_id") = 0) k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s;
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT "n"."followee_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."followee_id") = 0) k
WHERE (true) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."users" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.follows'', crosskey.slot("k"."follower_id"::uuid) % 3, json_build_object(''follower_id'', "k"."follower_id") FROM (SELECT DISTINCT n."follower_id" FROM new_rows n) k WHERE crosskey.slot("k"."follower_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "follows", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.follows'', crosskey.slot("k"."follower_id"::uuid) % 3, json_build_object(''follower_id'', "k"."follower_id") FROM (SELECT DISTINCT n."follower_id" FROM new_rows n) k WHERE crosskey.slot("k"."follower_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."follows" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.follows"();
CREATE TRIGGER crosskey_not_dropped AFTER UPDATE OR DELETE ON "public"."follows" FOR EACH ROW WHEN (coalesce(current_setting('crosskey.dropping', true), '') = 'on') EXECUTE FUNCTION crosskey.refuse_change_by_dropping();
ALTER TABLE "public"."media" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("owner_id"::uuid) % 3 = 0), ADD CONSTRAINT "crosskey_slot" CHECK (crosskey.slot("id"::uuid) = crosskey.slot("owner_id"::uuid));
CREATE FUNCTION "crosskey"."arrived_insert_public.media"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.media'', crosskey.slot("k"."owner_id"::uuid) % 3, json_build_object(''owner_id'', "k"."owner_id") FROM (SELECT DISTINCT n."owner_id" FROM new_rows n) k WHERE crosskey.slot("k"."owner_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "media", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.media'', crosskey.slot("k"."owner_id"::uuid) % 3, json_build_object(''owner_id'', "k"."owner_id") FROM (SELECT DISTINCT n."owner_id" FROM new_rows n) k WHERE crosskey.slot("k"."owner_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."media" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.media"();
CREATE FUNCTION "crosskey"."arrived_update_public.media"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.media'', crosskey.slot("k"."owner_id"::uuid) % 3, json_build_object(''owner_id'', "k"."owner_id") FROM (SELECT DISTINCT n."owner_id" FROM new_rows n) k WHERE crosskey.slot("k"."owner_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "media", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.media'', crosskey.slot("k"."owner_id"::uuid) % 3, json_build_object(''owner_id'', "k"."owner_id") FROM (SELECT DISTINCT n."owner_id" FROM new_rows n) k WHERE crosskey.slot("k"."owner_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."media" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.media"();
ALTER TABLE "public"."media_likes" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("media_id"::uuid) % 3 = 0);
CREATE FUNCTION "crosskey"."arrived_insert_public.media_likes"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH k AS MATERIALIZED (SELECT DISTINCT "n"."liker_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."liker_id") = 0),
held AS MATERIALIZED (
    SELECT "s"."id" FROM "crosskey_shadow_public"."users" s JOIN k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM k
WHERE (true) AND NOT EXISTS (SELECT FROM held s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.media_likes'', crosskey.slot("k"."media_id"::uuid) % 3, json_build_object(''media_id'', "k"."media_id") FROM (SELECT DISTINCT n."media_id" FROM new_rows n) k WHERE crosskey.slot("k"."media_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "media_likes", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.media_likes'', crosskey.slot("k"."media_id"::uuid) % 3, json_build_object(''media_id'', "k"."media_id") FROM (SELECT DISTINCT n."media_id" FROM new_rows n) k WHERE crosskey.slot("k"."media_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."media_likes" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.media_likes"();
CREATE FUNCTION "crosskey"."arrived_update_public.media_likes"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
PERFORM FROM "crosskey_shadow_public"."users" s JOIN (SELECT DISTINCT "n"."liker_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."liker_id") = 0 EXCEPT SELECT DISTINCT "n"."liker_id" AS "id" FROM "old_rows" n WHERE num_nulls("n"."liker_id") = 0) k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s;
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT "n"."liker_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."liker_id") = 0) k
WHERE (true) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."users" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.media_likes'', crosskey.slot("k"."media_id"::uuid) % 3, json_build_object(''media_id'', "k"."media_id") FROM (SELECT DISTINCT n."media_id" FROM new_rows n) k WHERE crosskey.slot("k"."media_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "media_likes", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.media_likes'', crosskey.slot("k"."media_id"::uuid) % 3, json_build_object(''media_id'', "k"."media_id") FROM (SELECT DISTINCT n."media_id" FROM new_rows n) k WHERE crosskey.slot("k"."media_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."media_likes" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.media_likes"();
CREATE TRIGGER crosskey_not_dropped AFTER UPDATE OR DELETE ON "public"."media_likes" FOR EACH ROW WHEN (coalesce(current_setting('crosskey.dropping', true), '') = 'on') EXECUTE FUNCTION crosskey.refuse_change_by_dropping();
ALTER TABLE "public"."users" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("id"::uuid) % 3 = 0);
CREATE FUNCTION "crosskey"."arrived_insert_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.users'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "users", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.users'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."users" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.users"();
CREATE FUNCTION "crosskey"."arrived_update_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.users'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "users", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.users'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."users" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.users"();
CREATE FUNCTION "crosskey"."departed_delete_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH gone AS (DELETE FROM "crosskey"."pin_public_users_id" p USING old_rows o WHERE "p"."id" OPERATOR(pg_catalog.=) "o"."id" RETURNING p.*)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
SELECT
    CASE WHEN coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'' THEN 12 ELSE 5 END,
    ''public.users(id)'',
    CASE WHEN coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'' THEN crosskey.slot("gone"."id"::uuid) % 3 ELSE gone."crosskey_shard" END,
    json_build_object(''id'', "gone"."id"),
    to_json(gone."crosskey_shard")
FROM gone;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_departed_delete" AFTER DELETE ON "public"."users" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."departed_delete_public.users"();
CREATE FUNCTION "crosskey"."crosskey_1_rekeyed_0_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH gone AS (DELETE FROM "crosskey"."pin_public_users_id" p WHERE "p"."id" OPERATOR(pg_catalog.=) "old"."id" RETURNING p."crosskey_shard"),
pinned AS (
    INSERT INTO "crosskey"."pin_public_users_id" ("id", "crosskey_shard")
    SELECT "new"."id", gone."crosskey_shard" FROM gone WHERE num_nulls("new"."id") = 0
    ON CONFLICT DO NOTHING
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
SELECT 6, ''public.users(id)'', gone."crosskey_shard", json_build_object(''id'', "old"."id"), json_build_object(''id'', "new"."id") FROM gone;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_rekeyed_0" AFTER UPDATE ON "public"."users" FOR EACH ROW WHEN (record_image_ne(ROW(OLD."id"), ROW(NEW."id")) AND coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."crosskey_1_rekeyed_0_public.users"();
CREATE FUNCTION "crosskey"."crosskey_kept_key_0_public.users"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF EXISTS (SELECT FROM "crosskey"."pin_public_users_id" p WHERE "p"."id" OPERATOR(pg_catalog.=) "old"."id") THEN
    RAISE foreign_key_violation USING MESSAGE = ''other shards reference this row'', HINT = ''Write through the router.'';
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_kept_key_0" AFTER UPDATE ON "public"."users" FOR EACH ROW WHEN (record_image_ne(ROW(OLD."id"), ROW(NEW."id")) AND NOT coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."crosskey_kept_key_0_public.users"();
