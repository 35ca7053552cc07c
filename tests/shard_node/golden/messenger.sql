CREATE SCHEMA "crosskey_claim_public";
CREATE SCHEMA "crosskey_claim_public_2";
CREATE TABLE "crosskey_claim_public"."accounts" AS SELECT "email", 0 AS "crosskey_shard" FROM "public"."accounts" r WITH NO DATA;
ALTER TABLE "crosskey_claim_public"."accounts" ADD CONSTRAINT "accounts_email_key" UNIQUE  ("email") DEFERRABLE INITIALLY IMMEDIATE, ADD CONSTRAINT "crosskey_once_accounts_email_key" UNIQUE  ("email", "crosskey_shard");
CREATE FUNCTION "crosskey"."insert_claims_accounts_email_key_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.accounts_email_key'', coalesce(crosskey.slot("k"."email"::text), 0) % 3, json_build_object(''email'', "k"."email"), NULL FROM (SELECT DISTINCT "n"."email" FROM new_rows n WHERE num_nulls("n"."email") = 0) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "n"."email" FROM new_rows n WHERE num_nulls("n"."email") = 0) k WHERE coalesce(crosskey.slot("k"."email"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public"."accounts" ("email", "crosskey_shard") SELECT "k"."email", 0 FROM (SELECT DISTINCT "n"."email" FROM new_rows n WHERE num_nulls("n"."email") = 0) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_accounts_email_key" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_insert_claims_accounts_email_key" AFTER INSERT ON "public"."accounts" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."insert_claims_accounts_email_key_public.accounts"();
CREATE FUNCTION "crosskey"."delete_claims_accounts_email_key_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.accounts_email_key'', coalesce(crosskey.slot("k"."email"::text), 0) % 3, json_build_object(''email'', "k"."email"), to_json(coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'') FROM (SELECT DISTINCT "o"."email" FROM old_rows o WHERE num_nulls("o"."email") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."email" OPERATOR(pg_catalog.=) "o"."email")) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "o"."email" FROM old_rows o WHERE num_nulls("o"."email") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."email" OPERATOR(pg_catalog.=) "o"."email")) k WHERE coalesce(crosskey.slot("k"."email"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public"."accounts" c USING (SELECT DISTINCT "o"."email" FROM old_rows o WHERE num_nulls("o"."email") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."email" OPERATOR(pg_catalog.=) "o"."email")) k WHERE "c"."email" OPERATOR(pg_catalog.=) "k"."email" AND c."crosskey_shard" = 0;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_delete_claims_accounts_email_key" AFTER DELETE ON "public"."accounts" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."delete_claims_accounts_email_key_public.accounts"();
CREATE FUNCTION "crosskey"."update_claims_accounts_email_key_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.accounts_email_key'', coalesce(crosskey.slot("k"."email"::text), 0) % 3, json_build_object(''email'', "k"."email"), to_json(true) FROM (SELECT OLD."email" WHERE num_nulls("old"."email") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."email" OPERATOR(pg_catalog.=) "old"."email")) k;
ELSIF EXISTS (SELECT FROM (SELECT OLD."email" WHERE num_nulls("old"."email") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."email" OPERATOR(pg_catalog.=) "old"."email")) k WHERE coalesce(crosskey.slot("k"."email"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public"."accounts" c USING (SELECT OLD."email" WHERE num_nulls("old"."email") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."email" OPERATOR(pg_catalog.=) "old"."email")) k WHERE "c"."email" OPERATOR(pg_catalog.=) "k"."email" AND c."crosskey_shard" = 0;
END IF;
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.accounts_email_key'', coalesce(crosskey.slot("k"."email"::text), 0) % 3, json_build_object(''email'', "k"."email"), NULL FROM (SELECT NEW."email" WHERE num_nulls("new"."email") = 0) k;
ELSIF EXISTS (SELECT FROM (SELECT NEW."email" WHERE num_nulls("new"."email") = 0) k WHERE coalesce(crosskey.slot("k"."email"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public"."accounts" ("email", "crosskey_shard") SELECT "k"."email", 0 FROM (SELECT NEW."email" WHERE num_nulls("new"."email") = 0) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_accounts_email_key" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_update_claims_accounts_email_key" AFTER UPDATE ON "public"."accounts" FOR EACH ROW WHEN (ROW(OLD."email") IS DISTINCT FROM ROW(NEW."email")) EXECUTE FUNCTION "crosskey"."update_claims_accounts_email_key_public.accounts"();
CREATE TABLE "crosskey_claim_public_2"."accounts" AS SELECT "username", 0 AS "crosskey_shard" FROM "public"."accounts" r WITH NO DATA;
ALTER TABLE "crosskey_claim_public_2"."accounts" ADD CONSTRAINT "accounts_username_key" UNIQUE  ("username") DEFERRABLE INITIALLY IMMEDIATE, ADD CONSTRAINT "crosskey_once_accounts_username_key" UNIQUE  ("username", "crosskey_shard");
CREATE FUNCTION "crosskey"."insert_claims_accounts_username_key_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.accounts_username_key'', coalesce(crosskey.slot("k"."username"::text), 0) % 3, json_build_object(''username'', "k"."username"), NULL FROM (SELECT DISTINCT "n"."username" FROM new_rows n WHERE num_nulls("n"."username") = 0) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "n"."username" FROM new_rows n WHERE num_nulls("n"."username") = 0) k WHERE coalesce(crosskey.slot("k"."username"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public_2"."accounts" ("username", "crosskey_shard") SELECT "k"."username", 0 FROM (SELECT DISTINCT "n"."username" FROM new_rows n WHERE num_nulls("n"."username") = 0) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_accounts_username_key" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_insert_claims_accounts_username_key" AFTER INSERT ON "public"."accounts" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."insert_claims_accounts_username_key_public.accounts"();
CREATE FUNCTION "crosskey"."delete_claims_accounts_username_key_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.accounts_username_key'', coalesce(crosskey.slot("k"."username"::text), 0) % 3, json_build_object(''username'', "k"."username"), to_json(coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'') FROM (SELECT DISTINCT "o"."username" FROM old_rows o WHERE num_nulls("o"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."username" OPERATOR(pg_catalog.=) "o"."username")) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "o"."username" FROM old_rows o WHERE num_nulls("o"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."username" OPERATOR(pg_catalog.=) "o"."username")) k WHERE coalesce(crosskey.slot("k"."username"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public_2"."accounts" c USING (SELECT DISTINCT "o"."username" FROM old_rows o WHERE num_nulls("o"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."username" OPERATOR(pg_catalog.=) "o"."username")) k WHERE "c"."username" OPERATOR(pg_catalog.=) "k"."username" AND c."crosskey_shard" = 0;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_delete_claims_accounts_username_key" AFTER DELETE ON "public"."accounts" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."delete_claims_accounts_username_key_public.accounts"();
CREATE FUNCTION "crosskey"."update_claims_accounts_username_key_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.accounts_username_key'', coalesce(crosskey.slot("k"."username"::text), 0) % 3, json_build_object(''username'', "k"."username"), to_json(true) FROM (SELECT OLD."username" WHERE num_nulls("old"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."username" OPERATOR(pg_catalog.=) "old"."username")) k;
ELSIF EXISTS (SELECT FROM (SELECT OLD."username" WHERE num_nulls("old"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."username" OPERATOR(pg_catalog.=) "old"."username")) k WHERE coalesce(crosskey.slot("k"."username"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public_2"."accounts" c USING (SELECT OLD."username" WHERE num_nulls("old"."username") = 0 AND NOT EXISTS (SELECT FROM "public"."accounts" t WHERE "t"."username" OPERATOR(pg_catalog.=) "old"."username")) k WHERE "c"."username" OPERATOR(pg_catalog.=) "k"."username" AND c."crosskey_shard" = 0;
END IF;
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.accounts_username_key'', coalesce(crosskey.slot("k"."username"::text), 0) % 3, json_build_object(''username'', "k"."username"), NULL FROM (SELECT NEW."username" WHERE num_nulls("new"."username") = 0) k;
ELSIF EXISTS (SELECT FROM (SELECT NEW."username" WHERE num_nulls("new"."username") = 0) k WHERE coalesce(crosskey.slot("k"."username"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public_2"."accounts" ("username", "crosskey_shard") SELECT "k"."username", 0 FROM (SELECT NEW."username" WHERE num_nulls("new"."username") = 0) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_accounts_username_key" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_update_claims_accounts_username_key" AFTER UPDATE ON "public"."accounts" FOR EACH ROW WHEN (ROW(OLD."username") IS DISTINCT FROM ROW(NEW."username")) EXECUTE FUNCTION "crosskey"."update_claims_accounts_username_key_public.accounts"();
CREATE SCHEMA "crosskey_shadow_public";
CREATE TABLE "crosskey_shadow_public"."accounts" AS SELECT "id" FROM "public"."accounts" WITH NO DATA;
ALTER TABLE "crosskey_shadow_public"."accounts" ADD CONSTRAINT "accounts_pkey" UNIQUE ("id");
CREATE TABLE "crosskey"."pin_public_accounts_id" AS SELECT "id", 0 AS "crosskey_shard" FROM "public"."accounts" WITH NO DATA;
ALTER TABLE "crosskey"."pin_public_accounts_id" ADD PRIMARY KEY ("id", "crosskey_shard"), ADD CONSTRAINT "crosskey_pinned" FOREIGN KEY ("id") REFERENCES "public"."accounts" ("id") DEFERRABLE INITIALLY IMMEDIATE;
CREATE TRIGGER crosskey_kept BEFORE TRUNCATE ON "crosskey"."pin_public_accounts_id" EXECUTE FUNCTION crosskey.refuse_truncate();
CREATE TABLE "crosskey_shadow_public"."users" AS SELECT "id" FROM "public"."users" WITH NO DATA;
ALTER TABLE "crosskey_shadow_public"."users" ADD CONSTRAINT "users_pkey" UNIQUE ("id");
CREATE TABLE "crosskey"."pin_public_users_id" AS SELECT "id", 0 AS "crosskey_shard" FROM "public"."users" WITH NO DATA;
ALTER TABLE "crosskey"."pin_public_users_id" ADD PRIMARY KEY ("id", "crosskey_shard"), ADD CONSTRAINT "crosskey_pinned" FOREIGN KEY ("id") REFERENCES "public"."users" ("id") DEFERRABLE INITIALLY IMMEDIATE;
CREATE TRIGGER crosskey_kept BEFORE TRUNCATE ON "crosskey"."pin_public_users_id" EXECUTE FUNCTION crosskey.refuse_truncate();
ALTER TABLE "public"."follows" DROP CONSTRAINT "follows_followee_id_fkey";
ALTER TABLE "public"."follows" ADD CONSTRAINT "follows_followee_id_fkey" FOREIGN KEY ("followee_id") REFERENCES "crosskey_shadow_public"."users" ("id") MATCH SIMPLE ON DELETE CASCADE ON UPDATE NO ACTION DEFERRABLE INITIALLY IMMEDIATE;
COMMENT ON CONSTRAINT "follows_followee_id_fkey" ON "public"."follows" IS '@inverse followed_by
@through following';
ALTER TABLE "public"."follows" ALTER CONSTRAINT "follows_follower_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."messages" ALTER CONSTRAINT "messages_recipient_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."messages" DROP CONSTRAINT "messages_sender_id_fkey";
ALTER TABLE "public"."messages" ADD CONSTRAINT "messages_sender_id_fkey" FOREIGN KEY ("sender_id") REFERENCES "crosskey_shadow_public"."users" ("id") MATCH SIMPLE ON DELETE RESTRICT ON UPDATE NO ACTION DEFERRABLE INITIALLY IMMEDIATE;
COMMENT ON CONSTRAINT "messages_sender_id_fkey" ON "public"."messages" IS '@inverse sent_messages';
ALTER TABLE "public"."profiles" ALTER CONSTRAINT "profiles_user_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."users" ALTER CONSTRAINT "users_language_fkey" DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."users_accounts" DROP CONSTRAINT "users_accounts_account_id_fkey";
ALTER TABLE "public"."users_accounts" ADD CONSTRAINT "users_accounts_account_id_fkey" FOREIGN KEY ("account_id") REFERENCES "crosskey_shadow_public"."accounts" ("id") MATCH SIMPLE ON DELETE CASCADE ON UPDATE NO ACTION DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE "public"."users_accounts" ALTER CONSTRAINT "users_accounts_user_id_fkey" DEFERRABLE INITIALLY IMMEDIATE;
CREATE FUNCTION "crosskey"."rekey_crosskey_shadow_public.accounts"(old_keys json, new_keys json) RETURNS void LANGUAGE plpgsql AS 'DECLARE
    k record;
BEGIN
    FOR k IN
        SELECT * FROM ROWS FROM (
            json_populate_recordset(NULL::"crosskey_shadow_public"."accounts", old_keys),
            json_populate_recordset(NULL::"crosskey_shadow_public"."accounts", new_keys)
        ) WITH ORDINALITY AS k("old_0", "new_0", place)
        ORDER BY place
    LOOP
        UPDATE "crosskey_shadow_public"."accounts" s SET ("id") = ROW("k"."new_0") WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."old_0";
        IF NOT ROW("k"."new_0") IS NOT NULL THEN
            DELETE FROM "crosskey_shadow_public"."accounts" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."new_0" AND NOT ROW("s"."id") IS NOT NULL;
        END IF;
    END LOOP;
END';
CREATE FUNCTION "crosskey"."left_by_update_crosskey_shadow_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.accounts(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM old_rows k
WHERE (EXISTS (SELECT FROM "public"."users_accounts" c WHERE "k"."id" OPERATOR(pg_catalog.=) "c"."account_id")) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."accounts" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_left_by_update" AFTER UPDATE ON "crosskey_shadow_public"."accounts" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."left_by_update_crosskey_shadow_public.accounts"();
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
WHERE (EXISTS (SELECT FROM "public"."follows" c WHERE "k"."id" OPERATOR(pg_catalog.=) "c"."followee_id") OR EXISTS (SELECT FROM "public"."messages" c WHERE "k"."id" OPERATOR(pg_catalog.=) "c"."sender_id")) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."users" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_left_by_update" AFTER UPDATE ON "crosskey_shadow_public"."users" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."left_by_update_crosskey_shadow_public.users"();
ALTER TABLE "public"."accounts" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("id"::uuid) % 3 = 0);
CREATE FUNCTION "crosskey"."arrived_insert_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.accounts'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "accounts", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.accounts'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."accounts" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.accounts"();
CREATE FUNCTION "crosskey"."arrived_update_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.accounts'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "accounts", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.accounts'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."accounts" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.accounts"();
CREATE FUNCTION "crosskey"."departed_delete_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH gone AS (DELETE FROM "crosskey"."pin_public_accounts_id" p USING old_rows o WHERE "p"."id" OPERATOR(pg_catalog.=) "o"."id" RETURNING p.*)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
SELECT
    CASE WHEN coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'' THEN 12 ELSE 5 END,
    ''public.accounts(id)'',
    CASE WHEN coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'' THEN crosskey.slot("gone"."id"::uuid) % 3 ELSE gone."crosskey_shard" END,
    json_build_object(''id'', "gone"."id"),
    to_json(gone."crosskey_shard")
FROM gone;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_departed_delete" AFTER DELETE ON "public"."accounts" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."departed_delete_public.accounts"();
CREATE FUNCTION "crosskey"."crosskey_1_rekeyed_0_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH gone AS (DELETE FROM "crosskey"."pin_public_accounts_id" p WHERE "p"."id" OPERATOR(pg_catalog.=) "old"."id" RETURNING p."crosskey_shard"),
pinned AS (
    INSERT INTO "crosskey"."pin_public_accounts_id" ("id", "crosskey_shard")
    SELECT "new"."id", gone."crosskey_shard" FROM gone WHERE num_nulls("new"."id") = 0
    ON CONFLICT DO NOTHING
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
SELECT 6, ''public.accounts(id)'', gone."crosskey_shard", json_build_object(''id'', "old"."id"), json_build_object(''id'', "new"."id") FROM gone;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_rekeyed_0" AFTER UPDATE ON "public"."accounts" FOR EACH ROW WHEN (record_image_ne(ROW(OLD."id"), ROW(NEW."id")) AND coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."crosskey_1_rekeyed_0_public.accounts"();
CREATE FUNCTION "crosskey"."crosskey_kept_key_0_public.accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF EXISTS (SELECT FROM "crosskey"."pin_public_accounts_id" p WHERE "p"."id" OPERATOR(pg_catalog.=) "old"."id") THEN
    RAISE foreign_key_violation USING MESSAGE = ''other shards reference this row'', HINT = ''Write through the router.'';
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_kept_key_0" AFTER UPDATE ON "public"."accounts" FOR EACH ROW WHEN (record_image_ne(ROW(OLD."id"), ROW(NEW."id")) AND NOT coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."crosskey_kept_key_0_public.accounts"();
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
CREATE TRIGGER crosskey_everywhere BEFORE INSERT OR UPDATE OR DELETE ON "public"."languages" FOR EACH STATEMENT WHEN (NOT coalesce(current_setting('crosskey.everywhere', true), '') = 'on') EXECUTE FUNCTION crosskey.refuse_one_copy();
CREATE TRIGGER crosskey_no_function BEFORE INSERT OR UPDATE OR DELETE ON "public"."languages" FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.everywhere', true), '') = 'on') EXECUTE FUNCTION crosskey.refuse_write_of_function();
ALTER TABLE "public"."messages" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("recipient_id"::uuid) % 3 = 0), ADD CONSTRAINT "crosskey_slot" CHECK (crosskey.slot("id"::uuid) = crosskey.slot("recipient_id"::uuid));
CREATE FUNCTION "crosskey"."arrived_insert_public.messages"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH k AS MATERIALIZED (SELECT DISTINCT "n"."sender_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."sender_id") = 0),
held AS MATERIALIZED (
    SELECT "s"."id" FROM "crosskey_shadow_public"."users" s JOIN k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM k
WHERE (true) AND NOT EXISTS (SELECT FROM held s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.messages'', crosskey.slot("k"."recipient_id"::uuid) % 3, json_build_object(''recipient_id'', "k"."recipient_id") FROM (SELECT DISTINCT n."recipient_id" FROM new_rows n) k WHERE crosskey.slot("k"."recipient_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "messages", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.messages'', crosskey.slot("k"."recipient_id"::uuid) % 3, json_build_object(''recipient_id'', "k"."recipient_id") FROM (SELECT DISTINCT n."recipient_id" FROM new_rows n) k WHERE crosskey.slot("k"."recipient_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."messages" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.messages"();
CREATE FUNCTION "crosskey"."arrived_update_public.messages"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
PERFORM FROM "crosskey_shadow_public"."users" s JOIN (SELECT DISTINCT "n"."sender_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."sender_id") = 0 EXCEPT SELECT DISTINCT "n"."sender_id" AS "id" FROM "old_rows" n WHERE num_nulls("n"."sender_id") = 0) k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s;
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.users(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT "n"."sender_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."sender_id") = 0) k
WHERE (true) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."users" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.messages'', crosskey.slot("k"."recipient_id"::uuid) % 3, json_build_object(''recipient_id'', "k"."recipient_id") FROM (SELECT DISTINCT n."recipient_id" FROM new_rows n) k WHERE crosskey.slot("k"."recipient_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "messages", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.messages'', crosskey.slot("k"."recipient_id"::uuid) % 3, json_build_object(''recipient_id'', "k"."recipient_id") FROM (SELECT DISTINCT n."recipient_id" FROM new_rows n) k WHERE crosskey.slot("k"."recipient_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."messages" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.messages"();
ALTER TABLE "public"."profiles" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("user_id"::uuid) % 3 = 0);
CREATE FUNCTION "crosskey"."arrived_insert_public.profiles"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.profiles'', crosskey.slot("k"."user_id"::uuid) % 3, json_build_object(''user_id'', "k"."user_id") FROM (SELECT DISTINCT n."user_id" FROM new_rows n) k WHERE crosskey.slot("k"."user_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "profiles", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.profiles'', crosskey.slot("k"."user_id"::uuid) % 3, json_build_object(''user_id'', "k"."user_id") FROM (SELECT DISTINCT n."user_id" FROM new_rows n) k WHERE crosskey.slot("k"."user_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."profiles" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.profiles"();
CREATE FUNCTION "crosskey"."arrived_update_public.profiles"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.profiles'', crosskey.slot("k"."user_id"::uuid) % 3, json_build_object(''user_id'', "k"."user_id") FROM (SELECT DISTINCT n."user_id" FROM new_rows n) k WHERE crosskey.slot("k"."user_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "profiles", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.profiles'', crosskey.slot("k"."user_id"::uuid) % 3, json_build_object(''user_id'', "k"."user_id") FROM (SELECT DISTINCT n."user_id" FROM new_rows n) k WHERE crosskey.slot("k"."user_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."profiles" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.profiles"();
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
ALTER TABLE "public"."users_accounts" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("user_id"::uuid) % 3 = 0);
CREATE FUNCTION "crosskey"."arrived_insert_public.users_accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
WITH k AS MATERIALIZED (SELECT DISTINCT "n"."account_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."account_id") = 0),
held AS MATERIALIZED (
    SELECT "s"."id" FROM "crosskey_shadow_public"."accounts" s JOIN k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s
)
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.accounts(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM k
WHERE (true) AND NOT EXISTS (SELECT FROM held s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.users_accounts'', crosskey.slot("k"."user_id"::uuid) % 3, json_build_object(''user_id'', "k"."user_id") FROM (SELECT DISTINCT n."user_id" FROM new_rows n) k WHERE crosskey.slot("k"."user_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "users_accounts", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.users_accounts'', crosskey.slot("k"."user_id"::uuid) % 3, json_build_object(''user_id'', "k"."user_id") FROM (SELECT DISTINCT n."user_id" FROM new_rows n) k WHERE crosskey.slot("k"."user_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."users_accounts" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.users_accounts"();
CREATE FUNCTION "crosskey"."arrived_update_public.users_accounts"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
PERFORM FROM "crosskey_shadow_public"."accounts" s JOIN (SELECT DISTINCT "n"."account_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."account_id") = 0 EXCEPT SELECT DISTINCT "n"."account_id" AS "id" FROM "old_rows" n WHERE num_nulls("n"."account_id") = 0) k ON "s"."id" OPERATOR(pg_catalog.=) "k"."id" ORDER BY "s"."id" FOR KEY SHARE OF s;
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT 3, ''public.accounts(id)'', crosskey.slot("k"."id"::uuid) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT "n"."account_id" AS "id" FROM "new_rows" n WHERE num_nulls("n"."account_id") = 0) k
WHERE (true) AND NOT EXISTS (SELECT FROM "crosskey_shadow_public"."accounts" s WHERE "s"."id" OPERATOR(pg_catalog.=) "k"."id");
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.users_accounts'', crosskey.slot("k"."user_id"::uuid) % 3, json_build_object(''user_id'', "k"."user_id") FROM (SELECT DISTINCT n."user_id" FROM new_rows n) k WHERE crosskey.slot("k"."user_id"::uuid) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "users_accounts", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.users_accounts'', crosskey.slot("k"."user_id"::uuid) % 3, json_build_object(''user_id'', "k"."user_id") FROM (SELECT DISTINCT n."user_id" FROM new_rows n) k WHERE crosskey.slot("k"."user_id"::uuid) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."users_accounts" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.users_accounts"();
CREATE TRIGGER crosskey_not_dropped AFTER UPDATE OR DELETE ON "public"."users_accounts" FOR EACH ROW WHEN (coalesce(current_setting('crosskey.dropping', true), '') = 'on') EXECUTE FUNCTION crosskey.refuse_change_by_dropping();
