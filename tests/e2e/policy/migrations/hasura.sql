CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE money_of AS (amount numeric, currency text);
CREATE TABLE "public"."ledger" ("id" serial NOT NULL, "units" positive NOT NULL, "price" money_of, "updated_at" timestamptz NOT NULL DEFAULT now(), PRIMARY KEY ("id"));
CREATE OR REPLACE FUNCTION "public"."set_current_timestamp_updated_at"()
RETURNS TRIGGER AS $$
DECLARE
  _new record;
BEGIN
  _new := NEW;
  _new."updated_at" = NOW();
  RETURN _new;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER "set_public_ledger_updated_at"
BEFORE UPDATE ON "public"."ledger"
FOR EACH ROW
EXECUTE PROCEDURE "public"."set_current_timestamp_updated_at"();
COMMENT ON TRIGGER "set_public_ledger_updated_at" ON "public"."ledger"
IS 'trigger to set value of column "updated_at" to current timestamp on row update';
INSERT INTO "public"."ledger" ("units", "price") VALUES (3, ROW(1.5, 'EUR'));
UPDATE "public"."ledger" SET "units" = "units" + 1 WHERE "id" = 1;
SELECT "units", ("price").currency FROM "public"."ledger";
