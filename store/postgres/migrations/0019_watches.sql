-- Changes of any table, published by triggers that sluice_watch generates, and the
-- position of the log for who reads the state that they change.

SET LOCAL lock_timeout = '500ms'; -- see 0005

-- Where the log stands in the caller's snapshot, also for who may not read the log.
-- An event up to there was committed before the snapshot was taken.
CREATE FUNCTION sluice_position(OUT epoch text, OUT "offset" bigint) LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
  SELECT (SELECT e.epoch FROM sluice_epochs e ORDER BY number DESC LIMIT 1),
    greatest(trimmed, (SELECT max(l."offset") FROM sluice_log l)) FROM sluice_meta;
END;

-- The bound of payloads, likewise.
CREATE FUNCTION sluice_max_payload() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
  SELECT max_payload FROM sluice_meta;
END;

-- Tells whether the outbox takes a topic: its constraints, as one expression, which is
-- inlined where it is called.
CREATE FUNCTION sluice_is_topic(topic text) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN octet_length(topic) BETWEEN 1 AND 255 AND topic <> 'phoenix' AND NOT starts_with(topic, 'sluice:')
  AND topic !~ E'[\\x01-\\x1f\\x7f]';

-- Splits "a{b}c" into text, column, text, column, …; {{ and }} are braces. Where three
-- follow each other, {{{b}}}, those within are the column's: its name cannot begin or end
-- with one.
CREATE FUNCTION sluice_template(template text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  parts text[] := '{}';
  part text := '';
  inside boolean := false;
  i integer := 1;
  one text;
BEGIN
  WHILE i <= length(template) LOOP
    one := substr(template, i, 1);
    IF one = '{' AND substr(template, i + 1, 1) = one
        OR one = '}' AND (NOT inside AND substr(template, i + 1, 1) = one OR length(substring(substr(template, i) FROM '^}+')) % 2 = 0) THEN
      part := part || one;
      i := i + 1;
    ELSIF one = (CASE WHEN inside THEN '}' ELSE '{' END) THEN
      IF inside AND part = '' THEN
        RAISE EXCEPTION '"%" names no column between its braces', template USING ERRCODE = 'invalid_parameter_value', HINT = 'Write {column}, and {{ and }} for braces.';
      END IF;
      parts := parts || part;
      part := '';
      inside := NOT inside;
    ELSIF one IN ('{', '}') THEN
      RAISE EXCEPTION '"%" has a brace without its other', template USING ERRCODE = 'invalid_parameter_value', HINT = 'Write {column}, and {{ and }} for braces.';
    ELSE
      part := part || one;
    END IF;
    i := i + 1;
  END LOOP;
  IF inside THEN
    RAISE EXCEPTION '"%" has a brace without its other', template USING ERRCODE = 'invalid_parameter_value', HINT = 'Write {column}, and {{ and }} for braces.';
  END IF;
  RETURN parts || part;
END $$;

-- Refuses a table that cannot be watched, and says what can.
CREATE FUNCTION sluice_check_watchable(outbox regclass, rel regclass) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  c pg_class;
  home CONSTANT oid := (SELECT relnamespace FROM pg_class WHERE oid = outbox);
  owner text;
  above regclass;
  foreigner regclass;
BEGIN
  SELECT * INTO c FROM pg_class WHERE oid = rel;
  IF c.oid IS NULL THEN
    RAISE EXCEPTION 'there is no table to watch' USING ERRCODE = 'invalid_parameter_value', HINT = 'Name a table.';
  ELSIF c.relkind NOT IN ('r', 'p') THEN
    RAISE EXCEPTION '% is no table', rel USING ERRCODE = 'wrong_object_type', HINT = CASE c.relkind
      WHEN 'v' THEN 'Watch the tables that the view reads.' WHEN 'm' THEN 'Watch the tables that the materialized view reads.'
      WHEN 'f' THEN 'Foreign tables change elsewhere: watch the table on its own server.' ELSE 'Name a table.' END;
  ELSIF c.relpersistence = 't' THEN
    RAISE EXCEPTION '% is temporary', rel USING ERRCODE = 'wrong_object_type', HINT = 'Only its own session could ever change it: publish from there.';
  ELSIF c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace) THEN
    RAISE EXCEPTION '% belongs to the system', rel USING ERRCODE = 'wrong_object_type', HINT = 'Watch a table of your own.';
  ELSIF c.relnamespace = home AND starts_with(c.relname, 'sluice_') THEN
    RAISE EXCEPTION '% is one of the tables of Sluice', rel USING ERRCODE = 'wrong_object_type', HINT = 'It would publish its own events: watch a table of your own.';
  END IF;
  SELECT inhparent INTO above FROM pg_inherits WHERE inhrelid = rel LIMIT 1;
  IF above IS NOT NULL THEN
    RAISE EXCEPTION '% is a part of %, through which it may change unseen', rel, above USING ERRCODE = 'wrong_object_type', HINT = format('Watch %s.', above);
  END IF;
  WITH RECURSIVE family AS (SELECT rel::oid AS oid UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid)
    SELECT oid INTO foreigner FROM family JOIN pg_class USING (oid) WHERE relkind = 'f' LIMIT 1;
  IF foreigner IS NOT NULL THEN
    RAISE EXCEPTION '% has %, which is foreign', rel, foreigner USING ERRCODE = 'wrong_object_type', HINT = 'Rows of foreign tables cannot be collected: detach it, or publish from a trigger of your own.';
  END IF;
  IF NOT pg_has_role(c.relowner, 'USAGE') THEN
    RAISE EXCEPTION 'must be owner of table %', rel USING ERRCODE = 'insufficient_privilege', HINT = format('Call it as %s.', c.relowner::regrole);
  END IF;
  owner := c.relowner::regrole;
  IF NOT has_schema_privilege(c.relowner, home, 'USAGE') OR NOT has_table_privilege(c.relowner, outbox, 'INSERT') THEN
    RAISE EXCEPTION '%, who owns %, may not insert into %', owner, rel, outbox USING ERRCODE = 'insufficient_privilege',
      HINT = format('GRANT USAGE ON SCHEMA %s TO %s; GRANT INSERT ON %s TO %2$s', home::regnamespace, owner, outbox);
  END IF;
