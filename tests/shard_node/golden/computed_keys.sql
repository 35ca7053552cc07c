CREATE SCHEMA "crosskey_claim_public";
CREATE SCHEMA "crosskey_claim_public_2";
CREATE SCHEMA "crosskey_claim_public_3";
CREATE TABLE "crosskey_claim_public"."patrons" AS SELECT "expr", "left_at", 0 AS "crosskey_shard" FROM (SELECT ((data ->> 'code'::text)) AS "expr", left_at AS "left_at" FROM "public"."patrons" AS "patrons" WHERE (name ~~ 'A%'::text)) r WITH NO DATA;
ALTER TABLE "crosskey_claim_public"."patrons" ADD CONSTRAINT "patrons_code_idx" UNIQUE NULLS NOT DISTINCT ("expr", "left_at") DEFERRABLE INITIALLY IMMEDIATE, ADD CONSTRAINT "crosskey_once_patrons_code_idx" UNIQUE NULLS NOT DISTINCT ("expr", "left_at", "crosskey_shard");
CREATE FUNCTION "crosskey"."insert_claims_patrons_code_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.patrons_code_idx'', coalesce(crosskey.slot("k"."expr"::text), 0) % 3, json_build_object(''expr'', "k"."expr", ''left_at'', CASE WHEN num_nulls("k"."left_at") = 0 THEN pg_catalog.concat("k"."left_at") END), NULL FROM (SELECT DISTINCT "n"."expr", "n"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM new_rows AS "patrons" WHERE (name ~~ ''A%''::text)) n WHERE true) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "n"."expr", "n"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM new_rows AS "patrons" WHERE (name ~~ ''A%''::text)) n WHERE true) k WHERE coalesce(crosskey.slot("k"."expr"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public"."patrons" ("expr", "left_at", "crosskey_shard") SELECT "k"."expr", "k"."left_at", 0 FROM (SELECT DISTINCT "n"."expr", "n"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM new_rows AS "patrons" WHERE (name ~~ ''A%''::text)) n WHERE true) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_patrons_code_idx" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_insert_claims_patrons_code_idx" AFTER INSERT ON "public"."patrons" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."insert_claims_patrons_code_idx_public.patrons"();
CREATE FUNCTION "crosskey"."delete_claims_patrons_code_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.patrons_code_idx'', coalesce(crosskey.slot("k"."expr"::text), 0) % 3, json_build_object(''expr'', "k"."expr", ''left_at'', CASE WHEN num_nulls("k"."left_at") = 0 THEN pg_catalog.concat("k"."left_at") END), to_json(coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'') FROM (SELECT DISTINCT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM old_rows AS "patrons" WHERE (name ~~ ''A%''::text)) o WHERE true AND NOT EXISTS (SELECT FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM "public"."patrons" AS "patrons" WHERE (name ~~ ''A%''::text)) t WHERE ("t"."expr" OPERATOR(pg_catalog.=) "o"."expr" OR "t"."expr" IS NULL AND "o"."expr" IS NULL) AND ("t"."left_at" OPERATOR(pg_catalog.=) "o"."left_at" OR "t"."left_at" IS NULL AND "o"."left_at" IS NULL) AND ROW("t"."expr", "t"."left_at", 0)::"crosskey_claim_public"."patrons" OPERATOR(pg_catalog.=) ROW("o"."expr", "o"."left_at", 0)::"crosskey_claim_public"."patrons")) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM old_rows AS "patrons" WHERE (name ~~ ''A%''::text)) o WHERE true AND NOT EXISTS (SELECT FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM "public"."patrons" AS "patrons" WHERE (name ~~ ''A%''::text)) t WHERE ("t"."expr" OPERATOR(pg_catalog.=) "o"."expr" OR "t"."expr" IS NULL AND "o"."expr" IS NULL) AND ("t"."left_at" OPERATOR(pg_catalog.=) "o"."left_at" OR "t"."left_at" IS NULL AND "o"."left_at" IS NULL) AND ROW("t"."expr", "t"."left_at", 0)::"crosskey_claim_public"."patrons" OPERATOR(pg_catalog.=) ROW("o"."expr", "o"."left_at", 0)::"crosskey_claim_public"."patrons")) k WHERE coalesce(crosskey.slot("k"."expr"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public"."patrons" c USING (SELECT DISTINCT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM old_rows AS "patrons" WHERE (name ~~ ''A%''::text)) o WHERE true AND NOT EXISTS (SELECT FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM "public"."patrons" AS "patrons" WHERE (name ~~ ''A%''::text)) t WHERE ("t"."expr" OPERATOR(pg_catalog.=) "o"."expr" OR "t"."expr" IS NULL AND "o"."expr" IS NULL) AND ("t"."left_at" OPERATOR(pg_catalog.=) "o"."left_at" OR "t"."left_at" IS NULL AND "o"."left_at" IS NULL) AND ROW("t"."expr", "t"."left_at", 0)::"crosskey_claim_public"."patrons" OPERATOR(pg_catalog.=) ROW("o"."expr", "o"."left_at", 0)::"crosskey_claim_public"."patrons")) k WHERE ("c"."expr" OPERATOR(pg_catalog.=) "k"."expr" OR "c"."expr" IS NULL AND "k"."expr" IS NULL) AND ("c"."left_at" OPERATOR(pg_catalog.=) "k"."left_at" OR "c"."left_at" IS NULL AND "k"."left_at" IS NULL) AND ROW("c"."expr", "c"."left_at", 0)::"crosskey_claim_public"."patrons" OPERATOR(pg_catalog.=) ROW("k"."expr", "k"."left_at", 0)::"crosskey_claim_public"."patrons" AND c."crosskey_shard" = 0;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_delete_claims_patrons_code_idx" AFTER DELETE ON "public"."patrons" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."delete_claims_patrons_code_idx_public.patrons"();
CREATE FUNCTION "crosskey"."update_claims_patrons_code_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.patrons_code_idx'', coalesce(crosskey.slot("k"."expr"::text), 0) % 3, json_build_object(''expr'', "k"."expr", ''left_at'', CASE WHEN num_nulls("k"."left_at") = 0 THEN pg_catalog.concat("k"."left_at") END), to_json(true) FROM (SELECT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT OLD.*) AS "patrons" WHERE (name ~~ ''A%''::text)) o WHERE true AND NOT EXISTS (SELECT FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM "public"."patrons" AS "patrons" WHERE (name ~~ ''A%''::text)) t WHERE ("t"."expr" OPERATOR(pg_catalog.=) "o"."expr" OR "t"."expr" IS NULL AND "o"."expr" IS NULL) AND ("t"."left_at" OPERATOR(pg_catalog.=) "o"."left_at" OR "t"."left_at" IS NULL AND "o"."left_at" IS NULL) AND ROW("t"."expr", "t"."left_at", 0)::"crosskey_claim_public"."patrons" OPERATOR(pg_catalog.=) ROW("o"."expr", "o"."left_at", 0)::"crosskey_claim_public"."patrons")) k;
ELSIF EXISTS (SELECT FROM (SELECT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT OLD.*) AS "patrons" WHERE (name ~~ ''A%''::text)) o WHERE true AND NOT EXISTS (SELECT FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM "public"."patrons" AS "patrons" WHERE (name ~~ ''A%''::text)) t WHERE ("t"."expr" OPERATOR(pg_catalog.=) "o"."expr" OR "t"."expr" IS NULL AND "o"."expr" IS NULL) AND ("t"."left_at" OPERATOR(pg_catalog.=) "o"."left_at" OR "t"."left_at" IS NULL AND "o"."left_at" IS NULL) AND ROW("t"."expr", "t"."left_at", 0)::"crosskey_claim_public"."patrons" OPERATOR(pg_catalog.=) ROW("o"."expr", "o"."left_at", 0)::"crosskey_claim_public"."patrons")) k WHERE coalesce(crosskey.slot("k"."expr"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public"."patrons" c USING (SELECT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT OLD.*) AS "patrons" WHERE (name ~~ ''A%''::text)) o WHERE true AND NOT EXISTS (SELECT FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM "public"."patrons" AS "patrons" WHERE (name ~~ ''A%''::text)) t WHERE ("t"."expr" OPERATOR(pg_catalog.=) "o"."expr" OR "t"."expr" IS NULL AND "o"."expr" IS NULL) AND ("t"."left_at" OPERATOR(pg_catalog.=) "o"."left_at" OR "t"."left_at" IS NULL AND "o"."left_at" IS NULL) AND ROW("t"."expr", "t"."left_at", 0)::"crosskey_claim_public"."patrons" OPERATOR(pg_catalog.=) ROW("o"."expr", "o"."left_at", 0)::"crosskey_claim_public"."patrons")) k WHERE ("c"."expr" OPERATOR(pg_catalog.=) "k"."expr" OR "c"."expr" IS NULL AND "k"."expr" IS NULL) AND ("c"."left_at" OPERATOR(pg_catalog.=) "k"."left_at" OR "c"."left_at" IS NULL AND "k"."left_at" IS NULL) AND ROW("c"."expr", "c"."left_at", 0)::"crosskey_claim_public"."patrons" OPERATOR(pg_catalog.=) ROW("k"."expr", "k"."left_at", 0)::"crosskey_claim_public"."patrons" AND c."crosskey_shard" = 0;
END IF;
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.patrons_code_idx'', coalesce(crosskey.slot("k"."expr"::text), 0) % 3, json_build_object(''expr'', "k"."expr", ''left_at'', CASE WHEN num_nulls("k"."left_at") = 0 THEN pg_catalog.concat("k"."left_at") END), NULL FROM (SELECT "n"."expr", "n"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT NEW.*) AS "patrons" WHERE (name ~~ ''A%''::text)) n WHERE true EXCEPT SELECT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT OLD.*) AS "patrons" WHERE (name ~~ ''A%''::text)) o) k;
ELSIF EXISTS (SELECT FROM (SELECT "n"."expr", "n"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT NEW.*) AS "patrons" WHERE (name ~~ ''A%''::text)) n WHERE true EXCEPT SELECT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT OLD.*) AS "patrons" WHERE (name ~~ ''A%''::text)) o) k WHERE coalesce(crosskey.slot("k"."expr"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public"."patrons" ("expr", "left_at", "crosskey_shard") SELECT "k"."expr", "k"."left_at", 0 FROM (SELECT "n"."expr", "n"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT NEW.*) AS "patrons" WHERE (name ~~ ''A%''::text)) n WHERE true EXCEPT SELECT "o"."expr", "o"."left_at" FROM (SELECT ((data ->> ''code''::text)) AS "expr", left_at AS "left_at" FROM (SELECT OLD.*) AS "patrons" WHERE (name ~~ ''A%''::text)) o) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_patrons_code_idx" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_update_claims_patrons_code_idx" AFTER UPDATE ON "public"."patrons" FOR EACH ROW WHEN (record_image_ne(ROW(OLD."name", OLD."data", OLD."left_at"), ROW(NEW."name", NEW."data", NEW."left_at"))) EXECUTE FUNCTION "crosskey"."update_claims_patrons_code_idx_public.patrons"();
CREATE TABLE "crosskey_claim_public_2"."patrons" AS SELECT "lower", 0 AS "crosskey_shard" FROM (SELECT lower(email) AS "lower" FROM "public"."patrons" AS "patrons") r WITH NO DATA;
ALTER TABLE "crosskey_claim_public_2"."patrons" ADD CONSTRAINT "patrons_lower_idx" UNIQUE  ("lower") DEFERRABLE INITIALLY IMMEDIATE, ADD CONSTRAINT "crosskey_once_patrons_lower_idx" UNIQUE  ("lower", "crosskey_shard");
CREATE FUNCTION "crosskey"."insert_claims_patrons_lower_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.patrons_lower_idx'', coalesce(crosskey.slot("k"."lower"::text), 0) % 3, json_build_object(''lower'', "k"."lower"), NULL FROM (SELECT DISTINCT "n"."lower" FROM (SELECT lower(email) AS "lower" FROM new_rows AS "patrons") n WHERE num_nulls("n"."lower") = 0) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "n"."lower" FROM (SELECT lower(email) AS "lower" FROM new_rows AS "patrons") n WHERE num_nulls("n"."lower") = 0) k WHERE coalesce(crosskey.slot("k"."lower"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public_2"."patrons" ("lower", "crosskey_shard") SELECT "k"."lower", 0 FROM (SELECT DISTINCT "n"."lower" FROM (SELECT lower(email) AS "lower" FROM new_rows AS "patrons") n WHERE num_nulls("n"."lower") = 0) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_patrons_lower_idx" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_insert_claims_patrons_lower_idx" AFTER INSERT ON "public"."patrons" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."insert_claims_patrons_lower_idx_public.patrons"();
CREATE FUNCTION "crosskey"."delete_claims_patrons_lower_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.patrons_lower_idx'', coalesce(crosskey.slot("k"."lower"::text), 0) % 3, json_build_object(''lower'', "k"."lower"), to_json(coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'') FROM (SELECT DISTINCT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM old_rows AS "patrons") o WHERE num_nulls("o"."lower") = 0 AND NOT EXISTS (SELECT FROM (SELECT lower(email) AS "lower" FROM "public"."patrons" AS "patrons") t WHERE "t"."lower" OPERATOR(pg_catalog.=) "o"."lower")) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM old_rows AS "patrons") o WHERE num_nulls("o"."lower") = 0 AND NOT EXISTS (SELECT FROM (SELECT lower(email) AS "lower" FROM "public"."patrons" AS "patrons") t WHERE "t"."lower" OPERATOR(pg_catalog.=) "o"."lower")) k WHERE coalesce(crosskey.slot("k"."lower"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public_2"."patrons" c USING (SELECT DISTINCT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM old_rows AS "patrons") o WHERE num_nulls("o"."lower") = 0 AND NOT EXISTS (SELECT FROM (SELECT lower(email) AS "lower" FROM "public"."patrons" AS "patrons") t WHERE "t"."lower" OPERATOR(pg_catalog.=) "o"."lower")) k WHERE "c"."lower" OPERATOR(pg_catalog.=) "k"."lower" AND c."crosskey_shard" = 0;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_delete_claims_patrons_lower_idx" AFTER DELETE ON "public"."patrons" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."delete_claims_patrons_lower_idx_public.patrons"();
CREATE FUNCTION "crosskey"."update_claims_patrons_lower_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.patrons_lower_idx'', coalesce(crosskey.slot("k"."lower"::text), 0) % 3, json_build_object(''lower'', "k"."lower"), to_json(true) FROM (SELECT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT OLD.*) AS "patrons") o WHERE num_nulls("o"."lower") = 0 AND NOT EXISTS (SELECT FROM (SELECT lower(email) AS "lower" FROM "public"."patrons" AS "patrons") t WHERE "t"."lower" OPERATOR(pg_catalog.=) "o"."lower")) k;
ELSIF EXISTS (SELECT FROM (SELECT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT OLD.*) AS "patrons") o WHERE num_nulls("o"."lower") = 0 AND NOT EXISTS (SELECT FROM (SELECT lower(email) AS "lower" FROM "public"."patrons" AS "patrons") t WHERE "t"."lower" OPERATOR(pg_catalog.=) "o"."lower")) k WHERE coalesce(crosskey.slot("k"."lower"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public_2"."patrons" c USING (SELECT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT OLD.*) AS "patrons") o WHERE num_nulls("o"."lower") = 0 AND NOT EXISTS (SELECT FROM (SELECT lower(email) AS "lower" FROM "public"."patrons" AS "patrons") t WHERE "t"."lower" OPERATOR(pg_catalog.=) "o"."lower")) k WHERE "c"."lower" OPERATOR(pg_catalog.=) "k"."lower" AND c."crosskey_shard" = 0;
END IF;
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.patrons_lower_idx'', coalesce(crosskey.slot("k"."lower"::text), 0) % 3, json_build_object(''lower'', "k"."lower"), NULL FROM (SELECT "n"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT NEW.*) AS "patrons") n WHERE num_nulls("n"."lower") = 0 EXCEPT SELECT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT OLD.*) AS "patrons") o) k;
ELSIF EXISTS (SELECT FROM (SELECT "n"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT NEW.*) AS "patrons") n WHERE num_nulls("n"."lower") = 0 EXCEPT SELECT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT OLD.*) AS "patrons") o) k WHERE coalesce(crosskey.slot("k"."lower"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public_2"."patrons" ("lower", "crosskey_shard") SELECT "k"."lower", 0 FROM (SELECT "n"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT NEW.*) AS "patrons") n WHERE num_nulls("n"."lower") = 0 EXCEPT SELECT "o"."lower" FROM (SELECT lower(email) AS "lower" FROM (SELECT OLD.*) AS "patrons") o) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_patrons_lower_idx" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_update_claims_patrons_lower_idx" AFTER UPDATE ON "public"."patrons" FOR EACH ROW WHEN (record_image_ne(ROW(OLD."email"), ROW(NEW."email"))) EXECUTE FUNCTION "crosskey"."update_claims_patrons_lower_idx_public.patrons"();
CREATE TABLE "crosskey_claim_public_3"."patrons" AS SELECT "name", 0 AS "crosskey_shard" FROM (SELECT name AS "name" FROM "public"."patrons" AS "patrons" WHERE (left_at IS NULL)) r WITH NO DATA;
ALTER TABLE "crosskey_claim_public_3"."patrons" ADD CONSTRAINT "patrons_name_idx" UNIQUE  ("name") DEFERRABLE INITIALLY IMMEDIATE, ADD CONSTRAINT "crosskey_once_patrons_name_idx" UNIQUE  ("name", "crosskey_shard");
CREATE FUNCTION "crosskey"."insert_claims_patrons_name_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.patrons_name_idx'', coalesce(crosskey.slot("k"."name"::text), 0) % 3, json_build_object(''name'', "k"."name"), NULL FROM (SELECT DISTINCT "n"."name" FROM (SELECT name AS "name" FROM new_rows AS "patrons" WHERE (left_at IS NULL)) n WHERE num_nulls("n"."name") = 0) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "n"."name" FROM (SELECT name AS "name" FROM new_rows AS "patrons" WHERE (left_at IS NULL)) n WHERE num_nulls("n"."name") = 0) k WHERE coalesce(crosskey.slot("k"."name"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public_3"."patrons" ("name", "crosskey_shard") SELECT "k"."name", 0 FROM (SELECT DISTINCT "n"."name" FROM (SELECT name AS "name" FROM new_rows AS "patrons" WHERE (left_at IS NULL)) n WHERE num_nulls("n"."name") = 0) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_patrons_name_idx" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_insert_claims_patrons_name_idx" AFTER INSERT ON "public"."patrons" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."insert_claims_patrons_name_idx_public.patrons"();
CREATE FUNCTION "crosskey"."delete_claims_patrons_name_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.patrons_name_idx'', coalesce(crosskey.slot("k"."name"::text), 0) % 3, json_build_object(''name'', "k"."name"), to_json(coalesce(current_setting(''crosskey.relocating'', true), '''') = ''on'') FROM (SELECT DISTINCT "o"."name" FROM (SELECT name AS "name" FROM old_rows AS "patrons" WHERE (left_at IS NULL)) o WHERE num_nulls("o"."name") = 0 AND NOT EXISTS (SELECT FROM (SELECT name AS "name" FROM "public"."patrons" AS "patrons" WHERE (left_at IS NULL)) t WHERE "t"."name" OPERATOR(pg_catalog.=) "o"."name")) k;
ELSIF EXISTS (SELECT FROM (SELECT DISTINCT "o"."name" FROM (SELECT name AS "name" FROM old_rows AS "patrons" WHERE (left_at IS NULL)) o WHERE num_nulls("o"."name") = 0 AND NOT EXISTS (SELECT FROM (SELECT name AS "name" FROM "public"."patrons" AS "patrons" WHERE (left_at IS NULL)) t WHERE "t"."name" OPERATOR(pg_catalog.=) "o"."name")) k WHERE coalesce(crosskey.slot("k"."name"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public_3"."patrons" c USING (SELECT DISTINCT "o"."name" FROM (SELECT name AS "name" FROM old_rows AS "patrons" WHERE (left_at IS NULL)) o WHERE num_nulls("o"."name") = 0 AND NOT EXISTS (SELECT FROM (SELECT name AS "name" FROM "public"."patrons" AS "patrons" WHERE (left_at IS NULL)) t WHERE "t"."name" OPERATOR(pg_catalog.=) "o"."name")) k WHERE "c"."name" OPERATOR(pg_catalog.=) "k"."name" AND c."crosskey_shard" = 0;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_delete_claims_patrons_name_idx" AFTER DELETE ON "public"."patrons" REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION "crosskey"."delete_claims_patrons_name_idx_public.patrons"();
CREATE FUNCTION "crosskey"."update_claims_patrons_name_idx_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
#variable_conflict use_column
BEGIN
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 8, ''public.patrons_name_idx'', coalesce(crosskey.slot("k"."name"::text), 0) % 3, json_build_object(''name'', "k"."name"), to_json(true) FROM (SELECT "o"."name" FROM (SELECT name AS "name" FROM (SELECT OLD.*) AS "patrons" WHERE (left_at IS NULL)) o WHERE num_nulls("o"."name") = 0 AND NOT EXISTS (SELECT FROM (SELECT name AS "name" FROM "public"."patrons" AS "patrons" WHERE (left_at IS NULL)) t WHERE "t"."name" OPERATOR(pg_catalog.=) "o"."name")) k;
ELSIF EXISTS (SELECT FROM (SELECT "o"."name" FROM (SELECT name AS "name" FROM (SELECT OLD.*) AS "patrons" WHERE (left_at IS NULL)) o WHERE num_nulls("o"."name") = 0 AND NOT EXISTS (SELECT FROM (SELECT name AS "name" FROM "public"."patrons" AS "patrons" WHERE (left_at IS NULL)) t WHERE "t"."name" OPERATOR(pg_catalog.=) "o"."name")) k WHERE coalesce(crosskey.slot("k"."name"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    DELETE FROM "crosskey_claim_public_3"."patrons" c USING (SELECT "o"."name" FROM (SELECT name AS "name" FROM (SELECT OLD.*) AS "patrons" WHERE (left_at IS NULL)) o WHERE num_nulls("o"."name") = 0 AND NOT EXISTS (SELECT FROM (SELECT name AS "name" FROM "public"."patrons" AS "patrons" WHERE (left_at IS NULL)) t WHERE "t"."name" OPERATOR(pg_catalog.=) "o"."name")) k WHERE "c"."name" OPERATOR(pg_catalog.=) "k"."name" AND c."crosskey_shard" = 0;
END IF;
IF coalesce(current_setting(''crosskey.coordinated'', true), '''') = ''on'' THEN
    INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)
    SELECT 7, ''public.patrons_name_idx'', coalesce(crosskey.slot("k"."name"::text), 0) % 3, json_build_object(''name'', "k"."name"), NULL FROM (SELECT "n"."name" FROM (SELECT name AS "name" FROM (SELECT NEW.*) AS "patrons" WHERE (left_at IS NULL)) n WHERE num_nulls("n"."name") = 0 EXCEPT SELECT "o"."name" FROM (SELECT name AS "name" FROM (SELECT OLD.*) AS "patrons" WHERE (left_at IS NULL)) o) k;
ELSIF EXISTS (SELECT FROM (SELECT "n"."name" FROM (SELECT name AS "name" FROM (SELECT NEW.*) AS "patrons" WHERE (left_at IS NULL)) n WHERE num_nulls("n"."name") = 0 EXCEPT SELECT "o"."name" FROM (SELECT name AS "name" FROM (SELECT OLD.*) AS "patrons" WHERE (left_at IS NULL)) o) k WHERE coalesce(crosskey.slot("k"."name"::text), 0) % 3 <> 0) THEN
    RAISE assert_failure USING
        MESSAGE = ''another shard holds the claim on a value of this row'', CONSTRAINT = ''crosskey_elsewhere'', HINT = ''Write through the router.'';
ELSE
    INSERT INTO "crosskey_claim_public_3"."patrons" ("name", "crosskey_shard") SELECT "k"."name", 0 FROM (SELECT "n"."name" FROM (SELECT name AS "name" FROM (SELECT NEW.*) AS "patrons" WHERE (left_at IS NULL)) n WHERE num_nulls("n"."name") = 0 EXCEPT SELECT "o"."name" FROM (SELECT name AS "name" FROM (SELECT OLD.*) AS "patrons" WHERE (left_at IS NULL)) o) k
    ON CONFLICT ON CONSTRAINT "crosskey_once_patrons_name_idx" DO NOTHING;
END IF;
RETURN NULL;
END
';
CREATE TRIGGER "!crosskey_1_update_claims_patrons_name_idx" AFTER UPDATE ON "public"."patrons" FOR EACH ROW WHEN (record_image_ne(ROW(OLD."name", OLD."left_at"), ROW(NEW."name", NEW."left_at"))) EXECUTE FUNCTION "crosskey"."update_claims_patrons_name_idx_public.patrons"();
ALTER TABLE "public"."patrons" ADD CONSTRAINT "crosskey_placement" CHECK (coalesce(current_setting('crosskey.coordinated', true), '') = 'on' OR crosskey.slot("id"::bigint) % 3 = 0);
CREATE FUNCTION "crosskey"."arrived_insert_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.patrons'', crosskey.slot("k"."id"::bigint) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::bigint) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "patrons", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.patrons'', crosskey.slot("k"."id"::bigint) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::bigint) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_insert" AFTER INSERT ON "public"."patrons" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_insert_public.patrons"();
CREATE FUNCTION "crosskey"."arrived_update_public.patrons"() RETURNS trigger LANGUAGE plpgsql AS '
BEGIN
IF TG_OP = ''INSERT'' AND coalesce(current_setting(''crosskey.everywhere'', true), '''') = ''on'' AND EXISTS (SELECT 10, ''public.patrons'', crosskey.slot("k"."id"::bigint) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::bigint) % 3 <> 0) THEN RAISE SQLSTATE ''XK002'' USING MESSAGE = ''a trigger that fires on all shards cannot insert into "patrons", whose rows live on one''; END IF; INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) SELECT 10, ''public.patrons'', crosskey.slot("k"."id"::bigint) % 3, json_build_object(''id'', "k"."id") FROM (SELECT DISTINCT n."id" FROM new_rows n) k WHERE crosskey.slot("k"."id"::bigint) % 3 <> 0;
RETURN NULL;
END
';
CREATE TRIGGER "crosskey_arrived_update" AFTER UPDATE ON "public"."patrons" REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT WHEN (coalesce(current_setting('crosskey.coordinated', true), '') = 'on') EXECUTE FUNCTION "crosskey"."arrived_update_public.patrons"();
