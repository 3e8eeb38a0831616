-- What somebody removes from the log by hand counts as trimmed, and offsets that
-- were given out are never given out again.

SET LOCAL lock_timeout = '500ms'; -- see 0005

-- The greatest offset that was removed from the midst or the end of the log, until
-- the node that sequences has begun an epoch for it; 0: none.
ALTER TABLE sluice_meta ADD COLUMN removed bigint NOT NULL DEFAULT 0;

-- Notes that rows up to last were removed. Who has not got past it can not have all,
-- whether or not some that come before it are left. Rows of the front alone are
-- trimmed a little early, which needs no epoch.
CREATE FUNCTION sluice_note_removed(last bigint, OUT noted boolean) LANGUAGE plpgsql AS $$
DECLARE
  kept bigint;
  is_front boolean;
BEGIN
  SELECT trimmed INTO kept FROM sluice_meta;
  noted := last > kept;
  IF noted THEN
    is_front := NOT EXISTS (SELECT FROM sluice_log WHERE "offset" > kept AND "offset" <= last)
      AND EXISTS (SELECT FROM sluice_log WHERE "offset" > last);
    UPDATE sluice_meta SET trimmed = greatest(trimmed, last), removed = CASE WHEN is_front THEN removed ELSE greatest(removed, last) END;
  END IF;
END $$;

-- The same for whoever removes rows, with whatever search_path: it is set to the log's
-- schema, which may have been renamed, and is given back at the end for being declared.
CREATE FUNCTION sluice_log_removed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_temp AS $$
DECLARE
  last bigint;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    EXECUTE format('SELECT max("offset") FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO last;
  ELSE
    SELECT max("offset") INTO last FROM removed;
  END IF;
  PERFORM set_config('search_path', quote_ident(TG_TABLE_SCHEMA) || ', pg_temp', true);
  IF TG_OP = 'TRUNCATE' THEN -- the rows are still there
    UPDATE sluice_meta SET trimmed = last, removed = last WHERE trimmed < last;
  ELSE
    PERFORM sluice_note_removed(last);
  END IF;
  RETURN NULL;
END $$;

-- Before the rows are seen to be gone, so that no reader takes the log for whole.
CREATE TRIGGER sluice_log_deleted AFTER DELETE ON sluice_log
  REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION sluice_log_removed();
CREATE TRIGGER sluice_log_truncated BEFORE TRUNCATE ON sluice_log
  FOR EACH STATEMENT EXECUTE FUNCTION sluice_log_removed();

-- Finds out whether rows were removed, also where no trigger has seen it: a log that
-- begins after what is trimmed has lost its front, and one that ends before what it
-- is known to have given out, to this session (at), to readers or to retention, its
-- end. Begins an epoch unless that was the front alone: positions are then judged
-- anew by everybody. For who sequences.
CREATE OR REPLACE FUNCTION sluice_mend_log(at bigint, OUT begun text) LANGUAGE plpgsql AS $$
DECLARE
  log record;
BEGIN
  SELECT trimmed, removed, greatest(trimmed, (SELECT max("offset") FROM sluice_log)) AS head,
      (SELECT min("offset") FROM sluice_log WHERE "offset" > trimmed) AS first,
      greatest(at, (SELECT max("offset") FROM sluice_cursors WHERE epoch = e.epoch), (SELECT max("offset") FROM sluice_marks), e.first - 1) AS known
    INTO log FROM sluice_meta, (SELECT epoch, first FROM sluice_epochs ORDER BY number DESC LIMIT 1) e;
  IF log.removed = 0 AND log.known <= log.head AND coalesce(log.first, log.trimmed + 1) = log.trimmed + 1
      OR NOT pg_try_advisory_xact_lock(1936487682, 'sluice_outbox'::regclass::oid::integer) THEN
    RETURN;
  END IF;
  UPDATE sluice_meta SET removed = 0, trimmed = greatest(trimmed, CASE WHEN log.known > log.head THEN log.known ELSE log.first - 1 END);
  IF log.removed > 0 OR log.known > log.head THEN
    begun := sluice_begin_epoch();
  END IF;
END $$;