END $$;

-- Generates the trigger function of a watch, and its triggers.
--
-- The function belongs to the table's owner and runs as that role, so that who writes
-- needs no right on the outbox, and code that the owner may have put behind a type or a
-- cast gets nobody else's rights. Only SET makes the text of values the same whoever
-- writes. What it is made from is its comment, so that a dump carries it. In it:
--
-- n is a row, and c its columns c1, c2, …, by name. One that was renamed or dropped
-- since is found in d instead, as null: an ALTER TABLE must not fail what the
-- application writes. The plan is made anew after each.
--
-- UPDATE pairs old and new rows by their numbers, as both tables of a transition are
-- appended row by row; a key may have changed. FULL, as that join cannot become a nested
-- loop, which a plan that was made for a single row would take for a million of them.
-- No jit: of so many expressions it takes seconds.
--
-- A row of which the stored size is beyond what could fit is not made JSON at all, as
-- that may be more than the server can have in one value. (64 kB, unpacked and as JSON,
-- never is.) record is null then.
--
-- A statement sees what is written through the table that it names, so each partition
-- has the triggers too, with an argument. TRUNCATE alone has them called for all: the
-- root's says so in a setting, and its partitions let it be.
CREATE FUNCTION sluice_make_watch(outbox regclass, rel regclass, topic text, topic_parts text[], columns text[], key text, key_parts text[], events text[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $make$
#variable_conflict use_variable
DECLARE
  home CONSTANT text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = outbox);
  place CONSTANT text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = rel);
  owner CONSTANT regrole := (SELECT relowner FROM pg_class WHERE oid = rel);
  partitioned CONSTANT boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = rel);
  inherited CONSTANT boolean := NOT partitioned AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = rel);
  common CONSTANT text := $$'schema', sluice.schema_name, 'table', sluice.table_name, 'commit_timestamp', sluice.at$$;
  passed CONSTANT text := $$'schema', $1, 'table', $2, 'commit_timestamp', $3$$; -- the same where it is EXECUTEd
  bound CONSTANT text := format('(SELECT %s.sluice_max_payload())', home);
  most CONSTANT text := format('(SELECT 4 * least(%s.sluice_max_payload(), 16777216))', home);
  put CONSTANT text := format('INSERT INTO %s.sluice_outbox (topic, event, payload, key) ', home);
  present text[]; -- all columns
  packed text[];  -- those of which the size varies
  primary_key text[];
  published text[];
  identity text[];
  used text[];
  bad text;
  topic_sql text;
  key_sql text;
  record_sql text;
  identity_sql text;
  stored_sql text;
  raw_sql text;
  head text;  -- FROM, with the rows' name between them
  tail text;
  new_sql text;
  old_sql text;
  choose text;
  passes text;
  moved text;
  removal text; -- a DELETE for each row, with the rows' name between them
  ended text;
  body text;
  fn text;
  unused text;
  odd boolean;
  keyless boolean;
  part record;
