-- What tells this installation from all others, whatever they are called: nodes of one
-- installation know each other by it where several share a message bus. It stays for good,
-- in dumps too. Who goes on with a copy beside the original gives the copy another one:
-- UPDATE sluice_meta SET installation = gen_random_uuid().

SET LOCAL lock_timeout = '500ms'; -- see 0005

ALTER TABLE sluice_meta ADD COLUMN installation uuid NOT NULL DEFAULT gen_random_uuid();
