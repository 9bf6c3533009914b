SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = false;
SET client_min_messages = warning;
SET row_security = off;

CREATE FUNCTION public.slug(title text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
  RETURN lower(regexp_replace(title, '[^a-zA-Z0-9]+', '-', 'g'));
END;
$$;

CREATE TABLE public.posts (
    id bigint NOT NULL,
    title character varying,
    slug text GENERATED ALWAYS AS (public.slug((title)::text)) STORED,
    created_at timestamp(6) without time zone NOT NULL
);

CREATE SEQUENCE public.posts_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;
ALTER SEQUENCE public.posts_id_seq OWNED BY public.posts.id;

CREATE TABLE public.schema_migrations (version character varying NOT NULL);

ALTER TABLE ONLY public.posts ALTER COLUMN id SET DEFAULT nextval('public.posts_id_seq'::regclass);
ALTER TABLE ONLY public.posts ADD CONSTRAINT posts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.schema_migrations ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

CREATE INDEX index_posts_on_title ON public.posts USING btree (title);

SET search_path TO "$user", public;

INSERT INTO "schema_migrations" (version) VALUES ('20260102030405'), ('20260101020304');
INSERT INTO posts (title, created_at) VALUES ('Hello, World', '2026-01-01');
SELECT slug FROM posts;