BEGIN
  EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', rel);
  SELECT coalesce(array_agg(attname::text ORDER BY attnum), '{}'), array_agg(attname::text ORDER BY attnum) FILTER (WHERE attlen < 0)
    INTO present, packed FROM pg_attribute WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped;
  SELECT array_agg(attname::text ORDER BY n) INTO primary_key
    FROM pg_index, unnest(indkey::int2[]) WITH ORDINALITY k (num, n), pg_attribute WHERE indrelid = rel AND indisprimary AND attrelid = rel AND attnum = num;

  events := coalesce(events, '{insert,update,delete,truncate}');
  SELECT array_agg(DISTINCT lower(e)), min(coalesce(e, 'NULL')) FILTER (WHERE lower(e) IN ('insert', 'update', 'delete', 'truncate') IS NOT TRUE)
    INTO events, bad FROM unnest(events) e;
  IF bad IS NOT NULL OR events IS NULL THEN
    RAISE EXCEPTION '% is no event of a table', coalesce('"' || bad || '"', 'nothing') USING ERRCODE = 'invalid_parameter_value', HINT = 'events is some of {insert,update,delete,truncate}.';
  END IF;
  IF topic IS NULL OR topic = '' THEN
    RAISE EXCEPTION 'a watch needs a topic' USING ERRCODE = 'invalid_parameter_value', HINT = 'Such as orders, or orders:{region} with the value of a column.';
  END IF;
  IF columns = '{}' OR array_position(columns, NULL) IS NOT NULL THEN
    RAISE EXCEPTION 'columns names none' USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for all columns.';
  END IF;
  key_parts := CASE WHEN key IS NULL THEN '{}' WHEN cardinality(key_parts) = 1 THEN ARRAY['', key, ''] ELSE key_parts END; -- a column's name, or a template
  SELECT c INTO bad FROM (SELECT unnest(columns) UNION ALL SELECT p FROM unnest(topic_parts) WITH ORDINALITY t (p, n) WHERE n % 2 = 0
    UNION ALL SELECT p FROM unnest(key_parts) WITH ORDINALITY t (p, n) WHERE n % 2 = 0) a (c) WHERE c <> ALL (present) LIMIT 1;
  IF bad IS NOT NULL THEN
    RAISE EXCEPTION 'column % of table % does not exist', quote_ident(bad), rel USING ERRCODE = 'undefined_column', HINT = format('It has %s.', array_to_string(present, ', '));
  END IF;
  SELECT c INTO bad FROM unnest(columns) c GROUP BY c HAVING count(*) > 1 LIMIT 1;
  IF bad IS NOT NULL THEN
    RAISE EXCEPTION 'columns has % twice', quote_ident(bad) USING ERRCODE = 'duplicate_column', HINT = 'Name each column once.';
  END IF;
  IF present = '{}' THEN
    RAISE EXCEPTION '% has no columns', rel USING ERRCODE = 'invalid_table_definition', HINT = 'Watch it when it has some.';
  END IF;

  IF cardinality(topic_parts) = 1 THEN
    EXECUTE format('SELECT NOT %s.sluice_is_topic($1)', home) INTO odd USING topic_parts[1];
    IF odd THEN
      RAISE EXCEPTION '"%" cannot be a topic', topic USING ERRCODE = 'invalid_parameter_value', HINT = 'A topic has 1 to 255 bytes without control characters, and is neither phoenix nor begins with sluice:.';
    END IF;
  END IF;

  published := coalesce(columns, present);
  identity := ARRAY(SELECT c FROM unnest(primary_key) WITH ORDINALITY k (c, n) WHERE c = ANY (published) ORDER BY n);
  keyless := identity = '{}';
  IF keyless THEN
    identity := published;
  END IF;
  used := ARRAY(SELECT c FROM unnest(present) WITH ORDINALITY a (c, m) WHERE c = ANY (published || primary_key)
    OR c IN (SELECT p FROM unnest(topic_parts) WITH ORDINALITY t (p, n) WHERE n % 2 = 0)
    OR c IN (SELECT p FROM unnest(key_parts) WITH ORDINALITY t (p, n) WHERE n % 2 = 0) ORDER BY m);

  SELECT '(' || string_agg(CASE WHEN n % 2 = 1 THEN quote_literal(p) || '::text' ELSE format('c.c%s::text', array_position(used, p)) END, ' || ' ORDER BY n) || ') COLLATE pg_catalog."C"'
    INTO topic_sql FROM unnest(topic_parts) WITH ORDINALITY t (p, n) WHERE n % 2 = 0 OR p <> '';
  IF key IS NOT NULL THEN
    SELECT string_agg(CASE WHEN n % 2 = 1 THEN quote_literal(p) || '::text' ELSE format('c.c%s::text', array_position(used, p)) END, ' || ' ORDER BY n)
      INTO key_sql FROM unnest(key_parts) WITH ORDINALITY t (p, n) WHERE n % 2 = 0 OR p <> '';
  ELSIF cardinality(primary_key) = 1 THEN
    key_sql := format('c.c%s::text', array_position(used, primary_key[1]));
  ELSIF cardinality(primary_key) > 1 THEN -- as JSON, or ("a:", "b") would be ("a", ":b")
    SELECT 'array_to_json(ARRAY[' || string_agg(format('to_json(c.c%s)', array_position(used, c)), ', ' ORDER BY n) || '])::text'
      INTO key_sql FROM unnest(primary_key) WITH ORDINALITY k (c, n);
  END IF;
  key_sql := coalesce('CASE WHEN octet_length(' || key_sql || ') <= 1024 THEN ' || key_sql || ' END', 'NULL::text');

  SELECT coalesce(string_agg(format('coalesce(pg_column_size(c.c%s), 0)', array_position(used, c)), ' + '), '0'),
      coalesce(string_agg(format('coalesce(pg_column_size(ROW(c.c%s)), 0)::bigint', array_position(used, c)), ' + '), '0')
    INTO stored_sql, raw_sql FROM unnest(packed) c WHERE c = ANY (published);
  -- All columns that there will be, unless those that inherit from it may have more.
  record_sql := CASE WHEN columns IS NULL AND NOT inherited THEN 'row_to_json(n.*)' ELSE 'row_to_json(r.*)' END;
  record_sql := format('CASE WHEN (%1$s) <= 65536 THEN %2$s WHEN (%1$s) <= %3$s THEN CASE WHEN (%4$s) <= %3$s THEN %2$s END END', stored_sql, record_sql, most, raw_sql);
  identity_sql := CASE WHEN keyless THEN record_sql ELSE 'row_to_json(i.*)' END;
  SELECT '(SELECT ' || string_agg(format('NULL::text AS %I', c), ', ') || ') d, ', ' n, LATERAL (SELECT ' || string_agg(format('%I AS c%s', c, n), ', ') || ' FROM (SELECT n.*) s) c'
    INTO head, tail FROM unnest(used) WITH ORDINALITY u (c, n);
  tail := tail || ', LATERAL (SELECT ' || (SELECT string_agg(format('c.c%s AS %I', array_position(used, c), c), ', ' ORDER BY n) FROM unnest(published) WITH ORDINALITY p (c, n)) || ') r'
    || ', LATERAL (SELECT ' || (SELECT string_agg(format('c.c%s AS %I', array_position(used, c), c), ', ' ORDER BY n) FROM unnest(identity) WITH ORDINALITY p (c, n)) || ') i';
  new_sql := '(SELECT ' || topic_sql || ' AS topic, ' || key_sql || ' AS key, ' || record_sql || ' AS record, '
    || CASE WHEN keyless THEN 'NULL::json' ELSE identity_sql END || ' AS identity, row_number() OVER () AS number FROM ' || head || 'new_rows' || tail || ' OFFSET 0)';
  old_sql := '(SELECT ' || topic_sql || ' AS topic, ' || key_sql || ' AS key, ' || identity_sql || ' AS old';

  -- The event, or as much of it as fits.
  choose := format($$%sSELECT topic, event, CASE WHEN pg_column_size(payload) <= 1028 OR pg_column_size(payload) - 4 <= %s THEN payload
      WHEN coalesce(pg_column_size(identity), 0) + coalesce(pg_column_size(old), 0) > %2$s / 2 THEN json_build_object('type', event, %s, 'too_large', true)
      WHEN event = 'INSERT' AND identity IS NOT NULL THEN json_build_object('type', event, %3$s, 'record', identity, 'too_large', true)
      WHEN event = 'UPDATE' AND identity IS NOT NULL AND old IS NOT NULL THEN json_build_object('type', event, %3$s, 'record', identity, 'old_record', old, 'too_large', true)
      WHEN event = 'DELETE' AND old IS NOT NULL THEN json_build_object('type', event, %3$s, 'old_record', old, 'too_large', true)
      ELSE json_build_object('type', event, %3$s, 'too_large', true) END, key FROM $$, put, bound, common);

  SELECT p.oid::regproc INTO fn FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid
    WHERE tgrelid = rel AND tgnargs = 0 AND tgname IN ('sluice_watch_insert', 'sluice_watch_update', 'sluice_watch_delete', 'sluice_watch_truncate')
      AND starts_with(proname, 'sluice_watch_') AND pg_has_role(proowner, 'USAGE') LIMIT 1;
  fn := coalesce(fn, place || '.sluice_watch_' || replace(gen_random_uuid()::text, '-', ''));
  passes := 'topic IS NOT NULL';
  moved := passes;
  IF cardinality(topic_parts) > 1 THEN
    unused := format('nextval(CASE WHEN has_sequence_privilege(to_regclass(%L), ''USAGE'') THEN to_regclass(%1$L) END) < 0', fn);
    passes := format('CASE WHEN %s.sluice_is_topic(topic) THEN true ELSE %s END', home, unused);
    moved := format('CASE WHEN %s.sluice_is_topic(topic) THEN true WHEN event = ''DELETE'' THEN false ELSE %s END', home, unused);
  END IF;

  removal := choose || '(SELECT topic, ''DELETE'' AS event, key, NULL::json AS identity, old, CASE WHEN old IS NOT NULL THEN json_build_object(''type'', ''DELETE'', '
    || common || ', ''old_record'', old) END AS payload FROM ' || old_sql || ' FROM ' || head;
  ended := tail || ' OFFSET 0) e OFFSET 0) p WHERE ' || passes;
  body := format($body$#variable_conflict use_column
<<sluice>>
DECLARE
  schema_name text := TG_TABLE_SCHEMA;
  table_name text := TG_TABLE_NAME;
  root oid := TG_RELID;
  at json := to_json(clock_timestamp());
BEGIN
  IF TG_NARGS > 0 THEN -- a part of the table that is watched, if it still is one
    WITH RECURSIVE above AS (SELECT TG_RELID AS oid UNION SELECT inhparent FROM pg_inherits JOIN above ON inhrelid = above.oid)
    SELECT c.oid, nspname, relname INTO sluice.root, sluice.schema_name, sluice.table_name
      FROM pg_trigger mine JOIN pg_trigger t ON t.tgfoid = mine.tgfoid AND t.tgnargs = 0 JOIN above ON above.oid = t.tgrelid
        JOIN pg_class c ON c.oid = above.oid JOIN pg_namespace s ON s.oid = relnamespace
      WHERE mine.tgrelid = TG_RELID AND mine.tgname = TG_NAME LIMIT 1;
    IF NOT FOUND THEN
      RETURN NULL;
    END IF;
  END IF;
  IF TG_OP = 'INSERT' THEN
    %s;
  ELSIF TG_OP = 'UPDATE' THEN
    %s;
  ELSIF TG_OP = 'DELETE' THEN
    %s;
  ELSIF TG_WHEN = 'AFTER' THEN
    PERFORM set_config('sluice.truncated', '', true);
  ELSIF TG_NARGS = 0 AND NOT %L::boolean THEN
    IF %L::boolean THEN
      PERFORM set_config('sluice.truncated', TG_RELID::text, true);
    END IF;
    EXECUTE %s USING sluice.schema_name, sluice.table_name, sluice.at;
  ELSIF current_setting('sluice.truncated', true) IS DISTINCT FROM sluice.root::text THEN
    EXECUTE %s USING sluice.schema_name, sluice.table_name, sluice.at;
  END IF;
  RETURN NULL;
END$body$,
    choose || '(SELECT topic, ''INSERT'' AS event, key, identity, NULL::json AS old, CASE WHEN record IS NOT NULL THEN json_build_object(''type'', ''INSERT'', '
      || common || ', ''record'', record) END AS payload FROM ' || replace(new_sql, ', row_number() OVER () AS number', '') || ' e OFFSET 0) p WHERE ' || passes,
    choose || '(SELECT CASE event WHEN ''DELETE'' THEN old_topic ELSE topic END AS topic, event, CASE event WHEN ''DELETE'' THEN old_key ELSE key END AS key, identity, old,
        CASE WHEN event = ''DELETE'' THEN CASE WHEN old IS NOT NULL THEN json_build_object(''type'', event, ' || common || ', ''old_record'', old) END
          WHEN record IS NOT NULL AND old IS NOT NULL THEN json_build_object(''type'', event, ' || common || ', ''record'', record, ''old_record'', old) END AS payload
      FROM (SELECT e.*, ' || CASE WHEN cardinality(topic_parts) = 1 OR 'delete' <> ALL (events) THEN '''UPDATE''::text'
        ELSE 'unnest(CASE WHEN topic = old_topic THEN ''{UPDATE}''::text[] ELSE ''{DELETE,UPDATE}'' END)' END || ' AS event
        FROM (SELECT n.topic, n.key, n.record, n.identity, o.topic AS old_topic, o.key AS old_key, o.old
          FROM ' || old_sql || ', row_number() OVER () AS number FROM ' || head || 'old_rows' || tail || ' OFFSET 0) o FULL JOIN ' || new_sql || ' n ON o.number = n.number ORDER BY n.number OFFSET 0) e) m OFFSET 0) p WHERE ' || moved,
    removal || 'old_rows' || ended,
    inherited, partitioned,
    CASE WHEN cardinality(topic_parts) = 1 -- whether or not there are rows
      THEN quote_literal(put || 'VALUES (' || topic_sql || ', ''TRUNCATE'', json_build_object(''type'', ''TRUNCATE'', ' || passed || '), NULL)')
      ELSE quote_literal(put || 'SELECT topic, ''TRUNCATE'', json_build_object(''type'', ''TRUNCATE'', ' || passed || '), NULL FROM (SELECT DISTINCT topic FROM (SELECT ' || topic_sql || ' AS topic FROM ' || head)
        || ' || TG_RELID::regclass || ' || quote_literal(tail || ') e) t WHERE ' || home || '.sluice_is_topic(topic)') END,
    quote_literal(replace(removal, common, passed) || 'ONLY ') || ' || TG_RELID::regclass || ' || quote_literal(ended));

  EXECUTE format('CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET timezone = ''UTC'' SET datestyle = ''ISO, YMD'' SET intervalstyle = ''iso_8601'' SET bytea_output = ''hex'' SET extra_float_digits = 1 SET jit = off %s AS %L', fn,
    CASE WHEN EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND atttypid = 'money'::regtype) THEN format('SET lc_monetary = %L', current_setting('lc_monetary')) END, body);
  IF to_regclass(fn) IS NULL THEN
    EXECUTE format('CREATE SEQUENCE %s', fn);
  END IF;
  EXECUTE format('COMMENT ON FUNCTION %s() IS %L', fn, 'sluice_watch ' || jsonb_build_object('topic', topic, 'columns', columns, 'key', key, 'events', events, 'uses', used, 'log', home)::text);
  EXECUTE format('ALTER SEQUENCE %s OWNER TO %s', fn, owner);
  EXECUTE format('ALTER FUNCTION %s() OWNER TO %s', fn, owner);
  -- Who may EXECUTE it could make it the trigger of another table, and publish anything.
  FOR bad IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
      WHERE oid = (fn || '()')::regprocedure AND grantee <> proowner LOOP
    EXECUTE format('REVOKE ALL ON FUNCTION %s() FROM %s', fn, bad);
  END LOOP;

  FOR part IN SELECT tgrelid::regclass AS rel, tgname FROM pg_trigger WHERE tgfoid = (fn || '()')::regprocedure LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', part.tgname, part.rel);
  END LOOP;
  FOR part IN WITH RECURSIVE family AS (SELECT rel::oid AS oid UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid)
      SELECT oid::regclass AS rel, relkind, CASE WHEN oid <> sluice_make_watch.rel THEN '''part''' ELSE '' END AS argument FROM family JOIN pg_class USING (oid) LOOP
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = part.rel AND starts_with(tgname, 'sluice_watch_') AND tgname IN ('sluice_watch_insert', 'sluice_watch_update', 'sluice_watch_delete', 'sluice_watch_truncate')
        AND pg_has_role((SELECT proowner FROM pg_proc WHERE oid = tgfoid), 'USAGE')) THEN
      RAISE EXCEPTION '% is watched through another table', part.rel USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'sluice_unwatch that one, or have it inherit from one table.';
    END IF;
    IF 'insert' = ANY (events) THEN
      EXECUTE format('CREATE OR REPLACE TRIGGER sluice_watch_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION %s(%s)', part.rel, fn, part.argument);
    END IF;
    IF 'update' = ANY (events) THEN
      EXECUTE format('CREATE OR REPLACE TRIGGER sluice_watch_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION %s(%s)', part.rel, fn, part.argument);
    END IF;
    IF 'delete' = ANY (events) THEN
      EXECUTE format('CREATE OR REPLACE TRIGGER sluice_watch_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION %s(%s)', part.rel, fn, part.argument);
    END IF;
    IF 'truncate' = ANY (events) AND (part.relkind = 'r' OR part.argument = '') THEN
      EXECUTE format('CREATE OR REPLACE TRIGGER sluice_watch_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s(%s)', part.rel, fn, part.argument);
    END IF;
    IF 'truncate' = ANY (events) AND part.relkind = 'p' AND part.argument = '' THEN
      EXECUTE format('CREATE OR REPLACE TRIGGER sluice_watch_truncated AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s()', part.rel, fn);
    END IF;
  END LOOP;
END $make$;

-- Has every change of a table published, from the next statement on, in the transaction
-- that makes it. Called again it takes the place of what was asked for before. Waits for
-- open transactions that have written to the table.
CREATE FUNCTION sluice_watch("table" regclass, topic text, columns text[] DEFAULT NULL, key text DEFAULT NULL, events text[] DEFAULT NULL)
RETURNS void LANGUAGE sql
BEGIN ATOMIC
  SELECT sluice_check_watchable('sluice_outbox'::regclass, $1);
  SELECT sluice_make_watch('sluice_outbox'::regclass, $1, $2, sluice_template($2), $3, $4, sluice_template($4), $5);
END;

-- Ends that, and says whether the table was watched.
CREATE FUNCTION sluice_unwatch("table" regclass) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  fn text;
  r record;
  found boolean := false;
BEGIN
  EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', "table");
  FOR fn IN SELECT DISTINCT tgfoid::regproc::text FROM pg_trigger JOIN pg_proc p ON p.oid = tgfoid WHERE tgrelid = "table" AND tgnargs = 0 AND starts_with(tgname, 'sluice_watch_') AND starts_with(proname, 'sluice_watch_') LOOP
    FOR r IN SELECT tgrelid::regclass AS rel, tgname FROM pg_trigger WHERE tgfoid = (fn || '()')::regprocedure LOOP
      EXECUTE format('DROP TRIGGER %I ON %s', r.tgname, r.rel);
    END LOOP;
    EXECUTE format('DROP FUNCTION %s()', fn);
    EXECUTE format('DROP SEQUENCE IF EXISTS %s', fn);
    found := true;
  END LOOP;
  RETURN found;
END $$;

-- What is watched: see the view. A comment that is none of ours, by whoever, is passed by.
CREATE FUNCTION sluice_watches(outbox regclass) RETURNS TABLE ("table" text, topic text, columns text[], key text, events text[], unpublished bigint, broken text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  f record;
  made jsonb;
  rel oid;
  owner oid;
  home CONSTANT text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = outbox);
  part oid;
  e text;
  gone text;
BEGIN
  FOR f IN SELECT p.oid, p.oid::regproc::text AS name, proowner, description FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid AND classoid = 'pg_proc'::regclass AND objsubid = 0
      WHERE starts_with(proname, 'sluice_watch_') AND prorettype = 'trigger'::regtype AND starts_with(description, 'sluice_watch {') ORDER BY 2 LOOP
    BEGIN
      made := substr(f.description, 14)::jsonb;
      topic := made ->> 'topic';
      key := made ->> 'key';
      columns := CASE jsonb_typeof(made -> 'columns') WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(made -> 'columns')) END;
      events := ARRAY(SELECT jsonb_array_elements_text(made -> 'events'));
      CONTINUE WHEN to_regclass((made ->> 'log') || '.sluice_outbox') <> outbox;
    EXCEPTION WHEN OTHERS THEN
      CONTINUE;
    END;
    broken := '{}';
    SELECT c.oid, c.relowner INTO rel, owner FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE tgfoid = f.oid AND tgnargs = 0 LIMIT 1;
    "table" := rel::regclass;
    unpublished := CASE WHEN has_sequence_privilege(to_regclass(f.name), 'SELECT, USAGE') THEN coalesce(pg_sequence_last_value(to_regclass(f.name)), 0) END;
    IF rel IS NULL THEN
      broken := broken || format('its table was dropped: DROP FUNCTION %s(); DROP SEQUENCE IF EXISTS %1$s', f.name);
      RETURN NEXT;
      CONTINUE;
    END IF;
    IF to_regclass((made ->> 'log') || '.sluice_outbox') IS NULL THEN
      broken := broken || format('there is no %s.sluice_outbox any more, and writing to the table fails: call sluice_watch again', made ->> 'log');
    ELSIF NOT has_schema_privilege(f.proowner, (made ->> 'log')::regnamespace, 'USAGE') OR NOT has_table_privilege(f.proowner, outbox, 'INSERT') THEN
      broken := broken || format('%1$s may not insert into sluice_outbox, and writing to the table fails: GRANT USAGE ON SCHEMA %2$s TO %1$s; GRANT INSERT ON %3$s TO %1$s', f.proowner::regrole, home, outbox);
    ELSIF (SELECT relrowsecurity FROM pg_class WHERE oid = outbox) THEN
      broken := broken || format('row security may refuse what is inserted: ALTER TABLE %s DISABLE ROW LEVEL SECURITY', outbox);
    END IF;
    IF f.proowner <> owner THEN
      broken := broken || format('it publishes as %s, and %s owns the table: call sluice_watch again', f.proowner::regrole, owner::regrole);
    END IF;
    FOR gone IN SELECT u FROM jsonb_array_elements_text(made -> 'uses') u WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND attname = u AND NOT attisdropped) LOOP
      broken := broken || format('column %I is gone and counts as null: call sluice_watch again', gone);
    END LOOP;
    FOR part IN WITH RECURSIVE family AS (SELECT rel AS oid UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid) SELECT oid FROM family LOOP
      FOREACH e IN ARRAY events LOOP
        CONTINUE WHEN e = 'truncate' AND part <> rel AND (SELECT relkind = 'p' FROM pg_class WHERE oid = part);
        IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = part AND tgfoid = f.oid AND tgname = 'sluice_watch_' || e) THEN
          broken := broken || format('%s of %s is not seen%s: call sluice_watch again', upper(e), part::regclass, CASE WHEN part <> rel THEN ' when it is named itself' END);
        ELSIF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = part AND tgfoid = f.oid AND tgname = 'sluice_watch_' || e AND tgenabled NOT IN ('O', 'A')) THEN
          broken := broken || format('its trigger is disabled: ALTER TABLE %s ENABLE TRIGGER %I', part::regclass, 'sluice_watch_' || e);
        END IF;
      END LOOP;
    END LOOP;
    RETURN NEXT;
  END LOOP;
END $$;

-- What sluice_watch was asked for; how many changes had no topic that can be, and so
-- were not published, with those of transactions that were rolled back; and what is
-- broken, with what to do.
CREATE VIEW sluice_watched AS SELECT * FROM sluice_watches('sluice_outbox'::regclass);

-- What runs as the owner belongs to who owns the tables.
DO $migration$
DECLARE
  place CONSTANT regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = 'sluice_log'::regclass);
  owner CONSTANT regrole := (SELECT relowner FROM pg_class WHERE oid = 'sluice_log'::regclass);
  fn regprocedure;
BEGIN
  FOR fn IN SELECT oid FROM pg_proc WHERE pronamespace = place AND proname IN ('sluice_position', 'sluice_max_payload') LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %s, pg_temp', fn, place);
    IF has_schema_privilege(owner, place, 'CREATE') AND pg_has_role(owner, 'MEMBER') THEN
      EXECUTE format('ALTER FUNCTION %s OWNER TO %s', fn, owner);
    END IF;
  END LOOP;
END $migration$;
